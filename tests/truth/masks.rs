//! An object that walks behind a mask: it is reported on either side, not behind it, and no picture shows what is behind.

use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, append_clip, epoch_ms};
use serde_json::Value;
use test_support::colours::{model, sim};
use test_support::kvs_infer_command;
use test_support::program::Program;

use super::painting::{PaintedBox, RED, SIDE, paint};
use super::rules::reported;

const FRAMES: usize = 42;
/// Left and right edge of the mask, px: wider than the box, which is wholly behind it from frame 22 to 26.
const MASK: (usize, usize) = (44, 84);
/// The blur that the codec and the drawn box may cause at the mask's edge, px.
const BLUR: usize = 4;
const WALK: PaintedBox =
    PaintedBox { colour: RED, is_there: |_| true, place: |frame| (frame * 2, 48), size: (32, 32) };

#[tokio::test(flavor = "multi_thread")]
async fn an_object_behind_a_mask_is_reported_on_either_side_and_never_shown_behind_it() {
    let (clips, sim) = (tempfile::tempdir().unwrap(), sim());
    let made = SystemTime::now() - Duration::from_secs(3600);
    let clip = clips.path().join("walk.mp4");
    paint(&clip, FRAMES, &[WALK]);
    let stream = sim.store().stream_or_create("masked-stream").unwrap();
    append_clip(&stream, &clip, ClipPace::Asap, made).await.unwrap();
    let program = Program::start(kvs_infer_command!(), &config(), &sim.endpoint(), None);
    program.camera_after("masked", FRAMES as u64);
    let ended = program.stop();
    assert!(ended.status.success(), "{:#?}", ended.log);
    let events = ended.dir.path().join("events");
    let text = std::fs::read_to_string(events.join("events.jsonl")).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen = reported(&records, "masked", epoch_ms(made));
    let rows: Vec<_> = seen.iter().map(|(frame, _, phase, _, zones)| (*frame, &**phase, &**zones)).collect();
    // At frame 32 twelve px of it are in sight again, and the rest is still behind the mask. It is the same incident from 33 on.
    assert_eq!(rows, [(0, "start", "west"), (33, "update", "east")]);
    for record in &records {
        let snapshot = record["payload"]["extras"]["snapshot"].as_str().unwrap();
        let reds = reds(&std::fs::read(events.join(snapshot)).unwrap());
        assert!(!reds.is_empty(), "{snapshot}: the box is in it");
        let behind: Vec<_> = reds.iter().filter(|x| (MASK.0 + BLUR..MASK.1 - BLUR).contains(x)).collect();
        assert!(behind.is_empty(), "{snapshot}: {behind:?}");
    }
    sim.stop().await;
}

fn config() -> String {
    let band =
        |left: usize, right: usize| format!("[[{left}, 0], [{right}, 0], [{right}, 128], [{left}, 128]]");
    let (west, behind, east) = (band(0, MASK.0), band(MASK.0, MASK.1), band(MASK.1, SIDE));
    format!(
        "publishers: {{ local_dir: events }}\ndevice: cpu
cameras:
  - id: masked
    kvs_stream_name: masked-stream
    playback: {{ start: EARLIEST }}
    masks: [{{ points: {behind} }}]
    roi:
      filter: center
      polygons:
        - {{ name: west, points: {west} }}
        - {{ name: behind, points: {behind} }}
        - {{ name: east, points: {east} }}
    pipeline:
      - type: objects
        objects: {{ yolo_weights: {}, min_box: {{ width: 12, height: 12 }}, \
         temporal_confirm: {{ frames: 1, window: 1 }} }}
",
        model().display()
    )
}

/// The columns of a picture's red pixels, in the rows of the box: those of the caption above it are left out.
fn reds(jpeg: &[u8]) -> Vec<usize> {
    let picture = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).unwrap();
    let is_red = |pixel: &[u8]| pixel[0] > pixel[1].max(pixel[2]).saturating_add(80);
    let rows = picture.pixels.chunks(picture.pitch).skip(48).take(32);
    let of_row = |row: &[u8]| {
        let pixels = row[..picture.width * 3].chunks(3).enumerate();
        pixels.filter(|(_, pixel)| is_red(pixel)).map(|(x, _)| x).collect::<Vec<_>>()
    };
    rows.flat_map(of_row).collect()
}
