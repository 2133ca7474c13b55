//! The control plane, and the errors of all operations.

use std::time::{Duration, Instant};

use kvs_sim::{LiveDelivery, Sim, SimConfig, SimError};
use serde_json::json;

use crate::camera::append;
use crate::http::{Connection, ask, assert_error, begin, json, post, sim};

#[tokio::test]
async fn a_stream_exists_from_create_to_delete() {
    let sim = sim();
    let created =
        r#"{"StreamName":"gate","DataRetentionInHours":2,"MediaType":"video/h264","Tags":{"a":"b"}}"#;
    let arn = json(&post(&sim, "/createStream", created).await)["StreamARN"].clone();
    let arn = arn.as_str().expect("an ARN");
    assert!(arn.starts_with("arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/"), "{arn}");
    assert_error(&post(&sim, "/createStream", created).await, 400, "ResourceInUseException");

    let by_name = json(&post(&sim, "/describeStream", r#"{"StreamName":"gate"}"#).await);
    let by_arn = json(&post(&sim, "/describeStream", &json!({ "StreamARN": arn }).to_string()).await);
    assert_eq!(by_name, by_arn);
    let info = &by_name["StreamInfo"];
    assert_eq!((&info["Status"], &info["MediaType"]), (&json!("ACTIVE"), &json!("video/h264")));
    assert_eq!(info["DataRetentionInHours"], 2);
    assert!(info["CreationTime"].is_f64(), "{info}");

    let stale = json!({ "StreamARN": arn, "CurrentVersion": "other" }).to_string();
    assert_error(&post(&sim, "/deleteStream", &stale).await, 400, "VersionMismatchException");
    let current = json!({ "StreamARN": arn, "CurrentVersion": info["Version"] }).to_string();
    assert_eq!(json(&post(&sim, "/deleteStream", &current).await), json!({}));
    let gone = post(&sim, "/describeStream", r#"{"StreamName":"gate"}"#).await;
    assert_error(&gone, 404, "ResourceNotFoundException");
    sim.stop().await;
}

#[tokio::test]
async fn streams_are_listed_by_page_and_by_prefix() {
    let sim = sim();
    for name in ["b-2", "a-1", "b-1", "b-3"] {
        sim.store().stream_or_create(name).expect("a valid name");
    }
    let names = |page: &serde_json::Value| -> Vec<String> {
        let list = page["StreamInfoList"].as_array().expect("a list");
        list.iter().map(|info| info["StreamName"].as_str().unwrap_or("").to_owned()).collect()
    };
    let all = json(&post(&sim, "/listStreams", "").await);
    assert_eq!(
        (names(&all), &all["NextToken"]),
        (["a-1", "b-1", "b-2", "b-3"].map(String::from).to_vec(), &json!(null))
    );
    let condition = json!({ "ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "b-" });
    let mut request = json!({ "MaxResults": 2, "StreamNameCondition": condition });
    let first = json(&post(&sim, "/listStreams", &request.to_string()).await);
    assert_eq!(names(&first), ["b-1", "b-2"]);
    request["NextToken"] = first["NextToken"].clone();
    let second = json(&post(&sim, "/listStreams", &request.to_string()).await);
    assert_eq!((names(&second), &second["NextToken"]), (vec!["b-3".to_owned()], &json!(null)));
    let token = first["NextToken"].as_str().expect("a token");
    assert!(
        token.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "a token has the pattern of AWS's model: {token}"
    );
    request["StreamNameCondition"]["ComparisonValue"] = json!("a-");
    let of_another_list = post(&sim, "/listStreams", &request.to_string()).await;
    assert_error(&of_another_list, 400, "InvalidArgumentException");
    sim.stop().await;
}

/// Returns the data endpoint for a client that sends this Host.
async fn endpoint_for(sim: &Sim, host: &str) -> serde_json::Value {
    let body = r#"{"StreamName":"gate","APIName":"PUT_MEDIA"}"#;
    let len = body.len();
    let mut connection = Connection::open(sim.address()).await;
    let head = format!(
        "POST /getDataEndpoint HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len}"
    );
    connection.write(format!("{head}\r\n\r\n{body}").as_bytes()).await;
    json(&connection.read_to_end().await)["DataEndpoint"].clone()
}

#[tokio::test]
async fn the_data_endpoint_is_the_address_of_the_request() {
    let sim = sim();
    sim.store().stream_or_create("gate").expect("a valid name");
    for api in ["PUT_MEDIA", "GET_MEDIA", "GET_CLIP"] {
        let request = json!({ "StreamName": "gate", "APIName": api }).to_string();
        let answer = json(&post(&sim, "/getDataEndpoint", &request).await);
        assert_eq!(answer, json!({ "DataEndpoint": "http://kvs.test:80" }));
    }
    let port = sim.address().port();
    for (host, expected) in [
        ("127.0.0.1".to_owned(), format!("http://127.0.0.1:{port}")),
        ("kvs.test".to_owned(), format!("http://kvs.test:{port}")),
        ("[::1]".to_owned(), format!("http://[::1]:{port}")),
        ("[::1]:81".to_owned(), "http://[::1]:81".to_owned()),
        (format!("127.0.0.1:{port}"), sim.endpoint()),
        (String::new(), sim.endpoint()),
        ("no host".to_owned(), sim.endpoint()),
    ] {
        assert_eq!(endpoint_for(&sim, &host).await, expected, "{host}");
    }
    for api in ["GET_DASH_STREAMING_SESSION_URL", "GET_IMAGES"] {
        let request = json!({ "StreamName": "gate", "APIName": api }).to_string();
        assert_error(&post(&sim, "/getDataEndpoint", &request).await, 400, "InvalidArgumentException");
    }
    sim.stop().await;
}

#[tokio::test]
async fn each_error_has_its_status_and_its_type() {
    let sim = sim();
    sim.store().stream_or_create("gate").expect("a valid name");
    let missing = ("ResourceNotFoundException", 404);
    let invalid = ("InvalidArgumentException", 400);
    let unknown = ("UnknownOperationException", 404);
    let cases = [
        ("POST", "/getMedia", r#"{"StreamName":"x","StartSelector":{"StartSelectorType":"NOW"}}"#, missing),
        ("POST", "/getDataEndpoint", r#"{"StreamName":"x","APIName":"GET_MEDIA"}"#, missing),
        ("POST", "/deleteStream", r#"{"StreamARN":"arn:aws:kinesisvideo:us-east-1:1:stream/x/1"}"#, missing),
        (
            "POST",
            "/deleteStream",
            r#"{"StreamARN":"arn:aws:kinesisvideo:us-east-1:1:channel/gate/1"}"#,
            missing,
        ),
        ("POST", "/deleteStream", r#"{"StreamARN":"arn:aws:kinesisvideo:x"}"#, invalid),
        ("POST", "/deleteStream", r#"{"StreamARN":"arn:aws:s3:::b"}"#, invalid),
        ("POST", "/describeStream", r#"{"StreamName":"a b"}"#, invalid),
        (
            "POST",
            "/describeStream",
            r#"{"StreamName":"gate","StreamARN":"arn:aws:kinesisvideo:us-east-1:1:stream/x/1"}"#,
            invalid,
        ),
        ("POST", "/getMedia", r#"{"StreamName":"gate"}"#, invalid),
        (
            "POST",
            "/getMedia",
            r#"{"StreamName":"gate","StartSelector":{"StartSelectorType":"now"}}"#,
            invalid,
        ),
        ("POST", "/describeStream", "{}", invalid),
        ("POST", "/describeStream", "{", invalid),
        ("POST", "/createStream", r#"{"StreamName":"a b"}"#, invalid),
        ("POST", "/createStream", r#"{"StreamName":"a","DataRetentionInHours":87601}"#, invalid),
        ("POST", "/createStream", r#"{"StreamName":"a","DataRetentionInHours":-1}"#, invalid),
        ("POST", "/createStream", r#"{"StreamName":"a","MediaType":"nonsense"}"#, invalid),
        ("POST", "/createStream", r#"{"StreamName":"a","DeviceName":"a b"}"#, invalid),
        ("POST", "/createStream", r#"{"StreamName":"a","KmsKeyId":""}"#, invalid),
        ("POST", "/listStreams", r#"{"MaxResults":0}"#, invalid),
        ("POST", "/listStreams", r#"{"NextToken":"gate"}"#, invalid),
        ("POST", "/listStreams", r#"{"NextToken":"ff"}"#, invalid),
        ("POST", "/listStreams", r#"{"NextToken":"6"}"#, invalid),
        ("POST", "/putMedia", "", invalid),
        ("POST", "/GetMedia", "{}", unknown),
        ("POST", "/getDASHStreamingSessionURL", "{}", unknown),
        ("POST", "/getImages", "{}", unknown),
        ("GET", "/listStreams", "", unknown),
    ];
    for (method, path, body, (kind, status)) in cases {
        assert_error(&ask(&sim, method, path, body).await, status, kind);
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_fourth_connection_is_refused_until_one_closes() {
    let sim = sim();
    let stream = sim.store().stream_or_create("gate").expect("a valid name");
    append(&stream, 0).await;
    let request = r#"{"StreamName":"gate","StartSelector":{"StartSelectorType":"EARLIEST"}}"#;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = begin(&sim, "POST", "/getMedia", request, "").await;
        connection.read_until("AWS_KINESISVIDEO_CONTINUATION_TOKEN").await;
        open.push(connection);
    }
    assert_error(&post(&sim, "/getMedia", request).await, 400, "ConnectionLimitExceededException");
    open.pop();
    while stream.claim_reader().is_err() {
        tokio::task::yield_now().await;
    }
    sim.stop().await;
}

#[tokio::test]
async fn open_connections_end_with_the_server() {
    let sim = sim();
    let stream = sim.store().stream_or_create("gate").expect("a valid name");
    append(&stream, 0).await;
    let request = r#"{"StreamName":"gate","StartSelector":{"StartSelectorType":"EARLIEST"}}"#;
    let mut connection = begin(&sim, "POST", "/getMedia", request, "").await;
    connection.read_until("AWS_KINESISVIDEO_CONTINUATION_TOKEN").await;
    sim.store().stream_or_create("empty").expect("a valid name");
    let idle = r#"{"StreamName":"empty","StartSelector":{"StartSelectorType":"NOW"}}"#;
    let mut idle = begin(&sim, "POST", "/getMedia", idle, "").await;
    idle.read_until("HTTP/1.1 200 OK\r\n").await;
    let started = Instant::now();
    sim.stop().await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert!(connection.read_to_end().await.ends_with("\r\n0\r\n\r\n"), "the answer has its last chunk");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let sim = sim();
    let taken = SimConfig { listen: sim.address(), delivery: LiveDelivery::Block, ..SimConfig::default() };
    let error = Sim::start(taken).expect_err("the port is taken");
    assert!(matches!(error, SimError::Listen { .. }), "{error}");
    assert!(error.to_string().contains(&sim.address().to_string()), "{error}");
    sim.stop().await;
}
