//! Clips that are made of stored footage: their frames are those of the source.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use kvs_infer::clips::{ClipFailure, ClipMaker, ClipSpan, Mp4Clip};
use kvs_sim::{Faults, Sim, StreamSettings};
use test_support::colours::sim;

use super::{an_hour_ago, checksums, code, film, kvs, store, times_ms};

/// Encoders: their names and arguments.
const ENCODERS: [(&str, &str); 5] = [
    ("h264", "-c:v libx264 -bf 0"),
    ("h264-b", "-c:v libx264 -bf 3 -x264-params open-gop=0"),
    ("h264-open", "-c:v libx264 -bf 3 -x264-params open-gop=1:b-adapt=0"),
    ("h265-b", "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:open-gop=0:bframes=3"),
    ("h265-open", "-c:v libx265 -tag:v hvc1 -x265-params log-level=none:open-gop=1:bframes=3"),
];

/// A local KVS, and a maker of clips of its footage.
struct Fixture {
    sim: Sim,
    maker: ClipMaker,
    folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let (sim, folder) = (sim(), tempfile::tempdir().unwrap());
        let maker = ClipMaker::new(kvs(&sim), folder.path().join("clips"));
        Self { sim, maker, folder }
    }

    async fn make(&self, stream: &str, from_ms: i64, to_ms: i64) -> Result<Mp4Clip, ClipFailure> {
        self.maker.make(stream, ClipSpan { from_ms, to_ms }).await
    }

    /// Makes a clip and writes it as a file.
    async fn file(&self, stream: &str, from_ms: i64, to_ms: i64) -> std::path::PathBuf {
        let clip = self.make(stream, from_ms, to_ms).await.unwrap();
        let path = self.folder.path().join(format!("{stream}-{from_ms}-{to_ms}.mp4"));
        clip.write_to(&mut File::create(&path).unwrap()).unwrap();
        path
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }
}

/// Returns the place of `part` in `whole`.
fn place_of(part: &[String], whole: &[String]) -> Option<usize> {
    whole.windows(part.len().max(1)).position(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frames_of_a_clip_are_those_of_the_source_over_the_borders_of_fragments() {
    let fixture = Fixture::new();
    let (start, start_ms) = an_hour_ago();
    for (name, encoder) in ENCODERS {
        let film = film(fixture.dir(), &format!("{name}.mp4"), 6, encoder);
        store(&fixture.sim, name, &film, start).await;
        let source = checksums(&film);
        assert_eq!(source.len(), 60, "{name}");
        let whole = fixture.file(name, start_ms, start_ms + 60_000).await;
        assert_eq!(checksums(&whole), source, "{name}: all of it");
        let clip = fixture.file(name, start_ms + 2_500, start_ms + 4_500).await;
        let frames = checksums(&clip);
        let first =
            place_of(&frames, &source).unwrap_or_else(|| panic!("{name}: {} other frames", frames.len()));
        // From the keyframe before the span, which is presented a moment later in an open GOP, to the end of the span.
        assert!((18..=25).contains(&first), "{name}: begins with frame {first}");
        assert!(
            (45..=49).contains(&(first + frames.len())),
            "{name}: ends before frame {}",
            first + frames.len()
        );
        // Safari plays H.265 as hvc1 alone.
        assert_eq!(code(&clip), if name.starts_with("h264") { "avc1" } else { "hvc1" }, "{name}");
        let (times, length_ms) = times_ms(&clip);
        let expected: Vec<i64> = (0..frames.len() as i64).map(|frame| frame * 100).collect();
        assert_eq!((times, length_ms), (expected, frames.len() as i64 * 100), "{name}");
    }
    fixture.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_of_the_camera_is_a_picture_that_stands() {
    let fixture = Fixture::new();
    let (start, start_ms) = an_hour_ago();
    let film = film(fixture.dir(), "film.mp4", 3, "-c:v libx264 -bf 2");
    for begin_s in [0, 10] {
        store(&fixture.sim, "front", &film, start + Duration::from_secs(begin_s)).await;
    }
    let source = checksums(&film);
    let clip = fixture.make("front", start_ms, start_ms + 60_000).await.unwrap();
    assert_eq!((clip.times.start_ms, clip.times.end_ms), (start_ms, start_ms + 13_000));
    let file = fixture.file("front", start_ms, start_ms + 60_000).await;
    assert_eq!(checksums(&file), [&source[..], &source].concat());
    let (times, length_ms) = times_ms(&file);
    assert_eq!((times[29], times[30], length_ms), (2_900, 10_000, 13_000), "time in the clip is media time");
    let within = fixture.make("front", start_ms + 5_000, start_ms + 8_000).await.unwrap_err();
    assert_eq!(within.reason(), "no_footage", "{within}");
    fixture.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_that_was_sent_twice_is_in_the_clip_once() {
    let fixture = Fixture::new();
    let (start, start_ms) = an_hour_ago();
    let film = film(fixture.dir(), "film.mp4", 3, "-c:v libx264");
    for _ in 0..2 {
        store(&fixture.sim, "front", &film, start).await;
    }
    let file = fixture.file("front", start_ms, start_ms + 60_000).await;
    assert_eq!(checksums(&file), checksums(&film));
    fixture.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_footage_gives_the_same_file() {
    let fixture = Fixture::new();
    let (start, start_ms) = an_hour_ago();
    let film = film(fixture.dir(), "film.mp4", 4, "-c:v libx264");
    store(&fixture.sim, "front", &film, start).await;
    let one = fixture.make("front", start_ms, start_ms + 3_000).await.unwrap();
    let same = fixture.make("front", start_ms, start_ms + 3_000).await.unwrap();
    let other = fixture.make("front", start_ms, start_ms + 4_000).await.unwrap();
    assert_eq!(one.etag(), same.etag());
    assert_ne!(one.etag(), other.etag());
    fixture.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_opened_again_and_the_clip_is_whole() {
    let fixture = Fixture::new();
    let (start, start_ms) = an_hour_ago();
    let film = film(fixture.dir(), "film.mp4", 6, "-c:v libx264");
    let stream = store(&fixture.sim, "front", &film, start).await;
    stream.set_faults("break=2f,count=2".parse::<Faults>().unwrap());
    let file = fixture.file("front", start_ms, start_ms + 60_000).await;
    assert_eq!(checksums(&file), checksums(&film));
    assert_eq!(stream.faults(), Faults::default(), "it broke twice");
    fixture.sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn footage_without_a_clip_is_refused_with_the_reason() {
    let fixture = Fixture::new();
    let (start, start_ms) = an_hour_ago();
    let h264 = film(fixture.dir(), "h264.mp4", 2, "-c:v libx264");
    let h265 = film(fixture.dir(), "h265.mp4", 2, "-c:v libx265 -tag:v hvc1 -x265-params log-level=none");
    store(&fixture.sim, "changes", &h264, start).await;
    store(&fixture.sim, "changes", &h265, start + Duration::from_secs(2)).await;
    let none = StreamSettings { retention_hours: 0, ..StreamSettings::default() };
    fixture.sim.store().create("keeps-nothing", none).unwrap();
    fixture.sim.store().stream_or_create("silent").unwrap();
    let day_ms = 86_400_000;
    for (stream, from_ms, reason, text) in [
        ("changes", start_ms, "format_changed", format!("from {} ms since 1970", start_ms + 2_000)),
        ("keeps-nothing", start_ms, "no_retention", "data retention is 0 h".to_owned()),
        ("silent", start_ms, "no_footage", "its camera sent none then".to_owned()),
        ("silent", start_ms - day_ms, "retention_over", "keeps 24 h".to_owned()),
        ("gone", start_ms, "no_such_stream", "does not exist".to_owned()),
    ] {
        let refused = fixture.make(stream, from_ms, from_ms + 9_000).await.unwrap_err();
        assert_eq!(refused.reason(), reason, "{stream}: {refused}");
        assert!(refused.to_string().contains(&text), "{stream}: {refused}");
    }
    assert_eq!(checksums(&fixture.file("changes", start_ms, start_ms + 2_000).await), checksums(&h264));
    fixture.sim.stop().await;
}
