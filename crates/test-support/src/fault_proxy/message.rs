//! An HTTP message as bytes on a connection of its own.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it fails on")]

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::AwsService;

/// A request or an answer.
#[derive(Debug)]
pub(super) struct HttpMessage {
    pub(super) first_line: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl HttpMessage {
    /// A request; None where the client leaves before its end.
    pub(super) async fn read(client: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        let mut request = loop {
            if let Some(request) = Self::parse(&bytes) {
                break request;
            }
            more(client, &mut bytes).await?;
        };
        if request.header("expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
        }
        if request.header("transfer-encoding").is_some() {
            loop {
                if let Some(body) = dechunked(&request.body) {
                    return Some(request.with_body(body));
                }
                more(client, &mut request.body).await?;
            }
        }
        let len = request.header("content-length").map_or(0, |len| len.parse().unwrap());
        while request.body.len() < len {
            more(client, &mut request.body).await?;
        }
        let body = std::mem::take(&mut request.body);
        Some(request.with_body(body))
    }

    /// A message whose head is whole; its body is what follows.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let first_line = lines.next().unwrap().to_owned();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        };
        Some(Self { first_line, headers: lines.map(header).collect(), body: bytes[end + 4..].to_vec() })
    }

    pub(super) fn json(status: u16, reason: &str, version: &str, body: &Value) -> Self {
        let kind = format!("application/x-amz-json-{version}");
        Self::answer(status, reason, &kind, body.to_string())
    }

    pub(super) fn xml(status: u16, reason: &str, code: &str, text: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <HttpMessage>{text}</HttpMessage><RequestId>0</RequestId></Error>"
        );
        Self::answer(status, reason, "application/xml", body)
    }

    /// An error of a service with the query protocol.
    pub(super) fn query_xml(status: u16, reason: &str, code: &str, text: &str) -> Self {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><HttpMessage>{text}</HttpMessage></Error>\
             <RequestId>0</RequestId></ErrorResponse>"
        );
        Self::answer(status, reason, "text/xml", body)
    }

    fn answer(status: u16, reason: &str, kind: &str, body: String) -> Self {
        let message = Self {
            first_line: format!("HTTP/1.1 {status} {reason}"),
            headers: vec![("content-type".to_owned(), kind.to_owned())],
            body: Vec::new(),
        };
        message.with_body(body.into_bytes())
    }

    /// Returns the message with another body and its length.
    pub(super) fn with_body(&self, body: Vec<u8>) -> Self {
        let of_body = ["content-length", "transfer-encoding", "expect"];
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| !of_body.contains(&name.to_lowercase().as_str()));
        headers.push(("content-length".to_owned(), body.len().to_string()));
        Self { first_line: self.first_line.clone(), headers, body }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(super) fn service(&self) -> AwsService {
        match self.header("x-amz-target") {
            Some(target) if target.starts_with("Kinesis_") => AwsService::Kinesis,
            Some(target) if target.starts_with("DynamoDB_") => AwsService::DynamoDb,
            // The query protocol names no target, but the signature names the service.
            None if self.header("authorization").is_some_and(|scope| scope.contains("/sns/aws4_request")) => {
                AwsService::Sns
            }
            _ => AwsService::S3,
        }
    }

    pub(super) fn operation(&self) -> String {
        let target = self.header("x-amz-target").and_then(|target| target.split_once('.'));
        let method = || self.first_line.split(' ').next().unwrap();
        target.map_or_else(method, |(_, operation)| operation).to_owned()
    }

    pub(super) fn key(&self) -> String {
        let (_, signed) =
            self.header("authorization").unwrap_or_default().split_once("Credential=").unwrap_or_default();
        signed.split('/').next().unwrap().to_owned()
    }

    /// As it is sent, by the last message of its connection.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.first_line);
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("connection"))
        {
            head += &format!("{name}: {value}\r\n");
        }
        head += "connection: close\r\n\r\n";
        [head.into_bytes(), self.body.clone()].concat()
    }
}

async fn more(client: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let len = client.read_buf(bytes).await.ok()?;
    (len > 0).then_some(())
}

/// The body of a chunked message, without its trailers; None before their end is in.
fn dechunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        let len = usize::from_str_radix(line.split(';').next().unwrap().trim(), 16).unwrap();
        if len == 0 {
            return rest[end..].windows(4).any(|four| four == b"\r\n\r\n").then_some(body);
        }
        let chunk = rest.get(end + 2..end + 2 + len)?;
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + len + 2..)?;
    }
}
