//! Clips over HTTP: of an incident and of a time, in ranges, and refused with the reason.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use test_support::colours::{self, LABELS, sim};
use test_support::kvs_infer_command;
use test_support::polling::until_blocking;
use test_support::program::Program;

use super::{checksums, times_ms};

/// An answer: the status, the head in lower case, and the body.
pub(super) type Answer = (u16, String, Vec<u8>);

pub(super) fn ask(server: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{headers}\r\n");
    let mut stream = test_support::http::send(server, &request);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, answer.split_off(end + 4))
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
}

pub(super) fn error((status, _, body): &Answer) -> (u16, String) {
    let body: Value = serde_json::from_slice(body).unwrap();
    (*status, body["error"].as_str().unwrap().to_owned())
}

fn config(cameras: &str, more: &str) -> String {
    format!("publishers: {{ local_dir: events }}\n{more}device: cpu\ncameras:\n{cameras}")
}

/// Starts the program on a film, and returns the events of its three objects.
async fn watch(folder: &Path, more: &str, masks: &str) -> (kvs_sim::Sim, Program, Vec<Value>) {
    let (sim, film) = (sim(), colours::film(folder, 2));
    colours::store(&sim, "front-stream", &film).await;
    let camera = colours::camera("front").replace("    pipeline:", &format!("{masks}    pipeline:"));
    let config = config(&camera, more);
    let program = Program::start(kvs_infer_command!(), &config, &sim.endpoint(), None);
    let wanted: Vec<(&str, &str)> = LABELS.iter().map(|label| ("front", *label)).collect();
    let events = program.events_until(&wanted);
    (sim, program, events)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clip_of_an_incident_plays_and_is_served_in_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let (sim, program, events) = watch(folder.path(), "", "").await;
    let green = events.iter().find(|event| event["payload"]["label"] == "green").unwrap();
    let incident = green["payload"]["extras"]["incident_id"].as_str().unwrap();
    let path = format!("/api/incidents/{incident}/clip.mp4?before=1&after=1");
    let (status, head, whole) = ask(program.address(), "GET", &path, "");
    assert_eq!(
        (status, header(&head, "content-type"), header(&head, "accept-ranges")),
        (200, "video/mp4", "bytes")
    );
    let etag = header(&head, "etag").to_owned();
    let file = folder.path().join("clip.mp4");
    std::fs::write(&file, &whole).unwrap();
    let source = checksums(&folder.path().join("colours-2.mp4"));
    let frames = checksums(&file);
    assert!(source.windows(frames.len()).any(|part| part == frames), "its frames are those of the source");
    let start_ms: i64 = header(&head, "x-clip-start-ms").parse().unwrap();
    let sighted_ms = green["payload"]["ts_ms"].as_i64().unwrap();
    assert!((start_ms..start_ms + 3_000).contains(&sighted_ms), "{start_ms} {sighted_ms}");
    assert_eq!(times_ms(&file).1, frames.len() as i64 * 100);
    let size = whole.len();
    for (range, expected) in [
        ("bytes=0-99", 0..100),
        ("bytes=100-", 100..size),
        ("bytes=-50", size - 50..size),
        (&*format!("bytes=1000-{}", size * 2), 1_000..size),
    ] {
        let (status, head, part) = ask(program.address(), "GET", &path, &format!("Range: {range}\r\n"));
        assert_eq!((status, header(&head, "etag")), (206, &*etag), "{range}: {head}");
        let wanted = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
        assert_eq!(header(&head, "content-range"), wanted);
        assert!(part == whole[expected], "{range}: other bytes");
    }
    let (status, head, _) = ask(program.address(), "GET", &path, &format!("Range: bytes={size}-\r\n"));
    assert_eq!((status, header(&head, "content-range")), (416, &*format!("bytes */{size}")));
    let (status, head, body) = ask(program.address(), "HEAD", &path, "Range: bytes=0-9\r\n");
    assert_eq!((status, header(&head, "content-length"), body.len()), (200, &*size.to_string(), 0));
    let (status, _, body) =
        ask(program.address(), "GET", &path, "Range: bytes=0-9\r\nIf-Range: \"other\"\r\n");
    assert_eq!((status, body.len()), (200, size), "a range of another file");
    let (status, ..) = ask(program.address(), "GET", &path, &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(status, 304);
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clip_of_a_time_is_served_and_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (sim, program, events) = watch(folder.path(), "", "").await;
    let at_ms = events[0]["payload"]["ts_ms"].as_i64().unwrap();
    let path = |camera: &str, from_ms: i64, to_ms: i64| {
        format!("/api/cameras/{camera}/clip.mp4?from={from_ms}&to={to_ms}")
    };
    let (status, head, body) = ask(program.address(), "GET", &path("front", at_ms, at_ms + 2_000), "");
    assert_eq!((status, &body[4..8]), (200, &b"ftyp"[..]), "{head}");
    for (path, status, text) in [
        (path("back", at_ms, at_ms + 2_000), 404, "no camera \"back\""),
        (path("front", at_ms + 900_000, at_ms + 902_000), 404, "has no footage of this time"),
        (path("front", 1_000, 2_000), 404, "keeps 24 h"),
        (path("front", at_ms, at_ms + 900_000), 400, "clips.max_seconds"),
        (path("front", at_ms, at_ms), 400, "to must be after from"),
        ("/api/cameras/front/clip.mp4?from=1".to_owned(), 400, "to"),
        ("/api/cameras/front/clip.mp4?from=1&to=2&till=3".to_owned(), 400, "till"),
        ("/api/incidents/none/clip.mp4".to_owned(), 404, "no incident none"),
        ("/api/incidents/none/clip.mp4?before=-1".to_owned(), 400, "before"),
    ] {
        let (got, said) = error(&ask(program.address(), "GET", &path, ""));
        assert!(got == status && said.contains(text), "{path}: {got} {said}");
    }
    sim.store()
        .stream("front-stream")
        .unwrap()
        .set_faults("unauthorized,on=listFragments".parse::<kvs_sim::Faults>().unwrap());
    let (status, said) = error(&ask(program.address(), "GET", &path("front", at_ms, at_ms + 3_000), ""));
    assert!(status == 502 && said.contains("grant kinesisvideo:ListFragments"), "{status} {said}");
    assert!(program.stop().status.success());
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_with_masks_has_no_clips_unless_the_configuration_says_so() {
    let masks = "    masks: [{ points: [[0, 100], [20, 100], [20, 120]] }]\n";
    for (more, status) in [("", 409), ("clips: { ignore_masks: true }\n", 200)] {
        let folder = tempfile::tempdir().unwrap();
        let (sim, program, events) = watch(folder.path(), more, masks).await;
        let incident = events[0]["payload"]["extras"]["incident_id"].as_str().unwrap();
        let answer = ask(program.address(), "GET", &format!("/api/incidents/{incident}/clip.mp4"), "");
        assert_eq!(answer.0, status, "{more}");
        if status == 409 {
            let (_, said) = error(&answer);
            assert!(said.contains("has masks") && said.contains("ignore_masks: true"), "{said}");
        }
        assert!(program.stop().status.success());
        sim.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_that_is_asked_for_by_many_at_once_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let (sim, program, events) = watch(folder.path(), "", "").await;
    let incident = events[0]["payload"]["extras"]["incident_id"].as_str().unwrap();
    let path = format!("/api/incidents/{incident}/clip.mp4");
    let sizes: Vec<usize> = std::thread::scope(|scope| {
        let ask = || ask(program.address(), "GET", &path, "Range: bytes=0-\r\n").2.len();
        let asked: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(sizes.iter().all(|size| *size == sizes[0] && *size > 0), "{sizes:?}");
    let left = || std::fs::read_dir(program.dir().join("state/watched-clips")).unwrap().count();
    until_blocking("a folder without names", || if left() == 0 { Ok(()) } else { Err(left()) });
    assert!(program.stop().status.success());
    sim.stop().await;
}
