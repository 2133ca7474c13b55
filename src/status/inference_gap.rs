//! Detects cameras whose footage is read while no frame is inferred: none can be decoded, or none reaches the detectors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::FrameCounts;
use super::load::UNDECODABLE;

/// The time without an inference, while frames are read, after which it is reported.
const INFERENCE_LIMIT: Duration = Duration::from_secs(40);

/// The time without a decoded frame, while frames are read, after which it is reported.
const DECODE_LIMIT: Duration = Duration::from_secs(10);

/// Minimum number of whole fragments within that time. Each begins with a keyframe: a damaged frame of a long fragment costs all that
/// follow it there, while the next fragment decodes again.
const MIN_FRAGMENTS: u64 = 2;

/// The time without an access unit after which a camera counts as not read, which is reported elsewhere.
const READ_LIMIT: Duration = Duration::from_secs(15);

/// The time since a frame was last inferred, or skipped by the motion gate.
#[derive(Default)]
pub(super) struct InferenceGap {
    /// The arrival of the first frame since then, with the counts before it.
    since: Option<(Instant, FrameCounts)>,
    decode_gap: Option<DecodeGap>,
    /// The decoder's most recent error.
    decode_error: Option<String>,
    last_read: Option<Instant>,
    reported: bool,
}

/// The time since the decoder last returned an undamaged frame.
struct DecodeGap {
    /// The arrival of the first frame since then.
    since: Instant,
    /// The counts before that frame.
    before: FrameCounts,
    /// The number of whole fragments before that frame.
    fragments: u64,
}

impl InferenceGap {
    /// Records a frame that was read; `before` and `fragments` are the counts before it. Returns the reason to report, once per gap.
    pub(super) fn read(&mut self, at: Instant, before: &FrameCounts, fragments: u64) -> Option<String> {
        self.last_read = Some(at);
        // Counts of the whole run are kept, and compared with those at the beginning of the gap.
        self.since.get_or_insert_with(|| (at, before.clone()));
        self.decode_gap.get_or_insert_with(|| DecodeGap { since: at, before: before.clone(), fragments });
        let (_, reason) = self.reason(at, before, fragments).filter(|_| !self.reported)?;
        self.reported = true;
        Some(reason)
    }

    /// Records that the decoder returned an undamaged frame.
    pub(super) fn decoded(&mut self) {
        self.decode_gap = None;
    }

    /// Records the reason of a decoding error.
    pub(super) fn decode_failed(&mut self, reason: &str) {
        self.decode_error = Some(reason.to_owned());
    }

    /// Ends the gap: a frame was inferred, or the motion gate found no change in it. Returns whether the gap had been reported.
    pub(super) fn inferred(&mut self) -> bool {
        self.since = None;
        std::mem::take(&mut self.reported)
    }

    /// Returns the time when a frame was last read.
    pub(super) fn last_read(&self) -> Option<Instant> {
        self.last_read
    }

    /// Returns the beginning and the reason of a gap that is too long; `now` and `fragments` are the current counts.
    pub(super) fn reason(&self, at: Instant, now: &FrameCounts, fragments: u64) -> Option<(Instant, String)> {
        // A camera that sends nothing has no gap: `health` reports its silence.
        let is_read = self.last_read.is_some_and(|read| at.saturating_duration_since(read) < READ_LIMIT);
        if !is_read {
            return None;
        }
        // A decoding error is the more specific reason, and shows after a quarter of the time.
        let decode_gap = self.decode_gap.as_ref().filter(|gap| gap.is_long(at, fragments));
        decode_gap.and_then(|gap| self.decode_reason(gap, now)).or_else(|| {
            let (since, before) = self.since.as_ref()?;
            let is_long = at.saturating_duration_since(*since) >= INFERENCE_LIMIT;
            is_long.then(|| (*since, inference_reason(before, now)))
        })
    }

    /// Returns the beginning and the reason of a gap in which most frames cannot be decoded. The others may still wait for the decoder.
    fn decode_reason(&self, gap: &DecodeGap, now: &FrameCounts) -> Option<(Instant, String)> {
        let DecodeGap { since, before, .. } = gap;
        let dropped = |reason: &str| dropped_since(before, now, reason);
        // Late access units never reached the decoder: a slow host is not undecodable footage.
        let tried = (now.read - before.read).saturating_sub(dropped("late"));
        let lost: u64 = UNDECODABLE.iter().map(|reason| dropped(reason)).sum();
        let reason = UNDECODABLE.iter().max_by_key(|reason| dropped(reason)).filter(|_| lost * 2 > tried)?;
        let detail =
            self.decode_error.as_ref().map_or_else(String::new, |error| format!("; decoder error: {error}"));
        Some((
            *since,
            format!("{lost} of {tried} frames could not be decoded: {}{detail}", explained(reason)),
        ))
    }
}

impl DecodeGap {
    fn is_long(&self, at: Instant, fragments: u64) -> bool {
        let is_long = at.saturating_duration_since(self.since) >= DECODE_LIMIT;
        is_long && fragments - self.fragments >= MIN_FRAGMENTS
    }
}

/// Returns the reason of a gap, by the last stage that frames have reached in it.
fn inference_reason(before: &FrameCounts, now: &FrameCounts) -> String {
    let read = now.read - before.read;
    let decoded = now.decoded - before.decoded;
    let sampled = now.sampled - before.sampled;
    let dropped = top_drop_reason(before, now);
    // From the first stage on: where nothing was decoded, nothing can be sampled either.
    match (decoded, sampled) {
        (0, _) => undecoded_reason(read, dropped),
        (_, 0) => format!(
            "{decoded} frames were decoded and none was due: the timestamps do not advance; set the encoder's clock"
        ),
        _ => uninferred_reason(sampled, dropped),
    }
}

/// Returns the reason of a gap in which no frame was decoded.
fn undecoded_reason(read: u64, dropped: Option<(&'static str, u64)>) -> String {
    match dropped {
        Some((reason, frames)) => {
            let why = explained(reason);
            format!("{read} frames were read and none was decoded; {frames} were dropped: {why}")
        }
        None => format!("{read} frames were read and the decoder returned no picture"),
    }
}

/// Returns the reason of a gap in which no sampled frame was inferred.
fn uninferred_reason(sampled: u64, dropped: Option<(&'static str, u64)>) -> String {
    match dropped {
        Some((reason, frames)) => {
            let why = explained(reason);
            format!("{sampled} frames were due and none was inferred; {frames} were dropped: {why}")
        }
        None => format!("{sampled} frames were due and none was inferred: the detectors do not answer"),
    }
}

/// Returns the number of frames that were dropped for a reason since `before`.
fn dropped_since(before: &FrameCounts, now: &FrameCounts, reason: &str) -> u64 {
    let of = |counts: &BTreeMap<&'static str, u64>| counts.get(reason).copied().unwrap_or(0);
    of(&now.dropped) - of(&before.dropped)
}

/// Returns the most frequent reason since `before`, with its number of frames.
fn top_drop_reason(before: &FrameCounts, now: &FrameCounts) -> Option<(&'static str, u64)> {
    let dropped = now.dropped.keys().map(|reason| (*reason, dropped_since(before, now, reason)));
    dropped.filter(|(_, frames)| *frames > 0).max_by_key(|(_, frames)| *frames)
}

/// Returns a label of `kvs_infer_frames_dropped_total` as a sentence with its remedy.
pub(super) fn explained(reason: &str) -> &str {
    match reason {
        "no_key_frame" => "no keyframe came; let the encoder send an IDR frame at the start of each fragment",
        "damaged" => {
            "they are damaged; see the log, and check the link between camera and KVS for lost frames"
        }
        "leading" => "they reference fragments that were not read; let the encoder send closed GOPs",
        "no_picture" => {
            "the decoder returned no picture for them; let the encoder send an IDR frame at the start of each fragment"
        }
        "track" => "their codec private data is unusable; let the producer send a complete avcC or hvcC",
        "late" => {
            "this host is too slow to decode them; lower the resolution or frame rate that the camera sends"
        }
        "superseded" => "this host is too slow for its models; lower fps_target, or use a smaller model",
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
    fn a_camera_that_is_read_and_not_inferred_is_reported_once_within_a_minute() {
        let (start, mut gap) = (Instant::now(), InferenceGap::default());
        let in_s = |seconds: u64| start + Duration::from_secs(seconds);
        let reported: Vec<u64> = (0..90)
            .filter(|second| gap.read(in_s(*second), &counts(*second, 0, 0, &[]), *second).is_some())
            .collect();
        assert_eq!(reported, [40]);
        assert_eq!(gap.reason(in_s(90), &counts(90, 0, 0, &[]), 90).map(|(since, _)| since), Some(start));
        assert!(gap.reason(in_s(110), &counts(90, 0, 0, &[]), 90).is_none(), "nothing is read any more");
        assert!(gap.inferred() && !gap.inferred(), "the end is reported once, too");
        assert!(gap.read(in_s(120), &counts(90, 1, 1, &[]), 90).is_none(), "it begins again");
    }

    #[test]
    fn a_camera_of_which_no_frame_can_be_decoded_is_reported_after_ten_seconds_and_two_fragments() {
        for (name, fragment_s, damaged, late, reported) in [
            ("all are damaged", 1, 10, 0, Some(10)),
            ("a fragment lasts 8 s", 8, 10, 0, Some(16)),
            ("the host is too slow as well", 1, 2, 8, Some(10)),
            ("the host is too slow", 1, 0, 10, None),
            ("they wait for the decoder", 1, 1, 0, None),
            ("none is damaged", 1, 0, 0, None),
        ] {
            let (start, mut gap) = (Instant::now(), InferenceGap::default());
            gap.decode_failed("Invalid data");
            let reported_at = (0..20).find_map(|second| {
                let dropped = [("damaged", damaged * second), ("late", late * second)];
                let counts = counts(10 * second, 0, 0, &dropped);
                let reason = gap.read(start + Duration::from_secs(second), &counts, second / fragment_s);
                reason.map(|reason| (second, reason))
            });
            assert_eq!(reported_at.as_ref().map(|(second, _)| *second), reported, "{name}: {reported_at:?}");
            if let Some((second, reason)) = reported_at {
                let frames = (10 - late) * second;
                let said = format!("{frames} of {frames} frames could not be decoded: they are damaged; ");
                assert!(
                    reason.starts_with(&said) && reason.ends_with("decoder error: Invalid data"),
                    "{reason}"
                );
            }
        }
    }

    #[test]
    fn an_undamaged_frame_ends_a_decode_gap() {
        let (start, mut gap) = (Instant::now(), InferenceGap::default());
        let in_s = |seconds: u64| start + Duration::from_secs(seconds);
        let damaged = |read| counts(read, 0, 0, &[("damaged", read)]);
        gap.read(in_s(0), &counts(0, 0, 0, &[]), 0);
        assert!(gap.read(in_s(12), &damaged(12), 12).is_some());
        gap.decoded();
        assert_eq!(gap.reason(in_s(13), &damaged(12), 13), None);
    }

    #[test]
    fn the_reason_follows_from_the_last_stage_that_frames_reached() {
        let before = counts(100, 100, 20, &[("superseded", 50), ("no_key_frame", 1)]);
        let cases = [
            (
                counts(110, 100, 20, &[("superseded", 50), ("no_key_frame", 11)]),
                "none was decoded; 10 were dropped: no keyframe came",
            ),
            (
                counts(110, 100, 20, &[("superseded", 50), ("no_key_frame", 1)]),
                "the decoder returned no picture",
            ),
            (counts(110, 110, 20, &[]), "none was due"),
            (
                counts(110, 110, 25, &[("superseded", 55)]),
                "none was inferred; 5 were dropped: this host is too slow",
            ),
            (counts(110, 110, 25, &[]), "the detectors do not answer"),
        ];
        for (now, said) in cases {
            let reason = inference_reason(&before, &now);
            assert!(reason.contains(said), "{reason}");
        }
    }
}
