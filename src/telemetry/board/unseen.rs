//! Whether a camera that is read is also seen: frames come in, and none reaches the detectors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::FrameCounts;

/// How long frames may be read without any being seen before it is reported.
const UNSEEN_LIMIT: Duration = Duration::from_secs(40);

/// A camera of which nothing was read for this long is not read now, whatever the cause: that is reported elsewhere.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// The span of time since a frame was last seen.
#[derive(Default)]
pub(super) struct Unseen {
    /// When the first frame was read since then, with the counts before it.
    since: Option<(Instant, FrameCounts)>,
    last_read: Option<Instant>,
    reported: bool,
}

impl Unseen {
    /// A frame was read; `before` is what was counted before it. Returns the reason when it is to be reported: once.
    pub(super) fn read(&mut self, at: Instant, before: &FrameCounts) -> Option<String> {
        self.last_read = Some(at);
        self.since.get_or_insert_with(|| (at, before.clone()));
        let (_, reason) = self.complaint(at, before).filter(|_| !self.reported)?;
        self.reported = true;
        Some(reason)
    }

    /// A frame was seen: inferred, or the motion gate found nothing new in it. Returns whether the opposite was reported.
    pub(super) fn seen(&mut self) -> bool {
        self.since = None;
        std::mem::take(&mut self.reported)
    }

    /// When a frame was read last.
    pub(super) fn last_read(&self) -> Option<Instant> {
        self.last_read
    }

    /// Since when frames are read and none is seen, and why, if that is too long; `now` is what is counted so far.
    pub(super) fn complaint(&self, at: Instant, now: &FrameCounts) -> Option<(Instant, String)> {
        let (since, before) = self.since.as_ref()?;
        let is_read = self.last_read.is_some_and(|read| at.saturating_duration_since(read) < READ_WITHIN);
        let unseen = at.saturating_duration_since(*since) >= UNSEEN_LIMIT;
        (is_read && unseen).then(|| (*since, reason(before, now)))
    }
}

/// Why no frame was seen, by what became of those that were read.
fn reason(before: &FrameCounts, now: &FrameCounts) -> String {
    let read = now.read - before.read;
    let decoded = now.decoded - before.decoded;
    let sampled = now.sampled - before.sampled;
    let dropped = most_dropped(before, now);
    match (decoded, sampled, dropped) {
        (0, _, Some((reason, frames))) => {
            format!(
                "{read} frames were read and none was decoded; {frames} were dropped: {}",
                explained(reason)
            )
        }
        (0, _, None) => format!("{read} frames were read and the decoder gave no picture"),
        (_, 0, _) => format!(
            "{decoded} frames were decoded and none was due: the timestamps do not advance; set the encoder's clock"
        ),
        (_, _, Some((reason, frames))) => {
            format!(
                "{sampled} frames were due and none was inferred; {frames} were dropped: {}",
                explained(reason)
            )
        }
        (_, _, None) => {
            format!("{sampled} frames were due and none was inferred: the detectors do not answer")
        }
    }
}

fn most_dropped(before: &FrameCounts, now: &FrameCounts) -> Option<(&'static str, u64)> {
    let since = |counts: &BTreeMap<&'static str, u64>, reason| counts.get(reason).copied().unwrap_or(0);
    let dropped =
        now.dropped.iter().map(|(reason, frames)| (*reason, frames - since(&before.dropped, reason)));
    dropped.filter(|(_, frames)| *frames > 0).max_by_key(|(_, frames)| *frames)
}

/// A reason of `kvs_infer_frames_dropped_total` with what to do.
pub(super) fn explained(reason: &str) -> &str {
    match reason {
        "no_key_frame" => {
            "no key frame came; let the encoder send an IDR frame at the start of each fragment"
        }
        "damaged" => "they are damaged; the log says how, and frames may be lost between camera and KVS",
        "leading" => "they refer to fragments that were not read; let the encoder send closed GOPs",
        "no_picture" => {
            "the decoder gave no picture for them; let the encoder send an IDR frame at the start of each fragment"
        }
        "newer" => "this host is too slow for its models; lower fps_target, or use a smaller model",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(read: u64, decoded: u64, sampled: u64, dropped: &[(&'static str, u64)]) -> FrameCounts {
        let dropped = dropped.iter().copied().collect();
        FrameCounts { read, decoded, sampled, dropped, ..FrameCounts::default() }
    }

    #[test]
    fn a_camera_that_is_read_and_not_seen_is_reported_once_within_a_minute() {
        let (start, mut unseen) = (Instant::now(), Unseen::default());
        let in_s = |seconds: u64| start + Duration::from_secs(seconds);
        let reported: Vec<u64> = (0..90)
            .filter(|second| unseen.read(in_s(*second), &counts(*second, 0, 0, &[])).is_some())
            .collect();
        assert_eq!(reported, [40]);
        assert_eq!(unseen.complaint(in_s(90), &counts(90, 0, 0, &[])).map(|(since, _)| since), Some(start));
        assert!(unseen.complaint(in_s(110), &counts(90, 0, 0, &[])).is_none(), "nothing is read any more");
        assert!(unseen.seen() && !unseen.seen(), "the end is reported once, too");
        assert!(unseen.read(in_s(120), &counts(90, 1, 1, &[])).is_none(), "it begins again");
    }

    #[test]
    fn the_reason_goes_by_what_became_of_the_frames_since_then() {
        let before = counts(100, 100, 20, &[("newer", 50), ("no_key_frame", 1)]);
        let cases = [
            (
                counts(110, 100, 20, &[("newer", 50), ("no_key_frame", 11)]),
                "none was decoded; 10 were dropped: no key frame came",
            ),
            (counts(110, 100, 20, &[("newer", 50), ("no_key_frame", 1)]), "the decoder gave no picture"),
            (counts(110, 110, 20, &[]), "none was due"),
            (
                counts(110, 110, 25, &[("newer", 55)]),
                "none was inferred; 5 were dropped: this host is too slow",
            ),
            (counts(110, 110, 25, &[]), "the detectors do not answer"),
        ];
        for (now, said) in cases {
            let reason = reason(&before, &now);
            assert!(reason.contains(said), "{reason}");
        }
    }
}
