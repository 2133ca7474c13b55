//! Each answer of AWS, and of servers in its place, with its remedy; and that none in its place counts as a delivery.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use kvs_infer::base::{Probe, ProbeOccasion, Verdict};
use kvs_infer::delivery::{Clients, EventOutbox, OutboxSpec, Route, SinkState, SinkStatus, probes};
use kvs_infer::render::{SnapshotFormat, SnapshotSpec};
use kvs_infer::sinks::{DdbSpec, PublishSpec, S3Spec, Sse};
use kvs_infer::snapshot::SnapshotRoute;
use kvs_infer::source::Kvs;
use serde_json::{Value, json};
use test_support::moto;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::event::{self, event, frame, pending, state};

const SECOND: Duration = Duration::from_secs(1);
pub(super) const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");
pub(super) const PLAIN_JSON: (&str, &str) = ("content-type", "application/json");
const XML: (&str, &str) = ("content-type", "application/xml");
const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");
const PORTAL: &str = "<html><head><title>Log in</title></head><body>captive portal</body></html>";

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Said {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// The answers of a server.
#[derive(Clone, Debug, Default)]
struct Script {
    /// `None`: good answers.
    said: Option<Said>,
    /// The data endpoint that it names; `None`: it answers that call like any other.
    data_endpoint: Option<String>,
}

/// A server that gives the same answer to everything, but for good ones where it has none.
pub(super) struct Server {
    pub(super) url: String,
    script: Arc<Mutex<Script>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::<Mutex<Script>>::default();
        let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&script));
        let (stop, stopped) = oneshot::channel();
        let server = axum::serve(listener, app).with_graceful_shutdown(async { drop(stopped.await) });
        Self { url, script, stop, task: tokio::spawn(async move { server.await.unwrap() }) }
    }

    pub(super) fn says(&self, said: Option<Said>) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = Script { said, data_endpoint: None };
    }

    /// Answers GetDataEndpoint well, and all else so.
    pub(super) fn says_of_media(&self, said: Said) {
        let script = Script { said: Some(said), data_endpoint: Some(self.url.clone()) };
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    pub(super) fn host(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(super) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let script = script.lock().unwrap().clone();
    let endpoint = script.data_endpoint.filter(|_| uri.path() == "/getDataEndpoint");
    let said = match endpoint {
        Some(url) => said(200, &[JSON], &json!({ "DataEndpoint": url }).to_string()),
        None => script.said.unwrap_or_else(|| good(&headers, &body)),
    };
    let header =
        |(name, value): &(&'static str, String)| (HeaderName::from_static(name), value.parse().unwrap());
    (StatusCode::from_u16(said.status).unwrap(), said.headers.iter().map(header).collect(), said.body)
}

/// As AWS answers when all is well.
fn good(headers: &HeaderMap, body: &[u8]) -> Said {
    let target = headers.get("x-amz-target").map_or("", |target| target.to_str().unwrap());
    match target.split_once('.') {
        Some((_, "PutRecords")) => {
            let asked: Value = serde_json::from_slice(body).unwrap();
            let record = json!({ "SequenceNumber": "1", "ShardId": "shardId-000000000000" });
            let records = vec![record; asked["Records"].as_array().unwrap().len()];
            said(200, &[JSON], &json!({ "FailedRecordCount": 0, "Records": records }).to_string())
        }
        Some(_) => said(200, &[JSON], "{}"),
        None => said(200, &[("etag", "\"abc\"")], ""),
    }
}

pub(super) fn said(status: u16, headers: &[(&'static str, &str)], body: &str) -> Said {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Said { status, headers, body: body.to_owned() }
}

fn xml(status: u16, code: &str, message: &str) -> Said {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    said(status, &[XML, ("x-amz-request-id", "R1")], &body)
}

fn with(mut answer: Said, header: &'static str, value: &str) -> Said {
    answer.headers.push((header, value.to_owned()));
    answer
}

fn js(code: &str, message: &str) -> Said {
    said(400, &[JSON], &json!({ "__type": code, "message": message }).to_string())
}

fn spec(folder: &Path, url: &str) -> OutboxSpec {
    let publish = PublishSpec {
        s3: Some(S3Spec { bucket: "pictures".into(), prefix: "snapshots".into(), sse: Sse::Aes256 }),
        ddb: Some(DdbSpec { table: "records".into(), ttl_days: None }),
        snapshots: Some(SnapshotSpec { format: SnapshotFormat::Jpg, jpeg_quality: 90 }),
        ..PublishSpec::default()
    };
    OutboxSpec {
        sinks: publish.sinks(vec![route()]),
        dead_letter: folder.join("dead-letter.jsonl"),
        state: state(folder),
        clients: Some(Clients::new(&moto::config(url), true)),
        sharing: None,
    }
}

fn route() -> Arc<Route> {
    let snapshot = SnapshotRoute { prefix: "front/".into(), upload_crops: true };
    Arc::new(Route { kds_stream: Some("events".into()), snapshot: Some(snapshot), clip: None })
}

/// Returns the finding of `check --live` where the server answers this.
pub(super) async fn finding(server: &Server, probe: &str, said: Said) -> (Verdict, String) {
    let folder = tempfile::tempdir().unwrap();
    server.says(Some(said));
    let mut spec = spec(folder.path(), &server.url);
    spec.state.ddb_table = Some("positions".into());
    let asked = probes(&spec, ProbeOccasion::Command).into_iter().find(|asked| asked.name == probe);
    let found = asked.unwrap_or_else(|| panic!("no probe {probe}")).finding.await;
    (found.verdict, found.sentence())
}

async fn assert_failures(probe: &str, table: Vec<(&str, Said, &[&str])>) {
    let server = Server::start().await;
    for (name, said, words) in table {
        let (verdict, text) = finding(&server, probe, said).await;
        assert_eq!(verdict, Verdict::Fail, "{name}: {text}");
        for word in words {
            assert!(text.contains(word), "{name}: {word:?} is not in {text}");
        }
        assert!(!text.contains("correct what it names; the service"), "{name} has no remedy: {text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn regions_and_keys_of_s3_by_table() {
    const KMS_DENIED: &str = "User: arn:aws:sts::123456789012:assumed-role/task/x is not authorized to perform: \
                              kms:GenerateDataKey on resource: arn:aws:kms:us-east-1:123456789012:key/1";
    const WRONG: &str =
        "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-3'";
    let moved =
        "<Error><Code>PermanentRedirect</Code><Endpoint>p.s3.eu-west-2.amazonaws.com</Endpoint></Error>";
    let region = |answer| with(answer, "x-amz-bucket-region", "eu-west-1");
    let table: Vec<(&str, Said, &[&str])> = vec![
        (
            "301",
            region(xml(301, "PermanentRedirect", "use another")),
            &["in the region eu-west-1", "AWS_REGION"],
        ),
        ("301, endpoint", said(301, &[XML], moved), &["in the region eu-west-2"]),
        ("307", xml(307, "TemporaryRedirect", "re-send"), &["tried again until"]),
        (
            "400, other region",
            region(xml(400, "AuthorizationHeaderMalformed", WRONG)),
            &["in the region eu-west-1"],
        ),
        (
            "400, by its message",
            xml(400, "AuthorizationHeaderMalformed", WRONG),
            &["in the region eu-west-3"],
        ),
        ("location", xml(400, "IllegalLocationConstraintException", "no"), &["in another region"]),
        (
            "denied",
            xml(403, "AccessDenied", "explicit deny"),
            &["explicit deny", "allow s3:PutObject", "s3_sse"],
        ),
        ("kms denied", xml(403, "AccessDenied", KMS_DENIED), &["allow kms:GenerateDataKey on the KMS key"]),
        (
            "kms disabled",
            xml(400, "KMS.DisabledException", "k is disabled."),
            &["enable the KMS key", "s3_kms_key"],
        ),
        (
            "kms unknown",
            xml(400, "KMS.NotFoundException", "Invalid keyId"),
            &["no such KMS key", "s3_kms_key"],
        ),
        (
            "kms deleted",
            xml(400, "KMS.KMSInvalidStateException", "pending deletion"),
            &["cancel its deletion"],
        ),
    ];
    assert_failures("s3 write", table).await;
}

#[tokio::test]
async fn refusals_of_s3_by_table() {
    let table: Vec<(&str, Said, &[&str])> = vec![
        (
            "skew",
            xml(403, "RequestTimeTooSkewed", "too large"),
            &["set the clock of this host (chrony, timedatectl)"],
        ),
        ("expired", xml(400, "ExpiredToken", "expired"), &["renew the credentials"]),
        ("token", xml(400, "InvalidToken", "malformed"), &["AWS_SESSION_TOKEN"]),
        ("bad key", xml(403, "InvalidAccessKeyId", "no such key"), &["AWS_ACCESS_KEY_ID"]),
        ("signature", xml(403, "SignatureDoesNotMatch", "no match"), &["AWS_SECRET_ACCESS_KEY"]),
        ("account", xml(403, "AccountProblem", "bills"), &["AWS Support"]),
        ("not enabled", xml(403, "OptInRequired", "opt in"), &["not enabled this service or region"]),
        ("no bucket", xml(404, "NoSuchBucket", "none"), &["create the bucket", "publishers.s3_bucket"]),
        ("method", xml(405, "MethodNotAllowed", "no"), &["AWS_ENDPOINT_URL"]),
        ("conflict", xml(409, "OperationAborted", "other"), &["tried again"]),
        ("length", xml(411, "MissingContentLength", "no length"), &["check proxies"]),
        ("too large", xml(413, "EntityTooLarge", "large"), &["jpeg_quality"]),
        ("acl", xml(400, "AccessControlListNotSupported", "no ACLs"), &["x-amz-acl", "Object Ownership"]),
        ("checksum", xml(400, "XAmzContentSHA256Mismatch", "no match"), &["on the way changes the content"]),
        ("object lock", xml(400, "InvalidRequest", "Content-MD5 for Object Lock"), &["Object Lock"]),
        ("slow down", xml(503, "SlowDown", "reduce"), &["tried again more slowly", "Service Quotas"]),
        ("500", xml(500, "InternalError", "again"), &["a fault of the service", "tried again"]),
    ];
    assert_failures("s3 write", table).await;
}

#[tokio::test]
async fn answers_in_place_of_s3_by_table() {
    let table: Vec<(&str, Said, &[&str])> = vec![
        (
            "502 page",
            said(502, &[HTML], "<h1>502 Bad Gateway</h1>"),
            &["not from AWS: HTTP 502: 502 Bad Gateway", "tried again"],
        ),
        (
            "403 page",
            said(403, &[HTML], "<h1>Blocked</h1>"),
            &["not from AWS: HTTP 403: Blocked", "captive portal"],
        ),
        ("503 empty", said(503, &[], ""), &["not from AWS: HTTP 503: no text", "tried again"]),
        (
            "403 empty",
            said(403, &[("x-amz-request-id", "R1")], ""),
            &["HTTP 403: no message", "allow s3:PutObject"],
        ),
        ("413 empty", said(413, &[], ""), &["http_413", "not from AWS", "jpeg_quality"]),
        ("407", said(407, &[HTML], "<h1>Auth</h1>"), &["user and password", "HTTPS_PROXY"]),
        ("511", said(511, &[HTML], "<h1>Sign in</h1>"), &["requires a sign-in"]),
        (
            "200 page",
            said(200, &[HTML], PORTAL),
            &["not from AWS: HTTP 200: Log in captive portal", "HTTPS_PROXY"],
        ),
        ("200 page as XML", said(200, &[XML], PORTAL), &["no ETag", "in place of AWS"]),
        ("200 empty", said(200, &[], ""), &["no ETag", "in place of AWS"]),
        ("204", said(204, &[], ""), &["no ETag", "in place of AWS"]),
    ];
    assert_failures("s3 write", table).await;
}

#[tokio::test]
async fn answers_of_kinesis_by_table() {
    const TIME: &str = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z";
    let canonical = "The request signature we calculated does not match.\n\nThe Canonical String for this request should have \
                     been\n'POST\nx-amz-security-token:SECRET";
    let table: Vec<(&str, Said, &[&str])> = vec![
        ("kms denied", js("KMSAccessDeniedException", "no"), &["allow kms:GenerateDataKey and kms:Decrypt"]),
        ("kms disabled", js("KMSDisabledException", "key is disabled"), &["enable the KMS key"]),
        ("kms unknown", js("KMSNotFoundException", "none"), &["no such KMS key"]),
        ("kms state", js("KMSInvalidStateException", "pending"), &["cancel its deletion"]),
        ("kms quota", js("KMSThrottlingException", "slow"), &["quota of KMS requests", "Service Quotas"]),
        ("kms opt in", js("KMSOptInRequired", "no"), &["has not enabled KMS"]),
        ("no stream", js("ResourceNotFoundException", "not found"), &["create the stream"]),
        ("denied", js("AccessDeniedException", "kinesis:PutRecords"), &["allow kinesis:PutRecords"]),
        ("bad token", js("UnrecognizedClientException", "invalid"), &["AWS_ACCESS_KEY_ID"]),
        ("expired", js("ExpiredTokenException", "expired"), &["renew the credentials"]),
        (
            "skew",
            js("InvalidSignatureException", TIME),
            &["set the clock of this host (chrony, timedatectl)"],
        ),
        ("secret", js("InvalidSignatureException", canonical), &["AWS_SECRET_ACCESS_KEY"]),
        ("incomplete", js("IncompleteSignatureException", "Credential=A/b"), &["AWS_SECRET_ACCESS_KEY"]),
        ("unsigned", js("MissingAuthenticationTokenException", "missing"), &["without its signature"]),
        ("subscription", js("SubscriptionRequiredException", "no"), &["not enabled this service"]),
        ("unknown", js("UnknownOperationException", ""), &["AWS_ENDPOINT_URL"]),
        ("throughput", js("ProvisionedThroughputExceededException", "rate"), &["add shards"]),
        ("throttled", js("ThrottlingException", "rate"), &["Service Quotas"]),
        ("limit", js("LimitExceededException", "rate"), &["Service Quotas"]),
        ("busy", js("InternalFailure", "again"), &["a fault of the service"]),
        (
            "503 page",
            said(503, &[HTML], "<html>proxy error</html>"),
            &["not from AWS: HTTP 503: proxy error"],
        ),
        ("200 page", said(200, &[HTML], PORTAL), &["not from AWS: HTTP 200: Log in captive portal"]),
        ("200 page as JSON", said(200, &[JSON], PORTAL), &["not from AWS: HTTP 200: Log in captive portal"]),
        ("200 text", said(200, &[("content-type", "text/plain")], "ok"), &["not from AWS: HTTP 200: ok"]),
        ("200 empty", said(200, &[], ""), &["not from AWS: HTTP 200: no text"]),
        ("fewer", said(200, &[JSON], r#"{"FailedRecordCount":0,"Records":[]}"#), &["no result for a record"]),
        ("no records", said(200, &[JSON], "{}"), &["no result for a record", "in place of AWS"]),
        ("nothing", said(200, &[JSON], r#"{"Records":[{}]}"#), &["without a sequence number"]),
    ];
    assert_failures("kds/events write", table).await;
}

#[tokio::test]
async fn answers_of_dynamodb_by_table() {
    const INDEX: &str = "One or more parameter values were invalid: Type mismatch for Index Key text Expected: S Actual: NULL \
                         IndexName: text-index";
    let coral = |code: &str, message| js(&format!("com.amazon.coral.service#{code}"), message);
    let kms = "KMS key access denied error: Access to KMS is not allowed";
    let table: Vec<(&str, Said, &[&str])> = vec![
        ("denied", coral("AccessDeniedException", "dynamodb:PutItem"), &["allow dynamodb:PutItem"]),
        ("key", coral("ValidationException", "Missing the key event_id"), &["its key must be event_id (S)"]),
        ("index", coral("ValidationException", INDEX), &["the index text-index", "remove"]),
        ("collection", coral("ItemCollectionSizeLimitExceededException", "x"), &["10 GB"]),
        (
            "kms",
            coral("AccessDeniedException", kms),
            &["allow kms:GenerateDataKey and kms:Decrypt on the KMS key"],
        ),
        (
            "inaccessible",
            coral("ResourceNotFoundException", "Table is in INACCESSIBLE_ENCRYPTION_CREDENTIALS"),
            &["enable the table's KMS key"],
        ),
        ("replicated", coral("ReplicatedWriteConflictException", "x"), &["another writer", "tried again"]),
        ("requests", coral("RequestLimitExceeded", "x"), &["Service Quotas"]),
        ("throughput", coral("ProvisionedThroughputExceededException", "x"), &["raise its write capacity"]),
        ("no table", coral("ResourceNotFoundException", "x"), &["create the table"]),
        ("in use", coral("ResourceInUseException", "x"), &["wait until it is ACTIVE"]),
        ("500", said(500, &[JSON], r#"{"__type":"InternalServerError"}"#), &["a fault of the service"]),
        ("200 page", said(200, &[HTML], PORTAL), &["not from AWS: HTTP 200"]),
        ("200 page as JSON", said(200, &[JSON], PORTAL), &["not from AWS: HTTP 200"]),
        ("200 empty", said(200, &[], ""), &["not from AWS: HTTP 200"]),
        ("200 empty as JSON", said(200, &[JSON], ""), &["not from AWS: HTTP 200"]),
        ("200 text", said(200, &[("content-type", "text/plain")], "{}"), &["not from AWS: HTTP 200"]),
        ("200 {} of another server", said(200, &[PLAIN_JSON], "{}"), &["not from AWS: HTTP 200: {}"]),
        ("200 {}", said(200, &[JSON], "{}"), &["has no request id", "in place of AWS"]),
    ];
    assert_failures("dynamodb/records write", table).await;
}

/// An error of Kinesis Video Streams.
fn rest(status: u16, code: &'static str, message: &str) -> Said {
    let body = json!({ "message": message }).to_string();
    said(status, &[("content-type", "application/json"), ("x-amzn-errortype", code)], &body)
}

#[tokio::test]
async fn answers_of_kinesis_video_by_table() {
    const TIME: &str = "Signature not yet current: 20260101T001000Z is still later than 20260101T000000Z";
    const KMS: &str = "User is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:key/1";
    let rows: Vec<(&str, Said, &[&str])> = vec![
        ("no stream", rest(404, "ResourceNotFoundException", "none"), &["does not exist", "kvs_stream_name"]),
        (
            "denied",
            rest(401, "NotAuthorizedException", "no"),
            &["grant kinesisvideo:GetDataEndpoint to this role"],
        ),
        ("kms", rest(401, "NotAuthorizedException", KMS), &["allow kms:Decrypt on the KMS key"]),
        (
            "skew",
            rest(403, "InvalidSignatureException", TIME),
            &["set the clock of this host (chrony, timedatectl)"],
        ),
        ("secret", rest(403, "InvalidSignatureException", "no match"), &["AWS_SECRET_ACCESS_KEY"]),
        ("expired", rest(403, "ExpiredTokenException", "expired"), &["renew the credentials"]),
        ("token", rest(403, "UnrecognizedClientException", "invalid"), &["AWS_SESSION_TOKEN"]),
        ("not enabled", rest(403, "SubscriptionRequiredException", "no"), &["not enabled this service"]),
        ("throttled", rest(400, "ClientLimitExceededException", "slow"), &["throttled by GetDataEndpoint"]),
        ("busy", rest(500, "InternalFailure", "again"), &["a fault of the service", "tried again"]),
        ("503 page", said(503, &[HTML], "<h1>Down</h1>"), &["not from AWS: HTTP 503: Down"]),
        ("200 page", said(200, &[HTML], PORTAL), &["not from AWS: HTTP 200: Log in captive portal"]),
        ("200 page as JSON", said(200, &[JSON], PORTAL), &["not from AWS: HTTP 200: Log in captive portal"]),
        ("rubbish", said(200, &[JSON], r#"{"DataEndpoint":"x"}"#), &["names no endpoint", "in place of AWS"]),
        ("no endpoint", said(200, &[JSON], "{}"), &["the answer names no endpoint", "in place of AWS"]),
        ("nothing", said(200, &[], ""), &["the answer names no endpoint", "in place of AWS"]),
    ];
    let server = Server::start().await;
    for (name, said, words) in rows {
        server.says(Some(said));
        let kvs = Kvs::new(&moto::config(&server.url));
        for probe in stream_probes(&kvs) {
            let (asked, finding) = (probe.name, probe.finding.await);
            let only_asked_here = finding.text.contains("DescribeStream");
            assert!(finding.verdict == Verdict::Fail || only_asked_here, "{name} {asked}: {finding:?}");
            let text = &finding.text;
            assert!(
                only_asked_here || words.iter().all(|word| text.contains(word)),
                "{name} {asked}: {text}"
            );
        }
    }
    server.stop().await;
}

/// Returns the probes of a stream, by GetMedia and by HLS.
pub(super) fn stream_probes(kvs: &Kvs) -> impl Iterator<Item = Probe> + use<> {
    let opened = [kvs.footage_probe("front"), kvs.session_probe("front")];
    opened.into_iter().chain(kvs.stored_probes("front", false)).chain(kvs.stored_probes("front", true))
}

#[tokio::test]
async fn no_text_holds_what_signs_a_request() {
    let server = Server::start().await;
    let canonical =
        "no match.\n\nThe Canonical String for this request should have been\nx-amz-security-token:HUSH";
    for (probe, said) in [
        ("kds/events write", js("InvalidSignatureException", canonical)),
        ("kds/events write", js("IncompleteSignatureException", "Authorization=AWS4 Signature=HUSH")),
        ("s3 write", said(502, &[HTML], "no way to https://p.test/k?X-Amz-Signature=HUSH")),
    ] {
        let (_, text) = finding(&server, probe, said).await;
        assert!(!text.contains("HUSH"), "{text}");
    }
    server.stop().await;
}

fn status<'a>(statuses: &'a [SinkStatus], name: &str) -> &'a SinkStatus {
    statuses.iter().find(|status| status.name == name).unwrap()
}

#[tokio::test]
async fn what_is_not_aws_takes_nothing_and_aws_gets_all_of_it_afterwards() {
    const SINKS: [&str; 3] = ["kds/events", "s3", "dynamodb/records"];
    let in_its_place = [
        ("a page", said(200, &[HTML], PORTAL)),
        ("a page under a wrong type", said(200, &[("content-type", "application/x-amz-json-1.0")], PORTAL)),
        ("nothing", said(200, &[], "")),
        ("another status", said(204, &[], "")),
        ("JSON of another server", said(200, &[PLAIN_JSON], "{}")),
    ];
    for (name, said) in in_its_place {
        let (server, folder) = (Server::start().await, tempfile::tempdir().unwrap());
        server.says(Some(said));
        let outbox = EventOutbox::start(spec(folder.path(), &server.url)).await.unwrap();
        let mut offered = pending(event("front", 1), &route());
        offered.frame = Some(frame("front"));
        event::offer(&outbox, offered).await.unwrap();
        let failing = |all: &[SinkStatus]| SINKS.iter().all(|sink| status(all, sink).state != SinkState::Ok);
        let statuses = timeout(60 * SECOND, outbox.until(failing)).await.unwrap();
        for sink in SINKS {
            let SinkState::Failing { reason, .. } = &status(&statuses, sink).state else { unreachable!() };
            assert!(reason.contains("AWS"), "{name}: {reason}");
            assert_eq!(
                (status(&statuses, sink).delivered, status(&statuses, sink).queued),
                (0, 1),
                "{name} {sink}"
            );
        }
        server.says(None);
        let delivered = |all: &[SinkStatus]| SINKS.iter().all(|sink| status(all, sink).delivered == 1);
        timeout(60 * SECOND, outbox.until(delivered)).await.unwrap();
        assert_eq!(outbox.flush(20 * SECOND).await, [], "{name}");
        server.stop().await;
    }
}
