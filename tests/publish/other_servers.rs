//! Servers in AWS's place that send no page: each call says that the answer is not AWS's, and what to check.

use kvs_infer::base::Verdict;
use kvs_infer::source::Kvs;
use test_support::moto;

use super::answers::{JSON, PLAIN_JSON, Said, Server, finding, said, stream_probes};

/// Answers of servers that are not AWS's and are not pages, each with its reported status.
fn of_other_servers() -> Vec<(&'static str, Said, u16)> {
    const TEXT: (&str, &str) = ("content-type", "text/plain");
    vec![
        ("200 []", said(200, &[JSON], "[]"), 200),
        ("200 rubbish", said(200, &[JSON], "it works!"), 200),
        ("400 {}", said(400, &[PLAIN_JSON], "{}"), 400),
        ("400 []", said(400, &[PLAIN_JSON], "[]"), 400),
        ("401", said(401, &[TEXT], "Unauthorized"), 401),
        ("403 empty", said(403, &[], ""), 403),
        ("404", said(404, &[TEXT], "404 page not found"), 404),
        ("404 as JSON", said(404, &[PLAIN_JSON], r#"{"error":"not found"}"#), 404),
        ("413 empty", said(413, &[], ""), 413),
        ("418", said(418, &[TEXT], "teapot"), 418),
        ("429 empty", said(429, &[], ""), 429),
        ("500 text", said(500, &[TEXT], "oops"), 500),
        ("503 empty", said(503, &[], ""), 503),
    ]
}

/// Asserts that a finding says that the answer is not AWS's, and what to check.
fn assert_not_aws(name: &str, status: u16, host: &str, text: &str) {
    let reported = format!("not from AWS: HTTP {status}");
    // Of S3 only the ETag is checked, and footage of a camera has no mark of its server.
    let words = ["has no ETag", "has no URL", &reported];
    assert!(words.iter().any(|words| text.contains(words)), "{name}: {text}");
    assert!(text.contains("AWS_ENDPOINT_URL"), "{name}: {text}");
    for other in ["create the", "correct what it names", "renew", "look at the producer"] {
        assert!(!text.contains(other), "{name}: {other:?} is in {text}");
    }
    if status >= 300 {
        assert!(text.contains(&format!("http_{status}")), "{name}: {text}");
        assert!(status == 413 || text.contains(&format!("in place of AWS at {host}")), "{name}: {text}");
    }
    assert_eq!(status >= 429, text.contains("tried again"), "{name}: {text}");
}

#[tokio::test]
async fn answers_of_other_servers_name_the_place_to_check_for_every_sink() {
    let server = Server::start().await;
    for (name, said, status) in of_other_servers() {
        for probe in [
            "kds/events",
            "kds/events write",
            "s3 write",
            "dynamodb/records",
            "dynamodb/records write",
            "positions/positions",
            "positions/positions write",
        ] {
            let (verdict, text) = finding(&server, probe, said.clone()).await;
            assert_eq!(verdict, Verdict::Fail, "{name} {probe}: {text}");
            assert_not_aws(&format!("{name} {probe}"), status, server.host(), &text);
            let lowers = text.contains("jpeg_quality");
            assert_eq!(lowers, status == 413 && probe == "s3 write", "{name} {probe}: {text}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn answers_of_other_servers_name_the_place_to_check_for_every_call_of_a_camera() {
    let server = Server::start().await;
    for (name, said, status) in of_other_servers() {
        for of_media in [false, true] {
            match of_media {
                false => server.says(Some(said.clone())),
                true => server.says_of_media(said.clone()),
            }
            let kvs = Kvs::new(&moto::config(&server.url));
            for probe in stream_probes(&kvs) {
                let (asked, finding) = (format!("{name} {}", probe.name), probe.finding.await);
                assert_eq!(finding.verdict, Verdict::Fail, "{asked}: {finding:?}");
                // The call for footage and the one for its session.
                assert_not_aws(&asked, status, server.host(), &finding.text);
            }
        }
    }
    server.stop().await;
}

/// The SDK takes some of them for a description that lacks all, and refuses others.
fn assert_describes_nothing(name: &str, text: &str) {
    let reports = ["describes nothing; a proxy", "not from AWS: HTTP 200: {"];
    assert!(reports.iter().any(|words| text.contains(words)), "{name}: {text}");
    assert!(text.contains("in place of AWS") && !text.contains("create"), "{name}: {text}");
}

#[tokio::test]
async fn what_describes_nothing_is_no_answer_of_aws() {
    let partial = r#"{"FailedRecordCount":1,"Records":[{"ErrorCode":"InternalFailure"}]}"#;
    let server = Server::start().await;
    for (probe, body) in [
        ("kds/events", "{}"),
        ("kds/events", r#"{"StreamDescriptionSummary":{}}"#),
        ("kds/events", r#"{"FailedRecordCount":0,"Records":[]}"#),
        ("kds/events", partial),
        ("dynamodb/records", "{}"),
        ("dynamodb/records", r#"{"Table":{}}"#),
        ("positions/positions", r#"{"Table":{"TableName":"positions"}}"#),
    ] {
        let (verdict, text) = finding(&server, probe, said(200, &[JSON], body)).await;
        assert_eq!(verdict, Verdict::Fail, "{probe} {body}: {text}");
        assert_describes_nothing(&format!("{probe} {body}"), &text);
    }
    for body in ["{}", r#"{"StreamInfo":{}}"#] {
        server.says(Some(said(200, &[JSON], body)));
        let kvs = Kvs::new(&moto::config(&server.url));
        let found = stream_probes(&kvs).find(|probe| probe.name == "stream front").unwrap();
        let found = found.finding.await;
        assert_eq!(found.verdict, Verdict::Fail, "{body}: {found:?}");
        assert_describes_nothing(body, &found.text);
    }
    server.stop().await;
}
