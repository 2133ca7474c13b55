//! SIGKILL in the middle of commits, again and again: a child commits, its parent kills it and looks at what it left.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{commit, entry, open, payloads, spec};

/// Set for the child: the folder to commit in.
const FOLDER: &str = "OUTBOX_KILL_FOLDER";
const KILLS: usize = 20;

/// The child: commits for ever, from where the last one was, and prints what is durable.
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
            outbox.settled().await;
            println!("durable {next}");
        }
    });
}

fn position(checkpoint: &[u8]) -> u64 {
    String::from_utf8_lossy(checkpoint).parse().unwrap_or(0)
}

/// Runs a child until it has said `lines` times that something is durable, kills it, and tells the last position that it said.
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
fn a_killed_process_leaves_all_that_was_durable_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for kill in 0..KILLS {
        let durable = run_and_kill(dir.path(), 1 + kill * 3);
        let (outbox, opened) = open(dir.path(), &[spec("kds", true, 1 << 30, false)]);
        let reached = position(&outbox.checkpoint("door").unwrap().unwrap());
        assert!(opened.repaired, "kill {kill}");
        assert!(
            reached == durable || reached == durable + 1,
            "kill {kill}: {durable} was durable, {reached} is there"
        );
        let expected: Vec<String> = (1..=reached).map(|number| number.to_string()).collect();
        assert_eq!(payloads(&outbox, outbox.sink("kds").unwrap()), expected, "kill {kill}");
    }
}
