//! Writer of live Matroska, in the form in which producers and KVS send it.
//!
//! Each function appends to a `Vec<u8>`, so none can fail. A document consists of [`document_header`],
//! [`info`], [`tracks`], [`tags`] and then clusters, in this order.

use bytes::Bytes;

use crate::block::flags;
use crate::{Block, BlockKind, ElementId, Tag, TrackEntry, TrackKind};

/// Writes an EBML header and the start of a Segment of unknown size.
pub fn document_header(out: &mut Vec<u8>) {
    let mut body = Vec::new();
    write_uint(&mut body, ElementId::EBML_VERSION, 1);
    write_uint(&mut body, ElementId::EBML_READ_VERSION, 1);
    write_uint(&mut body, ElementId::MAX_ID_LENGTH, 4);
    write_uint(&mut body, ElementId::MAX_SIZE_LENGTH, 8);
    write_element(&mut body, ElementId::DOC_TYPE, b"matroska");
    // SimpleBlock needs DocTypeReadVersion 2.
    write_uint(&mut body, ElementId::DOC_TYPE_VERSION, 4);
    write_uint(&mut body, ElementId::DOC_TYPE_READ_VERSION, 2);
    write_element(out, ElementId::EBML, &body);
    write_id(out, ElementId::SEGMENT);
    // A live Segment has an unknown size: all data bits of the 8-byte vint are ones.
    out.extend_from_slice(&[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
}

/// Writes an Info element with the nanoseconds per unit of each timestamp (usually 1,000,000) and the
/// writer's name.
pub fn info(out: &mut Vec<u8>, timestamp_scale_ns: u64, writing_app: &str) {
    let mut body = Vec::new();
    write_uint(&mut body, ElementId::TIMESTAMP_SCALE, timestamp_scale_ns);
    write_element(&mut body, ElementId::MUXING_APP, writing_app.as_bytes());
    write_element(&mut body, ElementId::WRITING_APP, writing_app.as_bytes());
    write_element(out, ElementId::INFO, &body);
}

/// Writes a Tracks element: each track as it was received (`raw`), or from its fields if `raw` is empty.
pub fn tracks(out: &mut Vec<u8>, tracks: &[TrackEntry]) {
    let mut body = Vec::new();
    for track in tracks {
        if track.raw.is_empty() {
            write_track_entry(&mut body, track);
        } else {
            body.extend_from_slice(&track.raw);
        }
    }
    write_element(out, ElementId::TRACKS, &body);
}

/// Returns a video track as a reader would return it.
pub fn video_track(
    number: u64,
    codec_id: &str,
    codec_private: &[u8],
    width_px: u32,
    height_px: u32,
) -> TrackEntry {
    let mut track = TrackEntry {
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
    write_track_entry(&mut raw, &track);
    track.raw = raw.into();
    track
}

/// Writes a Tags element as KVS does: one Tag without Targets, with sizes of 4 bytes.
pub fn tags(out: &mut Vec<u8>, tags: &[Tag]) {
    let mut body = Vec::new();
    for Tag { name, value } in tags {
        let mut simple = Vec::new();
        write_element(&mut simple, ElementId::TAG_NAME, name.as_bytes());
        write_element(&mut simple, ElementId::TAG_STRING, value.as_bytes());
        write_element(&mut body, ElementId::SIMPLE_TAG, &simple);
    }
    let mut tag = Vec::new();
    write_element(&mut tag, ElementId::TAG, &body);
    write_element(out, ElementId::TAGS, &tag);
}

/// Writes the start of a Cluster of unknown size and its Timestamp; [`simple_block`] adds blocks to it.
pub fn cluster_start(out: &mut Vec<u8>, timestamp: u64) {
    write_id(out, ElementId::CLUSTER);
    // The 1-byte vint that means unknown.
    out.push(0xFF);
    write_uint(out, ElementId::TIMESTAMP, timestamp);
}

/// Writes a SimpleBlock of one frame, whose timestamp is relative to the Cluster's.
pub fn simple_block(out: &mut Vec<u8>, track: u64, relative: i16, key: bool, data: &[u8]) {
    write_block(out, ElementId::SIMPLE_BLOCK, track, relative, if key { flags::KEY } else { 0 }, data);
}

/// Writes a complete Cluster of known size, each frame without lacing in the element of its `kind`.
pub fn cluster(out: &mut Vec<u8>, timestamp: u64, blocks: &[Block]) {
    let mut body = Vec::new();
    write_uint(&mut body, ElementId::TIMESTAMP, timestamp);
    for frame in blocks {
        // Lacing is undone and the key flag follows `key`; the other flags (invisible, discardable) are kept.
        let other_flags = frame.flags & !(flags::KEY | flags::LACING);
        match frame.kind {
            BlockKind::Simple => {
                let simple_flags = other_flags | if frame.key { flags::KEY } else { 0 };
                write_frame(&mut body, ElementId::SIMPLE_BLOCK, frame, simple_flags);
            }
            BlockKind::Group => write_block_group(&mut body, frame, other_flags),
        }
    }
    write_element(out, ElementId::CLUSTER, &body);
}

/// Writes a BlockGroup of one frame.
fn write_block_group(out: &mut Vec<u8>, frame: &Block, block_flags: u8) {
    let mut group = Vec::new();
    write_frame(&mut group, ElementId::BLOCK, frame, block_flags);
    if !frame.key {
        // The value, -1, is not a real distance: readers only test that the element is present.
        write_element(&mut group, ElementId::REFERENCE_BLOCK, &[0xFF]);
    }
    write_element(out, ElementId::BLOCK_GROUP, &group);
}

fn write_frame(out: &mut Vec<u8>, element: ElementId, frame: &Block, block_flags: u8) {
    write_block(out, element, frame.track, frame.relative, block_flags, &frame.data);
}

fn write_block(
    out: &mut Vec<u8>,
    element: ElementId,
    track: u64,
    relative: i16,
    block_flags: u8,
    data: &[u8],
) {
    let mut head = Vec::new();
    write_vint(&mut head, track, 1);
    head.extend_from_slice(&relative.to_be_bytes());
    head.push(block_flags);
    write_id(out, element);
    write_vint(out, (head.len() + data.len()) as u64, 4);
    out.extend_from_slice(&head);
    out.extend_from_slice(data);
}

fn write_track_entry(out: &mut Vec<u8>, track: &TrackEntry) {
    let mut body = Vec::new();
    write_uint(&mut body, ElementId::TRACK_NUMBER, track.number);
    // TrackUID must be unique in the Segment and other than 0; the track number is both.
    write_uint(&mut body, ElementId::TRACK_UID, track.number);
    write_uint(&mut body, ElementId::TRACK_TYPE, track.kind.code());
    write_element(&mut body, ElementId::CODEC_ID, track.codec_id.as_bytes());
    if !track.codec_private.is_empty() {
        write_element(&mut body, ElementId::CODEC_PRIVATE, &track.codec_private);
    }
    if let Some(duration_ns) = track.default_duration_ns {
        write_uint(&mut body, ElementId::DEFAULT_DURATION, duration_ns);
    }
    if track.kind == TrackKind::Video {
        write_video(&mut body, track);
    }
    write_element(out, ElementId::TRACK_ENTRY, &body);
}

fn write_video(out: &mut Vec<u8>, track: &TrackEntry) {
    let mut body = Vec::new();
    write_uint(&mut body, ElementId::PIXEL_WIDTH, u64::from(track.width_px));
    write_uint(&mut body, ElementId::PIXEL_HEIGHT, u64::from(track.height_px));
    write_element(out, ElementId::VIDEO, &body);
}

fn write_uint(out: &mut Vec<u8>, id: ElementId, value: u64) {
    let bytes = value.to_be_bytes();
    // No leading zero bytes, but at least one byte: an empty body would stand for the default.
    let zeros = (value.leading_zeros() as usize / 8).min(7);
    write_id(out, id);
    write_vint(out, (8 - zeros) as u64, 1);
    out.extend_from_slice(&bytes[zeros..]);
}

fn write_element(out: &mut Vec<u8>, id: ElementId, body: &[u8]) {
    write_id(out, id);
    write_vint(out, body.len() as u64, 4);
    out.extend_from_slice(body);
}

fn write_id(out: &mut Vec<u8>, ElementId(value): ElementId) {
    let bytes = value.to_be_bytes();
    out.extend_from_slice(&bytes[value.leading_zeros() as usize / 8..]);
}

/// Writes a variable-size integer of at least `min_len` bytes, never the one that means unknown.
///
/// Values from 2^56 - 1 have no such form; no size or track number comes near them.
fn write_vint(out: &mut Vec<u8>, value: u64, min_len: usize) {
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
    fn no_written_integer_means_an_unknown_size() {
        for bits in 1..56 {
            for value in [(1 << bits) - 2, (1 << bits) - 1, 1 << bits] {
                let mut out = Vec::new();
                write_vint(&mut out, value, 1);
                let read = read_vint(&out, 0, ElementId::VOID).unwrap().unwrap();
                assert_eq!((read.value, read.len, read.is_unknown()), (value, out.len(), false), "{value}");
            }
        }
    }
}
