//! A camera whose footage comes, and of which no frame can be decoded.

use std::path::Path;
use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, append_clip};
use test_support::colours::film;
use test_support::footage::{LOCAL, StoredFootage, camera, config, records_of};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::table::UNDECODABLE;
use super::watch::{figure, metric, metrics, reason_of, reasons, until};

/// Films whose frames are damaged, so many that they last for longer than the limit.
const DAMAGED: u32 = 10;
const FRAGMENTS_PER_S: u32 = 4;
/// The limit, and what may come on top.
const SHOWS: std::ops::Range<Duration> = Duration::from_secs(9)..Duration::from_secs(20);

/// The clip with its coded pictures overwritten, and their lengths and kinds left as they are.
fn damaged(clip: &Path) -> std::path::PathBuf {
    let mut bytes = std::fs::read(clip).unwrap();
    let at = bytes.windows(4).position(|four| four == b"mdat").unwrap();
    let length = u32::from_be_bytes(bytes[at - 4..at].try_into().unwrap()) as usize;
    let (mut nal, end) = (at + 4, at - 4 + length);
    while nal < end {
        let size = u32::from_be_bytes(bytes[nal..nal + 4].try_into().unwrap()) as usize;
        if matches!(bytes[nal + 4] & 31, 1 | 5) {
            bytes[nal + 5..nal + 4 + size].fill(0xff);
        }
        nal += 4 + size;
    }
    let damaged = clip.with_extension("damaged.mp4");
    std::fs::write(&damaged, bytes).unwrap();
    damaged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_of_which_no_frame_can_be_decoded_counts_as_down_until_one_can() {
    let clips = tempfile::tempdir().unwrap();
    let clip = damaged(&film(clips.path(), 0));
    let footage = StoredFootage::new(FRAGMENTS_PER_S);
    footage.store("good", DAMAGED + 1).await;
    let stream = footage.sim.store().stream_or_create("bad-stream").unwrap();
    for film in 0..DAMAGED {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000 + 9 * u64::from(film));
        append_clip(&stream, &clip, ClipPace::Asap, start).await.unwrap();
    }
    footage.store_films("bad", DAMAGED..DAMAGED + 1).await;
    let cameras = camera("good") + &camera("bad");
    let program =
        Program::start(kvs_infer_command!(), &config(LOCAL, &cameras), &footage.sim.endpoint(), None);
    let (name, label) = UNDECODABLE.metric.trim_end_matches('}').split_once('{').unwrap();
    let is_up = |program: &Program| metric(&metrics(program), name, &[label]) > 0.5;
    assert!(is_up(&program));
    let (reason, showed) = until("reason", || {
        let reasons = reasons(&program);
        reason_of(&reasons, "camera bad")
            .filter(|shown| shown.contains(UNDECODABLE.reason))
            .map(str::to_owned)
    })
    .await;
    assert!(SHOWS.contains(&showed), "{showed:?}");
    assert!(reason.contains(" frames could not be decoded: they are damaged; "), "{reason}");
    assert!(!is_up(&program));
    assert!(metric(&metrics(&program), name, &["camera=\"good\""]) > 0.5, "the other one is well");
    program.camera_when("bad", |row| row["events"].as_u64() == Some(records_of(1)));
    assert!(is_up(&program));
    // Those that were lost within the last minute may still be a reason.
    assert!(!reasons(&program).iter().any(|reason| reason.contains(UNDECODABLE.reason)));
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let said = |text: &str| ended.log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(said("footage is read but no frame is inferred"), 1, "{:#?}", ended.log);
    assert_eq!(said("frames are inferred again"), 1, "{:#?}", ended.log);
    figure(&format!(
        "R11 undecodable: 1 of 1 faults shows and goes away; it shows after {:.1} s",
        showed.as_secs_f64()
    ));
    footage.sim.stop().await;
}
