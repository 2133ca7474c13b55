//! The health of the service: reasons that a restart fixes, and reasons that it does not.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{CameraRow, CameraState, SinkState, SinkStatus, whole_ms};
use crate::media::Mode;

/// Time without data after which a camera is reported, ms.
const MAX_QUIET_MS: u64 = 60_000;

/// Number of connections lost within 15 s from which it is reported. Source: KVS ends one every 40 to 50 minutes.
const MIN_LOSSES: usize = 2;

/// Size of an answer without its reasons, bytes, with room for the number of omitted ones.
const ENVELOPE_BYTES: usize = 256;

/// Maximum length of a reason in an answer, characters.
const MAX_REASON_CHARS: usize = 4_000;

fn cut(reason: &str) -> String {
    match reason.char_indices().nth(MAX_REASON_CHARS) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    }
}

/// Returns the size of a text as a JSON string with a comma, bytes.
fn json_bytes(text: &str) -> Option<usize> {
    serde_json::to_string(text).ok().map(|json| json.len() + 1)
}

/// The liveness check of a thread or task without which the service does not work.
pub struct Watch {
    /// The name of the thread or task, such as `detect-street`.
    pub name: String,
    /// Returns whether it still runs.
    pub alive: Box<dyn Fn() -> bool + Send + Sync>,
    /// Returns when it began the current piece of work; `None` while it waits for work.
    pub busy_since: Box<dyn Fn() -> Option<Instant> + Send + Sync>,
    /// The time after which a piece of work counts as stuck.
    pub limit: Duration,
}

/// The overall health of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// There is no reason.
    Ok,
    /// There are reasons that a restart would not fix.
    Degraded,
    /// There is a reason that a restart fixes: `/healthz` answers 503.
    Failed,
}

/// The answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceHealth {
    /// The worst of the reasons.
    pub status: HealthStatus,
    /// The reasons, the worst first.
    pub reasons: Vec<String>,
}

impl ServiceHealth {
    pub(super) fn of<'a>(
        watches: impl Iterator<Item = &'a Watch>,
        cameras: &[CameraRow],
        sinks: &[SinkStatus],
        now: Instant,
    ) -> Self {
        let fatal = watches.filter_map(|watch| watch.reason(now));
        let mut reasons: Vec<_> = fatal.collect();
        let failed = !reasons.is_empty();
        reasons.extend(cameras.iter().filter_map(camera_reason));
        reasons.extend(sinks.iter().filter_map(sink_reason));
        // Only a watch can fail the service here: an orchestrator kills on 503, and a restart fixes no sink.
        let status = match (failed, reasons.is_empty()) {
            (true, _) => HealthStatus::Failed,
            (false, true) => HealthStatus::Ok,
            (false, false) => HealthStatus::Degraded,
        };
        Self { status, reasons }
    }

    /// Returns the health with further reasons that a restart may fix, before all others.
    pub(super) fn failed(mut self, mut reasons: Vec<String>) -> Self {
        if reasons.is_empty() {
            return self;
        }
        reasons.append(&mut self.reasons);
        Self { status: HealthStatus::Failed, reasons }
    }

    /// Returns the health with as many reasons as fit into `max_bytes` of JSON, long ones cut, and the number of the others.
    #[must_use]
    pub fn within(self, max_bytes: usize) -> Self {
        let all = self.reasons.len();
        let mut left = max_bytes.saturating_sub(ENVELOPE_BYTES);
        let mut reasons = Vec::new();
        for reason in self.reasons {
            let reason = cut(&reason);
            // Cut first: a single reason must not use up the whole answer.
            let Some(rest) = json_bytes(&reason).and_then(|bytes| left.checked_sub(bytes)) else { break };
            left = rest;
            reasons.push(reason);
        }
        let more = all - reasons.len();
        reasons.extend((more > 0).then(|| format!("and {more} more")));
        Self { status: self.status, reasons }
    }

    /// Returns the health with a further reason that a restart would not fix.
    pub(super) fn and(mut self, reason: Option<String>) -> Self {
        if self.status == HealthStatus::Ok && reason.is_some() {
            self.status = HealthStatus::Degraded;
        }
        self.reasons.extend(reason);
        self
    }
}

impl Watch {
    fn reason(&self, now: Instant) -> Option<String> {
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
    /// Returns whether `/healthz` has no reason about the camera itself.
    #[must_use]
    pub fn is_well(&self) -> bool {
        camera_reason(self).is_none()
    }
}

fn camera_reason(row: &CameraRow) -> Option<String> {
    let id = &row.id;
    if let Some(error) = &row.error {
        let since = span(Duration::from_millis(row.error_for_ms.unwrap_or(0)));
        let what = if row.state == CameraState::Down { "been down" } else { "not been analyzed" };
        return Some(format!("camera {id} has {what} for {since}: {error}"));
    }
    // A single loss is normal; two in a short time mean that the camera hardly delivers.
    if row.connections_lost >= MIN_LOSSES {
        let losses = row.connections_lost;
        let reason = row.last_connection_loss.as_deref().unwrap_or("no reason given");
        return Some(format!("camera {id} has lost {losses} connections within 15 s: {reason}"));
    }
    // A camera may be silent for a while by design, such as one that sends only on motion.
    let quiet_ms = quiet_ms(row).filter(|ms| *ms >= MAX_QUIET_MS)?;
    Some(format!("camera {id} has sent nothing for {}", span(Duration::from_millis(quiet_ms))))
}

/// Returns the time that the camera has sent nothing, ms; `None` in catch-up, where reading may wait for a full sink instead.
fn quiet_ms(row: &CameraRow) -> Option<u64> {
    match (row.state, row.mode) {
        // A connection that never delivers a first fragment is no better than none.
        (CameraState::Waiting | CameraState::Connecting, _) => Some(row.state_for_ms),
        (CameraState::Streaming, Mode::Live) => row.last_read_age_ms,
        (CameraState::Streaming, Mode::CatchUp) | (CameraState::Down, _) => None,
    }
}

fn sink_reason(row: &SinkStatus) -> Option<String> {
    let name = &row.name;
    if let SinkState::Failing { reason, since } = &row.state {
        return Some(format!("sink {name} has failed for {}: {reason}", span(since.elapsed())));
    }
    // From four fifths of its share on: early enough to act before the outbox is full.
    let filling =
        row.share_bytes > 0 && row.queued_bytes.saturating_mul(5) >= row.share_bytes.saturating_mul(4);
    filling.then(|| {
        let (used, share) = (mib(row.queued_bytes), mib(row.share_bytes));
        let consequence = if row.required { "reading waits" } else { "the oldest events are dropped" };
        format!(
            "sink {name} is filling: {used} of {share} MiB wait in the outbox ({} events); when it is full, {consequence}",
            row.queued
        )
    })
}

/// Returns the size in MiB, rounded to the nearest.
fn mib(bytes: u64) -> u64 {
    // Half a MiB is added, so that the shift rounds.
    (bytes + (1 << 19)) >> 20
}

/// Returns the reason about a configuration that was rejected `since` ago.
pub(super) fn config_reason(reason: &str, since: Duration) -> String {
    format!(
        "the configuration was rejected {} ago, and the previous one stays in effect: {reason}",
        span(since)
    )
}

/// Returns the duration as text in one unit: `850 ms`, `12 s`, `3 min`, `5 h`.
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

    fn sink(ok: bool, queued: u64) -> SinkStatus {
        let (queued_bytes, share_bytes) = (queued << 20, 100 << 20);
        let failing = SinkState::Failing { reason: "access denied".into(), since: Instant::now() };
        SinkStatus {
            name: "kds".into(),
            required: true,
            state: if ok { SinkState::Ok } else { failing },
            queued,
            queued_bytes,
            share_bytes,
            ..SinkStatus::default()
        }
    }

    #[test]
    fn only_reasons_that_a_restart_fixes_are_failures() {
        let start = Instant::now();
        let after = |s: u64| start + Duration::from_secs(s);
        let board = StatusBoard::new();
        board.add_camera(&CameraId::new("gate"), "gate-stream").down("no such stream", None);
        let down = board.snapshot_at(start);
        let table = [
            ("nothing", vec![], vec![], vec![], HealthStatus::Ok, vec![]),
            ("an idle thread", vec![watch(true, None)], vec![], vec![], HealthStatus::Ok, vec![]),
            ("a busy thread", vec![watch(true, Some(after(31)))], vec![], vec![], HealthStatus::Ok, vec![]),
            (
                "a stuck thread",
                vec![watch(true, Some(after(0)))],
                vec![],
                vec![],
                HealthStatus::Failed,
                vec!["thread detect street is stuck: busy for 60 s (limit 30 s)"],
            ),
            (
                "a dead thread and a down camera",
                vec![watch(false, None)],
                down.clone(),
                vec![],
                HealthStatus::Failed,
                vec!["thread detect street has ended", "camera gate has been down for 0 ms: no such stream"],
            ),
            (
                "a down camera",
                vec![],
                down,
                vec![],
                HealthStatus::Degraded,
                vec!["camera gate has been down for 0 ms: no such stream"],
            ),
            (
                "a failing sink",
                vec![],
                vec![],
                vec![sink(false, 0)],
                HealthStatus::Degraded,
                vec!["sink kds has failed for 0 ms: access denied"],
            ),
            (
                "a filling sink",
                vec![],
                vec![],
                vec![sink(true, 80)],
                HealthStatus::Degraded,
                vec![
                    "sink kds is filling: 80 of 100 MiB wait in the outbox (80 events); when it is full, reading waits",
                ],
            ),
        ];
        for (name, watches, cameras, sinks, status, reasons) in table {
            let health = ServiceHealth::of(watches.iter(), &cameras, &sinks, after(60));
            assert_eq!(
                (health.status, health.reasons),
                (status, reasons.into_iter().map(String::from).collect()),
                "{name}"
            );
        }
    }

    #[test]
    fn an_answer_never_exceeds_its_limit() {
        const MAX: usize = 64 * 1024;
        let of = |reasons: Vec<String>| ServiceHealth { status: HealthStatus::Degraded, reasons }.within(MAX);
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
            assert_eq!(health.status, HealthStatus::Degraded);
        }
    }

    #[test]
    fn a_sink_is_filling_from_four_fifths_of_its_share_on() {
        assert_eq!(sink_reason(&sink(true, 79)), None);
        assert!(sink_reason(&sink(true, 80)).is_some());
    }

    #[test]
    fn repeatedly_lost_connections_are_reported_for_15_seconds() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        gate.streaming();
        gate.connection_lost("the connection ended");
        let in_s = |s: u64| camera_reason(&board.snapshot_at(Instant::now() + Duration::from_secs(s))[0]);
        assert_eq!(in_s(0), None, "one end is usual");
        gate.connection_lost("no bytes for 4.0 s");
        let said = "camera gate has lost 2 connections within 15 s: no bytes for 4.0 s";
        assert_eq!(in_s(0).as_deref(), Some(said));
        assert_eq!(in_s(16), None);
    }

    #[test]
    fn a_camera_that_sends_nothing_is_reported_after_a_minute() {
        let board = StatusBoard::new();
        board.add_camera(&CameraId::new("gate"), "gate-stream").waiting();
        let at = |s: u64| board.snapshot_at(Instant::now() + Duration::from_secs(s));
        assert_eq!(camera_reason(&at(50)[0]), None);
        assert_eq!(camera_reason(&at(65)[0]).as_deref(), Some("camera gate has sent nothing for 65 s"));
    }

    #[test]
    fn a_camera_without_a_first_fragment_is_reported_after_a_minute() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        let at = |s: u64| camera_reason(&board.snapshot_at(Instant::now() + Duration::from_secs(s))[0]);
        assert_eq!(at(50), None);
        gate.connecting();
        assert_eq!(
            at(65).as_deref(),
            Some("camera gate has sent nothing for 65 s"),
            "a further attempt to connect does not count"
        );
    }

    #[test]
    fn a_live_camera_whose_connection_delivers_nothing_is_reported_after_a_minute() {
        let board = StatusBoard::new();
        let gate = board.add_camera(&CameraId::new("gate"), "gate-stream");
        gate.streaming();
        gate.frame_read();
        let at = |s: u64| camera_reason(&board.snapshot_at(Instant::now() + Duration::from_secs(s))[0]);
        assert_eq!(at(50), None);
        assert_eq!(at(65).as_deref(), Some("camera gate has sent nothing for 65 s"));
        gate.set_mode(Mode::CatchUp);
        assert_eq!(at(65), None, "it waits for a sink");
    }
}
