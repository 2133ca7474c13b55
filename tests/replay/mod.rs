//! `replay` as a black box: the built binary against the local KVS and moto.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what a test cannot set up, it fails on")]

mod archive;
mod changes;
mod live_sinks;
mod report_page;
mod same_as_run;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tempfile::TempDir;
use test_support::footage::StoredFootage;
use test_support::kvs_infer_command;

/// A folder with configurations and results, and the footage to replay.
struct Workplace {
    dir: TempDir,
    kvs: String,
    aws: String,
    from_ms: u128,
}

impl Workplace {
    /// Returns a place for replays of the footage of a local KVS, whose streams begin at `from`; nothing answers for other services.
    fn new(kvs: &str, from: SystemTime) -> Self {
        let from_ms = from.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        // Port 9 (discard) is closed: a call of any other service fails.
        Self {
            dir: TempDir::new().unwrap(),
            kvs: kvs.to_owned(),
            aws: "http://127.0.0.1:9".to_owned(),
            from_ms,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the command that replays `seconds` from the beginning of the footage into the folder `out`.
    fn command(&self, config: &str, seconds: u64, out: &str, more: &[&str]) -> Command {
        let file = self.path(&format!("{out}.yaml"));
        std::fs::write(&file, config).unwrap();
        let mut command = kvs_infer_command!();
        command
            .args([
                "replay",
                "--from",
                &self.from_ms.to_string(),
                "--to",
                &format!("+{seconds}s"),
                "--out",
                out,
            ])
            .arg("--config")
            .arg(&file)
            .args(more)
            .current_dir(self.dir.path())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", &self.aws)
            .env("AWS_ENDPOINT_URL_KINESIS_VIDEO", &self.kvs)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Replays, and returns the result with this exit code.
    fn replay(&self, config: &str, seconds: u64, out: &str, more: &[&str], code: i32) -> Replayed {
        let child = self.command(config, seconds, out, more).spawn().unwrap();
        self.result(child, out, code)
    }

    /// Waits for a replay, and returns the result with this exit code.
    fn result(&self, child: Child, out: &str, code: i32) -> Replayed {
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let replayed = Replayed { folder: self.path(out), stdout: text(stdout), stderr: text(stderr) };
        assert_eq!(status.code(), Some(code), "{}\n{}", replayed.stdout, replayed.stderr);
        replayed
    }
}

/// The result of a replay.
struct Replayed {
    folder: PathBuf,
    stdout: String,
    stderr: String,
}

impl Replayed {
    fn events(&self) -> Vec<String> {
        lines(&self.folder.join("events.jsonl"))
    }

    fn report(&self) -> String {
        std::fs::read_to_string(self.folder.join("report.html")).unwrap()
    }

    /// Returns the data of the report.
    fn data(&self) -> Value {
        let report = self.report();
        let (_, from) = report.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
        serde_json::from_str(from.split_once("</script>").unwrap().0).unwrap()
    }

    /// Returns each incident of the report as its result and label, and the fields that differ.
    fn changes(&self) -> Vec<String> {
        let data = self.data();
        let incidents = data["incidents"].as_array().unwrap().iter();
        let outline = incidents.map(|incident| {
            let side = if incident["now"].is_null() { "before" } else { "now" };
            let fields = incident["differences"].as_array().unwrap().iter();
            let fields: Vec<&str> = fields.map(|found| found["field"].as_str().unwrap()).collect();
            let (change, label) = (&incident["change"], &incident[side]["label"]);
            format!("{} {} {}", change.as_str().unwrap(), label.as_str().unwrap(), fields.join(","))
                .trim()
                .to_owned()
        });
        outline.collect()
    }
}

/// Returns the lines of a file; none where it does not exist.
fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The time at which the footage of the tests begins: an hour ago, in whole seconds.
fn an_hour_ago() -> SystemTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(now - 3_600)
}

/// Returns stored footage of these cameras, of so many films each.
async fn footage(cameras: &[&str], films: u32) -> (StoredFootage, Workplace) {
    let from = an_hour_ago();
    let footage = StoredFootage::made(from, 1_000);
    for camera in cameras {
        footage.store(camera, films).await;
    }
    let place = Workplace::new(&footage.sim.endpoint(), from);
    (footage, place)
}
