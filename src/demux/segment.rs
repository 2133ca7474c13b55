//! Demuxes HLS: takes segments apart into access units.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kvs_hls::{AccessUnit, HlsLimits, mp4, ts};

use super::{DemuxError, DemuxEvent, add_ms, is_in_calendar};
use crate::media::{ArrivalLag, Fragment, MediaMs, Packet, VideoTrack};

/// A media segment as it was fetched: one fragment of the stream.
#[derive(Clone, Debug)]
pub struct FetchedSegment {
    /// The fragment's number.
    pub number: Arc<str>,
    /// The time of its first sample, ms since the epoch, by the producer's clock.
    pub date_ms: i64,
    /// The lag of the segment's end behind the live edge, ms: the newer segments listed, plus the age of the listing.
    pub behind_ms: u64,
    /// The initialisation segment; `None` in MPEG-TS.
    pub init: Option<Bytes>,
    /// The media segment.
    pub media: Bytes,
}

/// Takes segments apart.
///
/// The events are those of a fragment read by GetMedia, and its packets have the same indices and times.
#[derive(Debug, Default)]
pub struct SegmentDemuxer {
    limits: HlsLimits,
    /// The last initialisation segment, as bytes and parsed.
    init: Option<(Bytes, mp4::InitSegment)>,
    track: Option<Arc<VideoTrack>>,
    events: VecDeque<Result<DemuxEvent, DemuxError>>,
}

impl SegmentDemuxer {
    /// Appends the next segment; `arrived` is the time at which its last byte was read.
    pub fn push(&mut self, segment: &FetchedSegment, arrived: Instant) {
        let (number, producer_ms) =
            (Arc::clone(&segment.number), Some(segment.date_ms).filter(|ms| *ms != 0 && is_in_calendar(*ms)));
        let fragment = Arc::new(Fragment { number, producer_ms, server_ms: None });
        // The fragment begins before its media is parsed, so that a damaged one is known by number and can be skipped.
        self.events.push_back(Ok(DemuxEvent::Begin(Arc::clone(&fragment))));
        let (track, units) = match self.read_units(segment) {
            Ok(read) => read,
            Err(error) => return self.events.push_back(Err(error)),
        };
        let track = self.share_track(track);
        let packets =
            units.into_iter().map(|unit| Ok(DemuxEvent::Packet(packet(&fragment, &track, unit, arrived))));
        self.events.extend(packets);
        self.events.push_back(Ok(DemuxEvent::End { fragment, behind_ms: Some(segment.behind_ms) }));
    }

    /// Returns the media time of the newest access unit that was not returned yet.
    #[must_use]
    pub fn newest(&self) -> Option<MediaMs> {
        let media = |event: &Result<DemuxEvent, DemuxError>| match event {
            Ok(DemuxEvent::Packet(packet)) => Some(packet.media),
            _ => None,
        };
        self.events.iter().filter_map(media).max()
    }

    /// Returns the next event of the segments so far.
    ///
    /// # Errors
    /// The segment whose fragment began last cannot be read.
    pub fn next_event(&mut self) -> Result<Option<DemuxEvent>, DemuxError> {
        self.events.pop_front().transpose()
    }

    fn read_units(
        &mut self,
        segment: &FetchedSegment,
    ) -> Result<(kvs_hls::HlsTrack, Vec<AccessUnit>), DemuxError> {
        // Only fragmented MP4 has initialisation segments (RFC 8216, 3.3); MPEG-TS carries its own headers.
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

    /// Returns the track to share among packets: the same `Arc` while the track stays equal, so that comparing is cheap.
    fn share_track(&mut self, track: kvs_hls::HlsTrack) -> Arc<VideoTrack> {
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
        media: add_ms(start, unit.relative_ms),
        key: unit.key,
        unit: unit.data,
        arrived,
        lag: ArrivalLag::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Codec;

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

    fn describe_all(demuxer: &mut SegmentDemuxer) -> Vec<String> {
        let describe = |event| match event {
            DemuxEvent::Begin(fragment) => format!("begin {}", fragment.number),
            DemuxEvent::Packet(packet) => {
                format!("{} at {} key {}", packet.index, packet.media.0, packet.key)
            }
            DemuxEvent::End { fragment, behind_ms } => format!("end {} {behind_ms:?}", fragment.number),
            other => format!("{other:?}"),
        };
        std::iter::from_fn(|| demuxer.next_event().transpose())
            .map(|next| next.map_or_else(|error| error.to_string(), describe))
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
        assert_eq!(describe_all(&mut demuxer), expected);
    }

    #[test]
    fn the_fragment_of_a_damaged_segment_is_known_by_number() {
        let (mut demuxer, track) = (SegmentDemuxer::default(), track());
        demuxer.push(&fetched("12", b"no boxes".to_vec(), &track), Instant::now());
        let described = describe_all(&mut demuxer);
        assert_eq!((described.len(), described[0].as_str()), (2, "begin 12"), "{described:?}");
        assert!(described[1].contains("not an HLS segment"), "{described:?}");
    }

    #[test]
    fn packets_of_one_track_share_it() {
        let (mut demuxer, track) = (SegmentDemuxer::default(), track());
        for number in ["1", "2"] {
            let media = mp4::write_media(1, 1_700_000_000_000, &[unit(0, 0)]);
            demuxer.push(&fetched(number, media, &track), Instant::now());
        }
        let events = std::iter::from_fn(|| demuxer.next_event().unwrap());
        let tracks: Vec<_> = events
            .filter_map(|event| match event {
                DemuxEvent::Packet(packet) => Some(packet.track),
                _ => None,
            })
            .collect();
        assert!(Arc::ptr_eq(&tracks[0], &tracks[1]));
    }
}
