//! The built program, started and stopped.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot set up, it fails on")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::http;
use crate::polling::until_blocking;

/// `kvs-infer run`, ready; killed when dropped.
pub struct Program {
    child: Child,
    log: Option<JoinHandle<Vec<String>>>,
    http: SocketAddr,
    dir: Option<TempDir>,
}

/// The end of the program.
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// The time since SIGTERM was sent.
    pub took: Duration,
    /// The lines of the log.
    pub log: Vec<String>,
    /// The folder that it ran in.
    pub dir: TempDir,
}

impl Program {
    /// Starts it with `config`, in a folder of its own, against the server at `kvs` and, where there is one, `aws`.
    ///
    /// The command becomes the program with the arguments that are added to it, mostly [`kvs_infer_command!`](crate::kvs_infer_command).
    pub fn start(command: Command, config: &str, kvs: &str, aws: Option<&str>) -> Self {
        Self::start_in(command, TempDir::new().unwrap(), config, kvs, aws)
    }

    /// Starts it in a folder where it may have run before; its state is there.
    pub fn start_in(mut command: Command, dir: TempDir, config: &str, kvs: &str, aws: Option<&str>) -> Self {
        configure_run(&mut command, dir.path(), config, kvs, aws);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let http = ready(&mut lines);
        let log = std::thread::spawn(move || lines.lines().map(Result::unwrap).collect());
        Self { child, log: Some(log), http, dir: Some(dir) }
    }

    /// Returns the answer of `path`: the status and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = http::answer(self.ask(path));
        (status, String::from_utf8(body).unwrap())
    }

    /// Returns the body that `path` answers with.
    pub fn get_bytes(&self, path: &str) -> Vec<u8> {
        let (status, _, body) = http::answer(self.ask(path));
        assert_eq!(status, 200, "{path}");
        body
    }

    /// Returns the answer to a POST of an empty body to `path`: the status, the head and the body.
    pub fn post(&self, path: &str, kind: &str) -> (u16, String, String) {
        let head = format!("POST {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: {kind}\r\n", self.http);
        let (status, head, body) =
            http::answer(http::send(self.http, &format!("{head}Content-Length: 0\r\n\r\n")));
        (status, head, String::from_utf8(body).unwrap())
    }

    /// Returns the row of `camera` in `/api/cameras`.
    pub fn camera(&self, camera: &str) -> Value {
        let overview = self.overview();
        overview["cameras"].as_array().unwrap().iter().find(|row| row["id"] == camera).unwrap().clone()
    }

    /// Returns the answer of `/api/cameras`.
    pub fn overview(&self) -> Value {
        let (status, body) = self.get("/api/cameras");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Returns the row of `camera` once all its `frames` frames were looked at.
    pub fn camera_after(&self, camera: &str, frames: u64) -> Value {
        let row = self.camera_when(camera, |row| row["frames"]["inferred"].as_u64() >= Some(frames));
        assert_eq!(row["frames"]["inferred"], frames, "more than are there: {row:#}");
        row
    }

    /// Returns the row of `camera` once it is as `wanted`.
    pub fn camera_when(&self, camera: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until_blocking(&format!("another state of {camera}"), || {
            let row = self.camera(camera);
            if wanted(&row) { Ok(row) } else { Err(row) }
        })
    }

    /// Writes another configuration, and asks with SIGHUP for it to be taken over.
    pub fn rewrite(&self, config: &str) {
        let file = self.dir().join("cameras.yaml");
        std::fs::write(file, format!("{config}state:\n  dir: state\n")).unwrap();
        let sent = Command::new("kill").args(["-HUP", &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the metric without labels has come to `wanted`.
    pub fn metric_when(&self, name: &str, wanted: usize) {
        let line = format!("{name} {wanted}");
        until_blocking(&line, || {
            let (_, text) = self.get("/metrics");
            if text.lines().any(|logged| logged == line) { Ok(()) } else { Err(text) }
        });
    }

    /// Returns the events as they come, from the first.
    pub fn follow(&self) -> impl Iterator<Item = Value> + use<> {
        let lines = BufReader::new(self.ask("/api/events?follow=1")).lines();
        let events = lines.map(Result::unwrap).filter_map(|line| {
            let event = line.strip_prefix("data:")?.trim().to_owned();
            Some(serde_json::from_str(&event).unwrap())
        });
        events.filter(|event: &Value| event.get("event_id").is_some())
    }

    /// Returns the events until one of each `(camera, label)` has come.
    pub fn events_until(&self, wanted: &[(&str, &str)]) -> Vec<Value> {
        let mut missing: Vec<_> = wanted.to_vec();
        let mut events = Vec::new();
        for event in self.follow() {
            missing.retain(|(camera, label)| {
                event["camera_id"] != *camera || event["payload"]["label"] != *label
            });
            events.push(event);
            if missing.is_empty() {
                return events;
            }
        }
        panic!("the events ended before {missing:?}");
    }

    /// Returns the address that its HTTP server listens on.
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Returns the folder that the program runs in.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// Returns the number of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and does not wait; returns the time at which it was sent.
    pub fn terminate(&self) -> Instant {
        let asked = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
        asked
    }

    /// Waits for its end, which it was asked for at `asked`.
    pub fn wait(mut self, asked: Instant) -> Ended {
        let status = self.child.wait().unwrap();
        let took = asked.elapsed();
        Ended { status, took, log: self.log.take().unwrap().join().unwrap(), dir: self.dir.take().unwrap() }
    }

    /// Sends SIGTERM and waits for its end.
    pub fn stop(self) -> Ended {
        let asked = self.terminate();
        self.wait(asked)
    }

    fn ask(&self, path: &str) -> TcpStream {
        http::send(self.http, &format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.log.is_some() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// Makes a command `kvs-infer run` in `dir`, with its log as JSON on a pipe.
pub fn configure_run(command: &mut Command, dir: &Path, config: &str, kvs: &str, aws: Option<&str>) {
    let file = dir.join("cameras.yaml");
    let state = if config.contains("state:") { "" } else { "state:\n  dir: state\n" };
    std::fs::write(&file, format!("{config}{state}")).unwrap();
    command
        .args(["run", "--http-host", "127.0.0.1", "--http-port", "0", "--config"])
        .arg(&file)
        .current_dir(dir)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL", aws.unwrap_or(kvs))
        .env("AWS_ENDPOINT_URL_KINESIS_VIDEO", kvs)
        .stdout(Stdio::piped());
}

fn ready(lines: &mut BufReader<ChildStdout>) -> SocketAddr {
    let mut output = String::new();
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the program ended before it was ready:\n{output}");
        output.push_str(&line);
        let entry: Value = serde_json::from_str(&line).unwrap();
        if entry["message"] == "ready" {
            return entry["http"].as_str().unwrap().parse().unwrap();
        }
    }
}
