//! The sampler: picks one frame per tick of media time for detection.

use crate::media::{MediaMs, SamplerState};

/// The maximum time before its tick at which a frame serves it, ms; never more than a quarter of a tick.
///
/// So a target equal to the camera's own rate picks each frame of it, although times are rounded to ms and jitter.
const MAX_EARLY_MS: f64 = 10.0;

/// The largest step back in time that is jitter, ms; a larger one is other footage, such as a re-upload.
const MAX_JITTER_MS: i64 = 1000;

/// Picks frames by media time, so that the same footage gives the same picks.
///
/// Time is divided into ticks of `1 / fps_target` s, counted from the epoch. Each tick is served by the first frame that
/// comes at most 10 ms before it. One tick without a frame is made up for; a gap is not.
#[derive(Clone, Debug)]
pub struct Sampler {
    fps_target: Option<f64>,
    state: SamplerState,
}

impl Sampler {
    /// Creates a sampler for `fps_target` frames per second of media time; `None` picks every frame.
    #[must_use]
    pub fn new(fps_target: Option<f64>, state: SamplerState) -> Self {
        Self { fps_target, state }
    }

    /// Returns true if the frame at `media` is picked; frames come in order of presentation.
    pub fn picks(&mut self, media: MediaMs) -> bool {
        let Some(fps) = self.fps_target else { return true };
        let (due, newest, current) = self.due(media, fps);
        let picks = current >= due;
        let next = if picks { tick_after(due, floor(ticks_at(media, fps))) } else { due };
        self.state.next = Some((next, newest.max(media)));
        picks
    }

    /// Returns true if [`Self::picks`] may pick the frame at `media`, now or after other frames were shown before it.
    #[must_use]
    pub fn may_pick(&self, media: MediaMs) -> bool {
        // The due tick only rises, so a frame that is early now stays so.
        self.fps_target.is_none_or(|fps| {
            let (due, _, current) = self.due(media, fps);
            current >= due
        })
    }

    /// Returns true if the frame at `media` is not picked because one of the `waiting` frames is: it is shown before, and comes for
    /// the same tick.
    #[must_use]
    pub fn is_served_before(&self, media: MediaMs, waiting: impl IntoIterator<Item = MediaMs>) -> bool {
        let (Some(fps), Some(next)) = (self.fps_target, self.state.next) else { return false };
        // Other footage has other ticks.
        let tick = |frame| is_continued(next, frame, fps).then(|| self.due(frame, fps).2);
        let serves = |earlier: MediaMs| earlier < media && tick(earlier) == Some(next.0);
        // Only for the tick that is due: behind a missed one both frames may be picked, since the second makes up for it.
        tick(media) == Some(next.0) && waiting.into_iter().any(serves)
    }

    /// Takes all ticks up to the frame at `media` for served, because nothing moved in the frames up to it.
    ///
    /// The state is then as after picking from all of these frames.
    pub fn pass(&mut self, media: MediaMs) {
        if let Some(fps) = self.fps_target {
            let (due, newest, current) = self.due(media, fps);
            self.state.next = Some((due.max(current.saturating_add(1)), newest.max(media)));
        }
    }

    /// Returns the sampling period, ms; `None` if every frame is picked.
    #[must_use]
    pub fn period_ms(&self) -> Option<f64> {
        self.fps_target.map(|fps| 1000.0 / fps)
    }

    /// Returns the tick to serve, the newest media time, and the last tick that a frame at `media` may serve.
    fn due(&self, media: MediaMs, fps: f64) -> (i64, MediaMs, i64) {
        let current = floor(ticks_at(media, fps) + (MAX_EARLY_MS * fps / 1000.0).min(0.25));
        let continued = self.state.next.filter(|next| is_continued(*next, media, fps));
        let (due, newest) = continued.unwrap_or((current, media));
        (due, newest, current)
    }

    /// Returns the state from which sampling can resume.
    #[must_use]
    pub fn state(&self) -> SamplerState {
        self.state.clone()
    }

    /// Returns to `state`.
    pub fn rewind(&mut self, state: SamplerState) {
        self.state = state;
    }
}

/// Returns the tick to serve after `due`, which was served in the tick `current`.
fn tick_after(due: i64, current: i64) -> i64 {
    let next = due.saturating_add(1);
    // One missed tick may still be served by the next frame; more are a gap and are left out.
    if current > next { current.saturating_add(1) } else { next }
}

/// Returns true if the footage continues after the state `(due, newest)`.
fn is_continued((due, newest): (i64, MediaMs), media: MediaMs, fps: f64) -> bool {
    // Ticks of a higher target than this one are out of reach: the configuration was changed.
    let in_reach = due <= floor(ticks_at(newest, fps)).saturating_add(2);
    in_reach && media.0 >= newest.0.saturating_sub(MAX_JITTER_MS)
}

#[expect(clippy::cast_precision_loss, reason = "epoch ms fit f64 exactly")]
fn ticks_at(media: MediaMs, fps: f64) -> f64 {
    media.0 as f64 * fps / 1000.0
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, which is what far-off times should do")]
fn floor(ticks: f64) -> i64 {
    ticks.floor() as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START_MS: i64 = 1_700_000_000_000;

    fn sampler(fps: Option<f64>) -> Sampler {
        Sampler::new(fps, SamplerState::default())
    }

    fn picked(sampler: &mut Sampler, media: impl IntoIterator<Item = i64>) -> Vec<i64> {
        media.into_iter().filter(|ms| sampler.picks(MediaMs(*ms))).collect()
    }

    /// Returns the times of `frames` frames at `fps`, rounded to ms as timecodes are.
    fn at_rate(fps: f64, frames: i32) -> Vec<i64> {
        (0..frames).map(|at| START_MS + (f64::from(at) * 1000.0 / fps).round() as i64).collect()
    }

    #[test]
    fn picks_of_known_streams() {
        type Case<'a> = (&'a str, Option<f64>, &'a [i64], &'a [i64]);
        let cases: [Case; 7] = [
            ("no target", None, &[0, 33, 33, 20], &[0, 33, 33, 20]),
            ("a fifth", Some(5.0), &[0, 40, 80, 120, 160, 200, 240], &[0, 200]),
            ("rounded to ms", Some(30.0), &[0, 33, 67, 100, 133], &[0, 33, 67, 100, 133]),
            ("above the stream's rate", Some(50.0), &[0, 100, 200, 300], &[0, 100, 200, 300]),
            ("a gap is not made up for", Some(5.0), &[0, 5000, 5040, 5080, 5120], &[0, 5000]),
            ("jitter back over a tick", Some(5.0), &[0, 202, 198, 210], &[0, 202]),
            ("hours back", Some(5.0), &[9_000_000, 9_000_040, 0, 40, 200], &[9_000_000, 0, 200]),
        ];
        for (name, fps, media, wanted) in cases {
            let shifted = media.iter().map(|ms| START_MS + ms);
            let picks = picked(&mut sampler(fps), shifted);
            assert_eq!(picks, wanted.iter().map(|ms| START_MS + ms).collect::<Vec<_>>(), "{name}");
        }
    }

    #[test]
    fn a_target_of_the_cameras_own_rate_picks_every_frame() {
        for fps in [5.0, 10.0, 12.5, 15.0, 20.0, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0] {
            let media = at_rate(fps, 2000);
            assert_eq!(picked(&mut sampler(Some(fps)), media.clone()), media, "{fps}");
        }
    }

    #[test]
    fn a_state_of_another_target_is_harmless() {
        for (before, after) in [(25.0, 0.5), (0.5, 25.0)] {
            let mut old = sampler(Some(before));
            let media = at_rate(25.0, 300);
            picked(&mut old, media[..100].to_vec());
            let picks = picked(&mut Sampler::new(Some(after), old.state()), media[100..].to_vec()).len();
            let wanted = 8.0 * after;
            assert!((picks as f64 - wanted).abs() < 2.0, "{before} -> {after}: {picks} for {wanted}");
        }
    }

    #[test]
    fn the_state_survives_json() {
        let mut before = sampler(Some(5.0));
        picked(&mut before, at_rate(25.0, 33));
        let json = serde_json::to_string(&before.state()).expect("JSON");
        assert_eq!(serde_json::from_str::<SamplerState>(&json).expect("a state"), before.state());
    }

    #[test]
    fn a_frame_that_is_passed_leaves_the_state_of_all_frames_up_to_it() {
        for fps in [0.3, 2.0, 5.0, 7.7, 25.0] {
            let times = at_rate(25.0, 200);
            let (mut all, mut passed) = (sampler(Some(fps)), sampler(Some(fps)));
            for (at, media) in times.into_iter().map(MediaMs).enumerate() {
                all.picks(media);
                if at % 50 == 0 {
                    passed.pass(media);
                    assert_eq!(passed.state(), all.state(), "{fps} frames/s, frame {at}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn as_many_picks_as_duration_times_target(
            camera_fps in 5.0..60.0_f64, share in 0.02..1.0_f64, offset in 0..10_000_i64,
            jitter in prop::collection::vec(-4..=4_i64, 3000),
        ) {
            let media = at_rate(camera_fps, 3000).into_iter().zip(jitter).map(|(ms, jitter)| ms + offset + jitter);
            let picks = picked(&mut sampler(Some(camera_fps * share)), media).len();
            // The first and the last tick are cut: up to one more at either end.
            let wanted = 3000.0 * share;
            prop_assert!((picks as f64 - wanted).abs() < 2.0, "{} for {}", picks, wanted);
        }

        #[test]
        fn a_start_at_any_fragment_with_its_state_gives_the_same_picks(
            media in prop::collection::vec(-20_000..20_000_i64, 1..200), cut in any::<prop::sample::Index>(),
            fps in prop::option::of(0.1..60.0_f64),
        ) {
            let cut = cut.index(media.len());
            let mut first = sampler(fps);
            let whole = picked(&mut sampler(fps), media.clone());
            let mut parts = picked(&mut first, media[..cut].to_vec());
            let state = first.state();
            picked(&mut first, media[cut..].to_vec());
            first.rewind(state.clone());
            prop_assert_eq!(&first.state(), &state);
            parts.extend(picked(&mut Sampler::new(fps, state), media[cut..].to_vec()));
            prop_assert_eq!(whole, parts);
        }

        #[test]
        fn a_frame_that_is_served_before_is_never_picked(
            steps in prop::collection::vec(1..400_i64, 5..150), order in prop::collection::vec(0..5_usize, 150),
            fps in 0.2..40.0_f64,
        ) {
            let media: Vec<MediaMs> = steps.iter().scan(START_MS, |at, step| { *at += step; Some(MediaMs(*at)) }).collect();
            let mut coded = media.clone();
            // Decoding order: each packet comes up to four frames early.
            for (at, early) in order.into_iter().enumerate().take(coded.len()) {
                let to = (at + early).min(coded.len() - 1);
                coded[at..=to].rotate_right(1);
            }
            let (mut shown, mut waiting, mut left_out) = (sampler(Some(fps)), Vec::new(), Vec::new());
            for (at, packet) in coded.iter().enumerate() {
                if shown.is_served_before(*packet, waiting.iter().copied()) {
                    left_out.push(*packet);
                } else {
                    waiting.push(*packet);
                    waiting.sort_unstable();
                }
                // A frame is shown once no earlier one can come.
                let first = coded[at + 1..].iter().min();
                let ready = waiting.partition_point(|frame| first.is_none_or(|first| frame < first));
                waiting.drain(..ready).for_each(|frame| { shown.picks(frame); });
            }
            let picks = picked(&mut sampler(Some(fps)), media.iter().map(|media| media.0));
            let kept = media.iter().filter(|frame| !left_out.contains(frame)).map(|frame| frame.0);
            prop_assert_eq!(picked(&mut sampler(Some(fps)), kept), picks);
        }

        #[test]
        fn any_times_are_accepted(media in prop::collection::vec(any::<i64>(), 1..50), fps in 0.001..1000.0_f64) {
            let picks = picked(&mut sampler(Some(fps)), media.clone());
            prop_assert_eq!(picks[0], media[0]);
        }
    }
}
