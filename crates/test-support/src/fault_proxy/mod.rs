//! A proxy before a server of AWS's services that fails as they do: by rule, by count, or as a seeded weather has it.
//!
//! One request per connection, so that each one is a chance to fail. What is refused never reaches the server.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up, it fails on")]

mod message;
mod refusal;

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

use message::HttpMessage;

/// The service that a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AwsService {
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
pub enum Mishap {
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
pub struct Seen {
    /// The service that it is for.
    pub service: AwsService,
    /// `PutRecords` and the like; of S3 the method.
    pub operation: String,
    /// The access key that it is signed with.
    pub key: String,
    /// The treatment of the request; `None`: it was passed on.
    pub mishap: Option<Mishap>,
}

/// Failures by chance, but the same ones each time: the requests of a service are numbered, and the number decides.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Another seed, other requests that fail.
    pub seed: u64,
    /// Of the requests that fail, 0 to 1.
    pub share: f64,
    /// The possible treatments, each as likely as the others.
    pub mishaps: Vec<Mishap>,
}

/// The proxy. Dropped, it ends by itself; [`stop`](Self::stop) waits for that.
pub struct FaultProxy {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    plan: Arc<ProxyPlan>,
    door: watch::Sender<DoorState>,
    is: watch::Receiver<DoorState>,
    server: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DoorState {
    Open,
    Closed,
    Ended,
}

/// The planned treatments, and those that happened.
struct ProxyPlan {
    upstream: SocketAddr,
    state: Mutex<ProxyState>,
    seen: watch::Sender<Vec<Seen>>,
}

#[derive(Default)]
struct ProxyState {
    rules: Vec<FaultRule>,
    weather: Option<Weather>,
    requests: HashMap<AwsService, u64>,
}

struct FaultRule {
    /// None: of all services.
    service: Option<AwsService>,
    mishap: Mishap,
    /// None: it stays.
    left: Option<u64>,
}

impl FaultProxy {
    /// Starts one on a port of its own before `http://ADDRESS:PORT`; all is passed on at first.
    pub async fn start(upstream_url: &str) -> Self {
        let upstream = upstream_url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let plan = ProxyPlan { upstream, state: Mutex::default(), seen: watch::Sender::default() };
        let plan = Arc::new(plan);
        let port = reserve();
        let address = port.local_addr().unwrap();
        let (door, wanted) = watch::channel(DoorState::Open);
        let (door_state, mut is) = watch::channel(DoorState::Closed);
        let server = tokio::spawn(serve(port, Arc::clone(&plan), wanted, door_state));
        is.wait_for(|is| *is == DoorState::Open).await.unwrap();
        Self { url: format!("http://{address}"), plan, door, is, server }
    }

    /// Makes a mishap happen to the next `count` requests of a service, or to all of them; after earlier rules.
    pub fn rule(&self, service: impl Into<Option<AwsService>>, mishap: Mishap, count: Option<u64>) {
        let rule = FaultRule { service: service.into(), mishap, left: count };
        self.plan.lock().rules.push(rule);
    }

    /// Makes requests fail that no rule meets, from the first one on as the weather numbers them.
    pub fn set_weather(&self, weather: Weather) {
        let mut state = self.plan.lock();
        state.requests.clear();
        state.weather = Some(weather);
    }

    /// Passes all on from now on.
    pub fn clear(&self) {
        *self.plan.lock() = ProxyState::default();
    }

    /// Refuses connections from now on, and keeps the port.
    pub async fn go_away(&mut self) {
        self.set_door(DoorState::Closed).await;
    }

    /// Takes connections again.
    pub async fn come_back(&mut self) {
        self.set_door(DoorState::Open).await;
    }

    /// The requests so far, in the order in which they were decided upon.
    pub fn seen(&self) -> Vec<Seen> {
        self.plan.seen.borrow().clone()
    }

    /// Waits until the requests so far are such.
    pub async fn until(&self, met: impl Fn(&[Seen]) -> bool) {
        self.plan.seen.subscribe().wait_for(|seen| met(seen)).await.unwrap();
    }

    /// Ends it; connections of now are dropped.
    pub async fn stop(self) {
        self.door.send_replace(DoorState::Ended);
        self.server.await.unwrap();
    }

    async fn set_door(&mut self, door: DoorState) {
        self.door.send_if_modified(|wanted| std::mem::replace(wanted, door) != door);
        self.is.wait_for(|is| *is == door).await.unwrap();
    }
}

impl Weather {
    /// Returns the treatment of a service's request of this number, from 0.
    pub fn at(&self, service: AwsService, request: u64) -> Option<Mishap> {
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
    plan: Arc<ProxyPlan>,
    mut wanted: watch::Receiver<DoorState>,
    door_state: watch::Sender<DoorState>,
) {
    let address = port.local_addr().unwrap();
    let mut connections = JoinSet::new();
    loop {
        let door = *wanted.borrow_and_update();
        let listener = (door == DoorState::Open).then(|| bound(address).listen(1024).unwrap());
        door_state.send_replace(door);
        if door == DoorState::Ended {
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

impl ProxyPlan {
    /// Reads a request and does with it as planned. A client that leaves is no fault of ours.
    async fn answer(self: Arc<Self>, mut client: TcpStream) {
        let Some(request) = HttpMessage::read(&mut client).await else { return };
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
    fn decide(&self, request: &HttpMessage) -> Option<Mishap> {
        let (service, operation) = (request.service(), request.operation());
        let mut state = self.lock();
        let mishap = state.ruled(service, &operation).or_else(|| state.of_weather(service, &operation));
        drop(state);
        self.see(request, mishap);
        mishap
    }

    fn see(&self, request: &HttpMessage, mishap: Option<Mishap>) {
        let (service, operation, key) = (request.service(), request.operation(), request.key());
        self.seen.send_modify(|seen| seen.push(Seen { service, operation, key, mishap }));
    }

    async fn pass_on(&self, request: &HttpMessage) -> HttpMessage {
        let mut server = TcpStream::connect(self.upstream).await.unwrap();
        server.write_all(&request.bytes()).await.unwrap();
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await.unwrap();
        HttpMessage::parse(&answer).unwrap()
    }

    /// Passes on the records of a PutRecords that are not refused, and reports both kinds in the answer.
    async fn pass_on_some(&self, request: &HttpMessage, every: usize) -> HttpMessage {
        let mut call: Value = serde_json::from_slice(&request.body).unwrap();
        let records = call["Records"].as_array_mut().unwrap();
        let refused: Vec<bool> = (0..records.len()).map(|index| index.is_multiple_of(every)).collect();
        let mut keep = refused.iter().map(|refused| !refused);
        records.retain(|_| keep.next().unwrap());
        let (mut answer, mut merged) =
            (HttpMessage::json(200, "OK", "1.1", &json!({})), json!({ "Records": [] }));
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

    fn lock(&self) -> MutexGuard<'_, ProxyState> {
        self.state.lock().unwrap()
    }
}

impl ProxyState {
    fn ruled(&mut self, service: AwsService, operation: &str) -> Option<Mishap> {
        let meets = |rule: &&mut FaultRule| {
            rule.left != Some(0)
                && rule.service.is_none_or(|of| of == service)
                && rule.mishap.can_happen_to(operation)
        };
        let rule = self.rules.iter_mut().find(meets)?;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.mishap)
    }

    fn of_weather(&mut self, service: AwsService, operation: &str) -> Option<Mishap> {
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
