//! The HTTP server as a client sees it: over TCP, with its own eyes.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use kvs_infer::base::{Asks, Finding, ProbeResult};
use kvs_infer::cli::healthcheck::{self, HealthcheckArgs};
use kvs_infer::http::{Encode, HttpServer, HttpSpec, ReadPool, RunProbes};
use kvs_infer::media::CameraId;
use kvs_infer::status::{SinkState, SinkStatus, StatusBoard, Watch};
use serde_json::{Value, json};
use test_support::http;

use super::show;

pub(super) const TOKEN: &str = "correct horse battery staple";

/// Addresses of the page's views.
const VIEWS: [&str; 6] = ["/", "/incidents", "/incidents/a%22b", "/zones", "/zones/gate", "/system"];

pub(super) struct Reply {
    pub(super) code: u16,
    head: String,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &&str| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
        self.head.lines().find(line).map(|line| &line[name.len() + 2..])
    }
}

/// Sends to the server on loopback, wherever it listens.
fn send(addr: SocketAddr, request: &str) -> TcpStream {
    http::send((Ipv4Addr::LOCALHOST, addr.port()).into(), request)
}

pub(super) fn ask(addr: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Reply {
    reply(send(addr, &request(method, path, headers, body)))
}

/// The request as it is sent; the server closes the connection after its answer.
pub(super) fn request(method: &str, path: &str, headers: &[&str], body: &str) -> String {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

pub(super) fn reply(stream: TcpStream) -> Reply {
    let (code, head, body) = http::answer(stream);
    Reply { code, head, body }
}

pub(super) fn get(server: &HttpServer, path: &str, headers: &[&str]) -> Reply {
    ask(server.local_addr(), "GET", path, headers, "")
}

/// A board with one camera that has shown a picture.
fn board_with_gate() -> (StatusBoard, CameraId) {
    let (board, gate) = (StatusBoard::new(), CameraId::new("gate"));
    board.add_camera(&gate, "gate-stream").frame_inferred(show::frame(&gate, 1), vec![]);
    (board, gate)
}

#[test]
fn health_and_metrics_are_open_and_the_rest_is_not() {
    let (board, _) = board_with_gate();
    board.ready();
    let table = [
        ("no token on loopback", "127.0.0.1", None, 200),
        ("no token elsewhere", "0.0.0.0", None, 403),
        ("a token elsewhere", "0.0.0.0", Some(TOKEN), 401),
    ];
    for (name, host, token, guarded) in table {
        let server = show::serve(host, token, &board, show::encode());
        for path in ["/healthz", "/readyz", "/metrics", "/page/page.css", "/page/main.js", "/icon.svg"] {
            assert_eq!(get(&server, path, &[]).code, 200, "{name}: {path}");
        }
        for path in VIEWS {
            assert_eq!(get(&server, path, &[]).code, guarded, "{name}: {path}");
        }
        for path in ["/api/incidents", "/api/incidents/a", "/api/incidents/a/pictures/a"] {
            // Without a store of incidents, a client that may see them gets 409.
            let expected = if guarded == 200 { 409 } else { guarded };
            assert_eq!(get(&server, path, &[]).code, expected, "{name}: {path}");
        }
        for path in
            ["/api/cameras", "/api/check", "/api/cluster", "/api/events", "/api/cameras/gate/snapshot.jpg"]
        {
            assert_eq!(get(&server, path, &[]).code, guarded, "{name}: {path}");
        }
        for path in ["/nothing", "/page/nothing.js", "/page/..%2Froutes.rs", "/system/more", "/incidents/a/b"]
        {
            assert_eq!(get(&server, path, &[]).code, 404, "{name}: {path}");
        }
        server.stop();
    }
}

#[test]
fn the_pool_is_served_where_there_is_one_and_a_table_that_does_not_answer_holds_up_nothing() {
    let board = StatusBoard::new();
    let alone = show::serve("127.0.0.1", None, &board, show::encode());
    let answer = get(&alone, "/api/cluster", &[]);
    assert_eq!((answer.code, answer.json()), (200, serde_json::json!({ "pool": null })));
    let failing: ReadPool = Arc::new(|| Box::pin(async { Err("table workers: gone; create it".to_owned()) }));
    let failing = show::serve_pool("127.0.0.1", None, &board, show::encode(), Some(failing));
    let answer = get(&failing, "/api/cluster", &[]);
    assert_eq!((answer.code, &answer.json()["error"]), (503, &"table workers: gone; create it".into()));
    let silent: ReadPool = Arc::new(|| Box::pin(std::future::pending()));
    let silent = show::serve_pool("127.0.0.1", None, &board, show::encode(), Some(silent));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| get(&silent, "/api/cluster", &[]));
        for path in ["/api/cameras", "/healthz", "/metrics", "/"] {
            assert_eq!(get(&silent, path, &[]).code, 200, "{path}");
        }
        assert!(!waiting.is_finished(), "the others were answered meanwhile");
        let answer = waiting.join().unwrap();
        assert_eq!(answer.code, 503);
        assert!(answer.json()["error"].as_str().unwrap().contains("did not answer within 5 s"));
    });
}

#[test]
fn probes_run_for_those_who_may_see_the_page_and_for_no_page_of_another_site() {
    let board = StatusBoard::new();
    let ran = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&ran);
    let run: RunProbes = Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let finding = Finding::warn("no index").with_remedy("add it");
        let result =
            ProbeResult { name: "dynamodb/records".into(), asks: Asks::Aws, took: Duration::ZERO, finding };
        Box::pin(std::future::ready(Ok(vec![result])))
    });
    let server =
        HttpServer::start(HttpSpec { probes: Some(run), ..show::spec("0.0.0.0", Some(TOKEN), &board) })
            .unwrap();
    let post = |headers: &[&str]| ask(server.local_addr(), "POST", "/api/check", headers, "");
    let (json, bearer) = ("Content-Type: application/json", format!("Authorization: Bearer {TOKEN}"));
    let bearer = bearer.as_str();
    for (name, headers, code) in [
        ("no token", vec![json], 401),
        (
            "a script of another site",
            vec![json, bearer, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors"],
            403,
        ),
        (
            "a form of another site",
            vec![
                "Content-Type: application/x-www-form-urlencoded",
                bearer,
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
            ],
            415,
        ),
        ("no type", vec![bearer], 415),
    ] {
        assert_eq!(post(&headers).code, code, "{name}");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 0);
    assert_eq!(get(&server, "/api/check", &[bearer]).json(), Value::Null);
    let report = post(&[json, bearer]);
    let line =
        json!({ "probe": "dynamodb/records", "outcome": "warn", "text": "no index", "remedy": "add it" });
    assert_eq!((report.code, &report.json()["lines"]), (200, &json!([line])));
    assert!(report.json()["at_ms"].as_i64().unwrap() > 1_700_000_000_000);
    let again = post(&[json, bearer]);
    let wait: u64 = again.header("retry-after").unwrap().parse().unwrap();
    assert!(again.code == 429 && (1..=30).contains(&wait), "{wait}");
    assert_eq!(get(&server, "/api/check", &[bearer]).json(), report.json());
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[test]
fn a_refusal_has_its_reason_as_a_page_and_as_json() {
    let server = show::serve("0.0.0.0", None, &StatusBoard::new(), show::encode());
    let program = get(&server, "/api/cameras", &[]);
    assert!(program.json()["error"].as_str().unwrap().contains("HTTP_TOKEN is not set"));
    let person = get(&server, "/", &["Accept: text/html"]);
    assert_eq!((person.code, person.header("content-type")), (403, Some("text/html; charset=utf-8")));
    assert!(String::from_utf8_lossy(&person.body).contains("HTTP_TOKEN is not set"));
}

#[test]
fn a_rebound_name_is_refused_on_loopback() {
    let server = show::serve("127.0.0.1", None, &StatusBoard::new(), show::encode());
    assert_eq!(get(&server, "/api/cameras", &["Host: evil.example"]).code, 403);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(&server, path, &["Host: evil.example"]).code, 403, "{path}");
        assert_ne!(get(&server, path, &[]).code, 403, "{path}");
    }
}

#[test]
fn a_proxy_of_this_host_does_not_open_the_page() {
    let open = show::serve("127.0.0.1", None, &StatusBoard::new(), show::encode());
    let guarded = show::serve("127.0.0.1", Some(TOKEN), &StatusBoard::new(), show::encode());
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for header in
        ["X-Forwarded-For: 8.8.8.8", "Forwarded: for=8.8.8.8", "Via: 1.1 nginx", "X-Real-IP: 8.8.8.8"]
    {
        let refused = get(&open, "/api/cameras", &[header]);
        assert_eq!(refused.code, 403, "{header}");
        let why = refused.json()["error"].to_string();
        assert!(why.contains("came through a proxy") && why.contains("Set HTTP_TOKEN"), "{why}");
        assert_eq!(get(&guarded, "/api/cameras", &[header, &bearer]).code, 200, "{header}");
    }
}

#[test]
fn a_sign_in_gives_a_cookie_that_is_not_the_token() {
    let server = show::serve("0.0.0.0", Some(TOKEN), &StatusBoard::new(), show::encode());
    let addr = server.local_addr();
    let form = ["Content-Type: application/x-www-form-urlencoded", "Accept: text/html"];
    let wrong = ask(addr, "POST", "/login", &form, "token=guess");
    assert_eq!(wrong.code, 401);
    assert!(String::from_utf8_lossy(&wrong.body).contains("Wrong token."));
    assert_eq!(wrong.header("set-cookie"), None);

    let right = ask(addr, "POST", "/login", &form, "token=correct+horse+battery+staple");
    assert_eq!((right.code, right.header("location")), (303, Some("/")));
    let cookie = right.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("horse"), "{cookie}");
    let pair = format!("Cookie: {}", cookie.split(';').next().unwrap());
    assert_eq!(get(&server, "/", &[&pair]).code, 200);

    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(get(&server, "/api/cameras", &[&bearer]).code, 200);
    let long = "token=".to_owned() + &"x".repeat(5_000);
    assert_eq!(ask(addr, "POST", "/login", &form, &long).code, 413);
}

#[test]
fn a_sign_in_returns_to_the_view_that_was_wanted_and_to_no_other_site() {
    let server = show::serve("0.0.0.0", Some(TOKEN), &StatusBoard::new(), show::encode());
    let html = ["Accept: text/html"];
    let asked = get(&server, "/incidents?text=%3Cb%3E&camera=ab", &html);
    let page = String::from_utf8_lossy(&asked.body).into_owned();
    assert_eq!(asked.code, 401);
    assert!(page.contains(r#"name="next" value="/incidents?text=%3Cb%3E&amp;camera=ab""#), "{page}");
    let form = ["Content-Type: application/x-www-form-urlencoded", "Accept: text/html"];
    for (next, location) in [
        ("", "/"),
        ("&next=%2Fincidents%2Fab%3Fcamera%3Dgate", "/incidents/ab?camera=gate"),
        ("&next=%2F%2Fevil.example", "/"),
        ("&next=https%3A%2F%2Fevil.example%2Fincidents", "/"),
        ("&next=%2Fincidents%0D%0ASet-Cookie%3A%20a%3Db", "/"),
    ] {
        let body = format!("token=correct+horse+battery+staple{next}");
        let right = ask(server.local_addr(), "POST", "/login", &form, &body);
        assert_eq!((right.code, right.header("location")), (303, Some(location)), "{next}");
    }
    let wrong = ask(server.local_addr(), "POST", "/login", &form, "token=guess&next=%2Fsystem");
    let page = String::from_utf8_lossy(&wrong.body).into_owned();
    assert!(wrong.code == 401 && page.contains(r#"value="/system""#), "{page}");
}

#[test]
fn a_link_of_another_site_is_opened_again_by_a_page_of_this_one() {
    let server = show::serve("0.0.0.0", Some(TOKEN), &StatusBoard::new(), show::encode());
    let link = ["Accept: text/html", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"];
    let followed = get(&server, "/incidents/ab", &link);
    let page = String::from_utf8_lossy(&followed.body).into_owned();
    assert_eq!(followed.code, 401);
    assert!(page.contains(r#"content="0; url=/incidents/ab""#) && !page.contains("HTTP_TOKEN"), "{page}");
    let same = ["Accept: text/html", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate"];
    let again = get(&server, "/incidents/ab", &same);
    assert!(String::from_utf8_lossy(&again.body).contains("HTTP_TOKEN"));
}

#[test]
fn a_sign_out_ends_the_session_of_every_copy_of_its_cookie() {
    let server = show::serve("0.0.0.0", Some(TOKEN), &StatusBoard::new(), show::encode());
    let addr = server.local_addr();
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let cookie = || {
        let signed_in = ask(addr, "POST", "/login", &form, "token=correct+horse+battery+staple");
        format!("Cookie: {}", signed_in.header("set-cookie").unwrap().split(';').next().unwrap())
    };
    let (mine, other) = (cookie(), cookie());
    assert_ne!(mine, other);
    let page = get(&server, "/", &[&mine]);
    assert!(page.code == 200 && String::from_utf8_lossy(&page.body).contains("Sign out"));
    let foreign = ask(addr, "POST", "/logout", &[&mine, "Sec-Fetch-Site: cross-site"], "");
    assert_eq!((foreign.code, get(&server, "/", &[&mine]).code), (403, 200));
    let out = ask(addr, "POST", "/logout", &[&mine], "");
    assert_eq!((out.code, out.header("location")), (303, Some("/")));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"), "{}", out.head);
    assert_eq!((get(&server, "/", &[&mine]).code, get(&server, "/", &[&other]).code), (401, 200));

    let open = show::serve("127.0.0.1", None, &StatusBoard::new(), show::encode());
    assert!(!String::from_utf8_lossy(&get(&open, "/", &[]).body).contains("Sign out"));
}

#[test]
fn every_answer_has_the_headers_that_keep_it_safe() {
    let server = show::serve("127.0.0.1", None, &StatusBoard::new(), show::encode());
    for path in ["/", "/healthz", "/api/cameras", "/nothing"] {
        let reply = get(&server, path, &[]);
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        assert!(
            reply.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"),
            "{path}"
        );
    }
}

#[test]
fn health_is_503_only_for_reasons_that_a_restart_fixes() {
    let (board, _) = board_with_gate();
    let server = show::serve("127.0.0.1", None, &board, show::encode());
    let said = || (get(&server, "/healthz", &[]).code, get(&server, "/healthz", &[]).json());
    assert_eq!(said(), (200, json!({ "status": "ok", "reasons": [] })));

    let since = Instant::now().checked_sub(Duration::from_secs(150)).unwrap();
    board.set_sinks(move || {
        let state = SinkState::Failing { reason: "access denied".into(), since };
        vec![SinkStatus { name: "kds".into(), state, ..SinkStatus::default() }]
    });
    let reason = "sink kds has failed for 2 min: access denied";
    assert_eq!(said(), (200, json!({ "status": "degraded", "reasons": [reason] })));

    let args = HealthcheckArgs {
        host: "0.0.0.0".parse().unwrap(),
        port: server.local_addr().port(),
        timeout_seconds: 20,
        ready: false,
    };
    let mut printed = Vec::new();
    assert!(healthcheck::run(&args, &mut printed).unwrap());
    assert_eq!(String::from_utf8(printed).unwrap(), format!("degraded\n  {reason}\n"));

    board.add_watch(Watch {
        name: "decode gate".into(),
        alive: Box::new(|| false),
        busy_since: Box::new(|| None),
        limit: Duration::from_secs(30),
    });
    let (code, body) = said();
    assert_eq!((code, &body["status"]), (503, &json!("failed")));
    assert_eq!(body["reasons"][0], "thread decode gate has ended");
    assert!(!healthcheck::ask(&args).unwrap().alive);
}

#[test]
fn readiness_follows_the_service() {
    let board = StatusBoard::new();
    let server = show::serve("127.0.0.1", None, &board, show::encode());
    let said = || (get(&server, "/readyz", &[]).code, get(&server, "/readyz", &[]).json()["status"].clone());
    assert_eq!(said(), (503, json!("starting")));
    board.ready();
    assert_eq!(said(), (200, json!("ready")));
    board.stopping();
    assert_eq!(said(), (503, json!("stopping")));
}

#[test]
fn only_a_service_that_was_never_ready_is_unhealthy_for_that() {
    let board = StatusBoard::new();
    let server = show::serve("127.0.0.1", None, &board, show::encode());
    let (host, port) = (server.local_addr().ip(), server.local_addr().port());
    let healthy = |ready| {
        let args = HealthcheckArgs { host, port, timeout_seconds: 20, ready };
        let mut printed = Vec::new();
        let healthy = healthcheck::run(&args, &mut printed).unwrap();
        (healthy, String::from_utf8(printed).unwrap())
    };
    let loading = board.show_loading("street", "is fetched");
    assert_eq!(healthy(true), (false, "starting\n  model street is fetched\n".into()));
    assert_eq!(healthy(false), (true, "ok\n".into()), "alive");
    drop(loading);
    board.ready();
    assert_eq!(healthy(true), (true, "ok\n".into()));
    board.add_camera(&CameraId::new("yard"), "yard-stream").down("no such stream", None);
    assert!(healthy(true).0, "degraded: a restart would not help");
    board.add_watch(Watch {
        name: "decode gate".into(),
        alive: Box::new(|| false),
        busy_since: Box::new(|| None),
        limit: Duration::from_secs(30),
    });
    assert!(!healthy(true).0, "failed");
    board.stopping();
    assert!(healthy(true).0, "it delivers what it has");
}

#[test]
fn cameras_are_served_with_their_figures() {
    let (board, _) = board_with_gate();
    board
        .add_camera(&CameraId::new("yard"), "yard-stream")
        .down("no such stream", Some(Duration::from_secs(60)));
    let server = show::serve("127.0.0.1", None, &board, show::encode());
    let said = get(&server, "/api/cameras", &[]).json();
    let (gate, yard) = (&said["cameras"][0], &said["cameras"][1]);
    assert_eq!(
        (&gate["id"], &gate["error"], &gate["frames"]["inferred"]),
        (&json!("gate"), &Value::Null, &json!(1))
    );
    assert_eq!((&yard["state"], &yard["error"]), (&json!("down"), &json!("no such stream")));
    assert!(yard["retry_in_ms"].as_u64().unwrap() <= 60_000);
}

/// An encoder that counts its calls.
fn counting() -> (Encode, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let (inner, counted) = (show::encode(), Arc::clone(&calls));
    let encode: Encode = Arc::new(move |frame, labels, width_px| {
        counted.fetch_add(1, Ordering::SeqCst);
        inner(frame, labels, width_px)
    });
    (encode, calls)
}

#[test]
fn ten_viewers_cost_one_encode() {
    let (board, gate) = board_with_gate();
    let (encode, calls) = counting();
    let server = show::serve("127.0.0.1", None, &board, encode);
    let path = "/api/cameras/gate/snapshot.jpg?w=480";
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let reply = get(&server, path, &[]);
                assert_eq!((reply.code, &reply.body[..2]), (200, &[0xFF, 0xD8][..]));
            });
        }
    });
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    let etag = get(&server, path, &[]).header("etag").unwrap().to_owned();
    assert_eq!(get(&server, path, &[&format!("If-None-Match: {etag}")]).code, 304);
    board.camera("gate").unwrap().frame_inferred(show::frame(&gate, 2), vec![]);
    assert_eq!(get(&server, path, &[&format!("If-None-Match: {etag}")]).code, 200);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_picture_that_cannot_be_served_has_a_reason() {
    let (board, _) = board_with_gate();
    board.add_camera(&CameraId::new("dark"), "dark-stream");
    let broken: Encode = Arc::new(|_, _, _| Err("no colours".into()));
    let server = show::serve("127.0.0.1", None, &board, broken);
    let table = [
        ("/api/cameras/unknown/snapshot.jpg", 404, "no camera unknown"),
        ("/api/cameras/dark/snapshot.jpg", 404, "camera dark has no picture yet"),
        ("/api/cameras/gate/snapshot.jpg", 500, "the picture could not be encoded: no colours"),
    ];
    for (path, code, words) in table {
        let reply = get(&server, path, &[]);
        assert_eq!((reply.code, reply.json()["error"].as_str()), (code, Some(words)));
    }
    assert_eq!(get(&server, "/api/cameras/gate/snapshot.jpg?w=wide", &[]).code, 400);
}

/// Reads server-sent events: the ids of the messages, and `live` where the kept ones end.
fn next_message(lines: &mut impl BufRead) -> Option<String> {
    let (mut line, mut id) = (String::new(), None);
    while lines.read_line(&mut line).unwrap() > 0 {
        match line.trim_end().split_once(": ") {
            Some(("id", value) | ("event", value)) => id = Some(value.to_owned()),
            _ if line.trim_end().is_empty() && id.is_some() => return id,
            _ => {}
        }
        line.clear();
    }
    None
}

fn follow(server: &HttpServer, header: &str) -> BufReader<TcpStream> {
    let request = format!("GET /api/events?follow=1 HTTP/1.1\r\nHost: localhost\r\n{header}\r\n");
    BufReader::new(send(server.local_addr(), &request))
}

#[test]
fn events_are_listed_and_sent_as_they_come() {
    let (board, gate) = board_with_gate();
    let camera = board.camera("gate").unwrap();
    camera.event(&show::event(&gate, "a", "person"), Duration::ZERO);
    camera.event(&show::event(&gate, "b", "car"), Duration::ZERO);
    let server = show::serve("127.0.0.1", None, &board, show::encode());
    let listed = get(&server, "/api/events?limit=1", &[]).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["event_id"]), (1, &json!("b")));

    let mut all = follow(&server, "Accept: text/event-stream\r\n");
    let mut since = follow(&server, "Last-Event-ID: a\r\n");
    let kept: Vec<_> = (0..3).map(|_| next_message(&mut all).unwrap()).collect();
    assert_eq!(kept, ["a", "b", "live"]);
    assert_eq!([next_message(&mut since).unwrap(), next_message(&mut since).unwrap()], ["b", "live"]);
    camera.event(&show::event(&gate, "c", "dog"), Duration::ZERO);
    assert_eq!(next_message(&mut all).as_deref(), Some("c"));
    assert_eq!(next_message(&mut since).as_deref(), Some("c"));
}

#[test]
fn stopping_ends_the_followers_and_the_idle_within_two_seconds() {
    let (board, _) = board_with_gate();
    let server = show::serve("127.0.0.1", None, &board, show::encode());
    let mut follower = follow(&server, "");
    assert_eq!(next_message(&mut follower).as_deref(), Some("live"));
    let mut half_asked = send(server.local_addr(), "GET /healthz HTTP/1.1\r\nHo");
    let addr = server.local_addr();
    let begun = Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let mut rest = String::new();
    follower.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream was cut rather than ended: {rest:?}");
    assert_eq!(half_asked.read(&mut [0; 16]).unwrap_or(0), 0);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_taken_port_is_named() {
    let board = StatusBoard::new();
    let first = show::serve("127.0.0.1", None, &board, show::encode());
    let spec = HttpSpec { addr: first.local_addr(), ..show::spec("127.0.0.1", None, &board) };
    let error = HttpServer::start(spec).err().unwrap().to_string();
    assert!(error.contains(&first.local_addr().to_string()) && error.contains("HTTP_PORT"), "{error}");
}
