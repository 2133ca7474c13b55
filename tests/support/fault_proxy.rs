//! A proxy before a server of AWS's services that fails as they do: by rule, by count, or as a seeded weather has it.
//!
//! One request per connection, so that each one is a chance to fail. What is refused never reaches the server.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Returns the service that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    /// Kinesis Data Streams.
    Kinesis,
    /// DynamoDB.
    DynamoDb,
    /// SNS.
    Sns,
    /// S3, and whatever names no target.
    S3,
}

/// The treatment of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It is passed on after a time.
    Delay(Duration),
    /// Too many calls: ProvisionedThroughputExceededException, or S3's SlowDown.
    Throttled,
    /// 500, a fault of the service's own.
    Failed,
    /// 503.
    Unavailable,
    /// The role is not allowed to: AccessDeniedException, or S3's AccessDenied.
    Denied,
    /// PutRecords: each so-manieth record is refused, the first one included; the others are passed on.
    Partial {
        /// 1 refuses all.
        every: usize,
    },
    /// The connection is reset, and nothing was passed on.
    Reset,
    /// It is passed on, then the connection is reset in place of the answer.
    AnswerLost,
    /// It is passed on, and a copy of it after a time.
    Repeated(Duration),
}

/// A request as the proxy saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// For whom.
    pub(crate) service: Service,
    /// `PutRecords` and the like; of S3 the method.
    pub(crate) operation: String,
    /// The access key that it is signed with.
    pub(crate) key: String,
    /// The treatment of the request; `None`: it was passed on.
    pub(crate) mishap: Option<Mishap>,
}

/// Failures by chance, but the same ones each time: the requests of a service are numbered, and the number decides.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// Another seed, other requests that fail.
    pub(crate) seed: u64,
    /// Of the requests that fail, 0 to 1.
    pub(crate) share: f64,
    /// The possible treatments, each as likely as the others.
    pub(crate) mishaps: Vec<Mishap>,
}

/// The proxy. Dropped, it ends by itself; [`stop`](Self::stop) waits for that.
pub(crate) struct FaultProxy {
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    plan: Arc<Plan>,
    door: watch::Sender<Door>,
    is: watch::Receiver<Door>,
    server: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
    Ended,
}

/// The planned treatments, and those that happened.
struct Plan {
    upstream: SocketAddr,
    state: Mutex<State>,
    seen: watch::Sender<Vec<Seen>>,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    weather: Option<Weather>,
    requests: HashMap<Service, u64>,
}

struct Rule {
    /// None: of all services.
    service: Option<Service>,
    mishap: Mishap,
    /// None: it stays.
    left: Option<u64>,
}

/// A request or an answer.
#[derive(Debug)]
struct Message {
    first_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl FaultProxy {
    /// Starts one on a port of its own before `http://ADDRESS:PORT`; all is passed on at first.
    pub(crate) async fn start(upstream_url: &str) -> Self {
        let upstream = upstream_url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let plan = Plan { upstream, state: Mutex::default(), seen: watch::Sender::default() };
        let plan = Arc::new(plan);
        let port = reserve();
        let address = port.local_addr().unwrap();
        let (door, wanted) = watch::channel(Door::Open);
        let (door_state, mut is) = watch::channel(Door::Closed);
        let server = tokio::spawn(serve(port, Arc::clone(&plan), wanted, door_state));
        is.wait_for(|is| *is == Door::Open).await.unwrap();
        Self { url: format!("http://{address}"), plan, door, is, server }
    }

    /// Has a mishap happen to the next `count` requests of a service, or to all of them; after earlier rules.
    pub(crate) fn rule(&self, service: impl Into<Option<Service>>, mishap: Mishap, count: Option<u64>) {
        let rule = Rule { service: service.into(), mishap, left: count };
        self.plan.lock().rules.push(rule);
    }

    /// Has requests fail that no rule meets, from the first one on as the weather numbers them.
    pub(crate) fn set_weather(&self, weather: Weather) {
        let mut state = self.plan.lock();
        state.requests.clear();
        state.weather = Some(weather);
    }

    /// Passes all on from now on.
    pub(crate) fn clear(&self) {
        *self.plan.lock() = State::default();
    }

    /// Refuses connections from now on, and keeps the port.
    pub(crate) async fn go_away(&mut self) {
        self.set_door(Door::Closed).await;
    }

    /// Takes connections again.
    pub(crate) async fn come_back(&mut self) {
        self.set_door(Door::Open).await;
    }

    /// The requests so far, in the order in which they were decided upon.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.plan.seen.borrow().clone()
    }

    /// Waits until the requests so far are such.
    pub(crate) async fn until(&self, met: impl Fn(&[Seen]) -> bool) {
        self.plan.seen.subscribe().wait_for(|seen| met(seen)).await.unwrap();
    }

    /// Ends it; connections of now are dropped.
    pub(crate) async fn stop(self) {
        self.door.send_replace(Door::Ended);
        self.server.await.unwrap();
    }

    async fn set_door(&mut self, door: Door) {
        self.door.send_if_modified(|wanted| std::mem::replace(wanted, door) != door);
        self.is.wait_for(|is| *is == door).await.unwrap();
    }
}

impl Weather {
    /// Returns the treatment of a service's request of this number, from 0.
    pub(crate) fn at(&self, service: Service, request: u64) -> Option<Mishap> {
        let drawn = mix64(self.seed ^ mix64(request ^ (service as u64) << 60));
        let fails = (drawn as f64) < self.share * u64::MAX as f64;
        let choice = usize::try_from(mix64(drawn) % self.mishaps.len().max(1) as u64).unwrap();
        self.mishaps.get(choice).copied().filter(|_| fails)
    }
}

/// Source: SplitMix64, after Steele, Lea and Flood, 2014.
fn mix64(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A socket that holds a free port without listening, so that the port is refused but not lost.
fn reserve() -> TcpSocket {
    bound((Ipv4Addr::LOCALHOST, 0).into())
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

/// Listens while the door is open; owns the connections.
async fn serve(
    port: TcpSocket,
    plan: Arc<Plan>,
    mut wanted: watch::Receiver<Door>,
    door_state: watch::Sender<Door>,
) {
    let address = port.local_addr().unwrap();
    let mut connections = JoinSet::new();
    loop {
        let door = *wanted.borrow_and_update();
        let listener = (door == Door::Open).then(|| bound(address).listen(1024).unwrap());
        door_state.send_replace(door);
        if door == Door::Ended {
            return;
        }
        loop {
            tokio::select! {
                changed = wanted.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                client = accept(listener.as_ref()) => {
                    connections.spawn(Arc::clone(&plan).answer(client));
                }
                Some(ended) = connections.join_next() => ended.unwrap(),
            }
        }
        listener.into_iter().for_each(shut);
    }
}

/// Closes a listener for good: a child that is just being started has a copy of it, and would keep the port.
fn shut(listener: TcpListener) {
    let listener = OwnedFd::from(listener.into_std().unwrap());
    std::net::TcpStream::from(listener).shutdown(Shutdown::Both).unwrap();
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.unwrap().0,
        None => std::future::pending().await,
    }
}

impl Plan {
    /// Reads a request and does with it as planned. A client that leaves is no fault of ours.
    async fn answer(self: Arc<Self>, mut client: TcpStream) {
        let Some(request) = Message::read(&mut client).await else { return };
        let answer = match self.decide(&request) {
            None => self.pass_on(&request).await,
            Some(Mishap::Delay(time)) => {
                tokio::time::sleep(time).await;
                self.pass_on(&request).await
            }
            Some(Mishap::Repeated(after)) => {
                let answer = self.pass_on(&request).await;
                // The client may be gone.
                let _ = client.write_all(&answer.bytes()).await;
                drop(client);
                tokio::time::sleep(after).await;
                self.pass_on(&request).await;
                return self.see(&request, None);
            }
            Some(Mishap::Partial { every }) => self.pass_on_some(&request, every).await,
            Some(Mishap::Reset) => return reset(&client),
            Some(Mishap::AnswerLost) => {
                self.pass_on(&request).await;
                return reset(&client);
            }
            Some(Mishap::Throttled) => request.service().throttled(),
            Some(Mishap::Failed) => request.service().failed(),
            Some(Mishap::Unavailable) => request.service().unavailable(),
            Some(Mishap::Denied) => request.service().denied(),
        };
        // The client may be gone.
        let _ = client.write_all(&answer.bytes()).await;
    }

    /// The first rule that meets the request, else the weather.
    fn decide(&self, request: &Message) -> Option<Mishap> {
        let (service, operation) = (request.service(), request.operation());
        let mut state = self.lock();
        let mishap = state.ruled(service, &operation).or_else(|| state.of_weather(service, &operation));
        drop(state);
        self.see(request, mishap);
        mishap
    }

    fn see(&self, request: &Message, mishap: Option<Mishap>) {
        let (service, operation, key) = (request.service(), request.operation(), request.key());
        self.seen.send_modify(|seen| seen.push(Seen { service, operation, key, mishap }));
    }

    async fn pass_on(&self, request: &Message) -> Message {
        let mut server = TcpStream::connect(self.upstream).await.unwrap();
        server.write_all(&request.bytes()).await.unwrap();
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await.unwrap();
        Message::parse(&answer).unwrap()
    }

    /// Passes on the records of a PutRecords that are not refused, and reports both kinds in the answer.
    async fn pass_on_some(&self, request: &Message, every: usize) -> Message {
        let mut call: Value = serde_json::from_slice(&request.body).unwrap();
        let records = call["Records"].as_array_mut().unwrap();
        let refused: Vec<bool> = (0..records.len()).map(|index| index.is_multiple_of(every)).collect();
        let mut keep = refused.iter().map(|refused| !refused);
        records.retain(|_| keep.next().unwrap());
        let (mut answer, mut merged) =
            (Message::json(200, "OK", "1.1", &json!({})), json!({ "Records": [] }));
        if !records.is_empty() {
            answer = self.pass_on(&request.with_body(call.to_string().into_bytes())).await;
            if !answer.first_line.contains(" 200 ") {
                return answer;
            }
            merged = serde_json::from_slice(&answer.body).unwrap();
        }
        let mut accepted = merged["Records"].as_array().unwrap().clone().into_iter();
        let records = refused.iter().map(|refused| match refused {
            true => refused_record(),
            false => accepted.next().unwrap(),
        });
        merged["Records"] = records.collect();
        let failed =
            merged["Records"].as_array().unwrap().iter().filter(|record| !record["ErrorCode"].is_null());
        merged["FailedRecordCount"] = failed.count().into();
        answer.with_body(merged.to_string().into_bytes())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn ruled(&mut self, service: Service, operation: &str) -> Option<Mishap> {
        let meets = |rule: &&mut Rule| {
            rule.left != Some(0)
                && rule.service.is_none_or(|of| of == service)
                && rule.mishap.can_happen_to(operation)
        };
        let rule = self.rules.iter_mut().find(meets)?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.mishap)
    }

    fn of_weather(&mut self, service: Service, operation: &str) -> Option<Mishap> {
        let weather = self.weather.as_ref()?;
        let number = self.requests.entry(service).or_default();
        *number += 1;
        weather.at(service, *number - 1).filter(|mishap| mishap.can_happen_to(operation))
    }
}

impl Mishap {
    fn can_happen_to(self, operation: &str) -> bool {
        !matches!(self, Self::Partial { .. }) || operation == "PutRecords"
    }
}

fn refused_record() -> Value {
    json!({
        "ErrorCode": "ProvisionedThroughputExceededException",
        "ErrorMessage": "Rate exceeded for shard shardId-000000000000.",
    })
}

/// Ends a connection without a word, not even that it ends.
fn reset(client: &TcpStream) {
    client.set_zero_linger().unwrap();
}

impl Service {
    fn throttled(self) -> Message {
        let text = "Rate exceeded";
        match self {
            Self::Kinesis => self.error(400, "Bad Request", "ProvisionedThroughputExceededException", text),
            Self::DynamoDb => {
                let kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
                self.error(400, "Bad Request", kind, text)
            }
            Self::Sns => self.error(429, "Too Many Requests", "Throttled", text),
            Self::S3 => self.error(503, "Slow Down", "SlowDown", "Please reduce your request rate."),
        }
    }

    fn failed(self) -> Message {
        let kind = match self {
            Self::Kinesis => "InternalFailure",
            Self::DynamoDb => "com.amazonaws.dynamodb.v20120810#InternalServerError",
            Self::S3 | Self::Sns => "InternalError",
        };
        self.error(500, "Internal Server Error", kind, "We encountered an internal error. Please try again.")
    }

    fn unavailable(self) -> Message {
        self.error(503, "Service Unavailable", "ServiceUnavailable", "Service is unable to handle request.")
    }

    fn denied(self) -> Message {
        let (status, reason, kind) = match self {
            Self::Kinesis | Self::DynamoDb => (400, "Bad Request", "AccessDeniedException"),
            Self::S3 => (403, "Forbidden", "AccessDenied"),
            Self::Sns => (403, "Forbidden", "AuthorizationError"),
        };
        self.error(status, reason, kind, "User is not authorized to perform this action")
    }

    fn error(self, status: u16, reason: &str, kind: &str, text: &str) -> Message {
        let version = match self {
            Self::Kinesis => "1.1",
            Self::DynamoDb => "1.0",
            Self::S3 => return Message::xml(status, reason, kind, text),
            Self::Sns => return Message::query_xml(status, reason, kind, text),
        };
        Message::json(status, reason, version, &json!({ "__type": kind, "message": text }))
    }
}

impl Message {
    /// A request; None where the client leaves before its end.
    async fn read(client: &mut TcpStream) -> Option<Self> {
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
    fn parse(bytes: &[u8]) -> Option<Self> {
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

    fn json(status: u16, reason: &str, version: &str, body: &Value) -> Self {
        let kind = format!("application/x-amz-json-{version}");
        Self::answer(status, reason, &kind, body.to_string())
    }

    fn xml(status: u16, reason: &str, code: &str, text: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
             <Message>{text}</Message><RequestId>0</RequestId></Error>"
        );
        Self::answer(status, reason, "application/xml", body)
    }

    /// An error of a service with the query protocol.
    fn query_xml(status: u16, reason: &str, code: &str, text: &str) -> Self {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error>\
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
    fn with_body(&self, body: Vec<u8>) -> Self {
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

    fn service(&self) -> Service {
        match self.header("x-amz-target") {
            Some(target) if target.starts_with("Kinesis_") => Service::Kinesis,
            Some(target) if target.starts_with("DynamoDB_") => Service::DynamoDb,
            // The query protocol names no target, but the signature names the service.
            None if self.header("authorization").is_some_and(|scope| scope.contains("/sns/aws4_request")) => {
                Service::Sns
            }
            _ => Service::S3,
        }
    }

    fn operation(&self) -> String {
        let target = self.header("x-amz-target").and_then(|target| target.split_once('.'));
        let method = || self.first_line.split(' ').next().unwrap();
        target.map_or_else(method, |(_, operation)| operation).to_owned()
    }

    fn key(&self) -> String {
        let (_, signed) =
            self.header("authorization").unwrap_or_default().split_once("Credential=").unwrap_or_default();
        signed.split('/').next().unwrap().to_owned()
    }

    /// As it is sent, by the last message of its connection.
    fn bytes(&self) -> Vec<u8> {
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
