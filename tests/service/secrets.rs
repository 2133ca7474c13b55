//! Nothing that the program shows holds a secret: real fetches from real servers, at LOG_LEVEL=trace, that work and that fail.
//!
//! Every planted secret has HUSH in it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tempfile::TempDir;
use test_support::colours::{FRAMES, camera, film, model, sim, store};
use test_support::http;
use test_support::kvs_infer_command;
use test_support::polling::until_blocking;
use tokio::task::JoinHandle;

const TOKEN: &str = "HUSH-token-of-the-page";
const PATIENCE: Duration = Duration::from_secs(60);
const VARIABLES: [(&str, &str); 6] = [
    ("AWS_ACCESS_KEY_ID", "AKIATEST"),
    ("AWS_SECRET_ACCESS_KEY", "HUSHsecretkey"),
    ("AWS_SESSION_TOKEN", "HUSHsessiontoken"),
    ("AWS_REGION", "us-east-1"),
    ("HTTP_TOKEN", TOKEN),
    ("LOG_LEVEL", "kvs_infer=trace,kvs_mkv=trace,kvs_sim=trace,trace"),
];

/// A web server with a configuration that can be changed, and a model.
struct Files {
    port: u16,
    held: Arc<Held>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Held {
    /// `None`: it answers 404.
    config: Mutex<Option<String>>,
    asked: Mutex<Vec<String>>,
}

async fn serve(State(held): State<Arc<Held>>, uri: Uri, headers: HeaderMap) -> Response {
    let referer = headers.get("referer").is_some();
    held.asked.lock().unwrap().push(format!("{uri} referer={referer}"));
    match uri.path() {
        "/live.yaml" => match held.config.lock().unwrap().clone() {
            Some(text) => text.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        "/moved.onnx" => (StatusCode::FOUND, [("location", "/m.onnx?sig=HUSH3")]).into_response(),
        "/m.onnx" => std::fs::read(model()).unwrap().into_response(),
        _ => StatusCode::FORBIDDEN.into_response(),
    }
}

impl Files {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = Arc::<Held>::default();
        let app = axum::Router::new().fallback(serve).with_state(Arc::clone(&held));
        Self { port, held, task: tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }) }
    }

    /// A file's address, with a user, a password and a signature.
    fn address(&self, file: &str) -> String {
        format!("http://HUSHuser:HUSHpass@127.0.0.1:{}/{file}?X-Amz-Signature=HUSHsignature", self.port)
    }

    fn hold(&self, config: Option<String>) {
        *self.held.config.lock().unwrap() = config;
    }
}

/// The program at work, and all that it said.
struct Shown {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    http: SocketAddr,
    all: String,
}

impl Shown {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut shown = Self { child, lines, http: ([127, 0, 0, 1], 0).into(), all: String::new() };
        let ready = shown.line_with("\"message\":\"ready\"");
        let entry: Value = serde_json::from_str(&ready).unwrap();
        shown.http = entry["http"].as_str().unwrap().parse().unwrap();
        shown
    }

    /// The next line that holds these words.
    fn line_with(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("{words}: not in\n{}", self.all));
            self.all.push_str(&line);
            self.all.push('\n');
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The answers of a path, with the token and without.
    fn ask(&mut self, path: &str) -> String {
        let mut shown_text = String::new();
        for header in [format!("Authorization: Bearer {TOKEN}\r\n"), String::new()] {
            let request =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
            let (_, head, body) = http::answer(http::send(self.http, &request));
            shown_text.push_str(&format!("{head}\n{}\n", String::from_utf8_lossy(&body)));
        }
        assert_hushed(path, &shown_text);
        shown_text
    }

    /// Asks until what a path answers holds these words.
    fn until(&mut self, path: &str, words: &str) {
        until_blocking(&format!("{words} at {path}"), || {
            let answer = self.ask(path);
            if answer.contains(words) { Ok(()) } else { Err(answer) }
        });
    }

    fn reload(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn stop(mut self) -> String {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success() && self.child.wait().unwrap().success());
        self.all.extend(self.lines.iter().map(|line| line + "\n"));
        std::mem::take(&mut self.all)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ended = self.child.kill();
        self.child.wait().unwrap();
    }
}

fn program(dir: &TempDir, kvs: &str) -> Command {
    let mut command = kvs_infer_command!();
    let nowhere = "http://HUSHuser:HUSHpass@127.0.0.1:1/?x=HUSH";
    command.current_dir(dir.path()).envs(VARIABLES).env("AWS_ENDPOINT_URL_KINESIS_VIDEO", kvs);
    command.env("AWS_ENDPOINT_URL", nowhere).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env_remove("CONFIG_FILE").env_remove("AWS_CA_BUNDLE");
    command
}

/// A camera by HLS whose model is at this address.
fn config_with(model_address: &str) -> String {
    let camera = camera("front")
        .replace("{ start: EARLIEST }", "{ mode: HLS, start: EARLIEST }")
        .replace(&model().display().to_string(), &format!("'{model_address}'"));
    let sinks = "{ kds_stream: events, s3_bucket: pictures, local_dir: events }";
    format!("publishers: {sinks}\ndevice: cpu\ncameras:\n{camera}")
}

fn assert_hushed(name: &str, shown: &str) {
    let shown_text = shown.lines().find(|line| {
        ["HUSH", "SHpass"].iter().any(|secret| line.contains(secret)) || has_session_token(line)
    });
    assert_eq!(shown_text, None, "{name}");
}

/// Returns whether a line shows the token of a session of HLS.
fn has_session_token(line: &str) -> bool {
    line.split("SessionToken=").skip(1).any(|token| !token.starts_with("..."))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_shows_no_secret_whatever_works_or_fails() {
    let (dir, clips, sim, files) =
        (TempDir::new().unwrap(), TempDir::new().unwrap(), sim(), Files::start().await);
    store(&sim, "front-stream", &film(clips.path(), 0)).await;
    files.hold(Some(config_with(&files.address("moved.onnx"))));
    let mut command = program(&dir, &sim.endpoint());
    command.args(["run", "--http-host", "127.0.0.1", "--http-port", "0", "--cache-dir", "cache", "--config"]);
    command.arg(files.address("live.yaml"));
    let (shown, files) = tokio::task::spawn_blocking(move || {
        let mut program = Shown::start(command);
        program.until("/api/cameras", &format!("\"inferred\":{FRAMES}"));
        program.until("/healthz", "sink kds/events has failed");
        for path in ["/", "/metrics", "/readyz", "/api/events", "/api/cameras/front/snapshot.jpg"] {
            program.ask(path);
        }
        let good = config_with(&files.address("m.onnx"));
        let leak = good.replace("/m.onnx", "/${HTTP_TOKEN}/${AWS_SECRET_ACCESS_KEY}.onnx");
        let table = [
            (None, "live.yaml?...: cannot be fetched: 404"),
            (Some(leak), "`${HTTP_TOKEN}` is not expanded"),
            (Some(good.replace("/m.onnx?", "/m.pt?")), "m.pt?..."),
            (Some(good.replace("http://HUSH", "ftp://HUSH")), "nothing is fetched from ftp://"),
            (Some(good.replace("http://HUSHuser:HUSH", "https://HUSHuser:HU/SH")), "is not a web address"),
            (Some(good.replace("/m.onnx?", "/none.onnx?")), "none.onnx?... was not fetched"),
            (Some(good.replace("pipeline:", "pipelin: # https://HUSH@h/?HUSH")), "unknown key"),
        ];
        for (config, words) in table {
            files.hold(config);
            program.reload();
            program.line_with(words);
            program.until("/healthz", "the configuration was rejected");
        }
        (program.stop(), files)
    })
    .await
    .unwrap();
    assert!(shown.contains("\"DEBUG\"") && shown.contains("/moved.onnx?..."), "{shown}");
    assert_hushed("run", &shown);
    let asked = files.held.asked.lock().unwrap().join("\n");
    assert!(!asked.contains("referer=true") && !asked.contains("HUSH-token"), "{asked}");
    files.task.abort();
    sim.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_show_no_secret() {
    let (dir, files) = (TempDir::new().unwrap(), Files::start().await);
    let good = files.address("live.yaml");
    files.hold(Some(config_with(&files.address("m.onnx"))));
    let (gone, elsewhere) = (files.address("none.yaml"), good.replace("127.0.0.1", "example.com"));
    let (broken, ftp) = (good.replace("HUSHpass", "HU/SHpass"), good.replace("http", "ftp"));
    let table: [(&[&str], &str); 11] = [
        (&["check", "--config", &good], "OK: 1 camera"),
        (&["check", "--live", "--config", &good, "--cache-dir", "cache"], "fail"),
        (&["models", "--config", &good, "--cache-dir", "cache"], "yolov8"),
        (&["check", "--config", &gone], "cannot be fetched: 403"),
        (&["check", "--config", &elsewhere], "can be changed in transit"),
        (&["check", "--config", &broken], "is not a web address"),
        (&["run", "--config", &ftp], "nothing is fetched from ftp://"),
        (&["run", "--help"], "[env: CONFIG_FILE]"),
        (&["run", &good], "unexpected argument"),
        (&["check", "--configs", &good], "unexpected argument"),
        (&["check", "--aws-region", &good, "--config", &good], "is not a region name"),
    ];
    for (arguments, words) in table {
        let mut command = program(&dir, "http://HUSHuser:HUSHpass@127.0.0.1:1");
        command.args(arguments).env("CONFIG_FILE", &good);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let shown = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(
            shown.to_lowercase().contains(&words.to_lowercase()),
            "{arguments:?}: {words:?} is not in {shown}"
        );
        assert_hushed(&arguments.join(" "), &shown);
    }
    files.task.abort();
}

#[test]
fn a_token_that_cannot_be_used_is_a_mistake_of_the_configuration() {
    let dir = TempDir::new().unwrap();
    std::fs::write(
        dir.path().join("cameras.yaml"),
        config_with("none").replace("'none'", &model().display().to_string()),
    )
    .unwrap();
    for (token, words) in [(" \t\n", "HTTP_TOKEN is blank"), ("HUSH\nHUSH", "HTTP_TOKEN has a line break")] {
        let mut command = program(&dir, "http://127.0.0.1:1");
        let output = command
            .args(["run", "--http-port", "0", "--cache-dir", "cache", "--config", "cameras.yaml"])
            .env("HTTP_TOKEN", token)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{error}");
        assert!(error.contains(words) && !error.contains("HUSH"), "{error}");
    }
}
