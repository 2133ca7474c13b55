//! The stored clip of an incident, served when KVS no longer has the footage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use kvs_sim::{ClipPace, Sim, append_clip};
use serde_json::{Value, json};
use test_support::colours::{self, model, sim};
use test_support::footage::camera_with;
use test_support::kvs_infer_command;
use test_support::moto::Moto;
use test_support::polling::until_blocking;
use test_support::program::Program;

use super::served::{Answer, ask, error, header};
use super::times_ms;

/// Ended incidents of a film: the third object is in view at its end.
const ENDED: usize = 2;
const CLIPS: &str = "clips: { to_s3: true, to_local: true, before_seconds: 1, after_seconds: 1 }\n";

fn config(camera: &str) -> String {
    format!(
        "publishers: {{ s3_bucket: pictures, local_dir: events }}\n{CLIPS}device: cpu\ncameras:\n{camera}"
    )
}

/// The running program, whose incidents have stored clips.
struct Watched {
    sim: Sim,
    s3: aws_sdk_s3::Client,
    _moto: Moto,
    program: Program,
    camera: String,
    incident: String,
    /// The address of the incident's clip in S3, without the bucket.
    key: String,
}

impl Watched {
    /// Starts the program on footage of two hours ago, and waits for the clips.
    async fn start() -> Self {
        let (folder, sim, moto) = (tempfile::tempdir().unwrap(), sim(), Moto::start());
        let s3 = moto.bucket("pictures").await;
        let stream = sim.store().stream_or_create("front-stream").unwrap();
        let start = SystemTime::now() - Duration::from_secs(7_200);
        append_clip(&stream, &colours::film(folder.path(), 2), ClipPace::Asap, start).await.unwrap();
        let camera = camera_with("front", &model(), "EARLIEST", "");
        let program =
            Program::start(kvs_infer_command!(), &config(&camera), &sim.endpoint(), Some(&moto.url));
        program.metric_when("kvs_infer_clips_stored_total{camera=\"front\"}", ENDED);
        let incident = until_blocking("the end record", || {
            let page: Value = serde_json::from_str(&program.get("/api/incidents?label=red").1).unwrap();
            if page["incidents"][0]["clip"].is_string() {
                Ok(page["incidents"][0].clone())
            } else {
                Err(page)
            }
        });
        let key = incident["clip"].as_str().unwrap().strip_prefix("s3://pictures/").unwrap().to_owned();
        let incident = incident["incident_id"].as_str().unwrap().to_owned();
        Self { sim, s3, _moto: moto, program, camera, incident, key }
    }

    fn clip(&self, method: &str, query: &str, headers: &str) -> Answer {
        let path = format!("/api/incidents/{}/clip.mp4{query}", self.incident);
        ask(self.program.address(), method, &path, headers)
    }

    fn file(&self) -> PathBuf {
        let name = self.key.rsplit('/').next().unwrap();
        self.program.dir().join("events/clips/front").join(name)
    }

    /// Shortens the data retention of the stream to so many hours, as UpdateDataRetention does.
    fn set_retention(&self, hours: u32) {
        let identity = self.sim.store().stream("front-stream").unwrap().identity();
        let by = identity.settings.retention_hours - hours;
        let body = json!({
            "StreamName": "front-stream",
            "CurrentVersion": identity.version,
            "Operation": "DECREASE_DATA_RETENTION",
            "DataRetentionChangeInHours": by,
        });
        let body = body.to_string();
        let server: SocketAddr = self.sim.endpoint().strip_prefix("http://").unwrap().parse().unwrap();
        let head = format!("POST /updateDataRetention HTTP/1.0\r\nHost: {server}\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let (status, _, body) = test_support::http::answer(test_support::http::send(server, &request));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    }

    /// Expires the footage, by a data retention of an hour.
    async fn expire(&self) {
        self.set_retention(1);
        // The retention counts from the upload, which was a moment ago. The newest fragment stays, and is not of the incident.
        self.sim.store().stream("front-stream").unwrap().expire_oldest(None).await;
    }

    /// Loads another configuration of the camera.
    fn rewrite(&self, camera: &str, reloads: usize) {
        self.program.rewrite(&config(camera));
        self.program.metric_when("kvs_infer_config_reloads_total", reloads);
    }

    async fn stop(self) {
        assert!(self.program.stop().status.success());
        self.sim.stop().await;
    }
}

/// Returns the headers of a clip that do not depend on its place.
fn about(head: &str) -> [String; 4] {
    ["content-type", "x-clip-source", "x-clip-start-ms", "x-clip-end-ms"]
        .map(|name| header(head, name).to_owned())
}

/// Asserts that a stored clip is served in ranges, from whichever place it comes.
fn assert_ranges(watched: &Watched, whole: &[u8]) {
    let size = whole.len();
    let (status, head, body) = watched.clip("GET", "", "");
    let etag = header(&head, "etag").to_owned();
    assert!(status == 200 && body == whole && etag.len() > 2, "{head}");
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=100-", 100..size),
        ("bytes=-50", size - 50..size),
        ("bytes=7-99999999", 7..size),
    ] {
        let (status, head, part) = watched.clip("GET", "?before=5&after=5", &format!("Range: {range}\r\n"));
        assert_eq!((status, header(&head, "etag")), (206, &*etag), "{range}: {head}");
        let wanted = format!("bytes {}-{}/{size}", expected.start, expected.end - 1);
        assert_eq!(header(&head, "content-range"), wanted);
        assert!(part == whole[expected], "{range}: other bytes");
    }
    let (status, head, _) = watched.clip("GET", "", &format!("Range: bytes={size}-\r\n"));
    assert_eq!((status, header(&head, "content-range")), (416, &*format!("bytes */{size}")));
    let (status, head, body) = watched.clip("HEAD", "", "Range: bytes=0-9\r\n");
    assert_eq!((status, header(&head, "content-length"), body.len()), (200, &*size.to_string(), 0));
    let (status, _, body) = watched.clip("GET", "", "Range: bytes=0-9\r\nIf-Range: \"other\"\r\n");
    assert_eq!((status, body.len()), (200, size), "a range of another file");
    assert_eq!(watched.clip("GET", "", &format!("If-None-Match: {etag}\r\n")).0, 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stored_clip_takes_the_place_of_footage_that_is_gone() {
    let watched = Watched::start().await;
    let (status, made, _) = watched.clip("GET", "", "");
    assert_eq!((status, header(&made, "x-clip-source")), (200, "archive"), "{made}");
    let file = watched.file();
    let whole = std::fs::read(&file).unwrap();
    watched.expire().await;
    // Another length, since the clip that was made is kept.
    let (_, head, body) = watched.clip("GET", "?before=2", "");
    let stored = about(&head);
    assert!(stored[0] == "video/mp4" && stored[1] == "stored" && body == whole, "{head}");
    assert_eq!(stored[2], header(&made, "x-clip-start-ms"), "both begin at the first keyframe");
    let [start_ms, end_ms] = [2, 3].map(|index| stored[index].parse::<i64>().unwrap());
    assert_eq!(end_ms - start_ms, times_ms(&file).1);
    watched.rewrite(&watched.camera.replace("id: front", "id: renamed"), 1);
    assert_ranges(&watched, &whole);
    std::fs::remove_file(&file).unwrap();
    assert_ranges(&watched, &whole);
    watched.rewrite(&watched.camera, 2);
    watched.set_retention(0);
    let (_, head, body) = watched.clip("GET", "?before=3", "");
    assert!(about(&head) == stored && body == whole, "no retention: {head}");
    watched.sim.store().delete("front-stream", None).await.unwrap();
    let (_, head, body) = watched.clip("GET", "?before=4", "");
    assert!(about(&head) == stored && body == whole, "no stream: {head}");
    watched.s3.delete_object().bucket("pictures").key(&watched.key).send().await.unwrap();
    let (status, said) = error(&watched.clip("GET", "?before=5", ""));
    let both = said.contains("front-stream") && said.contains(&format!("S3 has no object {}", watched.key));
    assert!(status == 404 && both, "{status} {said}");
    watched.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn masks_hide_the_stored_clip_too() {
    let watched = Watched::start().await;
    watched.expire().await;
    assert_eq!(header(&watched.clip("GET", "", "").1, "x-clip-source"), "stored");
    let masks = "    masks: [{ points: [[0, 100], [20, 100], [20, 120]] }]\n    pipeline:";
    watched.rewrite(&watched.camera.replace("    pipeline:", masks), 1);
    let (status, said) = error(&watched.clip("GET", "", ""));
    assert!(status == 409 && said.contains("ignore_masks"), "{status} {said}");
    watched.stop().await;
}
