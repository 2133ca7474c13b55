//! The verdicts of idle decode: answers the questions of the decode thread from the state of the motion gate.
//!
//! Each decision on a keyframe after the position is part of the checkpoint. A restart that reads these keyframes again
//! repeats the decisions instead of making them from the newer state of the gate. So the same frames are decoded.

use std::cmp::Ordering;
use std::sync::Arc;

use super::analysis::AnalysisTask;
use super::analysis_end::AnalysisEnd;
use crate::delivery::OfferError;
use crate::detect::{MotionRules, SceneView};
use crate::media::{
    Fragment, FragmentEnd, Frame, IdleQuery, IdleRecord, KeyframeRecord, KeyframeVerdict, MediaMs, OpenWake,
    QuietAnswer, fragment_order,
};
use crate::telemetry::camera::FrameSkipped;

/// The maximum number of recorded decisions. A fragment of 20 s has 40 at most; a stream of absurd times may have more.
const MAX_KEYFRAMES: usize = 256;

/// The number of wakes within [`FRUITLESS_WINDOW_MS`] that found nothing new, from which on a camera is restless.
const MAX_FRUITLESS: usize = 4;
/// The time in which these wakes count, ms.
const FRUITLESS_WINDOW_MS: i64 = 60_000;
/// The time without quiet and without a new object, ms, after which a camera is restless.
const MAX_FRUITLESS_MS: i64 = 60_000;
/// The time for which a restless camera is not woken by a change alone, ms: its keyframes are inferred instead. Twice as long
/// each further time.
const RESTLESS_MS: i64 = 120_000;
/// The maximum number of doublings: 16 minutes.
const MAX_RESTLESS_DOUBLINGS: u8 = 3;

impl AnalysisTask {
    /// Answers a question of the decode thread.
    pub(super) async fn answer(&mut self, query: IdleQuery) -> Result<(), AnalysisEnd> {
        // An answer for which no thread waits means that the decode thread has ended, which closes the queue of frames.
        match query {
            IdleQuery::Quiet { fragment, media, answer } => {
                let _ended = answer.send(self.judge_quiet(&fragment, media));
            }
            IdleQuery::Keyframe { frame, media, can_rewind, gop_ms, answer } => {
                self.repicture(&frame).await?;
                let verdict = match self.known_verdict(&frame, media) {
                    Some(verdict) => verdict,
                    None => self.judge_keyframe(frame, media, can_rewind, gop_ms).await?,
                };
                let _ended = answer.send(verdict);
            }
            IdleQuery::Woke { media, by_size } => {
                self.has_woken = true;
                self.idle().open_wake(media, by_size, false);
            }
        }
        Ok(())
    }

    /// Makes the pictures of adopted records whose frame this is. These frames come before the first one that was not seen.
    async fn repicture(&self, frame: &Arc<Frame>) -> Result<(), OfferError> {
        if self.checkpoint.has_seen(frame) {
            self.outbox.picture_adopted(&self.camera, frame).await
        } else {
            self.outbox.give_up_pictures(&self.camera).await
        }
    }

    fn idle(&mut self) -> &mut IdleRecord {
        &mut self.checkpoint.sampler.idle
    }

    /// Returns whether the scene is quiet before the keyframe, and records it.
    fn judge_quiet(&mut self, fragment: &Arc<Fragment>, media: MediaMs) -> QuietAnswer {
        if let Some(known) = self.idle().find(fragment, media) {
            // After a rewind the frames before the keyframe are decoded, so it is no beginning.
            let continues = matches!(known.verdict, Some(KeyframeVerdict::Active | KeyframeVerdict::Rewind));
            return QuietAnswer { is_quiet: !continues, size_wake_found: known.size_wake_found };
        }
        let gate_is_closed = self.checkpoint.motion.is_quiet(media);
        // The frames of adopted records must be decoded, also those between keyframes.
        let is_quiet = (gate_is_closed || self.idle().is_restless_after(media))
            && !self.outbox.has_unpictured(&self.camera);
        if gate_is_closed {
            self.idle().calm_at = Some(media);
        }
        let opened = self.checkpoint.motion.awake_until();
        let size_wake_found = if is_quiet { self.idle().close_wake(media, opened) } else { None };
        let verdict = (!is_quiet).then_some(KeyframeVerdict::Active);
        self.idle().record(KeyframeRecord {
            fragment: Arc::clone(&fragment.number),
            media,
            size_wake_found,
            verdict,
        });
        QuietAnswer { is_quiet, size_wake_found }
    }

    /// Returns the verdict on a keyframe of an idle camera, and records it.
    async fn judge_keyframe(
        &mut self,
        frame: Arc<Frame>,
        media: MediaMs,
        can_rewind: bool,
        gop_ms: u32,
    ) -> Result<KeyframeVerdict, AnalysisEnd> {
        let fragment = Arc::clone(&frame.fragment);
        let verdict = match self.examine(&frame, gop_ms) {
            Examined::Seen => KeyframeVerdict::Still,
            Examined::Unchanged => {
                FrameSkipped { camera: &self.status }.emit();
                KeyframeVerdict::Still
            }
            Examined::Moved => {
                self.has_woken = can_rewind;
                self.idle().open_wake(media, false, false);
                if can_rewind { KeyframeVerdict::Rewind } else { KeyframeVerdict::Resume }
            }
            Examined::Due => return self.infer_keyframe(frame, media).await,
        };
        self.record_verdict(&fragment, media, verdict);
        Ok(verdict)
    }

    fn known_verdict(&mut self, frame: &Frame, media: MediaMs) -> Option<KeyframeVerdict> {
        self.idle().find(&frame.fragment, media)?.verdict
    }

    fn record_verdict(&mut self, fragment: &Fragment, media: MediaMs, verdict: KeyframeVerdict) {
        let number = Arc::clone(&fragment.number);
        let verdict = Some(verdict);
        self.idle().record(KeyframeRecord { fragment: number, media, size_wake_found: None, verdict });
    }

    /// Compares the keyframe with the last inferred frame.
    fn examine(&mut self, frame: &Frame, gop_ms: u32) -> Examined {
        let Some(rules) = self.motion.map(|rules| with_nearest_keyframe(rules, gop_ms)) else {
            return Examined::Moved;
        };
        let is_restless = self.idle().is_restless(frame.media);
        let motion = &mut self.checkpoint.motion;
        if self.checkpoint.seen.as_ref().is_some_and(|seen| seen.covers(frame)) {
            Examined::Seen
        } else if !is_restless && !motion.is_quiet(frame.media) {
            Examined::Moved
        } else {
            let scene = SceneView::of(&frame.surface);
            let changed = motion.is_changed(rules, &scene, frame.media);
            if changed && !is_restless {
                Examined::Moved
            } else if changed || motion.is_due(rules, frame.media) {
                motion.infer_idly(scene, frame.media);
                Examined::Due
            } else {
                Examined::Unchanged
            }
        }
    }

    /// Infers a keyframe of an idle camera, because that is due; decoding resumes there if something new is found.
    async fn infer_keyframe(
        &mut self,
        frame: Arc<Frame>,
        media: MediaMs,
    ) -> Result<KeyframeVerdict, AnalysisEnd> {
        let was_restless = self.idle().is_restless(frame.media);
        let decided = self.infer(&frame).await?;
        // A new object ends the restless time. Without one, only a scene that is not restless is woken by an open gate.
        let is_restless = was_restless && self.idle().is_restless(frame.media);
        let is_still = is_restless || self.checkpoint.motion.is_quiet(frame.media);
        let verdict = if is_still { KeyframeVerdict::Still } else { KeyframeVerdict::Resume };
        if !is_still {
            self.idle().open_wake(media, false, true);
        }
        // Before the events are committed, so that a restart knows both or neither.
        self.record_verdict(&Arc::clone(&frame.fragment), media, verdict);
        self.publish(frame, decided).await?;
        Ok(verdict)
    }

    /// Takes in that the detectors found something new in a frame.
    pub(super) fn note_found(&mut self, media: MediaMs) {
        self.idle().note_found(media);
    }
}

/// The maximum time between two inferences, ms: the tracker takes inferences that are further apart for unrelated.
const MAX_INFERENCE_GAP_MS: i64 = 10_000;

/// Returns the rules for keyframes that are `gop_ms` apart: the one nearest to the end of the idle time is inferred.
fn with_nearest_keyframe(rules: MotionRules, gop_ms: u32) -> MotionRules {
    let gop_ms = i64::from(gop_ms);
    let max_idle_ms = (rules.max_idle_ms - gop_ms / 2).min(MAX_INFERENCE_GAP_MS - gop_ms).max(1);
    MotionRules { max_idle_ms, ..rules }
}

/// The result of the comparison of a keyframe with the last inferred frame.
enum Examined {
    /// It was inferred before a restart.
    Seen,
    /// Nothing has changed.
    Unchanged,
    /// Something has moved.
    Moved,
    /// An inference is due.
    Due,
}

impl IdleRecord {
    /// Returns the decision on a keyframe.
    fn find(&self, fragment: &Fragment, media: MediaMs) -> Option<&KeyframeRecord> {
        self.keyframes.iter().find(|known| known.fragment == fragment.number && known.media == media)
    }

    /// Records a decision, in the place of an earlier one on the same keyframe.
    fn record(&mut self, record: KeyframeRecord) {
        let is_same =
            |known: &&mut KeyframeRecord| known.fragment == record.fragment && known.media == record.media;
        match self.keyframes.iter_mut().find(is_same) {
            Some(known) => known.verdict = record.verdict,
            None => self.keyframes.push(record),
        }
        if self.keyframes.len() > MAX_KEYFRAMES {
            self.keyframes.remove(0);
        }
    }

    /// Forgets the decisions up to the end of a fragment, from which a restart resumes.
    pub(super) fn pass(&mut self, end: &FragmentEnd) {
        let number = &end.fragment.number;
        self.keyframes.retain(|known| fragment_order(&known.fragment, number) == Ordering::Greater);
    }

    fn open_wake(&mut self, media: MediaMs, by_size: bool, found: bool) {
        self.woken = Some(OpenWake { media, by_size, found });
    }

    /// Ends the last wake, when the scene is quiet again; `opened` is the time up to which the motion gate was open.
    ///
    /// Returns whether a wake by size has found motion.
    fn close_wake(&mut self, media: MediaMs, opened: Option<MediaMs>) -> Option<bool> {
        let wake = self.woken.take()?;
        let has_moved = opened.is_some_and(|opened| opened > wake.media);
        self.fruitless.retain(|at| at.0.abs_diff(media.0) < FRUITLESS_WINDOW_MS as u64);
        if has_moved && !wake.found {
            self.fruitless.push(media);
        }
        if self.fruitless.len() >= MAX_FRUITLESS {
            self.begin_restless(media);
        }
        wake.by_size.then_some(has_moved)
    }

    fn begin_restless(&mut self, media: MediaMs) {
        self.fruitless.clear();
        let length_ms = RESTLESS_MS << self.restless_times.min(MAX_RESTLESS_DOUBLINGS);
        self.restless_times = (self.restless_times + 1).min(MAX_RESTLESS_DOUBLINGS);
        self.restless_until = Some(MediaMs(media.0.saturating_add(length_ms)));
        self.calm_at = self.restless_until;
    }

    /// Returns true if a change alone does not wake the camera at `media`.
    fn is_restless(&self, media: MediaMs) -> bool {
        // A time far ahead is of other footage.
        let max_ms = RESTLESS_MS << MAX_RESTLESS_DOUBLINGS;
        self.restless_until.is_some_and(|until| (0..=max_ms).contains(&until.0.saturating_sub(media.0)))
    }

    /// Returns true if the camera is restless at `media`; it becomes so if the gate was open for too long for nothing.
    fn is_restless_after(&mut self, media: MediaMs) -> bool {
        let fruitless_ms = media.0.saturating_sub(self.calm_at.get_or_insert(media).0);
        // A time far behind is of other footage.
        if (MAX_FRUITLESS_MS..10 * MAX_FRUITLESS_MS).contains(&fruitless_ms) {
            self.begin_restless(media);
        } else if !(-(RESTLESS_MS << MAX_RESTLESS_DOUBLINGS)..MAX_FRUITLESS_MS).contains(&fruitless_ms) {
            self.calm_at = Some(media);
        }
        self.is_restless(media)
    }

    /// Takes in that the detectors found something new: the changes of the scene are worth their inferences.
    fn note_found(&mut self, media: MediaMs) {
        // Without idle decode nothing is asked, and nothing is to be stored.
        if self.calm_at.is_none() {
            return;
        }
        if let Some(wake) = &mut self.woken {
            wake.found = true;
        }
        (self.calm_at, self.restless_until, self.restless_times) = (Some(media), None, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Position;

    fn fragment(number: &str) -> Fragment {
        Fragment { number: number.into(), producer_ms: None, server_ms: None }
    }

    fn record(number: &str, media: i64, verdict: KeyframeVerdict) -> KeyframeRecord {
        KeyframeRecord {
            fragment: number.into(),
            media: MediaMs(media),
            size_wake_found: None,
            verdict: Some(verdict),
        }
    }

    #[test]
    fn decisions_are_kept_until_their_fragment_is_the_position() {
        let mut idle = IdleRecord::default();
        for (number, media) in [("8", 0), ("9", 2_000), ("9", 4_000), ("10", 6_000)] {
            idle.record(record(number, media, KeyframeVerdict::Still));
        }
        idle.record(record("9", 4_000, KeyframeVerdict::Rewind));
        let verdict = |idle: &IdleRecord, number: &str, media: i64| {
            idle.find(&fragment(number), MediaMs(media)).and_then(|known| known.verdict)
        };
        assert_eq!(verdict(&idle, "9", 4_000), Some(KeyframeVerdict::Rewind), "the last decision");
        assert_eq!(verdict(&idle, "9", 0), None);
        let ended = Arc::new(fragment("9"));
        let position = Position::after(&ended);
        idle.pass(&FragmentEnd { fragment: ended, position, behind_ms: None, caught_up: false });
        assert_eq!(verdict(&idle, "9", 4_000), None);
        assert_eq!(verdict(&idle, "10", 6_000), Some(KeyframeVerdict::Still), "10 comes after 9");
        let json = serde_json::to_string(&idle).unwrap();
        assert_eq!(serde_json::from_str::<IdleRecord>(&json).unwrap(), idle);
    }

    #[test]
    fn absurd_footage_does_not_fill_the_checkpoint() {
        let mut idle = IdleRecord::default();
        (0..1_000).for_each(|media| idle.record(record("1", media * 1_000, KeyframeVerdict::Still)));
        assert_eq!(idle.keyframes.len(), MAX_KEYFRAMES);
        assert!(idle.find(&fragment("1"), MediaMs(999_000)).is_some(), "the newest are kept");
    }

    /// Wakes the camera at `media`; the gate is open for a second, and the detectors find something new or do not.
    fn wake(idle: &mut IdleRecord, media: i64, by_size: bool, moved: bool, found: bool) -> Option<bool> {
        idle.open_wake(MediaMs(media), by_size, found);
        let opened = if moved { media + 1_000 } else { media - 1 };
        idle.close_wake(MediaMs(media + 2_000), Some(MediaMs(opened)))
    }

    #[test]
    fn four_fruitless_wakes_in_a_minute_make_a_camera_restless_for_two() {
        let mut idle = IdleRecord::default();
        for media in [0, 10_000, 20_000] {
            assert_eq!(wake(&mut idle, media, false, true, false), None);
        }
        wake(&mut idle, 25_000, false, true, true);
        wake(&mut idle, 26_000, true, false, false);
        assert!(!idle.is_restless(MediaMs(28_000)), "one found something, and one by size opened no gate");
        wake(&mut idle, 40_000, false, true, false);
        for (at, is_restless) in [(42_000, true), (162_000, true), (162_001, false), (-9_000_000, false)] {
            assert_eq!(idle.is_restless(MediaMs(at)), is_restless, "{at}");
        }
        let mut slow = IdleRecord::default();
        (0..20).for_each(|at| assert_eq!(wake(&mut slow, at * 25_000, false, true, false), None));
        assert!(!slow.is_restless(MediaMs(503_000)), "two or three per minute");
    }

    #[test]
    fn a_gate_that_stays_open_for_nothing_makes_a_camera_restless_each_time_for_longer() {
        let mut idle = IdleRecord::default();
        let mut restless = Vec::new();
        for second in 0..1_000 {
            if idle.is_restless_after(MediaMs(second * 1_000)) {
                restless.push(second);
            }
        }
        let spans: Vec<_> = restless.chunk_by(|a, b| a + 1 == *b).map(|span| (span[0], span.len())).collect();
        assert_eq!(spans, [(60, 121), (240, 241), (540, 460)], "2, 4 and 8 minutes, with a minute between");
        idle.note_found(MediaMs(1_000_000));
        assert!(!idle.is_restless_after(MediaMs(1_001_000)), "an object was found");
        assert!(!idle.is_restless_after(MediaMs(-9_000_000)), "other footage");
        assert!(!idle.is_restless_after(MediaMs(-8_990_000)));
    }

    #[test]
    fn a_wake_by_size_has_found_motion_if_the_gate_opened_after_it() {
        let mut idle = IdleRecord::default();
        assert_eq!(wake(&mut idle, 0, true, true, false), Some(true));
        assert_eq!(wake(&mut idle, 10_000, true, false, false), Some(false));
        assert_eq!(idle.close_wake(MediaMs(20_000), None), None, "the outcome is known once");
    }
}
