//! The SNS sink: one message per event, for notifications by mail, SMS, HTTPS, SQS or Lambda.

mod probe;

use std::collections::HashMap;

use aws_sdk_sns::Client;
use aws_sdk_sns::config::{Builder, Region};
use aws_sdk_sns::operation::publish::PublishOutput;
use aws_sdk_sns::types::MessageAttributeValue;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::each::{EachSink, EventTarget, PutOutcome};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::Probe;
use crate::delivery::{Clients, OutboxRecord, Route, Sink, SinkRun, StartError};
use crate::media::Event;
use crate::snapshot::SnapshotPlace;

/// Limit on a message with its attributes, bytes, unless the topic has another (MaximumMessageSize). Source: `Publish` API
/// reference, 2026-11.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// Type of all attributes.
const STRING: &str = "String";
/// Error codes of a request that SNS cannot carry out in this form. Source: `Publish` API reference, 2026-11.
const INVALID: [&str; 3] = ["InvalidParameter", "ParameterValueInvalid", "ValidationException"];

/// The topic of notifications, and the events that are published to it.
#[derive(Clone, Debug, PartialEq)]
pub struct SnsSpec {
    /// ARN of a standard topic.
    pub topic_arn: String,
    /// Minimum confidence of an event, 0..=1.
    pub min_conf: f32,
    /// Labels of the events; empty: all.
    pub labels: Vec<String>,
}

impl SnsSpec {
    /// Returns part `n` of the ARN: `arn:aws:sns:REGION:ACCOUNT:NAME`.
    fn arn_part(&self, n: usize) -> &str {
        self.topic_arn.split(':').nth(n).unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.arn_part(5)
    }
}

/// The topic as a sink.
#[derive(Clone, Debug)]
pub(crate) struct SnsSink(pub(crate) SnsSpec);

impl SnsSink {
    /// Returns a client for the topic's region: SNS does not publish to topics of other regions.
    fn client(&self, clients: &Clients) -> Client {
        let region = Region::new(self.0.arn_part(3).to_owned());
        Client::from_conf(Builder::from(clients.sdk()).region(region).build())
    }
}

impl Sink for SnsSink {
    fn name(&self) -> String {
        format!("sns/{}", self.0.name())
    }

    fn is_required(&self) -> bool {
        false
    }

    fn takes(&self, event: &Event, _pictures: Option<&SnapshotPlace>) -> bool {
        let SnsSpec { min_conf, labels, .. } = &self.0;
        event.payload.conf >= *min_conf && (labels.is_empty() || labels.contains(&event.payload.label))
    }

    fn destination(&self, _route: &Route) -> String {
        format!("sns {}", self.0.name())
    }

    fn spawn(&self, run: SinkRun) -> Result<JoinHandle<()>, StartError> {
        let client = self.client(run.clients()?);
        let topic_arn = self.0.topic_arn.clone();
        let target = SnsTarget { client, topic_arn, resource: resource(&self.0) };
        Ok(tokio::spawn(EachSink::new(target, run).run()))
    }

    fn probes(&self, clients: Option<&Clients>) -> Vec<Probe> {
        clients.map(|clients| probe::probe(self.client(clients), self.0.clone())).into_iter().collect()
    }
}

/// Returns the topic with its remedies.
fn resource(spec: &SnsSpec) -> AwsResource {
    AwsResource {
        kind: "topic",
        name: spec.name().to_owned(),
        key: "publishers.sns_topic_arn",
        action: "sns:Publish",
        endpoint_variable: "AWS_ENDPOINT_URL_SNS",
        own_remedy: |code| match code {
            code if INVALID.contains(&code) => Some(
                "correct publishers.sns_topic_arn: the ARN of a standard topic of this account and region",
            ),
            "Throttled" | "ThrottledException" | "Throttling" => Some(
                "publish fewer events (publishers.sns_min_conf, sns_labels), or raise the quota of Publish in Service Quotas",
            ),
            _ => None,
        },
    }
}

/// Publishes each event as a message.
///
/// Delivery: at least once. Where an answer is lost the message is published again: subscribers recognize a copy by its `event_id`.
struct SnsTarget {
    client: Client,
    topic_arn: String,
    resource: AwsResource,
}

impl EventTarget for SnsTarget {
    const MAX_UNDER_WAY: usize = 32;

    async fn put(&self, record: &OutboxRecord, _is_retry: bool) -> PutOutcome {
        let message = match SnsMessage::of(record) {
            Ok(message) => message,
            Err(reason) => return PutOutcome::Invalid(reason),
        };
        match self.publish(message).await {
            Ok(()) => PutOutcome::Stored,
            // Another attempt would fail, too, and an event that never succeeds would hold up all others.
            Err(failure) if is_about_message(&failure) => {
                PutOutcome::Invalid(format!("{}: {}", failure.code, failure.text))
            }
            Err(failure) => PutOutcome::failed(&self.resource, failure),
        }
    }
}

impl SnsTarget {
    async fn publish(&self, message: SnsMessage) -> Result<(), AwsFailure> {
        let mut attributes = HashMap::new();
        for (name, value) in message.attributes {
            let value = MessageAttributeValue::builder().data_type(STRING).string_value(value).build();
            let value = value.map_err(|error| AwsFailure::new("not_sent", &error.to_string()))?;
            attributes.insert(name.to_owned(), value);
        }
        let call = self.client.publish().topic_arn(&self.topic_arn).message(message.text);
        let answer = call.set_message_attributes(Some(attributes)).send().await;
        check_published(&answer.map_err(|error| AwsFailure::of(&error))?)
    }
}

/// Checks that SNS has published a message: it gives each an id. An answer without one is another server's.
fn check_published(answer: &PublishOutput) -> Result<(), AwsFailure> {
    match answer.message_id() {
        Some(_) => Ok(()),
        None => {
            Err(AwsFailure::new("bad_response", "the answer has no message id, so nothing was published"))
        }
    }
}

/// Returns whether a refusal is about the message. A refused ARN is for the operator to correct, so its events wait.
fn is_about_message(failure: &AwsFailure) -> bool {
    INVALID.contains(&failure.code.as_str()) && !failure.text.contains("Arn")
}

/// A message as it is published.
#[derive(Debug, PartialEq)]
struct SnsMessage {
    text: String,
    /// Names and values, none of them empty: SNS refuses empty values.
    attributes: Vec<(&'static str, String)>,
}

impl SnsMessage {
    fn of(record: &OutboxRecord) -> Result<Self, String> {
        let text = String::from_utf8(record.json.to_vec()).map_err(|error| error.to_string())?;
        let event: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let payload = |field: &str| event["payload"][field].as_str().unwrap_or_default().to_owned();
        // Filter policies of subscriptions match attributes, without a parser for the message.
        let mut attributes = vec![
            ("label", payload("label")),
            ("camera", record.camera.as_str().to_owned()),
            ("type", payload("type")),
        ];
        attributes.retain(|(_, value)| !value.is_empty());
        // Names, types and values of attributes count, too.
        let extra: usize =
            attributes.iter().map(|(name, value)| name.len() + STRING.len() + value.len()).sum();
        let bytes = text.len() + extra;
        if bytes > MAX_MESSAGE_BYTES {
            return Err(format!("{bytes} bytes with its attributes, of at most {MAX_MESSAGE_BYTES}"));
        }
        Ok(Self { text, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::testing::event;

    fn spec(min_conf: f32, labels: &[&str]) -> SnsSpec {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        SnsSpec { topic_arn: "arn:aws:sns:eu-west-1:123456789012:alerts".to_owned(), min_conf, labels }
    }

    #[test]
    fn only_the_events_that_are_asked_for_are_taken() {
        let mut event = event("e1");
        (event.payload.label, event.payload.conf) = ("person".to_owned(), 0.5);
        for (min_conf, labels, takes) in [
            (0.0, &[][..], true),
            (0.5, &["person"], true),
            (0.51, &["person"], false),
            (0.0, &["car"], false),
            (0.0, &["car", "person"], true),
        ] {
            assert_eq!(SnsSink(spec(min_conf, labels)).takes(&event, None), takes, "{min_conf} {labels:?}");
        }
    }

    #[test]
    fn a_message_is_the_event_with_three_attributes() {
        let mut event = event("e1");
        event.payload.label = "person".to_owned();
        let message = SnsMessage::of(&OutboxRecord::of(&event)).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&message.text).unwrap(), event);
        let Event { camera_id, payload, .. } = event;
        let expected = [("label", "person".to_owned()), ("camera", camera_id), ("type", payload.kind)];
        assert_eq!(message.attributes, expected);
    }

    #[test]
    fn attributes_count_for_the_limit_of_a_message_and_empty_ones_are_left_out() {
        let mut event = event("e1");
        event.payload.label = String::new();
        let message = SnsMessage::of(&OutboxRecord::of(&event)).unwrap();
        assert!(message.attributes.iter().all(|(name, _)| *name != "label"), "{message:?}");
        // The label is in the text and in an attribute: with twice its bytes the message is too large.
        event.payload.label = "x".repeat(MAX_MESSAGE_BYTES / 2);
        let reason = SnsMessage::of(&OutboxRecord::of(&event)).unwrap_err();
        assert!(reason.ends_with("of at most 262144"), "{reason}");
    }

    #[test]
    fn a_refused_message_is_given_up_and_a_refused_topic_is_not() {
        for (code, text, is_about) in [
            ("InvalidParameter", "Invalid parameter: Message too long", true),
            ("ParameterValueInvalid", "The message attribute 'label' is invalid", true),
            (
                "InvalidParameter",
                "Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements",
                false,
            ),
            ("NotFound", "Topic does not exist", false),
        ] {
            assert_eq!(is_about_message(&AwsFailure::new(code, text)), is_about, "{code}: {text}");
        }
    }

    #[test]
    fn the_name_in_the_outbox_is_short_and_the_region_is_that_of_the_topic() {
        let sink = SnsSink(spec(0.0, &[]));
        assert_eq!((sink.name().as_str(), sink.0.arn_part(3)), ("sns/alerts", "eu-west-1"));
    }
}
