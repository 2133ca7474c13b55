//! SIGKILL in the middle of commits, repeatedly: a child commits, its parent kills it and checks the outbox that it left.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{commit, entry, open, payloads, spec};

/// The environment variable that gives the child its folder.
const FOLDER: &str = "OUTBOX_KILL_FOLDER";
const KILLS: usize = 20;

/// The child: resumes after the last checkpoint, commits for ever, and prints each durable number.
#[test]
fn child_that_commits_until_it_is_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let (outbox, _) = open(Path::new(&dir), &[spec("kds", true, 1 << 30, false)]);
    let sink = outbox.sink("kds").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut next = position(&outbox.checkpoint("door").unwrap().unwrap_or_default());
    runtime.block_on(async {
        loop {
            next += 1;
            let text = next.to_string();
            outbox.commit(commit("door", &text, vec![entry(&text, &[sink])])).await.unwrap();
            outbox.flush().await;
            println!("durable {next}");
        }
    });
}

fn position(checkpoint: &[u8]) -> u64 {
    String::from_utf8_lossy(checkpoint).parse().unwrap_or(0)
}

/// Runs a child until it has printed `lines` durable numbers, kills it, and returns the last number that it printed.
fn run_and_kill(dir: &Path, lines: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_commits_until_it_is_killed", "--nocapture"])
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut durable = said.filter_map(|line| line.split_once("durable ")?.1.parse().ok());
    let last = durable.by_ref().take(lines).last().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    durable.last().unwrap_or(last)
}

#[test]
fn a_killed_process_leaves_every_durable_entry_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let durable = run_and_kill(dir.path(), 1 + kill * 3);
        let (outbox, opened) = open(dir.path(), &[spec("kds", true, 1 << 30, false)]);
        let reached = position(&outbox.checkpoint("door").unwrap().unwrap());
        assert!(opened.unclean_shutdown, "kill {kill}");
        assert!(
            reached == durable || reached == durable + 1,
            "kill {kill}: {durable} was durable, {reached} is in the outbox"
        );
        let expected: Vec<String> = (1..=reached).map(|number| number.to_string()).collect();
        assert_eq!(payloads(&outbox, outbox.sink("kds").unwrap()), expected, "kill {kill}");
    }
}
