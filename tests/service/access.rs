//! Access to AWS: credentials of each kind, certificates that the environment adds, and proxies.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum_server::tls_rustls::RustlsConfig;
use kvs_sim::{Sim, SimConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tempfile::TempDir;
use test_support::colours::{FRAMES, camera, film, sim, store};
use test_support::kvs_infer_command;
use test_support::moto::Moto;
use test_support::program::Program;
use tokio::task::JoinHandle;

use super::live_check::{LiveCheckOutput, NOWHERE, config, live_check};

const PROFILES: &str = "
[profile sso]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Dev
[sso-session corp]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
sso_registration_scopes = sso:account:access
[profile oldsso]
sso_start_url = https://corp.awsapps.com/start
sso_region = eu-west-1
sso_account_id = 123456789012
sso_role_name = Dev
[profile nosession]
sso_session = elsewhere
sso_account_id = 123456789012
sso_role_name = Dev
[profile norole]
sso_session = corp
sso_account_id = 123456789012
[profile login]
login_session = arn:aws:iam::123456789012:user/x
[profile works]
credential_process = printf '{\"Version\":1,\"AccessKeyId\":\"AKIAPROC\",\"SecretAccessKey\":\"s\"}'
[profile fails]
credential_process = sh -c 'echo \"sign in first, token=HUSH\" >&2; echo more >&2; exit 3'
[profile silent]
credential_process = exit 4
[profile rubbish]
credential_process = echo no
[profile orphan]
role_arn = arn:aws:iam::123456789012:role/r
source_profile = gone
[profile loop]
role_arn = arn:aws:iam::123456789012:role/r
source_profile = sso
[profile code]
role_arn = arn:aws:iam::123456789012:role/r
source_profile = works
mfa_serial = arn:aws:iam::123456789012:mfa/m
[profile web]
role_arn = arn:aws:iam::123456789012:role/r
web_identity_token_file = /none/token
[profile half]
aws_access_key_id = AKIAHALF
[profile stale]
credential_process = printf '{\"Version\":1,\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"HUSH\",\"Expiration\":\"2020-01-02T03:04:05Z\"}'
[profile self]
role_arn = arn:aws:iam::123456789012:role/r
source_profile = self
[profile ring]
role_arn = arn:aws:iam::123456789012:role/r
source_profile = ring2
[profile ring2]
role_arn = arn:aws:iam::123456789012:role/r
source_profile = ring
[bare]
region = eu-west-1
[profile bare-source]
role_arn = arn:aws:iam::123456789012:role/r
source_profile = bare
[profile empty]
region = eu-west-1
";

/// Returns the answer of `check --live` with these profiles and without keys in the environment.
fn ask_as(aws: &str, variables: &[(&str, &str)]) -> LiveCheckOutput {
    let home = TempDir::new().unwrap();
    let file = home.path().join("config");
    std::fs::write(&file, PROFILES).unwrap();
    let (home, file) = (home.path().to_str().unwrap(), file.to_str().unwrap());
    let mut all = vec![
        ("HOME", home),
        ("KVS_INFER_CACHE", home),
        ("AWS_CONFIG_FILE", file),
        ("AWS_ACCESS_KEY_ID", ""),
        ("AWS_SECRET_ACCESS_KEY", ""),
    ];
    all.extend_from_slice(variables);
    live_check(&config(), NOWHERE, aws, &all)
}

fn assert_no_credentials(name: &str, variables: &[(&str, &str)], words: &[&str]) {
    let report = ask_as(NOWHERE, variables);
    for word in words {
        report.assert("credentials", "fail", word);
    }
    let (_, finding) = &report.answers["credentials"];
    assert!(!finding.contains("already taken") && !finding.contains("HUSH"), "{name}: {finding}");
    assert_eq!(report.code, Some(69), "{name}: {}", report.stderr);
}

#[test]
fn profiles_without_credentials_say_why_by_table() {
    let table: [(&str, &[&str]); 20] = [
        ("nosuch", &["\"nosuch\", which is not in /", "profiles there: bare-source, code, empty, fails,"]),
        ("sso", &["failed to load the cached SSO token", "run aws sso login --profile sso"]),
        ("oldsso", &["run aws sso login --profile oldsso"]),
        ("nosession", &["sso-session \"elsewhere\", which is not in", "add [sso-session elsewhere]"]),
        ("norole", &["has no sso_role_name", "aws configure sso"]),
        ("login", &["run aws login --profile login"]),
        ("fails", &["it ended with 3: sign in first, token=...;", "by hand"]),
        ("silent", &["it ended with 4: it printed no reason"]),
        ("rubbish", &["credential_process of the profile rubbish gives no credentials: ", "Version 1"]),
        ("orphan", &["source_profile of the profile orphan names the profile \"gone\""]),
        ("loop", &["run aws sso login --profile sso"]),
        ("code", &["mfa_serial"]),
        ("web", &["the web identity of the profile web", "web_identity_token_file"]),
        ("half", &["profile half", "aws_secret_access_key"]),
        (
            "stale",
            &["of the profile stale gives credentials that expired at 2020-01-02T03:04:05Z", "by hand"],
        ),
        ("self", &["is circular: the profile self to self", "source_profile of the last role"]),
        ("ring", &["is circular: the profile ring to ring2 to ring"]),
        ("bare", &["\"bare\", which is not in", "write [profile bare] in place of [bare]"]),
        ("bare-source", &["source_profile of the profile bare-source", "write [profile bare] in place of"]),
        ("empty", &["no keys in the profile empty", "give the task a role, or set AWS_PROFILE"]),
    ];
    for (profile, words) in table {
        assert_no_credentials(profile, &[("AWS_PROFILE", profile)], words);
    }
}

#[test]
fn an_environment_without_credentials_says_why_by_table() {
    let pod = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/none/token"), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")];
    let task = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/role")];
    let half = [("AWS_ACCESS_KEY_ID", "A")];
    assert_no_credentials("half a key", &half, &["AWS_SECRET_ACCESS_KEY is not", "set both"]);
    assert_no_credentials("a pod", &pod, &["AWS_WEB_IDENTITY_TOKEN_FILE gives no credentials", "is mounted"]);
    assert_no_credentials(
        "a task",
        &task,
        &["(AWS_CONTAINER_CREDENTIALS_FULL_URI) gives no credentials", "taskRoleArn"],
    );
}

#[test]
fn a_region_of_a_profile_that_is_missing_names_the_profile() {
    let report = ask_as(NOWHERE, &[("AWS_PROFILE", "nosuch"), ("AWS_REGION", "")]);
    assert_eq!(report.code, Some(78), "{}", report.stderr);
    for words in ["no AWS region", "the profile \"nosuch\", which is not in /", "or set AWS_REGION"] {
        assert!(report.stderr.contains(words), "{}", report.stderr);
    }
}

#[test]
fn a_credential_process_is_asked() {
    let moto = Moto::start();
    ask_as(&moto.url, &[("AWS_PROFILE", "works")]).assert("credentials", "ok", "arn:aws:");
}

#[test]
fn files_of_aws_may_be_named_from_the_home_folder() {
    let (moto, home) = (Moto::start(), TempDir::new().unwrap());
    std::fs::write(home.path().join("profiles"), "[profile role]\nsource_profile = k\n").unwrap();
    std::fs::write(home.path().join("keys"), "[role]\naws_access_key_id = A\naws_secret_access_key = S\n")
        .unwrap();
    let variables = [
        ("HOME", home.path().to_str().unwrap()),
        ("AWS_CONFIG_FILE", "~/profiles"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/keys"),
        ("AWS_PROFILE", "role"),
    ];
    ask_as(&moto.url, &variables).assert("credentials", "ok", "arn:aws:");
}

/// A server that says the same to all, and keeps what it was asked for.
pub(super) struct Web {
    pub(super) url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Web {
    pub(super) async fn start(status: u16, kind: &'static str, body: String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&asked);
        let answer = move |State(body): State<String>, uri: Uri| async move {
            kept.lock().unwrap().push(uri.to_string());
            (StatusCode::from_u16(status).unwrap(), [("content-type", kind)], body)
        };
        let app = axum::Router::new().fallback(answer).with_state(body);
        Self { url, asked, task: tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }) }
    }

    pub(super) fn stop(self) -> Vec<String> {
        self.task.abort();
        self.asked.lock().unwrap().clone()
    }
}

/// SHA-1 of `corp`, under which AWS's tools keep the sign-in of that session.
const CORP: &str = "ee0bfd2552fbd840c02cc48b6e823320543c450f";

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_of_identity_center_gives_the_keys_of_its_role() {
    let keys = json!({ "roleCredentials": { "accessKeyId": "AKIASSO", "secretAccessKey": "s", "sessionToken": "t",
                       "expiration": 4_102_444_800_000_u64 } });
    let portal = Web::start(200, "application/json", keys.to_string()).await;
    let home = TempDir::new().unwrap();
    let cache = home.path().join(".aws/sso/cache");
    std::fs::create_dir_all(&cache).unwrap();
    let token = json!({ "accessToken": "HUSH", "expiresAt": "2099-01-01T00:00:00Z", "region": "eu-west-1",
                        "startUrl": "https://corp.awsapps.com/start" });
    std::fs::write(cache.join(format!("{CORP}.json")), token.to_string()).unwrap();
    let home = home.path().to_str().unwrap();
    let variables = [("HOME", home), ("AWS_PROFILE", "sso"), ("AWS_ENDPOINT_URL_SSO", portal.url.as_str())];
    let report = ask_as(&portal.url, &variables);
    let asked = portal.stop();
    assert!(
        asked.iter().any(|uri| uri.starts_with("/federation/credentials")),
        "{asked:?} {:?}",
        report.answers
    );
    report.assert("credentials", "warn", "they exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_of_a_task_is_asked_past_proxies() {
    let keys = json!({ "AccessKeyId": "AKIATASK", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z" });
    let endpoint = Web::start(200, "application/json", keys.to_string()).await;
    let uri = format!("{}/role", endpoint.url);
    let mut variables = proxied(NOWHERE).to_vec();
    variables.push(("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri));
    let report = ask_as(NOWHERE, &variables);
    let asked = endpoint.stop();
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked == "/role"), "{asked:?}");
    report.assert("credentials", "warn", "they exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_not_followed_where_something_else_answers() {
    for (name, kind, body, words) in [
        ("a page", "text/html", "<html>log in</html>", "not from AWS: HTTP 200: log in"),
        ("no shards", "application/x-amz-json-1.1", "{}", "the answer of ListShards has no shards"),
    ] {
        let server = Web::start(200, kind, body.to_owned()).await;
        let mut command = kvs_infer_command!();
        command.args(["events", "--stream", "s", "--seconds", "20"]).env("AWS_REGION", "us-east-1");
        command
            .env("AWS_ACCESS_KEY_ID", "a")
            .env("AWS_SECRET_ACCESS_KEY", "a")
            .env("AWS_ENDPOINT_URL", &server.url);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{name}: {error}");
        assert!(error.contains(words) && error.contains("in place of AWS"), "{name}: {error}");
        assert!(!server.stop().is_empty(), "{name}");
    }
}

pub(super) async fn tls_sim() -> (Sim, TempDir, String) {
    let sim = Sim::start(SimConfig { tls: true, ..SimConfig::default() }).unwrap();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sim.pem");
    std::fs::write(&file, sim.certificate_pem().unwrap()).unwrap();
    (sim, folder, file.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_over_tls_that_a_bundle_of_the_environment_trusts() {
    let (clips, (sim, _folder, bundle)) = (tempfile::tempdir().unwrap(), tls_sim().await);
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    for mode in ["GETMEDIA", "HLS"] {
        let playback = format!("{{ mode: {mode}, start: EARLIEST }}");
        let camera = camera("front").replace("{ start: EARLIEST }", &playback);
        let config = format!("publishers:\n  local_dir: events\ndevice: cpu\ncameras:\n{camera}");
        let mut command = kvs_infer_command!();
        command.env("AWS_CA_BUNDLE", &bundle);
        let program = Program::start_in(command, TempDir::new().unwrap(), &config, &sim.endpoint(), None);
        program.camera_after("front", FRAMES);
        let ended = program.stop();
        assert!(ended.status.success(), "{mode}: {:#?}", ended.log);
    }
    let report = live_check(&config(), &sim.endpoint(), NOWHERE, &[("AWS_CA_BUNDLE", &bundle)]);
    report.assert("stream front-stream", "ok", "ACTIVE");
    let report = live_check(&config(), &sim.endpoint(), NOWHERE, &[("SSL_CERT_FILE", &bundle)]);
    report.assert("stream front-stream", "ok", "ACTIVE");
    let report = live_check(&config(), &sim.endpoint(), NOWHERE, &[]);
    report.assert(
        "stream front-stream",
        "fail",
        "name a file with the issuer's certificate (PEM) in AWS_CA_BUNDLE",
    );
    sim.stop().await;
}

/// Runs a command with a bundle; its exit code and what it wrote to standard error.
fn with_bundle(arguments: &[&str], folder: &Path, bundle: &Path) -> (Option<i32>, String) {
    let mut command = kvs_infer_command!();
    command.args(arguments).current_dir(folder).env("AWS_CA_BUNDLE", bundle).env("AWS_REGION", "us-east-1");
    let output = command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "a").output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_bundle_that_cannot_be_used_is_a_mistake_of_the_configuration() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("cameras.yaml");
    std::fs::write(&file, config()).unwrap();
    let file = file.to_str().unwrap();
    let bundle = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    for (name, path, words) in [
        ("missing", folder.path().join("none.pem"), "there is no such file"),
        ("empty", bundle("empty.pem", ""), "is empty"),
        ("no PEM", bundle("not.pem", "certificate"), "no certificate in PEM form"),
    ] {
        for arguments in [
            &["run", "--config", file][..],
            &["check", "--live", "--config", file],
            &["models", "--config", file],
            &["events", "--stream", "s"],
            &["check", "--config", "https://127.0.0.1:1/cameras.yaml"],
        ] {
            let (code, error) = with_bundle(arguments, folder.path(), &path);
            assert_eq!(code, Some(78), "{name} {arguments:?}: {error}");
            assert!(
                error.contains("AWS_CA_BUNDLE names") && error.contains(words),
                "{name} {arguments:?}: {error}"
            );
            assert!(error.contains(path.to_str().unwrap()), "{name} {arguments:?}: {error}");
        }
    }
}

/// A TLS server with this certificate, and the file of its certificate.
pub(super) fn tls_server(params: &CertificateParams, folder: &Path) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let file = folder.join("server.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(config.into())).unwrap();
    tokio::spawn(server.serve(axum::Router::new().into_make_service()));
    (url, file.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_are_not_acceptable_say_why_by_table() {
    let named = |name: &str| CertificateParams::new(vec![name.to_owned()]).unwrap();
    let mut expired = named("127.0.0.1");
    expired.not_after = date_time_ymd(2020, 1, 1);
    let mut early = named("127.0.0.1");
    early.not_before = date_time_ymd(2090, 1, 1);
    early.not_after = date_time_ymd(2099, 1, 1);
    let mut authority = named("127.0.0.1");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (name, params, trusted, words) in [
        ("an authority's own", authority, true, "have one issued for the server (basicConstraints CA:FALSE)"),
        ("unknown issuer", named("127.0.0.1"), false, "in AWS_CA_BUNDLE"),
        ("expired", expired, true, "its certificate has expired: have it renewed"),
        ("not valid yet", early, true, "its certificate is not valid yet: set the clock"),
        ("another host", named("kvs.example.com"), true, "its certificate is for another host"),
    ] {
        let folder = TempDir::new().unwrap();
        let (url, file) = tls_server(&params, folder.path());
        let bundle = [("AWS_CA_BUNDLE", file.as_str())];
        let report = live_check(&config(), &url, &url, if trusted { &bundle } else { &[] });
        for probe in ["stream front-stream", "kds/events write", "s3 write", "dynamodb/records write"] {
            report.assert(probe, "fail", words);
        }
        assert!(report.answers["stream front-stream"].1.contains(&url[8..]), "{name}: {:?}", report.answers);
    }
}

/// The variables that send everything through `proxy`.
pub(super) fn proxied(proxy: &str) -> [(&str, &str); 6] {
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        .map(|name| (name, proxy))
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_never_reached_through_a_proxy() {
    let (clips, sim, moto) = (tempfile::tempdir().unwrap(), sim(), Moto::start());
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    moto.stream("events").await;
    let report = live_check(&config(), &sim.endpoint(), &moto.url, &proxied(NOWHERE));
    report.assert("credentials", "ok", "arn:aws:");
    report.assert("clock", "ok", "AWS's");
    report.assert("stream front-stream", "ok", "ACTIVE");
    report.assert("kds/events write", "ok", "nothing was written");
    report.assert("s3 write", "fail", "create the bucket");
    for mode in ["GETMEDIA", "HLS"] {
        let camera =
            camera("front").replace("{ start: EARLIEST }", &format!("{{ mode: {mode}, start: EARLIEST }}"));
        let config = format!(
            "publishers:\n  kds_stream: events\n  local_dir: events\ndevice: cpu\ncameras:\n{camera}"
        );
        let mut command = kvs_infer_command!();
        command.envs(proxied(NOWHERE));
        let program =
            Program::start_in(command, TempDir::new().unwrap(), &config, &sim.endpoint(), Some(&moto.url));
        program.camera_after("front", FRAMES);
        let ended = program.stop();
        assert!(ended.status.success(), "{mode}: {:#?}", ended.log);
    }
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_in_the_way_is_named_without_its_password() {
    let proxy = Web::start(503, "text/html", "<html><h1>No such site</h1></html>".to_owned()).await;
    let port = proxy.url.rsplit(':').next().unwrap().to_owned();
    let address = format!("http://user:HUSH@127.0.0.1:{port}");
    let shown = format!("http://127.0.0.1:{port}");
    let probes =
        ["credentials", "stream front-stream", "kds/events write", "s3 write", "dynamodb/records write"];
    for (name, proxy, aws, words) in [
        (
            "answers in place",
            address.as_str(),
            "http://aws.test",
            vec![shown.as_str(), "No such site", "NO_PROXY"],
        ),
        ("no tunnel", &address, "https://aws.test", vec![&shown, "name the host in NO_PROXY"]),
        ("is dead", "http://user:HUSH@127.0.0.1:1", "https://aws.test", vec![NOWHERE, "NO_PROXY"]),
        ("is of another kind", "socks5://127.0.0.1:1", "https://aws.test", vec!["only proxies with http://"]),
    ] {
        let report = live_check(&config(), aws, aws, &proxied(proxy));
        for probe in probes {
            let (verdict, finding) = &report.answers[probe];
            assert!(verdict != "ok" && !finding.contains("HUSH"), "{name} {probe}: {finding}");
            for word in &words {
                assert!(finding.contains(word), "{name} {probe}: {word:?} is not in {finding}");
            }
        }
    }
    let asked = proxy.stop();
    assert!(asked.iter().any(|uri| uri.starts_with("http://aws.test/")), "{asked:?}");
}
