//! Many at the door: who is let in, what they learn, and who gets through all the same.
//!
//! A client of this host that comes from another address than 127.0.0.1 counts as one from elsewhere.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kvs_infer::cli::healthcheck::{self, HealthcheckArgs};
use kvs_infer::media::CameraId;
use kvs_infer::status::{SinkState, SinkStatus, StatusBoard};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use super::server::{Reply, TOKEN, get, reply, request};
use super::show;

/// Those who should be answered at once are answered within.
const AT_ONCE: Duration = Duration::from_secs(1);
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A connection to the server's port on loopback, from this address.
fn connect(from: Ipv4Addr, port: u16) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect((LOOPBACK, port).into()).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn ask_from(from: Ipv4Addr, addr: SocketAddr, path: &str, headers: &[&str]) -> Reply {
    let mut stream = connect(from, addr.port());
    stream.write_all(request("GET", path, headers, "").as_bytes()).unwrap();
    reply(stream)
}

/// An address of one of many strangers.
fn stranger(net: u8, n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, net, u8::try_from(n % 250 + 2).unwrap())
}

fn ailing() -> StatusBoard {
    let board = StatusBoard::new();
    board
        .add_camera(&CameraId::new("gate"), "gate-stream")
        .down("not authorized: arn:aws:iam::1:role/hush", None);
    board.set_sinks(|| {
        let state = SinkState::Failing { reason: "access denied".into(), since: Instant::now() };
        vec![SinkStatus { name: "kds/hush".into(), state, ..SinkStatus::default() }]
    });
    board
}

#[test]
fn other_hosts_get_the_number_of_reasons_and_no_more() {
    let board = ailing();
    let _loading = board.show_loading("hush", "is fetched");
    let server = show::serve("0.0.0.0", Some(TOKEN), &board, show::encode());
    let addr = server.local_addr();
    let from = stranger(3, 0);
    let brief = ask_from(from, addr, "/healthz", &["Host: localhost"]);
    let counts = json!({ "status": "degraded", "reasons": ["camera: 1", "sink: 1"] });
    assert_eq!((brief.code, brief.json()), (200, counts));
    assert_eq!(ask_from(from, addr, "/readyz", &[]).json(), json!({ "status": "starting" }));
    assert_eq!(ask_from(from, addr, "/metrics", &[]).code, 200);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for (name, reply) in [
        ("with the token", ask_from(from, addr, "/healthz", &[&bearer])),
        ("from this host", get(&server, "/healthz", &[])),
    ] {
        assert!(String::from_utf8_lossy(&reply.body).contains("role/hush"), "{name}");
    }
    let rebound = get(&server, "/healthz", &["Host: evil.example"]);
    assert!(!String::from_utf8_lossy(&rebound.body).contains("hush"));
    assert!(get(&server, "/readyz", &[]).json()["loading"].to_string().contains("hush"));
}

#[test]
fn a_missing_body_is_a_timeout() {
    let server = show::serve("0.0.0.0", Some(TOKEN), &StatusBoard::new(), show::encode());
    let mut slow = connect(LOOPBACK, server.local_addr().port());
    let head = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 4000\r\n\r\nt";
    slow.write_all(head.as_bytes()).unwrap();
    let begun = Instant::now();
    let late = reply(slow);
    assert_eq!((late.code, late.header("connection")), (408, Some("close")));
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// Tries wrong tokens, one connection after the other, until `stop`; returns their number.
fn guess(addr: SocketAddr, stop: &AtomicBool) -> usize {
    let mut guesses = 0;
    while !stop.load(Ordering::Relaxed) {
        let refused = ask_from(stranger(4, 0), addr, "/api/cameras", &["Authorization: Bearer guess"]);
        assert!([401, 429].contains(&refused.code), "{}", refused.code);
        guesses += 1;
    }
    guesses
}

#[test]
fn authorized_clients_get_through_while_others_hold_all_their_slots() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum.or(Some(4096)), ..limit }).unwrap();
    let board = ailing();
    let server = show::serve("0.0.0.0", Some(TOKEN), &board, show::encode());
    let addr = server.local_addr();
    let post = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n";
    let slow: Vec<TcpStream> = (0..300)
        .map(|n| {
            let mut stream = connect(stranger(1, n / 10), addr.port());
            stream.write_all(post.as_bytes()).unwrap();
            stream
        })
        .collect();
    let idle: Vec<TcpStream> = (0..500).map(|n| connect(stranger(2, n), addr.port())).collect();
    let own: Vec<TcpStream> = (0..100).map(|_| connect(LOOPBACK, addr.port())).collect();
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let check =
        HealthcheckArgs { host: LOOPBACK.into(), port: addr.port(), timeout_seconds: 60, ready: false };
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let guessing = scope.spawn(|| guess(addr, &stop));
        let within = |name: &str, asked: &dyn Fn() -> u16| {
            let begun = Instant::now();
            assert_eq!(asked(), 200, "{name}");
            assert!(begun.elapsed() < AT_ONCE, "{name}: {:?}", begun.elapsed());
        };
        let from = stranger(5, 0);
        for _ in 0..5 {
            within("the right token", &|| ask_from(from, addr, "/api/cameras", &[&bearer]).code);
            within("the right token, from where guesses come", &|| {
                ask_from(stranger(4, 0), addr, "/api/cameras", &[&bearer]).code
            });
            within("a scrape", &|| ask_from(from, addr, "/metrics", &[]).code);
            within("the container's check", &|| {
                let answer = healthcheck::ask(&check).unwrap();
                assert!(answer.reasons.iter().any(|reason| reason.contains("role/hush")), "{answer}");
                200
            });
        }
        stop.store(true, Ordering::Relaxed);
        assert!(guessing.join().unwrap() > 0);
    });
    drop((slow, idle, own));
}

#[test]
fn one_address_holds_a_part_of_the_slots_only() {
    let server = show::serve("0.0.0.0", Some(TOKEN), &StatusBoard::new(), show::encode());
    let port = server.local_addr().port();
    let mut held: Vec<TcpStream> = (0..40).map(|_| connect(stranger(6, 0), port)).collect();
    // Answered once the server has seen all of them.
    assert_eq!(ask_from(stranger(6, 1), server.local_addr(), "/metrics", &[]).code, 200);
    let closed = held.iter_mut().take(24).map(|stream| std::io::Read::read(stream, &mut [0; 16]));
    assert!(closed.into_iter().all(|read| read.unwrap_or(0) == 0));
    let answer = held.pop().map(|mut last| {
        last.write_all(request("GET", "/metrics", &[], "").as_bytes()).unwrap();
        reply(last).code
    });
    assert_eq!(answer, Some(200));
}
