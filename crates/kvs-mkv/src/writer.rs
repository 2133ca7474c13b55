//! Writing what the readers read: live Matroska as producers and KVS write it.
//!
//! Everything is appended to a `Vec<u8>`, so nothing here fails. A document is [`document_header`], [`info`],
//! [`tracks`], [`tags`] and then clusters, in that order.

use bytes::Bytes;

use crate::{Block, BlockKind, Id, Tag, Track, TrackKind};

/// An EBML header, and the head of a Segment of unknown size.
pub fn document_header(out: &mut Vec<u8>) {
    let mut body = Vec::new();
    uint(&mut body, Id(0x4286), 1);
    uint(&mut body, Id(0x42F7), 1);
    uint(&mut body, Id::MAX_ID_LENGTH, 4);
    uint(&mut body, Id::MAX_SIZE_LENGTH, 8);
    element(&mut body, Id::DOC_TYPE, b"matroska");
    uint(&mut body, Id(0x4287), 4);
    uint(&mut body, Id(0x4285), 2);
    element(out, Id::EBML, &body);
    id(out, Id::SEGMENT);
    out.extend_from_slice(&[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
}

/// The Info element: nanoseconds of one unit of every timecode (1,000,000 is the usual), and who writes.
pub fn info(out: &mut Vec<u8>, timecode_scale_ns: u64, writing_app: &str) {
    let mut body = Vec::new();
    uint(&mut body, Id::TIMECODE_SCALE, timecode_scale_ns);
    element(&mut body, Id::MUXING_APP, writing_app.as_bytes());
    element(&mut body, Id::WRITING_APP, writing_app.as_bytes());
    element(out, Id::INFO, &body);
}

/// The Tracks element: every track as it came (`raw`), or made from its fields where `raw` is empty.
pub fn tracks(out: &mut Vec<u8>, tracks: &[Track]) {
    let mut body = Vec::new();
    for track in tracks {
        if track.raw.is_empty() {
            track_entry(&mut body, track);
        } else {
            body.extend_from_slice(&track.raw);
        }
    }
    element(out, Id::TRACKS, &body);
}

/// A video track as a reader would give it.
pub fn video_track(
    number: u64,
    codec_id: &str,
    codec_private: &[u8],
    width_px: u32,
    height_px: u32,
) -> Track {
    let mut track = Track {
        number,
        kind: TrackKind::Video,
        codec_id: codec_id.to_owned(),
        codec_private: Bytes::copy_from_slice(codec_private),
        width_px,
        height_px,
        default_duration_ns: None,
        raw: Bytes::new(),
    };
    let mut raw = Vec::new();
    track_entry(&mut raw, &track);
    track.raw = raw.into();
    track
}

/// A Tags element as KVS writes it: one Tag without Targets, sizes of 4 bytes.
pub fn tags(out: &mut Vec<u8>, tags: &[Tag]) {
    let mut body = Vec::new();
    for Tag { name, value } in tags {
        let mut simple = Vec::new();
        element(&mut simple, Id::TAG_NAME, name.as_bytes());
        element(&mut simple, Id::TAG_STRING, value.as_bytes());
        element(&mut body, Id::SIMPLE_TAG, &simple);
    }
    let mut tag = Vec::new();
    element(&mut tag, Id::TAG, &body);
    element(out, Id::TAGS, &tag);
}

/// The head of a Cluster of unknown size, and its Timestamp; blocks follow by [`simple_block`].
pub fn cluster_start(out: &mut Vec<u8>, timestamp: u64) {
    id(out, Id::CLUSTER);
    out.push(0xFF);
    uint(out, Id::TIMESTAMP, timestamp);
}

/// A SimpleBlock of one frame, whose timecode is relative to the Cluster's.
pub fn simple_block(out: &mut Vec<u8>, track: u64, relative: i16, key: bool, data: &[u8]) {
    block(out, Id::SIMPLE_BLOCK, track, relative, if key { 0x80 } else { 0 }, data);
}

/// A whole Cluster of known size: each frame in the element that its `kind` names, unlaced, its other flags kept.
pub fn cluster(out: &mut Vec<u8>, timestamp: u64, blocks: &[Block]) {
    let mut body = Vec::new();
    uint(&mut body, Id::TIMESTAMP, timestamp);
    for frame in blocks {
        let flags = frame.flags & !0x86;
        match frame.kind {
            BlockKind::Simple => {
                let key = if frame.key { 0x80 } else { 0 };
                block(&mut body, Id::SIMPLE_BLOCK, frame.track, frame.relative, flags | key, &frame.data);
            }
            BlockKind::Group => {
                let mut group = Vec::new();
                block(&mut group, Id::BLOCK, frame.track, frame.relative, flags, &frame.data);
                if !frame.key {
                    element(&mut group, Id::REFERENCE_BLOCK, &[0xFF]);
                }
                element(&mut body, Id::BLOCK_GROUP, &group);
            }
        }
    }
    element(out, Id::CLUSTER, &body);
}

fn block(out: &mut Vec<u8>, element: Id, track: u64, relative: i16, flags: u8, data: &[u8]) {
    let mut head = Vec::new();
    vint(&mut head, track, 1);
    head.extend_from_slice(&relative.to_be_bytes());
    head.push(flags);
    id(out, element);
    vint(out, (head.len() + data.len()) as u64, 4);
    out.extend_from_slice(&head);
    out.extend_from_slice(data);
}

fn track_entry(out: &mut Vec<u8>, track: &Track) {
    let mut body = Vec::new();
    uint(&mut body, Id::TRACK_NUMBER, track.number);
    uint(&mut body, Id::TRACK_UID, track.number);
    uint(&mut body, Id::TRACK_TYPE, track.kind.code());
    element(&mut body, Id::CODEC_ID, track.codec_id.as_bytes());
    if !track.codec_private.is_empty() {
        element(&mut body, Id::CODEC_PRIVATE, &track.codec_private);
    }
    if let Some(duration_ns) = track.default_duration_ns {
        uint(&mut body, Id::DEFAULT_DURATION, duration_ns);
    }
    if track.kind == TrackKind::Video {
        let mut video = Vec::new();
        uint(&mut video, Id::PIXEL_WIDTH, u64::from(track.width_px));
        uint(&mut video, Id::PIXEL_HEIGHT, u64::from(track.height_px));
        element(&mut body, Id::VIDEO, &video);
    }
    element(out, Id::TRACK_ENTRY, &body);
}

fn uint(out: &mut Vec<u8>, element_id: Id, value: u64) {
    let bytes = value.to_be_bytes();
    let zeros = (value.leading_zeros() as usize / 8).min(7);
    id(out, element_id);
    vint(out, (8 - zeros) as u64, 1);
    out.extend_from_slice(&bytes[zeros..]);
}

fn element(out: &mut Vec<u8>, element_id: Id, body: &[u8]) {
    id(out, element_id);
    vint(out, body.len() as u64, 4);
    out.extend_from_slice(body);
}

fn id(out: &mut Vec<u8>, Id(value): Id) {
    let bytes = value.to_be_bytes();
    out.extend_from_slice(&bytes[value.leading_zeros() as usize / 8..]);
}

/// A variable-length integer of at least `min_len` bytes, never the one that means unknown.
///
/// Values from 2^56 - 1 have no such form; no size or track number comes near it.
fn vint(out: &mut Vec<u8>, value: u64, min_len: usize) {
    let fits = |len: &usize| value < (1 << (7 * len)) - 1;
    let len = (min_len..8).find(fits).unwrap_or(8);
    let marked = value | 1 << (7 * len);
    out.extend_from_slice(&marked.to_be_bytes()[8 - len..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebml::read_vint;

    #[test]
    fn no_written_integer_means_unknown() {
        for bits in 1..56 {
            for value in [(1 << bits) - 2, (1 << bits) - 1, 1 << bits] {
                let mut out = Vec::new();
                vint(&mut out, value, 1);
                let read = read_vint(&out, 0, Id::VOID).unwrap().unwrap();
                assert_eq!((read.value, read.len, read.is_unknown()), (value, out.len(), false), "{value}");
            }
        }
    }
}
