//! An HTTP client that exposes the bytes on the wire.

use std::net::SocketAddr;

use kvs_sim::{Sim, SimConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) fn sim() -> Sim {
    Sim::start(SimConfig::default()).expect("a free port")
}

/// A connection whose answer is read as it arrives.
pub(crate) struct Connection {
    socket: TcpStream,
    /// All bytes that were read.
    pub(crate) read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("the local KVS listens");
        Self { socket, read: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("the local KVS reads");
    }

    /// Writes a chunk of a chunked body; an empty chunk ends the body.
    pub(crate) async fn write_chunk(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.write(&chunk).await;
    }

    /// Reads until `needle` has arrived, and returns all that was read so far.
    pub(crate) async fn read_until(&mut self, needle: &str) -> String {
        while !self.read.windows(needle.len()).any(|window| window == needle.as_bytes()) {
            let len = self.socket.read_buf(&mut self.read).await.expect("the local KVS answers");
            assert!(len > 0, "ended before {needle:?}: {}", String::from_utf8_lossy(&self.read));
        }
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Waits for more bytes.
    pub(crate) async fn read_more(&mut self) {
        let len = self.socket.read_buf(&mut self.read).await.expect("the local KVS answers");
        assert!(len > 0, "ended: {}", String::from_utf8_lossy(&self.read));
    }

    /// Returns whether neither bytes nor the end of the connection have arrived.
    pub(crate) async fn is_open_and_silent(&mut self) -> bool {
        let read = std::pin::pin!(self.socket.read_buf(&mut self.read));
        futures_util::poll!(read).is_pending()
    }

    /// Reads to the end of the connection, and returns all that ever arrived.
    pub(crate) async fn read_all(mut self) -> Vec<u8> {
        self.socket.read_to_end(&mut self.read).await.expect("the local KVS answers");
        self.read
    }

    /// Reads to the end of the connection, as text.
    pub(crate) async fn read_to_end(self) -> String {
        String::from_utf8_lossy(&self.read_all().await).into_owned()
    }
}

/// Returns the body, as far as it has arrived, of an answer in chunks.
pub(crate) fn dechunked(answer: &[u8]) -> Vec<u8> {
    let line_end = |bytes: &[u8]| bytes.windows(2).position(|two| two == b"\r\n");
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let mut rest = head.map_or(&[][..], |head| &answer[head + 4..]);
    let mut body = Vec::new();
    while let Some(end) = line_end(rest) {
        let len = std::str::from_utf8(&rest[..end]).expect("the length of a chunk");
        let len = usize::from_str_radix(len, 16).expect("the length of a chunk");
        let chunk = &rest[end + 2..];
        body.extend_from_slice(&chunk[..len.min(chunk.len())]);
        rest = chunk.get(len + 2..).unwrap_or_default();
    }
    body
}

/// Returns the whole answer to a request: status line, headers, body.
pub(crate) async fn ask(sim: &Sim, method: &str, path: &str, body: &str) -> String {
    let mut connection = begin(sim, method, path, body, "Connection: close\r\n").await;
    connection.read_until("\r\n\r\n").await;
    connection.read_to_end().await
}

pub(crate) async fn post(sim: &Sim, path: &str, body: &str) -> String {
    ask(sim, "POST", path, body).await
}

/// Returns the whole answer to a POST that is signed for a region.
pub(crate) async fn post_from(sim: &Sim, region: &str, path: &str, body: &str) -> String {
    let headers = format!("{}Connection: close\r\n", signed(region));
    begin(sim, "POST", path, body, &headers).await.read_to_end().await
}

/// Returns the header of a signature for a region, which the local KVS does not check.
pub(crate) fn signed(region: &str) -> String {
    let scope = format!("20231114/{region}/kinesisvideo/aws4_request");
    format!("Authorization: AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders=host, Signature=ab\r\n")
}

/// Sends a request without reading its answer.
pub(crate) async fn begin(sim: &Sim, method: &str, path: &str, body: &str, headers: &str) -> Connection {
    let mut connection = Connection::open(sim.address()).await;
    let len = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: kvs.test:80\r\n{headers}Content-Length: {len}\r\n\r\n{body}"
    );
    connection.write(request.as_bytes()).await;
    connection
}

/// Asserts the three parts of an error: status, type and message.
pub(crate) fn assert_error(answer: &str, status: u16, kind: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(answer.contains(&format!("x-amzn-errortype: {kind}\r\n")), "{answer}");
    assert!(answer.contains("{\"Message\":\""), "{answer}");
}

/// Returns the JSON body of an answer.
pub(crate) fn json(answer: &str) -> serde_json::Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("an answer with a head");
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}
