//! Waiting for a state that no notification announces: a poll with a deadline.

#![expect(clippy::panic, reason = "a wait without end fails the test")]

use std::fmt::Display;
use std::time::{Duration, Instant};

/// The time between two polls.
const PACE: Duration = Duration::from_millis(10);
/// The longest wait that passes, for states that come in seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Polls until `poll` returns `Ok`, and returns its value; panics with the last `Err` if that takes longer than 90 s.
pub async fn until<T, E: Display>(awaited: &str, poll: impl AsyncFnMut() -> Result<T, E>) -> T {
    until_within(PATIENCE, awaited, poll).await
}

/// Polls as [`until`] does, with another limit.
pub async fn until_within<T, E: Display>(
    patience: Duration,
    awaited: &str,
    poll: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    until_every(PACE, patience, awaited, poll).await
}

/// Polls as [`until_within`] does, at another pace: for polls that load what is tested.
pub async fn until_every<T, E: Display>(
    pace: Duration,
    patience: Duration,
    awaited: &str,
    mut poll: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let wait = Wait::start(patience, awaited);
    loop {
        if let Some(value) = wait.passed(poll().await) {
            return value;
        }
        tokio::time::sleep(pace).await;
    }
}

/// Polls as [`until`] does, and blocks the thread meanwhile.
pub fn until_blocking<T, E: Display>(awaited: &str, mut poll: impl FnMut() -> Result<T, E>) -> T {
    let wait = Wait::start(PATIENCE, awaited);
    loop {
        if let Some(value) = wait.passed(poll()) {
            return value;
        }
        std::thread::sleep(PACE);
    }
}

/// A wait that has begun.
struct Wait<'a> {
    began: Instant,
    patience: Duration,
    awaited: &'a str,
}

impl<'a> Wait<'a> {
    fn start(patience: Duration, awaited: &'a str) -> Self {
        Self { began: Instant::now(), patience, awaited }
    }

    /// Returns the value of a poll that passed; panics if the last one came too late.
    fn passed<T, E: Display>(&self, polled: Result<T, E>) -> Option<T> {
        match polled {
            Ok(value) => Some(value),
            Err(state) if self.began.elapsed() > self.patience => {
                panic!("{} was awaited for {:?}; the state is still: {state:#}", self.awaited, self.patience)
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_first_value() {
        let mut polls = 0;
        let value = until("the third poll", async || {
            polls += 1;
            if polls == 3 { Ok(polls) } else { Err(polls) }
        });
        assert_eq!(value.await, 3);
        let mut polls = [Err("no"), Ok(7)].into_iter();
        assert_eq!(until_blocking("the second poll", || polls.next().unwrap_or(Err("over"))), 7);
    }

    #[tokio::test]
    #[should_panic(expected = "a bus was awaited for 20ms; the state is still: none in sight")]
    async fn a_wait_that_is_too_long_panics_with_the_last_state() {
        until_within(Duration::from_millis(20), "a bus", async || Err::<(), _>("none in sight")).await;
    }
}
