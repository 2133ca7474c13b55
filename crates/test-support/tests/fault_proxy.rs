//! The proxy that makes AWS's services fail does what it says, in front of a server that reports the requests that reached it.
#![expect(clippy::unwrap_used, reason = "what a test needs must be there")]

use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use serde_json::{Value, json};
use test_support::fault_proxy::{AwsService, FaultProxy, Mishap, Seen, Weather};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

const PUT: &str = "Kinesis_20131202.PutRecords";
const PUT_ITEM: &str = "DynamoDB_20120810.PutItem";

/// A server that takes all, and the bodies that reached it.
struct Upstream {
    url: String,
    reached: UnboundedReceiver<String>,
}

impl Upstream {
    async fn start() -> Self {
        let (sender, reached) = unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(take).with_state(sender);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, reached }
    }

    /// Returns the requests that reached the server since the last call.
    fn reached(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.reached.try_recv().ok()).collect()
    }
}

async fn take(
    State(sender): State<UnboundedSender<String>>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> String {
    sender.send(String::from_utf8(body.to_vec()).unwrap()).unwrap();
    assert!(!headers.contains_key("transfer-encoding") && !headers.contains_key("expect"));
    if headers.get("x-amz-target").is_none_or(|target| target != PUT) {
        return format!("took {method}");
    }
    let call: Value = serde_json::from_slice(&body).unwrap();
    let record = |record: &Value| json!({ "SequenceNumber": record["Data"], "ShardId": "0" });
    let records: Vec<Value> = call["Records"].as_array().unwrap().iter().map(record).collect();
    json!({ "FailedRecordCount": 0, "EncryptionType": "NONE", "Records": records }).to_string()
}

/// Status, head and body of an answer; an error where the connection breaks.
async fn send(
    proxy: &FaultProxy,
    target: Option<&str>,
    body: &str,
) -> std::io::Result<(u16, String, String)> {
    let target = target.map_or_else(String::new, |target| format!("X-Amz-Target: {target}\r\n"));
    let len = body.len();
    ask(proxy, &format!("PUT /b/k HTTP/1.1\r\nHost: aws\r\n{target}Content-Length: {len}\r\n\r\n{body}"))
        .await
}

async fn ask(proxy: &FaultProxy, request: &str) -> std::io::Result<(u16, String, String)> {
    let mut socket = TcpStream::connect(proxy.url.trim_start_matches("http://")).await?;
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, head.to_lowercase(), body.to_owned()))
}

fn put_records(data: &[&str]) -> String {
    let records: Vec<Value> = data.iter().map(|data| json!({ "Data": data, "PartitionKey": "k" })).collect();
    json!({ "StreamName": "s", "Records": records }).to_string()
}

fn seen(service: AwsService, operation: &str, mishap: Option<Mishap>) -> Seen {
    Seen { service, operation: operation.to_owned(), key: String::new(), mishap }
}

#[tokio::test]
async fn what_meets_no_rule_is_passed_on() {
    let mut upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.url).await;
    let (status, head, body) = send(&proxy, None, "picture").await.unwrap();
    assert_eq!((status, body.as_str()), (200, "took PUT"));
    assert!(head.contains("connection: close"), "{head}");
    let chunked = "PUT /b/k HTTP/1.1\r\nHost: aws\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nx-sum: 1\r\n\r\n";
    assert_eq!(ask(&proxy, chunked).await.unwrap().2, "took PUT");
    let expecting = "PUT /b/k HTTP/1.1\r\nHost: aws\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(ask(&proxy, expecting).await.unwrap().0, 100, "the client gets 100 Continue");
    send(&proxy, Some(PUT_ITEM), "{}").await.unwrap();
    assert_eq!(upstream.reached(), ["picture", "hello!", "hi", "{}"]);
    let put = seen(AwsService::S3, "PUT", None);
    let item = seen(AwsService::DynamoDb, "PutItem", None);
    assert_eq!(proxy.seen(), [put.clone(), put.clone(), put, item]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_refusal_has_the_shape_of_its_service() {
    let mut upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.url).await;
    let throughput = "ProvisionedThroughputExceededException\"";
    for (mishap, target, status, kind, text) in [
        (Mishap::Throttled, Some(PUT), 400, "application/x-amz-json-1.1", throughput),
        (Mishap::Throttled, Some(PUT_ITEM), 400, "application/x-amz-json-1.0", throughput),
        (Mishap::Throttled, None, 503, "application/xml", "<Code>SlowDown</Code>"),
        (Mishap::Failed, Some(PUT), 500, "application/x-amz-json-1.1", "\"InternalFailure\""),
        (Mishap::Failed, Some(PUT_ITEM), 500, "application/x-amz-json-1.0", "#InternalServerError\""),
        (Mishap::Failed, None, 500, "application/xml", "<Code>InternalError</Code>"),
        (Mishap::Unavailable, Some(PUT), 503, "application/x-amz-json-1.1", "\"ServiceUnavailable\""),
        (Mishap::Unavailable, None, 503, "application/xml", "<Code>ServiceUnavailable</Code>"),
        (Mishap::Denied, Some(PUT), 400, "application/x-amz-json-1.1", "\"AccessDeniedException\""),
        (Mishap::Denied, None, 403, "application/xml", "<Code>AccessDenied</Code>"),
    ] {
        proxy.rule(None, mishap, Some(1));
        let (got, head, body) = send(&proxy, target, &put_records(&["a"])).await.unwrap();
        assert_eq!(got, status, "{mishap:?} {target:?}");
        assert!(head.contains(&format!("content-type: {kind}\r\n")), "{head}");
        assert!(body.contains(text), "{mishap:?} {target:?}: {body}");
    }
    assert_eq!(upstream.reached(), [""; 0], "nothing was passed on");
    proxy.stop().await;
}

#[tokio::test]
async fn rules_hold_for_their_service_and_their_count_one_after_the_other() {
    let upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.url).await;
    proxy.rule(AwsService::Kinesis, Mishap::Failed, Some(2));
    proxy.rule(AwsService::Kinesis, Mishap::Unavailable, Some(1));
    proxy.rule(AwsService::S3, Mishap::Throttled, None);
    let mut statuses = Vec::new();
    for target in [Some(PUT), None, Some(PUT), Some(PUT), Some(PUT_ITEM), Some(PUT), None] {
        statuses.push(send(&proxy, target, &put_records(&["a"])).await.unwrap().0);
    }
    assert_eq!(statuses, [500, 503, 500, 503, 200, 200, 503]);
    proxy.clear();
    assert_eq!(send(&proxy, None, "").await.unwrap().0, 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_copy_of_a_request_comes_later() {
    let mut upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.url).await;
    proxy.rule(AwsService::DynamoDb, Mishap::Repeated(Duration::from_millis(50)), Some(1));
    assert_eq!(send(&proxy, Some(PUT_ITEM), "{}").await.unwrap().0, 200);
    proxy.until(|seen| seen.len() == 2).await;
    assert_eq!(upstream.reached(), ["{}", "{}"]);
    proxy.stop().await;
}

#[tokio::test]
async fn some_records_are_refused_and_only_the_others_are_passed_on() {
    let mut upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.url).await;
    let sent = ["a", "b", "c", "d", "e"];
    for (every, kept) in [(2, vec!["b", "d"]), (5, vec!["b", "c", "d", "e"]), (1, vec![])] {
        proxy.rule(AwsService::Kinesis, Mishap::Partial { every }, Some(1));
        let (status, _, body) = send(&proxy, Some(PUT), &put_records(&sent)).await.unwrap();
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &answer["FailedRecordCount"]), (200, &json!(5 - kept.len())), "{every}");
        let records = answer["Records"].as_array().unwrap();
        for (record, data) in records.iter().zip(sent) {
            let (number, code) = (&record["SequenceNumber"], &record["ErrorCode"]);
            let refused = json!("ProvisionedThroughputExceededException");
            let expected =
                if kept.contains(&data) { (json!(data), json!(null)) } else { (json!(null), refused) };
            assert_eq!((number, code), (&expected.0, &expected.1), "{every} {data}");
        }
        assert_eq!(records.len(), 5);
        let reached: Vec<String> = upstream.reached();
        assert_eq!(reached, if kept.is_empty() { vec![] } else { vec![put_records(&kept)] }, "{every}");
    }
    proxy.rule(None, Mishap::Partial { every: 1 }, Some(1));
    assert_eq!(send(&proxy, Some(PUT_ITEM), "{}").await.unwrap().2, "took PUT", "it is for PutRecords alone");
    proxy.stop().await;
}

#[tokio::test]
async fn a_broken_connection_does_not_show_whether_the_request_was_passed_on() {
    let mut upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.url).await;
    for (mishap, reached) in [(Mishap::Reset, vec![]), (Mishap::AnswerLost, vec!["picture".to_owned()])] {
        proxy.rule(None, mishap, Some(1));
        let broken = send(&proxy, None, "picture").await.unwrap_err();
        assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset, "{mishap:?}");
        assert_eq!(upstream.reached(), reached, "{mishap:?}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn who_went_away_comes_back_to_the_same_port() {
    let mut upstream = Upstream::start().await;
    let mut proxy = FaultProxy::start(&upstream.url).await;
    for _ in 0..3 {
        proxy.go_away().await;
        let refused = send(&proxy, None, "lost").await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        proxy.come_back().await;
        assert_eq!(send(&proxy, None, "picture").await.unwrap().0, 200);
    }
    assert_eq!(upstream.reached(), ["picture"; 3]);
    proxy.stop().await;
}

#[tokio::test]
async fn a_delay_passes_on_later() {
    let upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.url).await;
    let delay = Mishap::Delay(Duration::from_millis(100));
    proxy.rule(None, delay, None);
    let started = Instant::now();
    let ((_, _, body), ()) = tokio::join!(
        async { send(&proxy, None, "").await.unwrap() },
        proxy.until(|requests| requests == [seen(AwsService::S3, "PUT", Some(delay))]),
    );
    assert_eq!(body, "took PUT");
    assert!(started.elapsed() >= Duration::from_millis(100), "{:?}", started.elapsed());
    proxy.stop().await;
}

fn weather(seed: u64, share: f64) -> Weather {
    Weather { seed, share, mishaps: vec![Mishap::Failed, Mishap::Unavailable, Mishap::Throttled] }
}

#[test]
fn the_weather_is_decided_by_seed_service_and_number() {
    let of = |weather: &Weather, service| -> Vec<Option<Mishap>> {
        (0..3000).map(|request| weather.at(service, request)).collect()
    };
    let first = of(&weather(1, 0.25), AwsService::Kinesis);
    assert_eq!(first, of(&weather(1, 0.25), AwsService::Kinesis), "the same again");
    assert_ne!(first, of(&weather(2, 0.25), AwsService::Kinesis), "another seed");
    assert_ne!(first, of(&weather(1, 0.25), AwsService::S3), "another service");
    for mishap in weather(1, 0.25).mishaps {
        let count = first.iter().filter(|met| **met == Some(mishap)).count();
        assert!((200..300).contains(&count), "a third of a quarter of 3000: {mishap:?} {count}");
    }
    assert!(of(&weather(1, 0.0), AwsService::S3).iter().all(Option::is_none));
    assert!(of(&weather(1, 1.0), AwsService::S3).iter().all(Option::is_some));
    let none = Weather { mishaps: vec![], ..weather(1, 1.0) };
    assert_eq!(none.at(AwsService::S3, 0), None);
}

#[tokio::test]
async fn requests_meet_the_weather_by_their_number_and_rules_come_first() {
    let upstream = Upstream::start().await;
    let proxy = FaultProxy::start(&upstream.url).await;
    let weather = weather(7, 0.5);
    proxy.rule(AwsService::S3, Mishap::Reset, Some(1));
    proxy.set_weather(weather.clone());
    assert!(send(&proxy, None, "").await.is_err(), "the rule");
    for target in [None, Some(PUT_ITEM), None, Some(PUT_ITEM), None, None] {
        send(&proxy, target, "").await.unwrap();
    }
    let of = |service| -> Vec<Option<Mishap>> {
        let seen = proxy.seen().into_iter().filter(|seen| seen.service == service);
        seen.map(|seen| seen.mishap).collect()
    };
    let s3: Vec<_> = (0..4).map(|request| weather.at(AwsService::S3, request)).collect();
    let items: Vec<_> = (0..2).map(|request| weather.at(AwsService::DynamoDb, request)).collect();
    assert_eq!((&of(AwsService::S3)[1..], of(AwsService::DynamoDb)), (&s3[..], items));
    proxy.stop().await;
}
