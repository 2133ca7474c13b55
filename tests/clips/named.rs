//! The addresses of stored clips: a record is not trusted to name other files, and S3 is read part by part.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Arc, Mutex};

use kvs_infer::clips::{ClipCamera, ClipLibrary, ClipMaker, ClipRules, FindIncident, IncidentSightings};
use kvs_infer::delivery::Clients;
use kvs_infer::history::{HistorySpec, IncidentHistory, StoredClips};
use kvs_infer::http::{ClipSources, HttpServer, HttpSpec};
use kvs_infer::media::{CameraId, Event, Phase};
use kvs_infer::sinks::{PublishSpec, S3Spec};
use kvs_infer::status::StatusBoard;
use kvs_sim::Sim;
use tempfile::TempDir;
use test_support::colours::sim;
use test_support::moto::{self, Moto};
use tokio::runtime::Handle;

use super::served::{Answer, ask, error, header};
use super::{an_hour_ago, film, kvs, store};
use crate::web::{run_checks, show};

const INCIDENT: &str = "0123456789abcdef0123456789abcdef";
const NAME: &str = "1000-0123456789ab.mp4";

/// A server of clips whose incident has the sightings that a test gives it.
struct ClipServer {
    sim: Sim,
    folder: TempDir,
    sightings: Arc<Mutex<IncidentSightings>>,
    library: Arc<ClipLibrary>,
    server: HttpServer,
}

impl ClipServer {
    /// Starts the server over a stream that does not exist; `aws`: the endpoint of S3.
    fn start(aws: &str, ignores_masks: bool) -> Self {
        let (sim, folder) = (sim(), tempfile::tempdir().unwrap());
        let of =
            IncidentSightings { camera_id: "front".to_owned(), first_ms: 1_000, last_ms: 2_000, clip: None };
        let sightings = Arc::new(Mutex::new(of));
        let found = Arc::clone(&sightings);
        let find: FindIncident = Arc::new(move |id| {
            let found = (id == INCIDENT).then(|| found.lock().unwrap().clone());
            Box::pin(async move { Ok(found) })
        });
        let rules = ClipRules { before_ms: 0, after_ms: 0, max_ms: 8_000 };
        let maker = ClipMaker::new(kvs(&sim), folder.path().join("made"));
        let library = Arc::new(ClipLibrary::new(maker, rules, ignores_masks, find));
        let events = folder.path().join("events");
        fs::create_dir_all(&events).unwrap();
        let s3 = S3Spec { bucket: "pictures".into(), prefix: "snapshots".into(), sse: Default::default() };
        let publish = PublishSpec { s3: Some(s3), local_dir: Some(events), ..PublishSpec::default() };
        let clients = Clients::new(&moto::config(aws), true);
        let stored = StoredClips::new(&publish, &clients, Handle::current());
        let history = IncidentHistory::new(HistorySpec {
            publish: &publish,
            is_shared: false,
            cameras: vec!["front".to_owned()],
            clients: &clients,
            runtime: Handle::current(),
        });
        let clips = Some(ClipSources { library: Arc::clone(&library), stored });
        let spec = show::spec("127.0.0.1", None, &StatusBoard::new());
        let server = HttpServer::start(HttpSpec { history, clips, ..spec }).unwrap();
        let own = Self { sim, folder, sightings, library, server };
        own.set_masks(false);
        own
    }

    fn set_masks(&self, has_masks: bool) {
        let camera = ClipCamera { stream: "front-stream".to_owned(), has_masks };
        self.library.set_cameras([("front".to_owned(), camera)].into());
    }

    /// Sets the address of the incident's clip.
    fn name(&self, address: &str) {
        self.sightings.lock().unwrap().clip = Some(address.to_owned());
    }

    fn see(&self, first_ms: i64, last_ms: i64) {
        let mut sightings = self.sightings.lock().unwrap();
        (sightings.first_ms, sightings.last_ms) = (first_ms, last_ms);
    }

    fn events(&self) -> std::path::PathBuf {
        self.folder.path().join("events")
    }

    fn clip(&self, headers: &str) -> Answer {
        ask(
            self.server.local_addr(),
            "GET",
            &format!("/api/incidents/{INCIDENT}/clip.mp4?before=5&after=5"),
            headers,
        )
    }

    /// Writes a file below the folder of events.
    fn write(&self, path: &str, content: &[u8]) {
        let path = self.events().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    async fn stop(self) {
        self.server.stop();
        self.sim.stop().await;
    }
}

async fn put(s3: &aws_sdk_s3::Client, bucket: &str, key: &str, content: &[u8]) {
    let body = content.to_vec().into();
    s3.put_object().bucket(bucket).key(key).body(body).send().await.unwrap();
}

/// Returns bytes none of whose parts is like another.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_names_a_file_that_is_not_the_clip_of_its_incident() {
    let moto = Moto::start();
    let (s3, _other) = (moto.bucket("pictures").await, moto.bucket("secrets").await);
    let served = ClipServer::start(&moto.url, false);
    let secret = &b"secret"[..];
    for (bucket, key) in [
        ("secrets", format!("snapshots/front/{NAME}")),
        ("pictures", format!("elsewhere/{NAME}")),
        ("pictures", format!("snapshots-of-others/{NAME}")),
        ("pictures", format!("snapshots/../elsewhere/{NAME}")),
        ("pictures", "snapshots/front/1000-ba9876543210.mp4".to_owned()),
        ("pictures", "snapshots/front/events.jsonl".to_owned()),
    ] {
        put(&s3, bucket, &key, secret).await;
        served.name(&format!("s3://{bucket}/{key}"));
        let (status, said) = error(&served.clip(""));
        assert_eq!(status, 404, "{bucket}/{key}: {said}");
    }
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join(NAME), secret).unwrap();
    for path in [
        "clips/yard/1000-0123456789ab.mp4",
        "clips/front/1000-ba9876543210.mp4",
        "clips/front/x/1000-0123456789ab.mp4",
    ] {
        served.write(path, secret);
        served.name(path);
        assert_eq!(served.clip("").0, 404, "{path}");
    }
    served.name(&format!("clips/front/{NAME}"));
    symlink(outside.path().join(NAME), served.events().join("clips/front").join(NAME)).unwrap();
    let (status, said) = error(&served.clip(""));
    assert!(status == 500 && said.contains("publishers.local_dir"), "a link to a file: {status} {said}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_in_s3_is_read_part_by_part() {
    let moto = Moto::start();
    let s3 = moto.bucket("pictures").await;
    let served = ClipServer::start(&moto.url, false);
    let (key, content) = (format!("snapshots/front/{NAME}"), bytes(1_300_000));
    put(&s3, "pictures", &key, &content).await;
    served.name(&format!("s3://pictures/{key}"));
    let (status, head, body) = served.clip("");
    assert!(status == 200 && body == content, "{head}");
    assert_eq!(header(&head, "x-clip-start-ms"), "", "this file does not say which time it shows");
    let (status, _, part) = served.clip("Range: bytes=400000-1200000\r\n");
    assert!(status == 206 && part == content[400_000..=1_200_000], "a range over three parts");
    served.write(&format!("clips/front/{NAME}"), &content[..300_000]);
    assert!(served.clip("").2 == content[..300_000], "the local folder comes first");
    put(&s3, "pictures", &key, b"").await;
    fs::remove_dir_all(served.events().join("clips")).unwrap();
    let (status, said) = error(&served.clip(""));
    assert!(status == 404 && said.contains("is empty"), "{status} {said}");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_without_any_clip_has_both_reasons() {
    let served = ClipServer::start("http://127.0.0.1:1", false);
    for (address, expected, named) in [
        (None, 404, "clips.to_s3"),
        (Some(format!("clips/front/{NAME}")), 404, "oldest"),
        (Some("ftp://x".to_owned()), 404, "does not know"),
        (Some(format!("s3://other/{NAME}")), 404, "publishers.s3_bucket"),
        (Some(format!("s3://pictures/snapshots/{NAME}")), 503, "AWS_ENDPOINT_URL_S3"),
    ] {
        served.sightings.lock().unwrap().clip.clone_from(&address);
        let (status, said) = error(&served.clip(""));
        let both = said.contains("front-stream") && said.contains(named);
        assert!(status == expected && both, "{address:?}: {status} {said}");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_clips_of_masked_cameras_need_ignore_masks() {
    for (ignores_masks, expected) in [(false, 409), (true, 200)] {
        let served = ClipServer::start("http://127.0.0.1:1", ignores_masks);
        served.write(&format!("clips/front/{NAME}"), &bytes(100));
        served.name(&format!("clips/front/{NAME}"));
        assert_eq!(served.clip("").0, 200);
        served.set_masks(true);
        assert_eq!(served.clip("").0, expected);
        served.stop().await;
    }
}

/// Writes the records of an incident into a file of events.
fn write_records(events: &Path, first_ms: i64, last_ms: i64) {
    let mut start: Event = show::event(&CameraId::new("front"), INCIDENT, "person");
    start.payload.ts_ms = first_ms;
    start.payload.extras.incident_id = INCIDENT.to_owned();
    let mut end = start.clone();
    end.event_id = format!("{:032x}", 1);
    (end.seq, end.payload.ts_ms, end.payload.extras.phase) = (start.seq + 1, last_ms + 1_000, Phase::End);
    end.payload.extras.duration_ms = Some(last_ms - first_ms);
    let lines = [start, end].map(|event| serde_json::to_string(&event).unwrap() + "\n");
    fs::write(events.join("events.jsonl"), lines.concat()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_that_ends_before_its_incident_says_so_and_the_page_too() {
    let served = ClipServer::start("http://127.0.0.1:1", false);
    let (start, start_ms) = an_hour_ago();
    let clip = film(served.folder.path(), "film.mp4", 9, "-c:v libx264");
    store(&served.sim, "front-stream", &clip, start).await;
    served.see(start_ms, start_ms + 7_999);
    write_records(&served.events(), start_ms, start_ms + 7_999);
    let (status, head, whole) = served.clip("");
    assert_eq!((status, header(&head, "x-clip-left-out-ms")), (200, "5000"), "{head}");
    let url = format!("http://{}", served.server.local_addr());
    let noted = |words: &'static str| {
        let url = url.clone();
        let run = move || run_checks("incidents.py", &["--url", &url, "--noted", INCIDENT, words]);
        tokio::task::spawn_blocking(run)
    };
    noted("the last 5.0 s of the incident").await.unwrap();
    // With the file in the folder and without the stream, it is the stored clip.
    served.sim.store().delete("front-stream", None).await.unwrap();
    served.write(&format!("clips/front/{NAME}"), &whole);
    served.name(&format!("clips/front/{NAME}"));
    // Another span, since the clip that was made is kept.
    served.see(start_ms + 1, start_ms + 7_998);
    let (_, head, body) = served.clip("");
    assert_eq!((header(&head, "x-clip-source"), header(&head, "x-clip-left-out-ms")), ("stored", "4999"));
    assert!(body == whole);
    noted("no longer has the footage").await.unwrap();
    served.see(start_ms + 2, start_ms + 2_900);
    assert_eq!(header(&served.clip("").1, "x-clip-left-out-ms"), "");
    served.stop().await;
}
