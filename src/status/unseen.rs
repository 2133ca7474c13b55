//! Detection of cameras that are read and not seen: no frame can be decoded, or none reaches the detectors.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::FrameCounts;
use super::load::UNDECODABLE;

/// How long frames may be read without any being seen before it is reported.
const UNSEEN_LIMIT: Duration = Duration::from_secs(40);

/// The time after which it is reported that frames are read and none can be decoded.
const UNDECODED_LIMIT: Duration = Duration::from_secs(10);

/// Whole fragments that must have been read meanwhile. Each begins with a key frame: one damaged frame of a long fragment costs
/// all that follow it there, and the next fragment is sound.
const UNDECODED_FRAGMENTS: u64 = 2;

/// A camera of which nothing was read for this long is not read now, whatever the cause: that is reported elsewhere.
const READ_WITHIN: Duration = Duration::from_secs(15);

/// The span of time since a frame was last seen.
#[derive(Default)]
pub(super) struct Unseen {
    /// When the first frame was read since then, with the counts before it.
    since: Option<(Instant, FrameCounts)>,
    undecoded: Option<Undecoded>,
    /// The decoder's last error.
    decode_error: Option<String>,
    last_read: Option<Instant>,
    reported: bool,
}

/// The span of time since a sound frame last came out of the decoder.
struct Undecoded {
    /// Time of the first frame that was read since then.
    since: Instant,
    /// The counts before it.
    before: FrameCounts,
    /// The whole fragments before it.
    fragments: u64,
}

impl Unseen {
    /// A frame was read; `before` and `fragments` are what was counted before it. Returns the reason when it is to be reported:
    /// once.
    pub(super) fn read(&mut self, at: Instant, before: &FrameCounts, fragments: u64) -> Option<String> {
        self.last_read = Some(at);
        self.since.get_or_insert_with(|| (at, before.clone()));
        self.undecoded.get_or_insert_with(|| Undecoded { since: at, before: before.clone(), fragments });
        let (_, reason) = self.complaint(at, before, fragments).filter(|_| !self.reported)?;
        self.reported = true;
        Some(reason)
    }

    /// A sound frame came out of the decoder.
    pub(super) fn decoded(&mut self) {
        self.undecoded = None;
    }

    /// The decoder failed, for this reason.
    pub(super) fn decode_failed(&mut self, reason: &str) {
        self.decode_error = Some(reason.to_owned());
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

    /// Since when frames are read and none is decoded or seen, and why, if that is too long; `now` and `fragments` are what is
    /// counted so far.
    pub(super) fn complaint(
        &self,
        at: Instant,
        now: &FrameCounts,
        fragments: u64,
    ) -> Option<(Instant, String)> {
        let is_read = self.last_read.is_some_and(|read| at.saturating_duration_since(read) < READ_WITHIN);
        if !is_read {
            return None;
        }
        let undecoded = self.undecoded.as_ref().filter(|undecoded| undecoded.is_long(at, fragments));
        undecoded.and_then(|undecoded| self.undecodable(undecoded, now)).or_else(|| {
            let (since, before) = self.since.as_ref()?;
            let unseen = at.saturating_duration_since(*since) >= UNSEEN_LIMIT;
            unseen.then(|| (*since, reason(before, now)))
        })
    }

    /// The reason where most of the frames that were read since then cannot be decoded. Others may only wait for the decoder; those that
    /// were left out because the host is too slow do not count.
    fn undecodable(&self, undecoded: &Undecoded, now: &FrameCounts) -> Option<(Instant, String)> {
        let Undecoded { since, before, .. } = undecoded;
        let dropped = |reason: &str| dropped_since(before, now, reason);
        let tried = (now.read - before.read).saturating_sub(dropped("late"));
        let lost: u64 = UNDECODABLE.iter().map(|reason| dropped(reason)).sum();
        let reason = UNDECODABLE.iter().max_by_key(|reason| dropped(reason)).filter(|_| lost * 2 > tried)?;
        let said =
            self.decode_error.as_ref().map_or_else(String::new, |said| format!("; the decoder says: {said}"));
        Some((*since, format!("{lost} of {tried} frames could not be decoded: {}{said}", explained(reason))))
    }
}

impl Undecoded {
    fn is_long(&self, at: Instant, fragments: u64) -> bool {
        let is_long = at.saturating_duration_since(self.since) >= UNDECODED_LIMIT;
        is_long && fragments - self.fragments >= UNDECODED_FRAGMENTS
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

fn dropped_since(before: &FrameCounts, now: &FrameCounts, reason: &str) -> u64 {
    let of = |counts: &BTreeMap<&'static str, u64>| counts.get(reason).copied().unwrap_or(0);
    of(&now.dropped) - of(&before.dropped)
}

fn most_dropped(before: &FrameCounts, now: &FrameCounts) -> Option<(&'static str, u64)> {
    let dropped = now.dropped.keys().map(|reason| (*reason, dropped_since(before, now, reason)));
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
        "track" => "their codec private data is unusable; let the producer send a whole avcC or hvcC",
        "late" => {
            "this host is too slow to decode them; lower the resolution or frame rate that the camera sends"
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
            .filter(|second| unseen.read(in_s(*second), &counts(*second, 0, 0, &[]), *second).is_some())
            .collect();
        assert_eq!(reported, [40]);
        assert_eq!(
            unseen.complaint(in_s(90), &counts(90, 0, 0, &[]), 90).map(|(since, _)| since),
            Some(start)
        );
        assert!(
            unseen.complaint(in_s(110), &counts(90, 0, 0, &[]), 90).is_none(),
            "nothing is read any more"
        );
        assert!(unseen.seen() && !unseen.seen(), "the end is reported once, too");
        assert!(unseen.read(in_s(120), &counts(90, 1, 1, &[]), 90).is_none(), "it begins again");
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
            let (start, mut unseen) = (Instant::now(), Unseen::default());
            unseen.decode_failed("Invalid data");
            let told = (0..20).find_map(|second| {
                let dropped = [("damaged", damaged * second), ("late", late * second)];
                let counts = counts(10 * second, 0, 0, &dropped);
                let reason = unseen.read(start + Duration::from_secs(second), &counts, second / fragment_s);
                reason.map(|reason| (second, reason))
            });
            assert_eq!(told.as_ref().map(|(second, _)| *second), reported, "{name}: {told:?}");
            if let Some((second, reason)) = told {
                let frames = (10 - late) * second;
                let said = format!("{frames} of {frames} frames could not be decoded: they are damaged; ");
                assert!(
                    reason.starts_with(&said) && reason.ends_with("the decoder says: Invalid data"),
                    "{reason}"
                );
            }
        }
    }

    #[test]
    fn a_sound_frame_ends_it() {
        let (start, mut unseen) = (Instant::now(), Unseen::default());
        let in_s = |seconds: u64| start + Duration::from_secs(seconds);
        let damaged = |read| counts(read, 0, 0, &[("damaged", read)]);
        unseen.read(in_s(0), &counts(0, 0, 0, &[]), 0);
        assert!(unseen.read(in_s(12), &damaged(12), 12).is_some());
        unseen.decoded();
        assert_eq!(unseen.complaint(in_s(13), &damaged(12), 13), None);
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
