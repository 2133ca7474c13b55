//! Variables of the environment that cannot be used: proxies, certificates, and servers in AWS's place.

use std::net::TcpListener;
use std::path::Path;

use rcgen::{CertificateParams, DnType};
use tempfile::TempDir;
use test_support::kvs_infer_command;

use super::access::{Web, proxied, tls_server, tls_sim};
use super::live_check::{NOWHERE, config, live_check};

/// Runs a command in a folder; its exit code and what it wrote to standard error. `port` is taken, so that a `run` which gets
/// beyond the environment ends there.
fn run(arguments: &[&str], folder: &Path, port: &str, variable: (&str, &str)) -> (Option<i32>, String) {
    let mut command = kvs_infer_command!();
    command.args(arguments).current_dir(folder).env("HTTP_HOST", "127.0.0.1").env("HTTP_PORT", port);
    command.env("AWS_REGION", "us-east-1").env("AWS_ENDPOINT_URL", NOWHERE).env("AWS_ACCESS_KEY_ID", "a");
    let output = command.env("AWS_SECRET_ACCESS_KEY", "a").env(variable.0, variable.1).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_variable_that_names_no_proxy_is_a_mistake_of_the_configuration() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("cameras.yaml");
    std::fs::write(&file, config()).unwrap();
    let file = file.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (name, value, words) in [
        ("https_proxy", "http://", "is not the address of a proxy"),
        (
            "HTTPS_PROXY",
            "ftp://user:HUSH@proxy.test",
            "names a proxy of a kind that is not supported (ftp://)",
        ),
        ("ALL_PROXY", "http://proxy.test:port", "has no valid port"),
    ] {
        for arguments in [
            &["run", "--config", file][..],
            &["check", "--live", "--config", file],
            &["models", "--config", file],
            &["events", "--stream", "s", "--seconds", "1"],
            &["check", "--config", "https://127.0.0.1:1/cameras.yaml"],
        ] {
            let (code, error) = run(arguments, folder.path(), &port, (name, value));
            assert_eq!(code, Some(78), "{name} {arguments:?}: {error}");
            let message = format!("{name} {words}");
            assert!(error.contains(&message) && error.contains("http://HOST:PORT"), "{arguments:?}: {error}");
            assert!(!error.contains("HUSH"), "{arguments:?}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_its_login_says_so() {
    let proxy = Web::start(407, "text/html", "<html><h1>Who are you</h1></html>".to_owned()).await;
    let port = proxy.url.rsplit(':').next().unwrap().to_owned();
    let (with_login, without) =
        (format!("http://user:HUSH@127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"));
    for (address, words) in [
        (&with_login, "refuses the user and password of HTTPS_PROXY"),
        (&without, "requires a user and password: give them in HTTPS_PROXY"),
    ] {
        let report = live_check(&config(), "http://aws.test", "http://aws.test", &proxied(address));
        for probe in
            ["credentials", "stream front-stream", "kds/events write", "s3 write", "dynamodb/records write"]
        {
            let (verdict, finding) = &report.answers[probe];
            assert!(verdict != "ok" && !finding.contains("HUSH"), "{probe}: {finding}");
            assert!(finding.contains(words), "{probe}: {words:?} is not in {finding}");
        }
    }
    proxy.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_without_the_issuer_is_named() {
    let folder = TempDir::new().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "another");
    let (url, _) = tls_server(&params, folder.path());
    let (sim, home, file) = tls_sim().await;
    let variables = [("AWS_CA_BUNDLE", "~/sim.pem"), ("HOME", home.path().to_str().unwrap())];
    let report = live_check(&config(), &sim.endpoint(), &url, &variables);
    for probe in ["kds/events write", "s3 write", "dynamodb/records write"] {
        report.assert(probe, "fail", &format!("neither {file} (AWS_CA_BUNDLE) nor the system trusts"));
        report.assert(probe, "fail", "add the issuer's certificate (PEM) to that file");
    }
    let (_, finding) = &report.answers["stream front-stream"];
    assert!(!finding.contains("certificate"), "the bundle in the home folder is taken: {finding}");
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_the_place_of_sts_gives_neither_time_nor_credentials() {
    for (status, body) in [(200, "{}"), (200, "[]"), (403, "{}"), (404, "no such page"), (418, "")] {
        let server = Web::start(status, "application/json", body.to_owned()).await;
        let report = live_check(&config(), NOWHERE, &server.url, &[]);
        report.assert("credentials", "warn", &format!("not from AWS: HTTP {status}"));
        report.assert("credentials", "warn", "check HTTPS_PROXY, NO_PROXY and AWS_ENDPOINT_URL");
        report.assert("clock", "warn", "is not AWS, so its time is not compared");
        let (_, finding) = &report.answers["credentials"];
        assert!(!finding.contains("renew them"), "{status} {body}: {finding}");
        server.stop();
    }
}
