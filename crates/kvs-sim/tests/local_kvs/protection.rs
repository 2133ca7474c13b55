//! Protection of the server: requests of other servers' pages, and the limit of connections.

use std::net::SocketAddr;

use kvs_sim::{Sim, SimConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{Connection, ask, assert_error, begin, sim};

/// Sends a request as a browser sends it for a page, without asking first: as text/plain.
async fn ask_as_page(sim: &Sim, method: &str, path: &str, body: &str, headers: &str) -> String {
    let headers = format!("{headers}Content-Type: text/plain\r\nConnection: close\r\n");
    begin(sim, method, path, body, &headers).await.read_to_end().await
}

/// Sends CreateStream with a Host and an Origin.
async fn create_stream_as(sim: &Sim, host: &str, origin: &str) -> String {
    let body = r#"{"StreamName":"gate"}"#;
    let head = format!(
        "POST /createStream HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nConnection: close\r\nContent-Length: {}",
        body.len()
    );
    let mut connection = Connection::open(sim.address()).await;
    connection.write(format!("{head}\r\n\r\n{body}").as_bytes()).await;
    connection.read_to_end().await
}

#[tokio::test]
async fn a_page_of_another_server_changes_nothing() {
    let sim = sim();
    for (method, path, body) in [
        ("POST", "/createStream", r#"{"StreamName":"gate"}"#),
        ("POST", "/putMedia", ""),
        ("POST", "/listStreams", ""),
        ("PUT", "/sim/faults", r#"{"faults":[{"kind":"throttle"}]}"#),
        ("DELETE", "/sim/faults", ""),
        ("POST", "/noOperation", ""),
    ] {
        for origin in ["https://page.test", "null", "http://kvs.test", "https://kvs.test:80"] {
            let answer = ask_as_page(&sim, method, path, body, &format!("Origin: {origin}\r\n")).await;
            assert_error(&answer, 403, "AccessDeniedException");
            assert!(answer.contains(origin) && !answer.contains("access-control"), "{path}: {answer}");
        }
    }
    assert_eq!((sim.store().streams().len(), sim.store().faults_of_new().0.len()), (0, 0));
    let faults = ask_as_page(&sim, "GET", "/sim/faults", "", "Origin: https://page.test\r\n").await;
    assert!(faults.starts_with("HTTP/1.1 200 ") && !faults.contains("access-control"), "{faults}");
    sim.stop().await;
}

#[tokio::test]
async fn programs_and_the_own_origin_are_accepted() {
    let sim = sim();
    let created = ask(&sim, "POST", "/createStream", r#"{"StreamName":"yard"}"#).await;
    assert!(created.starts_with("HTTP/1.1 200 "), "a program sends no Origin: {created}");
    let port = sim.address().port();
    for (host, accepted) in [
        (format!("127.0.0.1:{port}"), true),
        (format!("localhost:{port}"), true),
        (format!("[::1]:{port}"), true),
        // DNS rebinding: a name of a foreign page that resolves to this machine.
        (format!("page.test:{port}"), false),
    ] {
        let answer = create_stream_as(&sim, &host, &format!("http://{host}")).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), accepted, "{host}: {answer}");
        if accepted {
            sim.store().delete("gate", None).await.expect("it was created");
        }
    }
    sim.stop().await;
}

const LIST_STREAMS: &[u8] =
    b"POST /listStreams HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Returns whether a new connection gets an answer. One that is closed at once can fail at any point.
async fn is_answered(address: SocketAddr) -> bool {
    let mut socket = TcpStream::connect(address).await.expect("the local KVS listens");
    let mut answer = Vec::new();
    _ = socket.write_all(LIST_STREAMS).await;
    _ = socket.read_to_end(&mut answer).await;
    answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_until_one_ends() {
    let sim = Sim::start(SimConfig { max_connections: 2, ..SimConfig::default() }).expect("a free port");
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut connection = Connection::open(sim.address()).await;
        connection.write(b"POST /listStreams HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
        connection.read_until("StreamInfoList").await;
        open.push(connection);
    }
    for _ in 0..3 {
        let refused = Connection::open(sim.address()).await;
        assert_eq!(refused.read_all().await, b"", "a third connection is closed without an answer");
    }
    open.pop();
    // The server notices the end of a connection a little later.
    while !is_answered(sim.address()).await {}
    sim.stop().await;
}

#[tokio::test]
async fn connections_without_a_tls_handshake_count_against_the_limit() {
    let config = SimConfig { max_connections: 1, tls: true, ..SimConfig::default() };
    let sim = Sim::start(config).expect("a free port");
    let _silent = Connection::open(sim.address()).await;
    let refused = Connection::open(sim.address()).await;
    assert_eq!(refused.read_all().await, b"", "a second connection is closed without a handshake");
    sim.stop().await;
}
