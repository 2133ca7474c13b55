//! The question of `check --live` about a topic: is it there, and does it have subscribers?

use std::collections::HashMap;

use aws_sdk_sns::Client;

use super::{SnsSpec, resource};
use crate::aws::AwsFailure;
use crate::base::{Asks, Finding, Probe};
use crate::delivery::probe::{failed, nothing_described, undescribed};

/// Nothing is published: subscribers would get the message.
const NOT_TRIED: &str = "sns:Publish is not tried, since subscribers would get the message";

/// Returns the question about a topic.
pub(super) fn probe(client: Client, spec: SnsSpec) -> Probe {
    Probe::new(format!("sns/{}", spec.name()), Asks::Aws, describe(client, spec))
}

async fn describe(client: Client, spec: SnsSpec) -> Finding {
    let answer = client.get_topic_attributes().topic_arn(&spec.topic_arn).send().await;
    match answer.map_err(|error| AwsFailure::of(&error)) {
        Ok(answer) => judge(&spec, &answer.attributes.unwrap_or_default()),
        Err(failure) => undescribed(&failure, &resource(&spec), "sns:GetTopicAttributes"),
    }
}

fn judge(spec: &SnsSpec, attributes: &HashMap<String, String>) -> Finding {
    let attribute = |name: &str| attributes.get(name).map(String::as_str);
    // Each topic has an ARN, so a description without one does not come from SNS.
    if attribute("TopicArn").is_none() {
        return failed(&nothing_described(), &resource(spec));
    }
    if attribute("FifoTopic") == Some("true") {
        return Finding::fail("a FIFO topic, which is not supported: name a standard topic");
    }
    let confirmed = attribute("SubscriptionsConfirmed").unwrap_or("0");
    let pending = attribute("SubscriptionsPending").unwrap_or("0");
    let key = attribute("KmsMasterKeyId").filter(|key| !key.is_empty());
    let key = key.map_or_else(String::new, |key| format!(", encrypted with {key}"));
    let text = format!("confirmed subscriptions: {confirmed}, pending: {pending}{key}; {NOT_TRIED}");
    // SNS keeps nothing for later subscribers: what is published without one is lost.
    if confirmed == "0" {
        return Finding::warn(format!(
            "{text}; no subscriber gets the events: add or confirm a subscription"
        ));
    }
    Finding::ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Verdict;

    #[test]
    fn verdicts_by_the_topics_attributes() {
        let arn = ("TopicArn", "arn:aws:sns:eu-west-1:123456789012:alerts");
        let spec = SnsSpec { topic_arn: arn.1.to_owned(), min_conf: 0.0, labels: Vec::new() };
        let table = [
            ("subscribed", vec![arn, ("SubscriptionsConfirmed", "2")], Verdict::Ok, "subscriptions: 2"),
            (
                "none confirmed",
                vec![arn, ("SubscriptionsPending", "1")],
                Verdict::Warn,
                "confirm a subscription",
            ),
            ("FIFO", vec![arn, ("FifoTopic", "true")], Verdict::Fail, "a standard topic"),
            ("another server", vec![], Verdict::Fail, "describes nothing"),
        ];
        for (name, attributes, verdict, words) in table {
            let attributes =
                attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let finding = judge(&spec, &attributes);
            assert!(finding.verdict == verdict && finding.sentence().contains(words), "{name}: {finding:?}");
        }
    }
}
