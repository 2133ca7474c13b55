//! The lives of the program between two kills, by a seed.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::rngs::StdRng;
use test_support::fault_proxy::FaultProxy;

/// A start that takes longer fails the test.
const PATIENCE: Duration = Duration::from_secs(60);
/// SIGKILL. Source: signal(7).
const KILLED: i32 = 9;

/// A life, as it is drawn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    /// The event from which its time counts.
    pub(crate) from: From,
    /// From then until the kill.
    pub(crate) lasts: Duration,
    /// The time before the kill at which AWS becomes unreachable.
    pub(crate) alone: Option<Alone>,
}

/// From when on a life's time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// The start of the process: it may be killed before it is ready.
    Start,
    /// The time at which it logged that it is ready.
    Ready,
}

/// For which part of a life AWS is unreachable.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Alone {
    /// From before its start.
    Throughout,
    /// The start, from the event from which its time counts.
    After(Duration),
}

impl Life {
    /// One in four is killed within 0.3 s of its start, the others within 0.7 s of being ready. AWS is unreachable in one of
    /// five, in half of these from its start.
    pub(crate) fn draw(random: &mut StdRng) -> Self {
        let (from, max_ms) = match random.random_range(0..4) {
            0 => (From::Start, 300),
            _ => (From::Ready, 700),
        };
        let lasts = Duration::from_millis(random.random_range(2..=max_ms));
        let alone = match random.random_range(0..10) {
            0 => Some(Alone::Throughout),
            1 => Some(Alone::After(lasts.mul_f64(random.random_range(0.0..1.0)))),
            _ => None,
        };
        Self { from, lasts, alone }
    }

    /// Lives it, to the kill; AWS is reachable again afterwards.
    pub(crate) async fn live(self, command: Command, aws: &mut FaultProxy) {
        if let Some(Alone::Throughout) = self.alone {
            aws.go_away().await;
        }
        let mortal = Mortal::start(command);
        if self.from == From::Ready {
            mortal.until_ready();
        }
        let with_aws = match self.alone {
            Some(Alone::After(time)) => time,
            Some(Alone::Throughout) | None => self.lasts,
        };
        mortal.live_for(with_aws);
        if with_aws < self.lasts {
            aws.go_away().await;
            mortal.live_for(self.lasts - with_aws);
        }
        mortal.kill();
        aws.come_back().await;
    }
}

/// The running program, to be killed.
pub(crate) struct Mortal {
    child: Child,
    ready: Receiver<()>,
    log: JoinHandle<Vec<String>>,
}

impl Mortal {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, ready) = channel();
        let log = std::thread::spawn(move || follow(lines.map(Result::unwrap), &sender));
        Self { child, ready, log }
    }

    pub(crate) fn until_ready(&self) {
        // Where it ended instead, the kill reports it.
        let _ = self.ready.recv_timeout(PATIENCE);
    }

    /// Lets it live for this long, or until it ends by itself, which the kill then reports.
    pub(crate) fn live_for(&self, time: Duration) {
        let moment = Instant::now() + time;
        let left = || moment.saturating_duration_since(Instant::now());
        tokio::task::block_in_place(|| while self.ready.recv_timeout(left()).is_ok() {});
    }

    /// Kills it; it must have lived until then.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        let log = self.log.join().unwrap();
        assert_eq!(status.signal(), Some(KILLED), "it ended by itself, {status}:\n{}", log.join("\n"));
    }
}

fn follow(lines: impl Iterator<Item = String>, sender: &Sender<()>) -> Vec<String> {
    let watched = lines.inspect(|line| {
        if line.contains("\"message\":\"ready\"") {
            // The receiver may be gone: not every life is waited for.
            let _ = sender.send(());
        }
    });
    watched.collect()
}
