//! Streams belong to the region that their requests are signed for.

use kvs_sim::{Clock, LiveDelivery, Sim, SimConfig, StreamLimits, StreamSettings, StreamStore};
use serde_json::json;

use crate::camera::NOON_MS;
use crate::http::{assert_error, begin, json as json_of, post, post_from, signed, sim};

const HERE: &str = "us-east-1";
const THERE: &str = "eu-west-1";

fn names(answer: &str) -> Vec<String> {
    let page = json_of(answer);
    let list = page["StreamInfoList"].as_array().expect("a list");
    list.iter().map(|info| info["StreamName"].as_str().unwrap_or("").to_owned()).collect()
}

async fn arn(sim: &Sim, region: &str) -> String {
    let answer = post_from(sim, region, "/describeStream", r#"{"StreamName":"gate"}"#).await;
    json_of(&answer)["StreamInfo"]["StreamARN"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn a_stream_is_visible_in_its_own_region_only() {
    let sim = sim();
    for (region, name) in [(HERE, "gate"), (THERE, "gate"), (THERE, "yard")] {
        let created = json!({ "StreamName": name, "DataRetentionInHours": 1 }).to_string();
        let answer = post_from(&sim, region, "/createStream", &created).await;
        assert!(answer.contains(&format!("arn:aws:kinesisvideo:{region}:")), "{answer}");
    }
    assert_eq!(names(&post_from(&sim, HERE, "/listStreams", "").await), ["gate"]);
    assert_eq!(names(&post_from(&sim, THERE, "/listStreams", "").await), ["gate", "yard"]);
    assert_eq!(
        names(&post(&sim, "/listStreams", "").await),
        ["gate"],
        "a request that is not signed is for the default region"
    );

    let start = json!({ "StartSelectorType": "NOW" });
    let operations = [
        ("/describeStream", json!({})),
        ("/deleteStream", json!({})),
        ("/tagStream", json!({ "Tags": { "a": "b" } })),
        ("/untagStream", json!({ "TagKeyList": ["a"] })),
        ("/listTagsForStream", json!({})),
        ("/getDataEndpoint", json!({ "APIName": "GET_MEDIA" })),
        ("/getMedia", json!({ "StartSelector": start })),
        ("/getMediaForFragmentList", json!({ "Fragments": ["1"] })),
        ("/listFragments", json!({})),
        ("/getHLSStreamingSessionURL", json!({})),
    ];
    let yard = json_of(&post_from(&sim, THERE, "/describeStream", r#"{"StreamName":"yard"}"#).await);
    for (path, request) in operations {
        for (field, value) in
            [("StreamName", &json!("yard")), ("StreamARN", &yard["StreamInfo"]["StreamARN"])]
        {
            let mut request = request.clone();
            request[field] = value.clone();
            let answer = post_from(&sim, HERE, path, &request.to_string()).await;
            assert_error(&answer, 404, "ResourceNotFoundException");
            assert!(answer.contains(THERE) && answer.contains("--region us-east-1"), "{path}: {answer}");
        }
    }
    assert_ne!(arn(&sim, HERE).await, arn(&sim, THERE).await);
    post_from(&sim, THERE, "/deleteStream", &json!({ "StreamARN": arn(&sim, THERE).await }).to_string())
        .await;
    assert_eq!(names(&post_from(&sim, THERE, "/listStreams", "").await), ["yard"]);
    assert_eq!(names(&post_from(&sim, HERE, "/listStreams", "").await), ["gate"]);
    sim.stop().await;
}

#[tokio::test]
async fn put_media_takes_the_region_of_its_signature() {
    let sim = sim();
    post_from(&sim, THERE, "/createStream", r#"{"StreamName":"yard"}"#).await;
    for (region, status) in [(HERE, "404"), (THERE, "200")] {
        let stream = "x-amzn-stream-name: yard\r\nx-amzn-fragment-timecode-type: ABSOLUTE\r\n";
        let headers = format!("{}{stream}Connection: close\r\n", signed(region));
        let answer = begin(&sim, "POST", "/putMedia", "", &headers).await.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{region}: {answer}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn streams_that_no_request_created_are_in_the_configured_region() {
    let config = SimConfig { region: THERE.parse().expect("a region"), ..SimConfig::default() };
    let sim = Sim::start(config).expect("a free port");
    sim.store().stream_or_create("gate").expect("a valid name");
    for (region, expected) in [(HERE, vec![]), (THERE, vec!["gate"])] {
        assert_eq!(names(&post_from(&sim, region, "/listStreams", "").await), expected, "{region}");
    }
    assert_eq!(names(&post(&sim, "/listStreams", "").await), ["gate"]);
    sim.stop().await;
}

#[test]
fn streams_of_one_name_have_separate_folders() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = |region: &str| {
        let limits = StreamLimits { stream_bytes: 100, readers: 3, delivery: LiveDelivery::Block };
        let store = StreamStore::open(Clock::standing_at(NOON_MS), limits, Some(folder.path().to_owned()));
        store.expect("a folder that can be written").in_region(region.parse().expect("a region"))
    };
    for (region, retention_hours) in [(HERE, 1), (THERE, 2)] {
        let settings = StreamSettings { retention_hours, ..StreamSettings::default() };
        open(region).create("gate", settings).expect("the first of its name and region");
    }
    for (region, hours) in [(HERE, 1), (THERE, 2)] {
        let stream = open(region).stream("gate").expect("it was kept");
        let identity = stream.identity();
        assert_eq!((identity.region().as_str(), identity.settings.retention_hours), (region, hours));
    }
    assert!(folder.path().join("gate.stream").is_dir(), "the folder of versions without regions");
}

#[test]
fn regions_are_checked() {
    for (text, fits) in [("eu-west-1", true), ("", false), ("EU", false), ("a b", false), ("..", false)] {
        assert_eq!(text.parse::<kvs_sim::Region>().is_ok(), fits, "{text}");
    }
    let refused = "EU".parse::<kvs_sim::Region>().expect_err("capitals");
    assert!(refused.to_string().contains("such as eu-west-1"), "{refused}");
}
