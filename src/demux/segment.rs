//! HLS: segments -> packets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kvs_hls::{AccessUnit, HlsLimits, mp4, ts};

use super::{DemuxError, Step, is_in_calendar, within_calendar};
use crate::frame::{ArrivalLag, Fragment, MediaMs, Packet, VideoTrack};

/// A media segment as it was fetched: one fragment of the stream.
#[derive(Clone, Debug)]
pub struct FetchedSegment {
    /// The fragment's number.
    pub number: Arc<str>,
    /// The time of its first sample, ms since the epoch, by the producer's clock.
    pub date_ms: i64,
    /// How far the segment's end is behind the live edge, ms: the newer ones that are listed, and the time since they were.
    pub behind_ms: u64,
    /// The initialisation segment; `None` in MPEG-TS.
    pub init: Option<Bytes>,
    /// The media.
    pub media: Bytes,
}

/// Takes segments apart; the steps are those of a fragment that GetMedia brings, and the packets have the same indices and times.
#[derive(Debug, Default)]
pub struct SegmentDemuxer {
    limits: HlsLimits,
    init: Option<(Bytes, mp4::InitSegment)>,
    track: Option<Arc<VideoTrack>>,
    steps: VecDeque<Result<Step, DemuxError>>,
}

impl SegmentDemuxer {
    /// Takes the next segment; `arrived` is when its last byte was read.
    pub fn push(&mut self, segment: &FetchedSegment, arrived: Instant) {
        let (number, producer_ms) =
            (Arc::clone(&segment.number), Some(segment.date_ms).filter(|ms| *ms != 0 && is_in_calendar(*ms)));
        let fragment = Arc::new(Fragment { number, producer_ms, server_ms: None });
        self.steps.push_back(Ok(Step::Begin(Arc::clone(&fragment))));
        let (track, units) = match self.units(segment) {
            Ok(read) => read,
            Err(error) => return self.steps.push_back(Err(error)),
        };
        let track = self.same_or(track);
        let packets =
            units.into_iter().map(|unit| Ok(Step::Packet(packet(&fragment, &track, unit, arrived))));
        self.steps.extend(packets);
        self.steps.push_back(Ok(Step::End { fragment, behind_ms: Some(segment.behind_ms) }));
    }

    /// The media time of the newest access unit that is to come out.
    #[must_use]
    pub fn newest(&self) -> Option<MediaMs> {
        let packet = |step: &Result<Step, DemuxError>| match step {
            Ok(Step::Packet(packet)) => Some(packet.media),
            _ => None,
        };
        self.steps.iter().filter_map(packet).max()
    }

    /// The next step of the segments so far.
    ///
    /// # Errors
    /// A segment cannot be read; the beginning of its fragment went before.
    pub fn next_step(&mut self) -> Result<Option<Step>, DemuxError> {
        self.steps.pop_front().transpose()
    }

    fn units(
        &mut self,
        segment: &FetchedSegment,
    ) -> Result<(kvs_hls::HlsTrack, Vec<AccessUnit>), DemuxError> {
        let Some(bytes) = &segment.init else {
            let ts::TsSegment { track, units } = ts::read(&segment.media, &self.limits)?;
            return Ok((track, units));
        };
        let known = self.init.take().filter(|(of, _)| of == bytes);
        let init = known.map_or_else(|| mp4::read_init(bytes, &self.limits), |(_, init)| Ok(init))?;
        let units = mp4::read_media(&init, &segment.media, &self.limits);
        let track = init.track.clone();
        self.init = Some((bytes.clone(), init));
        Ok((track, units?))
    }

    /// While the track stays the same it stays the same `Arc`, so that comparing is cheap.
    fn same_or(&mut self, track: kvs_hls::HlsTrack) -> Arc<VideoTrack> {
        let kvs_hls::HlsTrack { codec, codec_private, width_px, height_px } = track;
        let track = VideoTrack { codec, codec_private, width_px, height_px };
        match &self.track {
            Some(same) if **same == track => Arc::clone(same),
            _ => Arc::clone(self.track.insert(Arc::new(track))),
        }
    }
}

fn packet(fragment: &Arc<Fragment>, track: &Arc<VideoTrack>, unit: AccessUnit, arrived: Instant) -> Packet {
    let (start, _) = fragment.media_start();
    Packet {
        fragment: Arc::clone(fragment),
        track: Arc::clone(track),
        index: unit.index,
        media: within_calendar(start, unit.relative_ms),
        key: unit.key,
        unit: unit.data,
        arrived,
        lag: ArrivalLag::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Codec;

    const AVCC: &[u8] = b"\x01\x42\xc0\x1e\xff\xe1\x00\x04\x67\x42\xc0\x1e\x01\x00\x02\x68\xce";

    fn fetched(number: &str, media: Vec<u8>, track: &kvs_hls::HlsTrack) -> FetchedSegment {
        let init = Some(mp4::write_init(track).into());
        FetchedSegment {
            number: number.into(),
            date_ms: 1_700_000_000_000,
            behind_ms: 40,
            init,
            media: media.into(),
        }
    }

    fn track() -> kvs_hls::HlsTrack {
        let codec_private = Bytes::from_static(AVCC);
        kvs_hls::HlsTrack { codec: Codec::H264, codec_private, width_px: 64, height_px: 48 }
    }

    fn unit(index: u32, relative_ms: i64) -> AccessUnit {
        AccessUnit { index, relative_ms, key: index == 0, data: Bytes::from_static(b"\0\0\0\x01\x65") }
    }

    fn told(demuxer: &mut SegmentDemuxer) -> Vec<String> {
        let step = |step| match step {
            Step::Begin(fragment) => format!("begin {}", fragment.number),
            Step::Packet(packet) => format!("{} at {} key {}", packet.index, packet.media.0, packet.key),
            Step::End { fragment, behind_ms } => format!("end {} {behind_ms:?}", fragment.number),
            other => format!("{other:?}"),
        };
        std::iter::from_fn(|| demuxer.next_step().transpose())
            .map(|next| next.map_or_else(|error| error.to_string(), step))
            .collect()
    }

    #[test]
    fn a_segment_is_a_fragment_with_its_packets() {
        let (mut demuxer, track) = (SegmentDemuxer::default(), track());
        let media = mp4::write_media(1, 1_700_000_000_000, &[unit(0, 0), unit(1, 80), unit(2, 40)]);
        demuxer.push(&fetched("11", media, &track), Instant::now());
        let expected = [
            "begin 11",
            "0 at 1700000000000 key true",
            "1 at 1700000000080 key false",
            "2 at 1700000000040 key false",
            "end 11 Some(40)",
        ];
        assert_eq!(told(&mut demuxer), expected);
    }

    #[test]
    fn the_fragment_of_a_damaged_segment_is_known_by_number() {
        let (mut demuxer, track) = (SegmentDemuxer::default(), track());
        demuxer.push(&fetched("12", b"no boxes".to_vec(), &track), Instant::now());
        let told = told(&mut demuxer);
        assert_eq!((told.len(), told[0].as_str()), (2, "begin 12"), "{told:?}");
        assert!(told[1].contains("no segment of HLS"), "{told:?}");
    }

    #[test]
    fn packets_of_one_track_share_it() {
        let (mut demuxer, track) = (SegmentDemuxer::default(), track());
        for number in ["1", "2"] {
            let media = mp4::write_media(1, 1_700_000_000_000, &[unit(0, 0)]);
            demuxer.push(&fetched(number, media, &track), Instant::now());
        }
        let steps = std::iter::from_fn(|| demuxer.next_step().unwrap());
        let tracks: Vec<_> = steps
            .filter_map(|step| match step {
                Step::Packet(packet) => Some(packet.track),
                _ => None,
            })
            .collect();
        assert!(Arc::ptr_eq(&tracks[0], &tracks[1]));
    }
}
