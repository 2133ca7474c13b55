//! Idle decode: while nothing moves, only keyframes are decoded, and the access units between them are retained.
//!
//! This is the part without a decoder: which step an access unit asks for, and what is retained. It depends on the stream
//! alone, so the same footage gives the same steps, also after a restart.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::quiet_sizes::SizeWindow;
use crate::media::{Fragment, FragmentEnd, MediaMs, Mode, Packet, QuietSizes};
use crate::telemetry::decode::WakeTrigger;

/// The maximum size of the retained access units, bytes: 16 s at 8 Mbit/s.
const MAX_RETAINED_BYTES: usize = 16 << 20;

/// The minimum distance between two keyframes of a fragment that are judged, ms. So a stream of keyframes alone is judged
/// twice per second.
const MIN_JUDGED_MS: u64 = 500;

/// The minimum silence of a live stream after which retained access units are decoded.
const MIN_LIVE_PAUSE: Duration = Duration::from_secs(2);

/// The silence of stored footage after which retained access units are decoded: only its end has one.
const CATCH_UP_PAUSE: Duration = Duration::from_secs(5);

/// The step that an access unit asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdleStep {
    /// Decode it.
    Decode,
    /// Ask whether the scene is quiet; if it is, judge the keyframe.
    Ask,
    /// Decode the keyframe alone and judge its frame.
    Judge,
    /// Retain it.
    Retain,
    /// Decode what is retained, and then the access unit.
    Wake(WakeTrigger),
}

/// An item of the stream that is retained, in stream order.
pub(super) enum RetainedItem {
    /// An access unit. The first item is the keyframe that was judged last.
    Packet(Packet),
    /// The end of a fragment, with the usual sizes of access units up to there.
    End(FragmentEnd, QuietSizes),
}

/// The state of idle decode of one camera. Nothing is retained while it decodes everything.
pub(super) struct IdleDecode {
    retained: VecDeque<RetainedItem>,
    retained_bytes: usize,
    window: SizeWindow,
    sizes: QuietSizes,
    /// The last keyframe that was judged, or asked about.
    judged: Option<(Arc<Fragment>, MediaMs)>,
}

impl IdleDecode {
    /// Creates the state of a camera that decodes everything and has seen access units of these sizes.
    pub(super) fn new(sizes: QuietSizes) -> Self {
        Self {
            retained: VecDeque::new(),
            retained_bytes: 0,
            window: SizeWindow::default(),
            sizes,
            judged: None,
        }
    }

    /// Returns true while access units are retained.
    pub(super) fn is_idle(&self) -> bool {
        !self.retained.is_empty()
    }

    /// Returns the newest media time of the retained access units.
    pub(super) fn newest_media(&self) -> Option<MediaMs> {
        let media = self.retained.iter().filter_map(|item| match item {
            RetainedItem::Packet(packet) => Some(packet.media),
            RetainedItem::End(..) => None,
        });
        media.max()
    }

    /// Returns the size of the retained access units, bytes.
    pub(super) fn retained_bytes(&self) -> usize {
        self.retained_bytes
    }

    /// Returns the usual sizes of access units.
    pub(super) fn sizes(&self) -> QuietSizes {
        self.sizes
    }

    /// Sets the usual sizes of access units, to those of the last complete fragment.
    pub(super) fn set_sizes(&mut self, sizes: QuietSizes) {
        self.sizes = sizes;
    }

    /// Takes in whether the last wake by size found something.
    pub(super) fn judge_size_wake(&mut self, found: bool) {
        if found { self.sizes.confirm() } else { self.sizes.relearn() }
    }

    /// Returns the step for the next access unit, and learns from its size.
    pub(super) fn step(&mut self, packet: &Packet, is_keyframe: bool) -> IdleStep {
        if is_keyframe && self.is_judged(packet) {
            return if self.is_idle() { IdleStep::Judge } else { IdleStep::Ask };
        }
        if !self.is_idle() {
            return IdleStep::Decode;
        }
        if is_keyframe {
            self.window.clear();
        } else if let Some(bytes) = self.window.add(packet.media, packet.unit.len()) {
            if self.sizes.exceeds(bytes) {
                return IdleStep::Wake(WakeTrigger::Size);
            }
            self.sizes.learn(bytes);
        }
        match self.retained_bytes + packet.unit.len() {
            0..=MAX_RETAINED_BYTES => IdleStep::Retain,
            _ => IdleStep::Wake(WakeTrigger::Limit),
        }
    }

    /// Returns true if the keyframe is to be judged: the first of a fragment is, and one some time after that.
    fn is_judged(&mut self, packet: &Packet) -> bool {
        let is_close = self.judged.as_ref().is_some_and(|(fragment, media)| {
            fragment.number == packet.fragment.number && media.0.abs_diff(packet.media.0) < MIN_JUDGED_MS
        });
        if !is_close {
            self.judged = Some((Arc::clone(&packet.fragment), packet.media));
        }
        !is_close
    }

    /// Retains an access unit.
    pub(super) fn retain(&mut self, packet: Packet) {
        self.retained_bytes += packet.unit.len();
        self.retained.push_back(RetainedItem::Packet(packet));
    }

    /// Retains the end of a fragment, if the camera is idle; gives it back if not.
    pub(super) fn retain_end(&mut self, end: FragmentEnd) -> Option<FragmentEnd> {
        if !self.is_idle() {
            return Some(end);
        }
        self.retained.push_back(RetainedItem::End(end, self.sizes));
        None
    }

    /// Removes and returns what is retained; the camera is not idle afterwards.
    pub(super) fn take_retained(&mut self) -> VecDeque<RetainedItem> {
        self.retained_bytes = 0;
        self.window.clear();
        std::mem::take(&mut self.retained)
    }

    /// Forgets the access units after the last complete fragment: they are read again or are lost.
    ///
    /// A camera whose last complete fragment was judged stays idle if the footage continues.
    pub(super) fn handle_discontinuity(&mut self) {
        let is_end = |item: &RetainedItem| matches!(item, RetainedItem::End(..));
        let complete = self.retained.iter().rposition(is_end).map_or(0, |last| last + 1);
        for item in self.retained.drain(complete..) {
            if let RetainedItem::Packet(packet) = item {
                self.retained_bytes -= packet.unit.len();
            }
        }
        if let Some(RetainedItem::End(_, sizes)) = self.retained.back() {
            self.sizes = *sizes;
        }
        self.judged = None;
        self.window.clear();
    }

    /// Returns the silence after which retained access units are decoded, because no keyframe comes to judge.
    pub(super) fn pause_limit(&self, mode: Mode, longest_gop_ms: Option<u32>) -> Duration {
        if mode == Mode::CatchUp {
            return CATCH_UP_PAUSE;
        }
        let packets = self.retained.iter().filter_map(|item| match item {
            RetainedItem::Packet(packet) => Some(packet.lag.explained),
            RetainedItem::End(..) => None,
        });
        // Fragments that are delivered as a whole have a silence of their own length between them.
        let delivery = packets.max().unwrap_or_default();
        let gop = Duration::from_millis(longest_gop_ms.unwrap_or(0).into());
        MIN_LIVE_PAUSE + gop.max(delivery) * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::media::{ArrivalLag, Codec, VideoTrack};

    fn packet(fragment: &str, media_ms: i64, bytes: usize) -> Packet {
        let track = VideoTrack { codec: Codec::H264, codec_private: Bytes::new(), width_px: 2, height_px: 2 };
        Packet {
            fragment: Arc::new(Fragment { number: fragment.into(), producer_ms: None, server_ms: None }),
            track: Arc::new(track),
            index: 0,
            media: MediaMs(media_ms),
            key: false,
            unit: vec![0; bytes].into(),
            arrived: Instant::now(),
            lag: ArrivalLag::default(),
        }
    }

    #[test]
    fn the_first_keyframe_of_a_fragment_is_judged_and_then_two_per_second() {
        let mut idle = IdleDecode::new(QuietSizes::default());
        let mut steps = |fragment: &str, media_ms: i64| idle.step(&packet(fragment, media_ms, 10), true);
        for (name, fragment, media_ms, step) in [
            ("the first", "1", 0, IdleStep::Ask),
            ("close to it", "1", 499, IdleStep::Decode),
            ("half a second later", "1", 500, IdleStep::Ask),
            ("close, in another fragment", "2", 540, IdleStep::Ask),
            ("of other footage", "2", -9_000, IdleStep::Ask),
        ] {
            assert_eq!(steps(fragment, media_ms), step, "{name}");
        }
    }

    #[test]
    fn an_idle_camera_retains_up_to_its_limit() {
        let mut idle = IdleDecode::new(QuietSizes::default());
        idle.retain(packet("1", 0, 6 << 20));
        assert_eq!(idle.step(&packet("1", 40, 10 << 20), false), IdleStep::Retain);
        idle.retain(packet("1", 40, 10 << 20));
        assert_eq!(idle.retained_bytes(), 16 << 20);
        assert_eq!(idle.step(&packet("1", 80, 1), false), IdleStep::Wake(WakeTrigger::Limit));
        assert_eq!(
            idle.step(&packet("2", 80, 1 << 20), true),
            IdleStep::Judge,
            "a keyframe is judged, not retained"
        );
        assert_eq!(idle.take_retained().len(), 2);
        assert_eq!((idle.is_idle(), idle.retained_bytes()), (false, 0));
        assert_eq!(idle.step(&packet("2", 120, 1), false), IdleStep::Decode);
    }

    #[test]
    fn a_large_access_unit_wakes_a_camera_that_knows_the_usual_sizes() {
        let mut idle = IdleDecode::new(QuietSizes::default());
        idle.retain(packet("1", 0, 50_000));
        for at in 1..400 {
            assert_eq!(idle.step(&packet("1", at * 40, 300), false), IdleStep::Retain, "unit {at}");
        }
        assert_eq!(idle.step(&packet("1", 16_000, 3_000), false), IdleStep::Wake(WakeTrigger::Size));
    }

    #[test]
    fn a_live_camera_waits_as_long_as_its_delivery_explains() {
        let mut idle = IdleDecode::new(QuietSizes::default());
        let mut whole = packet("1", 0, 1);
        whole.lag.explained = Duration::from_secs(10);
        idle.retain(packet("1", 0, 1));
        assert_eq!(
            idle.pause_limit(Mode::Live, Some(2_000)),
            Duration::from_secs(5),
            "a GOP and a half, and 2 s"
        );
        idle.retain(whole);
        assert_eq!(idle.pause_limit(Mode::Live, Some(2_000)), Duration::from_secs(17));
        assert_eq!(idle.pause_limit(Mode::CatchUp, None), CATCH_UP_PAUSE);
    }
}
