//! TagStream, UntagStream and ListTagsForStream.

use kvs_sim::{Clock, Sim, SimConfig};
use serde_json::{Value, json};

use crate::camera::NOON_MS;
use crate::http::{assert_error, json as json_of, post, sim};

async fn tags(sim: &Sim) -> Value {
    json_of(&post(sim, "/listTagsForStream", r#"{"StreamName":"gate"}"#).await)
}

fn many(from: usize, to: usize) -> Value {
    (from..to).map(|at| (format!("key-{at}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
}

#[tokio::test]
async fn tags_are_added_replaced_and_removed() {
    let sim = sim();
    let created = post(&sim, "/createStream", r#"{"StreamName":"gate","Tags":{"a":"1","b":"2"}}"#).await;
    let arn = json_of(&created)["StreamARN"].clone();
    assert_eq!(tags(&sim).await, json!({ "Tags": { "a": "1", "b": "2" } }));
    let described = || async { json_of(&post(&sim, "/describeStream", r#"{"StreamName":"gate"}"#).await) };
    let before = described().await;
    let added = json!({ "StreamARN": arn, "Tags": { "b": "3", "Straße": "", "c": "x y" } }).to_string();
    assert_eq!(json_of(&post(&sim, "/tagStream", &added).await), json!({}));
    assert_eq!(tags(&sim).await["Tags"], json!({ "a": "1", "b": "3", "Straße": "", "c": "x y" }));
    let removed = r#"{"StreamName":"gate","TagKeyList":["a","Straße","absent"]}"#;
    assert_eq!(json_of(&post(&sim, "/untagStream", removed).await), json!({}));
    assert_eq!(tags(&sim).await["Tags"], json!({ "b": "3", "c": "x y" }));
    assert_eq!(described().await, before, "tags do not change the version");
    sim.stop().await;
}

#[tokio::test]
async fn a_stream_has_50_tags_at_most() {
    let sim = sim();
    let too_many = json!({ "StreamName": "gate", "Tags": many(0, 51) }).to_string();
    let refused = "TagsPerResourceExceededLimitException";
    assert_error(&post(&sim, "/createStream", &too_many).await, 400, refused);
    let full = json!({ "StreamName": "gate", "Tags": many(0, 50) }).to_string();
    post(&sim, "/createStream", &full).await;
    let one_more = json!({ "StreamName": "gate", "Tags": many(50, 51) }).to_string();
    assert_error(&post(&sim, "/tagStream", &one_more).await, 400, refused);
    assert_eq!(tags(&sim).await["Tags"], many(0, 50), "a refused request changes nothing");
    assert_eq!(json_of(&post(&sim, "/tagStream", &full).await), json!({}), "they are replaced");
    sim.stop().await;
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let sim = sim();
    sim.store().stream_or_create("gate").expect("a valid name");
    let invalid = (400, "InvalidArgumentException");
    let missing = (404, "ResourceNotFoundException");
    let malformed = (400, "InvalidResourceFormatException");
    for (path, request, (status, kind)) in [
        ("/tagStream", json!({ "StreamName": "gate" }), invalid),
        ("/tagStream", json!({ "StreamName": "gate", "Tags": {} }), invalid),
        ("/tagStream", json!({ "StreamName": "gate", "Tags": { "a#": "b" } }), invalid),
        ("/tagStream", json!({ "StreamName": "gate", "Tags": { "": "b" } }), invalid),
        ("/tagStream", json!({ "StreamName": "gate", "Tags": { "a": "v".repeat(257) } }), invalid),
        ("/tagStream", json!({ "Tags": { "a": "b" } }), invalid),
        ("/tagStream", json!({ "StreamName": "absent", "Tags": { "a": "b" } }), missing),
        ("/tagStream", json!({ "StreamARN": "arn:aws:s3:::b", "Tags": { "a": "b" } }), malformed),
        ("/untagStream", json!({ "StreamName": "gate", "TagKeyList": [] }), invalid),
        ("/untagStream", json!({ "StreamName": "gate", "TagKeyList": ["#"] }), invalid),
        ("/untagStream", json!({ "StreamName": "gate", "TagKeyList": vec!["a"; 51] }), invalid),
        ("/untagStream", json!({ "StreamARN": "arn", "TagKeyList": ["a"] }), malformed),
        ("/listTagsForStream", json!({ "StreamName": "gate", "NextToken": "abc" }), invalid),
        ("/listTagsForStream", json!({ "StreamARN": "gate" }), malformed),
        ("/listTagsForStream", json!({}), invalid),
    ] {
        let answer = post(&sim, path, &request.to_string()).await;
        assert!(answer.contains(kind), "{path} {request}: {answer}");
        assert_error(&answer, status, kind);
    }
    sim.stop().await;
}

#[tokio::test]
async fn tags_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start = || {
        let data_dir = Some(folder.path().to_owned());
        Sim::start(SimConfig { clock: Clock::standing_at(NOON_MS), data_dir, ..SimConfig::default() })
    };
    let sim = start().expect("a free port");
    sim.store().stream_or_create("gate").expect("a valid name");
    post(&sim, "/tagStream", r#"{"StreamName":"gate","Tags":{"door":"open"}}"#).await;
    sim.stop().await;
    let sim = start().expect("a free port");
    assert_eq!(tags(&sim).await["Tags"], json!({ "door": "open" }));
    sim.stop().await;
}
