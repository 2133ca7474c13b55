//! Tests of the status of a camera.

use super::*;

fn camera() -> CameraStatus {
    CameraStatus::new(&CameraId::new("gate"), "gate-stream", Arc::default())
}

#[test]
fn an_outage_lasts_from_the_first_failure_until_footage_comes() {
    let gate = camera();
    gate.down("no such stream", Some(Duration::from_secs(4)));
    let first = gate.row();
    assert_eq!((first.state, first.error.as_deref()), (CameraState::Down, Some("no such stream")));
    assert!(first.retry_in_ms.is_some_and(|ms| (3_000..=4_000).contains(&ms)), "{:?}", first.retry_in_ms);

    gate.connecting();
    let again = gate.row();
    assert_eq!(
        (again.state, again.error.as_deref()),
        (CameraState::Down, Some("no such stream")),
        "a further attempt does not end it"
    );

    gate.down("access denied", None);
    let second = gate.row_at(Instant::now() + Duration::from_secs(9));
    assert_eq!(second.error.as_deref(), Some("access denied"));
    assert!(second.error_for_ms.is_some_and(|ms| ms >= 9_000), "since the first failure");

    gate.streaming();
    let well = gate.row();
    assert_eq!((well.state, well.error, well.retry_in_ms), (CameraState::Streaming, None, None));
    assert_eq!(well.last_error.as_deref(), Some("access denied"));
}

#[test]
fn a_reason_is_never_longer_than_some_lines() {
    let gate = camera();
    let long = "é".repeat(2_000_000);
    gate.down(long.clone(), None);
    gate.connection_lost(&long);
    let row = gate.row();
    for text in [row.error, row.last_error, row.last_connection_loss] {
        assert_eq!(text.map(|text| text.len()), Some(MAX_REASON_BYTES));
    }
    gate.streaming();
    gate.blind("decode", Some(long));
    assert_eq!(gate.row().error.map(|text| text.len()), Some(MAX_REASON_BYTES));
}

#[test]
fn a_stage_that_fails_is_the_reason_until_it_works() {
    let gate = camera();
    gate.streaming();
    gate.blind("detect", Some("out of memory".to_owned()));
    assert_eq!(gate.row().error.as_deref(), Some("out of memory"));
    gate.streaming();
    assert!(gate.is_blind("detect"), "footage alone does not end it");
    gate.blind("detect", None);
    assert_eq!(gate.row().error, None);
}

#[test]
fn a_camera_whose_frames_can_hardly_be_decoded_counts_as_down_until_they_can() {
    let gate = camera();
    gate.streaming();
    let start = Instant::now();
    for (name, damaged, well) in
        [("half", 50, true), ("nearly all", 99, false), ("some recover", 85, false), ("half again", 50, true)]
    {
        let mut window = LoadWindow::default();
        for second in 0..60 {
            window.count(start + Duration::from_secs(second), |counts| {
                counts.read += 100;
                counts.dropped("damaged", damaged);
            });
        }
        gate.set_load(window);
        gate.judge_footage(start + Duration::from_secs(60));
        let row = gate.row();
        assert_eq!(row.is_well(), well, "{name}: {row:?}");
        let said = format!("{damaged}.0 % of its frames could not be decoded: they are damaged");
        assert_eq!(row.error.is_some_and(|error| error.starts_with(&said)), !well, "{name}");
    }
}

#[test]
fn the_lag_of_a_camera_that_sends_nothing_is_unknown() {
    let gate = camera();
    gate.fragment(Some(120));
    gate.waiting();
    assert_eq!(gate.row().behind_ms, None, "waiting");
    gate.fragment(Some(120));
    gate.down("no such stream", None);
    assert_eq!(gate.row().behind_ms, None, "down");
}

#[test]
fn the_lag_of_what_was_decoded_counts_and_ages_and_else_the_servers_figure() {
    let gate = camera();
    gate.fragment(Some(120));
    assert_eq!(gate.row().behind_ms, Some(120));
    gate.unit_decoded(Duration::from_secs(3));
    let in_s = |s: u64| gate.row_at(Instant::now() + Duration::from_secs(s)).behind_ms.unwrap();
    assert!((3_000..4_000).contains(&in_s(0)) && (8_000..9_000).contains(&in_s(5)), "{}", in_s(0));
    gate.waiting();
    assert_eq!(gate.row().behind_ms, None);
}

#[test]
fn a_connection_counts_again_only_after_the_first() {
    let gate = camera();
    for _ in 0..3 {
        gate.connecting();
    }
    gate.connected();
    assert_eq!(gate.row().reconnects, 0);
    gate.streaming();
    gate.connecting();
    gate.connected();
    gate.waiting();
    assert_eq!(gate.row().reconnects, 1);
}

#[test]
fn counts_add_up() {
    let gate = camera();
    gate.frame_read();
    gate.frame_decoded();
    gate.frame_sampled();
    gate.frames_dropped("superseded", 1);
    gate.frames_dropped("superseded", 1);
    gate.frames_dropped("decoder_error", 1);
    gate.fragment(Some(120));
    gate.fragment(None);
    gate.skipped(Duration::from_secs(2));
    let row = gate.row();
    assert_eq!((row.frames.read, row.frames.decoded, row.frames.sampled), (1, 1, 1));
    assert_eq!(row.frames.dropped, BTreeMap::from([("decoder_error", 1), ("superseded", 2)]));
    assert_eq!((row.fragments, row.behind_ms, row.skipped_ms), (2, Some(120), 2_000));
}
