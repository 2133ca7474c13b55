//! `/api/incidents` as a client sees it, over the files of a local sink.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use aws_config::SdkConfig;
use kvs_infer::delivery::Clients;
use kvs_infer::history::{HistorySpec, IncidentHistory};
use kvs_infer::http::HttpServer;
use kvs_infer::media::Event;
use kvs_infer::sinks::PublishSpec;
use serde_json::{Value, json};
use tempfile::TempDir;
use test_support::{moto, sample_event};
use tokio::runtime::Runtime;

use super::server::{Reply, TOKEN, get};
use super::show;

const HOSTILE: &str = "\"><img src=x onerror=alert(1)>\n\u{202e}";

/// A server of a folder with events.
struct HistoryServer {
    folder: TempDir,
    server: HttpServer,
    /// The runtime of the calls of AWS.
    _runtime: Runtime,
}

impl HistoryServer {
    fn start(events: &[Event]) -> Self {
        let (folder, runtime) = (tempfile::tempdir().unwrap(), Runtime::new().unwrap());
        let lines: String = events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
        fs::write(folder.path().join("events.jsonl"), lines).unwrap();
        let server =
            show::serve_history(None, history(folder.path(), &moto::config("http://127.0.0.1:1"), &runtime));
        Self { folder, server, _runtime: runtime }
    }

    fn get(&self, path: &str) -> Reply {
        get(&self.server, path, &[])
    }

    fn ids(&self, query: &str) -> Vec<String> {
        let reply = self.get(&format!("/api/incidents{query}"));
        assert_eq!(reply.code, 200, "{query}: {}", String::from_utf8_lossy(&reply.body));
        let incidents = reply.json()["incidents"].as_array().unwrap().clone();
        incidents.iter().map(|incident| incident["incident_id"].as_str().unwrap().to_owned()).collect()
    }
}

fn history(folder: &Path, aws: &SdkConfig, runtime: &Runtime) -> Option<IncidentHistory> {
    IncidentHistory::new(HistorySpec {
        publish: &PublishSpec { local_dir: Some(folder.to_owned()), ..PublishSpec::default() },
        is_shared: false,
        cameras: vec!["gate".to_owned()],
        clients: &Clients::new(aws, true),
        runtime: runtime.handle().clone(),
    })
}

/// A start record with its number as id and time.
fn event(camera: &str, number: u64) -> Event {
    let mut event: Event = sample_event(camera, &format!("{number:032x}"));
    event.seq = number;
    event.payload.ts_ms = i64::try_from(1_700_000_000_000 + number * 1_000).unwrap();
    event
}

fn id(number: u64) -> String {
    format!("{number:032x}")
}

#[test]
fn incidents_are_listed_newest_first_page_by_page() {
    let events: Vec<Event> = (1..=5).map(|number| event("gate", number)).collect();
    let served = HistoryServer::start(&events);
    let first = served.get("/api/incidents?limit=2");
    assert_eq!(
        (first.header("cache-control"), first.header("content-type")),
        (Some("no-store"), Some("application/json"))
    );
    let first = first.json();
    assert_eq!(
        (first["source"].as_str(), first["incidents"].as_array().unwrap().len()),
        (Some("local_dir"), 2)
    );
    assert_eq!(
        first["incidents"][0],
        json!({
            "incident_id": id(5), "camera_id": "gate", "type": "objects", "label": "person", "zones": ["door"], "conf": 0.87,
            "start_ms": 1_700_000_005_000_u64, "last_ms": 1_700_000_005_000_u64, "end_ms": null, "phase": "start", "records": 1,
            "has_snapshot": false, "snapshot_event": null,
        })
    );
    let mut next = first["next"].clone();
    let mut rest = Vec::new();
    while let Some(cursor) = next.as_str() {
        let page = served.get(&format!("/api/incidents?limit=2&cursor={cursor}")).json();
        rest.extend(page["incidents"].as_array().unwrap().iter().map(|one| one["incident_id"].clone()));
        next = page["next"].clone();
    }
    assert_eq!(rest, [3, 2, 1].map(|number| Value::from(id(number))));
}

#[test]
fn filters_are_parameters_and_wrong_ones_are_named() {
    let mut events: Vec<Event> = (1..=3).map(|number| event("gate", number)).collect();
    events.push(event("yard", 4));
    events[0].payload.label = HOSTILE.to_owned();
    events[1].payload.extras.text = Some("B-AB 123".to_owned());
    let served = HistoryServer::start(&events);
    for (query, numbers) in [
        ("?camera=yard", vec![4]),
        ("?camera=yard,gate&from=2023-11-14T22:13:23Z", vec![4, 3]),
        ("?text=bab-1&label=&zone=door", vec![2]),
        ("?label=%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%0A%E2%80%AE", vec![1]),
        ("?to=1700000001500", vec![1]),
        ("?zone=%27%20OR%201%3D1", vec![]),
    ] {
        assert_eq!(served.ids(query), numbers.into_iter().map(id).collect::<Vec<_>>(), "{query}");
    }
    for (query, name) in [
        ("?camera=%2e%2e%2f", "camera"),
        ("?limit=1000", "limit"),
        ("?cursor=%00", "cursor"),
        ("?from=now", "from"),
        ("?sort=up", "sort"),
    ] {
        let reply = served.get(&format!("/api/incidents{query}"));
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(reply.code == 400 && error.starts_with(&format!("{name}: ")), "{query}: {error}");
    }
}

#[test]
fn an_incident_has_its_records() {
    let (start, mut end) = (event("gate", 1), event("gate", 2));
    end.payload.extras.incident_id = id(1);
    end.payload.extras.phase = kvs_infer::media::Phase::End;
    let served = HistoryServer::start(&[start.clone(), end.clone(), start.clone(), event("gate", 3)]);
    let detail = served.get(&format!("/api/incidents/{}", id(1))).json();
    let records: Vec<Event> = serde_json::from_value(detail["records"].clone()).unwrap();
    assert_eq!(records, [start, end]);
    assert_eq!((&detail["incident"]["records"], &detail["incident"]["phase"]), (&json!(2), &json!("end")));
    for path in ["/api/incidents/nothing", "/api/incidents/..%2f..%2fetc%2fpasswd", "/api/incidents/%00"] {
        assert_eq!(served.get(path).code, 404, "{path}");
    }
}

#[test]
fn pictures_come_from_the_folder_and_from_nowhere_else() {
    let snapshots = [
        (1, Some("snapshots/gate/1.jpg")),
        (2, Some("snapshots/gate/../../events.jsonl")),
        (3, Some("snapshots/gate/link.jpg")),
        (4, Some("snapshots/gate/gone.jpg")),
        (5, None),
        (6, Some("s3://others/secrets/6.jpg")),
        (7, Some("/etc/passwd")),
    ];
    let events = snapshots.map(|(number, snapshot)| {
        let mut event = event("gate", number);
        event.payload.extras.snapshot = snapshot.map(str::to_owned);
        event
    });
    let served = HistoryServer::start(&events);
    let gate = served.folder.path().join("snapshots/gate");
    fs::create_dir_all(&gate).unwrap();
    fs::write(gate.join("1.jpg"), "a picture").unwrap();
    symlink("/etc/hostname", gate.join("link.jpg")).unwrap();
    let path = |number: u64| format!("/api/incidents/{0}/pictures/{0}", id(number));
    let picture = served.get(&path(1));
    assert_eq!((picture.code, &picture.body[..]), (200, &b"a picture"[..]));
    assert_eq!(picture.header("content-type"), Some("image/jpeg"));
    assert!(picture.header("cache-control").unwrap().contains("immutable"));
    let seen = format!("If-None-Match: {}", picture.header("etag").unwrap());
    assert_eq!(get(&served.server, &path(1), &[&seen]).code, 304);
    for (number, why) in [
        (2, "address that this version does not know"),
        (4, "not in the snapshots folder any more"),
        (5, "has no snapshot"),
        (6, "not in the snapshots folder any more"),
        (7, "address that this version does not know"),
        (8, "has no record"),
    ] {
        let reply = served.get(&path(number));
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(reply.code == 404 && error.contains(why), "{number}: {error}");
    }
    let linked = served.get(&path(3));
    assert!(linked.code == 500 && linked.body.len() < 500, "a link is not followed");
    let crop = served.get(&format!("{}?kind=crop", path(1)));
    assert!(
        crop.code == 404
            && crop.json()["error"].as_str().unwrap().contains("local sink keeps snapshots only")
    );
    assert_eq!(served.get(&format!("{}?kind=exe", path(1))).code, 400);
}

#[test]
fn incidents_need_the_token_and_a_store() {
    let guarded = show::serve_history(Some(TOKEN), None);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for path in ["/api/incidents", "/api/incidents/a", "/api/incidents/a/pictures/a"] {
        assert_eq!(get(&guarded, path, &[]).code, 401, "{path}");
        let reply = get(&guarded, path, &[&bearer]);
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(reply.code == 409 && error.contains("publishers.local_dir"), "{path}: {error}");
    }
}
