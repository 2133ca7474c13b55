//! Picks the access units of a clip from the fragments around its span.

use std::sync::Arc;

use kvs_hls::AccessUnit;

use super::error::ClipFailure;
use super::span::ClipSpan;
use crate::media::{MediaMs, Packet, VideoTrack};

/// Time without pictures from which on the camera has a gap, ms: longer than the interval of usual frame rates.
const GAP_MS: i64 = 1_000;

/// The pictures of a clip, fragment by fragment.
#[derive(Debug)]
pub(super) struct ClipCutter {
    span: ClipSpan,
    /// The video of the clip; `None` before its first picture.
    track: Option<Arc<VideoTrack>>,
    /// Media time of the latest picture so far.
    last: Option<MediaMs>,
}

impl ClipCutter {
    pub(super) fn new(span: ClipSpan) -> Self {
        Self { span, track: None, last: None }
    }

    /// Returns the video of the pictures so far; `None`: there is none.
    pub(super) fn track(&self) -> Option<&Arc<VideoTrack>> {
        self.track.as_ref()
    }

    /// Returns the pictures of a fragment that are in the clip, with times relative to the start of the span. Fragments come in the
    /// order of media time.
    ///
    /// # Errors
    /// The fragment has another video format than those before it.
    pub(super) fn cut(&mut self, packets: Vec<Packet>) -> Result<Vec<AccessUnit>, ClipFailure> {
        let latest = packets.iter().map(|packet| packet.media).max();
        // A producer that connects again may send footage twice.
        if latest <= self.last {
            return Ok(Vec::new());
        }
        let packets = self.within_span(self.decodable(packets));
        let Some(first) = packets.first() else { return Ok(Vec::new()) };
        match &self.track {
            Some(track) if *track != first.track => {
                return Err(ClipFailure::FormatChanged { at_ms: first.media.0 });
            }
            Some(_) => {}
            None => self.track = Some(Arc::clone(&first.track)),
        }
        self.last = packets.iter().map(|packet| packet.media).max().max(self.last);
        Ok(packets.iter().zip(0..).map(|(packet, index)| self.unit(packet, index)).collect())
    }

    /// Returns the packets that can be decoded after those before: where the footage begins, or begins again after a gap, from a
    /// keyframe on.
    fn decodable(&self, packets: Vec<Packet>) -> Vec<Packet> {
        let first_ms = packets.iter().map(|packet| packet.media.0).min().unwrap_or(0);
        if self.last.is_some_and(|last| first_ms - last.0 < GAP_MS) {
            return packets;
        }
        // In the first fragment of the clip, the last keyframe before the span: each earlier GOP would only lengthen it.
        let keys = || packets.iter().enumerate().filter(|(_, packet)| is_keyframe(packet));
        let mut before =
            keys().filter(|(_, packet)| self.last.is_none() && packet.media.0 <= self.span.from_ms);
        let Some((begin, key)) = before.next_back().or_else(|| keys().next()) else { return Vec::new() };
        // The leading pictures of an open GOP refer to pictures before the keyframe, which are not there.
        let key_media = key.media;
        packets.into_iter().skip(begin).filter(|packet| packet.media >= key_media).collect()
    }

    /// Returns the packets up to the last one that is presented within the span, and those that are presented before another one that
    /// it needs: with B-frames, a later picture is decoded first.
    fn within_span(&self, mut packets: Vec<Packet>) -> Vec<Packet> {
        let (mut count, mut end) = (0, MediaMs(self.span.to_ms));
        while let Some(last) =
            packets.iter().rposition(|packet| packet.media < end).filter(|last| *last >= count)
        {
            count = last + 1;
            end = packets[..count].iter().map(|packet| packet.media).max().unwrap_or(end).max(end);
        }
        packets.truncate(count);
        packets
    }

    fn unit(&self, packet: &Packet, index: u32) -> AccessUnit {
        AccessUnit {
            index,
            relative_ms: packet.media.0.saturating_sub(self.span.from_ms),
            key: is_keyframe(packet),
            data: packet.unit.clone(),
        }
    }
}

/// Returns whether decoding can start at the packet. Not every container marks its keyframes.
fn is_keyframe(packet: &Packet) -> bool {
    packet.key || packet.role().is_random_access()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::media::{ArrivalLag, Codec, Fragment};

    fn track(codec_private: &'static [u8]) -> Arc<VideoTrack> {
        let codec_private = Bytes::from_static(codec_private);
        Arc::new(VideoTrack { codec: Codec::H264, codec_private, width_px: 64, height_px: 48 })
    }

    /// Returns a fragment of these pictures: their media times, and whether they are keyframes.
    fn fragment(track: &Arc<VideoTrack>, pictures: &[(i64, bool)]) -> Vec<Packet> {
        let fragment = Arc::new(Fragment { number: Arc::from("1"), producer_ms: None, server_ms: None });
        let packet = |(&(media_ms, key), index): (&(i64, bool), u32)| Packet {
            fragment: Arc::clone(&fragment),
            track: Arc::clone(track),
            index,
            media: MediaMs(media_ms),
            key,
            unit: Bytes::from_static(b"picture"),
            arrived: Instant::now(),
            lag: ArrivalLag::default(),
        };
        pictures.iter().zip(0..).map(packet).collect()
    }

    /// Returns the times of the clip's pictures, in the order of decoding, relative to the span.
    fn clip(span: (i64, i64), fragments: &[&[(i64, bool)]]) -> Vec<i64> {
        let mut cutter = ClipCutter::new(ClipSpan { from_ms: span.0, to_ms: span.1 });
        let track = track(b"avcC");
        let units = fragments.iter().flat_map(|pictures| cutter.cut(fragment(&track, pictures)).unwrap());
        units.map(|unit| unit.relative_ms).collect()
    }

    #[test]
    fn a_clip_has_the_pictures_of_its_span_from_the_last_keyframe_before_it() {
        type Case<'a> = (&'a str, (i64, i64), &'a [&'a [(i64, bool)]], &'a [i64]);
        let two: &[&[(i64, bool)]] = &[&[(0, true), (40, false), (80, false)], &[(120, true), (160, false)]];
        let cases: [Case<'_>; 9] = [
            ("all", (0, 1_000), two, &[0, 40, 80, 120, 160]),
            ("from within a fragment", (50, 1_000), two, &[-50, -10, 30, 70, 110]),
            ("to within a fragment", (0, 121), two, &[0, 40, 80, 120]),
            ("the end is not part of it", (0, 120), two, &[0, 40, 80]),
            (
                "from the last keyframe of several",
                (95, 1_000),
                &[&[(0, true), (40, true), (80, true), (120, false)]],
                &[-15, 25],
            ),
            (
                "a B-frame at the end needs a later picture",
                (0, 50),
                &[&[(0, true), (120, false), (40, false), (80, false), (160, false)]],
                &[0, 120, 40, 80],
            ),
            (
                "leading pictures have no references at the beginning",
                (100, 1_000),
                &[&[(100, true), (60, false), (80, false), (140, false)]],
                &[0, 40],
            ),
            (
                "nor after a gap",
                (0, 9_000),
                &[&[(0, true), (40, false)], &[(5_000, true), (4_960, false), (5_040, false)]],
                &[0, 40, 5_000, 5_040],
            ),
            (
                "footage that was sent twice",
                (0, 1_000),
                &[&[(0, true), (40, false)], &[(0, true), (40, false)], &[(80, true)]],
                &[0, 40, 80],
            ),
        ];
        for (name, span, fragments, expected) in cases {
            assert_eq!(clip(span, fragments), expected, "{name}");
        }
    }

    #[test]
    fn pictures_before_the_first_keyframe_are_left_out() {
        assert_eq!(clip((0, 1_000), &[&[(0, false), (40, false)], &[(80, false), (120, true)]]), [120]);
    }

    #[test]
    fn another_format_within_the_span_is_an_error_that_names_its_time() {
        let mut cutter = ClipCutter::new(ClipSpan { from_ms: 0, to_ms: 1_000 });
        cutter.cut(fragment(&track(b"one"), &[(0, true)])).unwrap();
        let changed = cutter.cut(fragment(&track(b"two"), &[(40, true)])).unwrap_err();
        assert!(matches!(changed, ClipFailure::FormatChanged { at_ms: 40 }), "{changed}");
        let mut cutter = ClipCutter::new(ClipSpan { from_ms: 0, to_ms: 40 });
        cutter.cut(fragment(&track(b"one"), &[(0, true)])).unwrap();
        assert!(cutter.cut(fragment(&track(b"two"), &[(40, true)])).unwrap().is_empty(), "after the span");
    }
}
