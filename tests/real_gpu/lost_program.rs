//! The whole program on a GPU whose context breaks: it ends, keeps its events, and delivers them after a restart.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use test_support::kvs_infer_command;
use test_support::polling::until_blocking;
use test_support::program::Program;

use super::events::{camera_on, events, footage};
use crate::publish::fake_kinesis::FakeKinesis;
use crate::service::stop::Gate;

/// The library that makes a launch bad (bad_launch.c), and its file.
struct BadLaunch {
    folder: TempDir,
    library: PathBuf,
}

impl BadLaunch {
    /// Compiles the library, unless `BAD_LAUNCH_LIBRARY` names it: a machine with a GPU may have no compiler.
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let library = std::env::var_os("BAD_LAUNCH_LIBRARY").map_or_else(
            || {
                let library = folder.path().join("bad_launch.so");
                let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_gpu/bad_launch.c");
                let flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o"];
                let built = Command::new("cc").args(flags).arg(&library).arg(source).status();
                assert!(built.expect("a C compiler").success());
                library
            },
            PathBuf::from,
        );
        Self { folder, library }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("launches")
    }

    /// Returns the program, whose launch `at` is bad; 0: none is.
    fn command(&self, at: u64) -> Command {
        std::fs::write(self.file(), format!("{at}\n")).unwrap();
        let mut command = kvs_infer_command!();
        command.env("LD_PRELOAD", &self.library).env("BAD_LAUNCH", self.file());
        command
    }

    /// Returns what the library has written: the number of launches, and `bad` if one was.
    fn said(&self) -> String {
        let text = std::fs::read_to_string(self.file()).unwrap();
        text.lines().nth(1).unwrap_or_default().to_owned()
    }
}

fn accepted(kinesis: &FakeKinesis) -> Vec<String> {
    kinesis.accepted().into_iter().map(|event| event.event_id).collect()
}

/// Waits until `/healthz` answers 503, and returns its reasons.
fn failed_health(program: &Program) -> String {
    let health = until_blocking("503", || match program.get("/healthz") {
        (503, body) => Ok(body),
        (_, body) => Err(body),
    });
    let health: Value = serde_json::from_str(&health).unwrap();
    health["reasons"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a GPU: make gpu-test"]
async fn an_illegal_address_ends_the_program_and_no_event_is_lost() {
    let (sim, bad) = (footage().await, BadLaunch::new());
    let undisturbed: BTreeSet<String> = events(bad.command(0), "cuda:0", "auto", &sim).into_keys().collect();
    let launches: u64 = bad.said().parse().expect("the number of launches");
    println!("figure: {} events and {launches} launches undisturbed", undisturbed.len());

    let kinesis = FakeKinesis::start().await;
    let gate = Gate::before(kinesis.url.trim_start_matches("http://").parse().unwrap());
    let config = format!("publishers: {{ kds_stream: events }}\n{}", camera_on("cuda:0", "auto"));
    // Behind the launches of the start, and before the end of the footage.
    let command = bad.command(launches * 3 / 4);
    let program = Program::start(command, &config, &sim.endpoint(), Some(&gate.url));
    until_blocking("a bad launch", || match bad.said() {
        said if said.ends_with("bad") => Ok(()),
        said => Err(said),
    });
    let began = Instant::now();
    let reasons = failed_health(&program);
    let after = began.elapsed();
    println!("figure: 503 after {} ms: {reasons}", after.as_millis());
    assert!(after < Duration::from_secs(5), "{after:?}");
    assert!(reasons.contains("is lost, and CUDA works again only in a new process"), "{reasons}");
    let (_, metrics) = program.get("/metrics");
    let mut queued = metrics.lines().filter(|line| line.starts_with("kvs_infer_sink_queued{"));
    assert!(queued.any(|line| !line.ends_with(" 0")), "no event waits for the sink: {metrics}");
    // The sink stays away until the program has ended.
    let ended = program.wait(began);
    assert_eq!(ended.status.code(), Some(70), "{:#?}", ended.log);
    assert!(ended.log.iter().any(|line| line.contains("\"GPU lost\"")), "{:#?}", ended.log);
    assert!(accepted(&kinesis).is_empty());

    gate.open();
    let again = Program::start_in(bad.command(0), ended.dir, &config, &sim.endpoint(), Some(&gate.url));
    until_blocking("all events", || {
        let ids: BTreeSet<String> = accepted(&kinesis).into_iter().collect();
        if ids.is_superset(&undisturbed) { Ok(()) } else { Err(format!("{ids:?} of {undisturbed:?}")) }
    });
    assert!(again.stop().status.success());
    let mut delivered = accepted(&kinesis);
    delivered.sort();
    assert_eq!(delivered, undisturbed.into_iter().collect::<Vec<_>>(), "each event once");
    kinesis.stop().await;
    sim.stop().await;
}
