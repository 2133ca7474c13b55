//! The SNS sink: through the real SDK against moto, and the answers of SNS by table.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kvs_infer::base::{ProbeOccasion, Verdict};
use kvs_infer::delivery::{Clients, EventOutbox, OutboxSpec, Route, SinkState, SinkStatus, probes};
use kvs_infer::media::Event;
use kvs_infer::sinks::{PublishSpec, SnsSpec};
use serde_json::{Value, json};
use test_support::moto::{self, Moto};

use super::answers::{Said, Server, said};
use super::event::{event, offer, pending, state};

const SECOND: Duration = Duration::from_secs(1);
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alerts";
const SINK: &str = "sns/alerts";

fn route() -> Arc<Route> {
    Arc::new(Route { kds_stream: None, snapshot: None, clip: None })
}

/// With a local sink, and a topic for persons of at least 0.6.
fn spec(folder: &Path, url: &str) -> OutboxSpec {
    let sns = SnsSpec { topic_arn: TOPIC.into(), min_conf: 0.6, labels: vec!["person".into()] };
    let publish =
        PublishSpec { local_dir: Some(folder.join("events")), sns: Some(sns), ..PublishSpec::default() };
    OutboxSpec {
        sinks: publish.sinks(vec![route()]),
        state: state(folder),
        dead_letter: folder.join("dead-letter.jsonl"),
        clients: Some(Clients::new(&moto::config(url), true)),
        sharing: None,
    }
}

fn detection(number: u64, label: &str, conf: f32) -> Event {
    let mut event = event("front", number);
    (event.payload.label, event.payload.conf) = (label.to_owned(), conf);
    event
}

fn status(statuses: &[SinkStatus]) -> &SinkStatus {
    statuses.iter().find(|status| status.name == SINK).unwrap()
}

/// Calls moto's SQS, for which the project has no SDK.
async fn sqs(moto: &Moto, operation: &str, request: Value) -> Value {
    let call =
        reqwest::Client::new().post(&moto.url).header("x-amz-target", format!("AmazonSQS.{operation}"));
    let call = call.header("content-type", "application/x-amz-json-1.0").header(
        "authorization",
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=0",
    );
    let text = call.body(request.to_string()).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{operation}: {error}: {text}"))
}

#[tokio::test]
async fn events_that_pass_the_filter_are_published_with_their_attributes() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    let sns = aws_sdk_sns::Client::new(&moto.config());
    sns.create_topic().name("alerts").send().await.unwrap();
    let queue = sqs(&moto, "CreateQueue", json!({ "QueueName": "alerts" })).await["QueueUrl"].clone();
    let subscribe = sns.subscribe().topic_arn(TOPIC).protocol("sqs");
    subscribe.endpoint("arn:aws:sqs:us-east-1:123456789012:alerts").send().await.unwrap();

    let outbox = EventOutbox::start(spec(folder.path(), &moto.url)).await.unwrap();
    let sent = detection(1, "person", 0.7);
    for event in [sent.clone(), detection(2, "person", 0.5), detection(3, "car", 0.9)] {
        offer(&outbox, pending(event, &route())).await.unwrap();
    }
    assert_eq!(outbox.flush(20 * SECOND).await, []);
    let statuses = outbox.statuses();
    let status = status(&statuses);
    assert_eq!((status.required, status.delivered, status.failed), (false, 1, 0));

    let received =
        sqs(&moto, "ReceiveMessage", json!({ "QueueUrl": queue, "MaxNumberOfMessages": 10 })).await;
    let messages = received["Messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1, "{received}");
    let notification: Value = serde_json::from_str(messages[0]["Body"].as_str().unwrap()).unwrap();
    let published: Event = serde_json::from_str(notification["Message"].as_str().unwrap()).unwrap();
    assert_eq!(published, sent);
    let text = |value: &str| json!({ "Type": "String", "Value": value });
    let attributes =
        json!({ "label": text("person"), "camera": text("front"), "type": text(&sent.payload.kind) });
    assert_eq!(notification["MessageAttributes"], attributes);
}

#[tokio::test]
async fn the_probe_finds_the_topic_and_publishes_nothing() {
    let (moto, folder) = (Moto::start(), tempfile::tempdir().unwrap());
    let sns = aws_sdk_sns::Client::new(&moto.config());
    let (verdict, text) = finding(folder.path(), &moto.url).await;
    assert!(verdict == Verdict::Fail && text.contains("create the topic"), "{text}");
    sns.create_topic().name("alerts").send().await.unwrap();
    let (verdict, text) = finding(folder.path(), &moto.url).await;
    assert!(verdict == Verdict::Warn && text.contains("no subscriber"), "{text}");
    assert!(text.contains("sns:Publish is not tried"), "{text}");
}

async fn finding(folder: &Path, url: &str) -> (Verdict, String) {
    let probe = probes(&spec(folder, url), ProbeOccasion::Command)
        .into_iter()
        .find(|probe| probe.name == SINK)
        .unwrap();
    let finding = probe.finding.await;
    (finding.verdict, finding.sentence())
}

fn refusal(status: u16, code: &str, message: &str) -> Said {
    let body = format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    );
    said(status, &[("content-type", "text/xml"), ("x-amzn-requestid", "1")], &body)
}

#[tokio::test]
async fn answers_to_the_probe_by_table() {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    let denied =
        "User: arn:aws:iam::123456789012:role/task is not authorized to perform: SNS:GetTopicAttributes";
    let empty = "<GetTopicAttributesResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\
                 <GetTopicAttributesResult><Attributes/></GetTopicAttributesResult></GetTopicAttributesResponse>";
    let table = [
        (
            "denied",
            refusal(403, "AuthorizationError", denied),
            Verdict::Warn,
            "sns:GetTopicAttributes is not allowed",
        ),
        (
            "no topic",
            refusal(404, "NotFound", "Topic does not exist"),
            Verdict::Fail,
            "publishers.sns_topic_arn",
        ),
        (
            "an ARN",
            refusal(400, "InvalidParameter", "TopicArn"),
            Verdict::Fail,
            "the ARN of a standard topic",
        ),
        (
            "throttled",
            refusal(429, "Throttled", "Rate exceeded"),
            Verdict::Fail,
            "raise the quota of Publish",
        ),
        (
            "no attributes",
            said(200, &[("content-type", "text/xml")], empty),
            Verdict::Fail,
            "describes nothing",
        ),
    ];
    for (name, answer, verdict, words) in table {
        server.says(Some(answer));
        let (found, text) = finding(folder.path(), &server.url).await;
        assert!(found == verdict && text.contains(words), "{name}: {found:?} {text}");
    }
    server.stop().await;
}

/// Starts an outbox whose SNS gives this answer, offers an event, and returns the status that `is_reached` waits for.
async fn status_after(answer: Said, is_reached: impl Fn(&SinkStatus) -> bool) -> (SinkStatus, String) {
    let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
    server.says(Some(answer));
    let outbox = EventOutbox::start(spec(folder.path(), &server.url)).await.unwrap();
    offer(&outbox, pending(detection(1, "person", 0.7), &route())).await.unwrap();
    let statuses = outbox.until(|statuses| is_reached(status(statuses))).await;
    outbox.flush(Duration::ZERO).await;
    server.stop().await;
    let dead_letters = std::fs::read_to_string(folder.path().join("dead-letter.jsonl")).unwrap_or_default();
    (status(&statuses).clone(), dead_letters)
}

#[tokio::test]
async fn a_failure_waits_with_its_remedy_and_a_refused_message_is_a_dead_letter() {
    let denied = "User: arn:aws:iam::123456789012:role/task is not authorized to perform: SNS:Publish";
    let empty = "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult/></PublishResponse>";
    for (name, answer, words) in [
        ("denied", refusal(403, "AuthorizationError", denied), "allow sns:Publish on it"),
        ("throttled", refusal(429, "Throttled", "Rate exceeded"), "publishers.sns_min_conf"),
        ("no id", said(200, &[("content-type", "text/xml")], empty), "nothing was published"),
    ] {
        let (status, _) = status_after(answer, |status| status.state != SinkState::Ok).await;
        let SinkState::Failing { reason, .. } = &status.state else { panic!("{name}: {status:?}") };
        assert!(reason.contains(words) && reason.starts_with("topic alerts: "), "{name}: {reason}");
        assert_eq!((status.queued, status.failed), (1, 0), "{name}");
    }
    let too_long = refusal(400, "InvalidParameter", "Invalid parameter: Message too long");
    let (status, dead_letters) = status_after(too_long, |status| status.failed == 1).await;
    assert_eq!(status.queued, 0);
    assert!(dead_letters.contains("Message too long"), "{dead_letters}");
}
