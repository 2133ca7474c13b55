//! Whether the service is well: what a restart cures, and what it does not.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{CameraRow, SinkRow, State, whole_ms};
use crate::media::Mode;

/// A camera that sends nothing for so long is worth a word.
const QUIET_MS: u64 = 60_000;

/// So many connections lost within 15 s are worth a word. Source: KVS ends one every 40 to 50 minutes.
const MANY_LOSSES: usize = 2;

/// The bytes of an answer beside its reasons, with room for the number of those that are left out.
const FRAME_BYTES: usize = 256;

/// Characters of a reason that are shown.
const REASON_CHARS: usize = 4_000;

fn cut(reason: &str) -> String {
    match reason.char_indices().nth(REASON_CHARS) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

/// The bytes of a text as JSON, with a comma behind it.
fn json_bytes(text: &str) -> Option<usize> {
    serde_json::to_string(text).ok().map(|json| json.len() + 1)
}

/// A thread that the service cannot do without.
pub struct Watch {
    /// Its name.
    pub name: String,
    /// Whether it still runs.
    pub alive: Box<dyn Fn() -> bool + Send + Sync>,
    /// When it began the piece of work that it is at; `None` while it waits for work.
    pub busy_since: Box<dyn Fn() -> Option<Instant> + Send + Sync>,
    /// A piece of work that takes longer is stuck.
    pub limit: Duration,
}

/// How well the service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All is well.
    Ok,
    /// Something is wrong that a restart would not cure.
    Degraded,
    /// A restart cures it: `/healthz` answers 503.
    Failed,
}

/// What `/healthz` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The worst of the reasons.
    pub status: Status,
    /// What is wrong, the worst first.
    pub reasons: Vec<String>,
}

impl Health {
    pub(super) fn of<'a>(
        watches: impl Iterator<Item = &'a Watch>,
        cameras: &[CameraRow],
        sinks: &[SinkRow],
        now: Instant,
    ) -> Self {
        let fatal = watches.filter_map(|watch| watch.complaint(now));
        let mut reasons: Vec<_> = fatal.collect();
        let failed = !reasons.is_empty();
        reasons.extend(cameras.iter().filter_map(about_camera));
        reasons.extend(sinks.iter().filter_map(about_sink));
        let status = match (failed, reasons.is_empty()) {
            (true, _) => Status::Failed,
            (false, true) => Status::Ok,
            (false, false) => Status::Degraded,
        };
        Self { status, reasons }
    }

    /// With more that a restart may cure, before all else.
    pub(super) fn failed(mut self, mut reasons: Vec<String>) -> Self {
        if reasons.is_empty() {
            return self;
        }
        reasons.append(&mut self.reasons);
        Self { status: Status::Failed, reasons }
    }

    /// The same with as many reasons as fit into so many bytes of JSON, long ones cut, and the number of the others.
    #[must_use]
    pub fn within(self, max_bytes: usize) -> Self {
        let all = self.reasons.len();
        let mut left = max_bytes.saturating_sub(FRAME_BYTES);
        let mut reasons = Vec::new();
        for reason in self.reasons {
            let reason = cut(&reason);
            let Some(rest) = json_bytes(&reason).and_then(|bytes| left.checked_sub(bytes)) else { break };
            left = rest;
            reasons.push(reason);
        }
        let more = all - reasons.len();
        reasons.extend((more > 0).then(|| format!("and {more} more")));
        Self { status: self.status, reasons }
    }

    /// With one more thing that a restart would not cure.
    pub(super) fn and(mut self, reason: Option<String>) -> Self {
        if self.status == Status::Ok && reason.is_some() {
            self.status = Status::Degraded;
        }
        self.reasons.extend(reason);
        self
    }
}

impl Watch {
    fn complaint(&self, now: Instant) -> Option<String> {
        let name = &self.name;
        if !(self.alive)() {
            return Some(format!("thread {name} has ended"));
        }
        let busy = now.saturating_duration_since((self.busy_since)()?);
        let stuck = busy > self.limit;
        stuck.then(|| format!("thread {name} is stuck: busy for {} (limit {})", span(busy), span(self.limit)))
    }
}

impl CameraRow {
    /// Whether nothing is wrong with the camera: `/healthz` names it otherwise.
    #[must_use]
    pub fn is_well(&self) -> bool {
        about_camera(self).is_none()
    }
}

fn about_camera(row: &CameraRow) -> Option<String> {
    let id = &row.id;
    if let Some(error) = &row.error {
        let since = span(Duration::from_millis(row.error_for_ms.unwrap_or(0)));
        let what = if row.state == State::Down { "been down" } else { "seen nothing" };
        return Some(format!("camera {id} has {what} for {since}: {error}"));
    }
    if row.losses >= MANY_LOSSES {
        let (losses, reason) = (row.losses, row.last_loss.as_deref().unwrap_or("it gives no reason"));
        return Some(format!("camera {id} has lost {losses} connections within 15 s: {reason}"));
    }
    let quiet_ms = quiet_ms(row).filter(|ms| *ms >= QUIET_MS)?;
    Some(format!("camera {id} has sent nothing for {}", span(Duration::from_millis(quiet_ms))))
}

/// How long the camera has sent nothing, ms. One that catches up may wait for a full sink instead.
fn quiet_ms(row: &CameraRow) -> Option<u64> {
    match (row.state, row.mode) {
        // A connection whose first fragment takes its time is as good as none.
        (State::Waiting | State::Connecting, _) => Some(row.state_for_ms),
        (State::Streaming, Mode::Live) => row.last_read_age_ms,
        (State::Streaming, Mode::CatchUp) | (State::Down, _) => None,
    }
}

fn about_sink(row: &SinkRow) -> Option<String> {
    let name = &row.name;
    if !row.ok {
        let reason = row.reason.as_deref().unwrap_or("it gives no reason");
        return Some(match row.failing_for_ms {
            Some(ms) => format!("sink {name} has failed for {}: {reason}", span(Duration::from_millis(ms))),
            None => format!("sink {name} fails: {reason}"),
        });
    }
    let filling =
        row.share_bytes > 0 && row.queued_bytes.saturating_mul(5) >= row.share_bytes.saturating_mul(4);
    filling.then(|| {
        let (used, share, then) = (mib(row.queued_bytes), mib(row.share_bytes), if row.required { "reading waits" } else { "the oldest go" });
        format!("sink {name} is filling: {used} of {share} MiB wait in the outbox ({} events); when it is full {then}", row.queued)
    })
}

/// In MiB, rounded.
fn mib(bytes: u64) -> u64 {
    (bytes + (1 << 19)) >> 20
}

/// What is wrong with the configuration as it stands now, since so long.
pub(super) fn about_config(why: &str, since: Duration) -> String {
    format!("the configuration cannot be taken over since {}, and the one before goes on: {why}", span(since))
}

/// `850 ms`, `12 s`, `3 min`, `5 h`.
pub(super) fn span(span: Duration) -> String {
    match whole_ms(span) {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms @ 1_000..120_000 => format!("{} s", ms / 1_000),
        ms @ 120_000..7_200_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::CameraId;
    use crate::status::StatusBoard;

    fn watch(alive: bool, busy_since: Option<Instant>) -> Watch {
        Watch {
            name: "detect street".into(),
            alive: Box::new(move || alive),
            busy_since: Box::new(move || busy_since),
            limit: Duration::from_secs(30),
        }
    }

    fn sink(ok: bool, queued: u64) -> SinkRow {
        let (queued_bytes, share_bytes) = (queued << 20, 100 << 20);
        SinkRow {
            name: "kds".into(),
            required: true,
            ok,
            queued,
            queued_bytes,
            share_bytes,
            ..SinkRow::default()
        }
    }

    #[test]
    fn only_what_a_restart_cures_is_failed() {
        let start = Instant::now();
        let after = |s: u64| start + Duration::from_secs(s);
        let board = StatusBoard::new();
        board.add_camera(&CameraId::new("gate"), "gate-stream").down("no such stream", None);
        let down = board.snapshot_at(start);
        let table = [
            ("nothing", vec![], vec![], vec![], Status::Ok, vec![]),
            ("an idle thread", vec![watch(true, None)], vec![], vec![], Status::Ok, vec![]),
            ("a busy thread", vec![watch(true, Some(after(31)))], vec![], vec![], Status::Ok, vec![]),
            (
                "a stuck thread",
                vec![watch(true, Some(after(0)))],
                vec![],
                vec![],
                Status::Failed,
                vec!["thread detect street is stuck: busy for 60 s (limit 30 s)"],
            ),
            (
                "a dead thread and a down camera",
                vec![watch(false, None)],
                down.clone(),
                vec![],
                Status::Failed,
                vec!["thread detect street has ended", "camera gate has been down for 0 ms: no such stream"],
            ),
            (
                "a down camera",
                vec![],
                down,
                vec![],
                Status::Degraded,
                vec!["camera gate has been down for 0 ms: no such stream"],
            ),
            (
                "a failing sink",
                vec![],
                vec![],
                vec![sink(false, 0)],
                Status::Degraded,
                vec!["sink kds fails: it gives no reason"],
            ),
            (
                "a filling sink",
                vec![],
                vec![],
                vec![sink(true, 80)],
                Status::Degraded,
                vec![
                    "sink kds is filling: 80 of 100 MiB wait in the outbox (80 events); when it is full reading waits",
                ],
            ),
        ];
        for (name, watches, cameras, sinks, status, reasons) in table {
            let health = Health::of(watches.iter(), &cameras, &sinks, after(60));
            assert_eq!(
                (health.status, health.reasons),
                (status, reasons.into_iter().map(String::from).collect()),
                "{name}"
            );
        }
    }

    #[test]
    fn an_answer_has_its_limit_whatever_the_reasons() {
        const MAX: usize = 64 * 1024;
        let of = |reasons: Vec<String>| Health { status: Status::Degraded, reasons }.within(MAX);
        let few = vec!["camera gate has been down for 3 s: no such stream".to_owned(); 9];
        assert_eq!(of(few.clone()).reasons, few);
        for (name, reason, count) in [("many", "a camera is down", 9_000), ("long", "\u{1}", 40)] {
            let reasons = if name == "long" {
                vec![reason.repeat(3_000_000); count]
            } else {
                vec![reason.to_owned(); count]
            };
            let health = of(reasons);
            let (json, shown) = (serde_json::to_string(&health).unwrap(), health.reasons.len() - 1);
            assert!(json.len() <= MAX && json.len() > MAX / 2, "{name}: {}", json.len());
            assert_eq!(health.reasons[shown], format!("and {} more", count - shown), "{name}");
            assert_eq!(health.status, Status::Degraded);
        }
    }

    #[test]
    fn a_sink_is_filling_from_four_fifths_of_its_share_on() {
        assert_eq!(about_sink(&sink(true, 79)), None);
        assert!(about_sink(&sink(true, 80)).is_some());
    }

    #[test]
    fn connections_that_are_lost_one_after_the_other_are_mentioned_for_a_while() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        gate.streaming();
        gate.lost("the connection ended");
        let in_s = |s: u64| about_camera(&board.snapshot_at(Instant::now() + Duration::from_secs(s))[0]);
        assert_eq!(in_s(0), None, "one end is usual");
        gate.lost("no bytes for 4.0 s");
        let said = "camera gate has lost 2 connections within 15 s: no bytes for 4.0 s";
        assert_eq!(in_s(0).as_deref(), Some(said));
        assert_eq!(in_s(16), None);
    }

    #[test]
    fn a_camera_that_sends_nothing_is_mentioned_after_a_minute() {
        let board = StatusBoard::new();
        board.add_camera(&CameraId::new("gate"), "gate-stream").waiting();
        let at = |s: u64| board.snapshot_at(Instant::now() + Duration::from_secs(s));
        assert_eq!(about_camera(&at(50)[0]), None);
        assert_eq!(about_camera(&at(65)[0]).as_deref(), Some("camera gate has sent nothing for 65 s"));
    }

    #[test]
    fn a_camera_that_never_comes_to_a_first_fragment_is_mentioned_after_a_minute() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        let at = |s: u64| about_camera(&board.snapshot_at(Instant::now() + Duration::from_secs(s))[0]);
        assert_eq!(at(50), None);
        gate.connecting();
        assert_eq!(
            at(65).as_deref(),
            Some("camera gate has sent nothing for 65 s"),
            "connecting again is no sign of life"
        );
    }

    #[test]
    fn a_live_camera_whose_connection_brings_nothing_is_mentioned_after_a_minute() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        gate.streaming();
        gate.frame_read();
        let at = |s: u64| about_camera(&board.snapshot_at(Instant::now() + Duration::from_secs(s))[0]);
        assert_eq!(at(50), None);
        assert_eq!(at(65).as_deref(), Some("camera gate has sent nothing for 65 s"));
        gate.set_mode(Mode::CatchUp);
        assert_eq!(at(65), None, "it waits for a sink");
    }
}
