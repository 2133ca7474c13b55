//! Hand-written Matroska: each encoding of an element that a producer may choose, and some invalid ones.

pub(crate) const EBML: u32 = 0x1A45_DFA3;
pub(crate) const DOC_TYPE: u32 = 0x4282;
pub(crate) const SEGMENT: u32 = 0x1853_8067;
pub(crate) const SEEK_HEAD: u32 = 0x114D_9B74;
pub(crate) const INFO: u32 = 0x1549_A966;
pub(crate) const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
pub(crate) const TRACKS: u32 = 0x1654_AE6B;
pub(crate) const TRACK_ENTRY: u32 = 0xAE;
pub(crate) const TRACK_NUMBER: u32 = 0xD7;
pub(crate) const TRACK_TYPE: u32 = 0x83;
pub(crate) const CODEC_ID: u32 = 0x86;
pub(crate) const CODEC_PRIVATE: u32 = 0x63A2;
pub(crate) const DEFAULT_DURATION: u32 = 0x23_E383;
pub(crate) const CONTENT_ENCODINGS: u32 = 0x6D80;
pub(crate) const VIDEO: u32 = 0xE0;
pub(crate) const PIXEL_WIDTH: u32 = 0xB0;
pub(crate) const PIXEL_HEIGHT: u32 = 0xBA;
pub(crate) const TAGS: u32 = 0x1254_C367;
pub(crate) const TAG: u32 = 0x7373;
pub(crate) const TARGETS: u32 = 0x63C0;
pub(crate) const SIMPLE_TAG: u32 = 0x67C8;
pub(crate) const TAG_NAME: u32 = 0x45A3;
pub(crate) const TAG_STRING: u32 = 0x4487;
pub(crate) const CLUSTER: u32 = 0x1F43_B675;
pub(crate) const TIMESTAMP: u32 = 0xE7;
pub(crate) const POSITION: u32 = 0xA7;
pub(crate) const SIMPLE_BLOCK: u32 = 0xA3;
pub(crate) const BLOCK_GROUP: u32 = 0xA0;
pub(crate) const BLOCK: u32 = 0xA1;
pub(crate) const BLOCK_DURATION: u32 = 0x9B;
pub(crate) const REFERENCE_BLOCK: u32 = 0xFB;
pub(crate) const CUES: u32 = 0x1C53_BB6B;
pub(crate) const VOID: u32 = 0xEC;
pub(crate) const CRC32: u32 = 0xBF;

/// Returns the bytes of an id.
pub(crate) fn id(id: u32) -> Vec<u8> {
    id.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect()
}

/// Returns a size (or track number) in exactly `len` bytes.
pub(crate) fn vint(value: u64, len: usize) -> Vec<u8> {
    (value | 1 << (7 * len)).to_be_bytes()[8 - len..].to_vec()
}

/// Returns a number without leading zero bytes.
pub(crate) fn uint(value: u64) -> Vec<u8> {
    value.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect()
}

/// Returns an element whose size has `size_len` bytes.
pub(crate) fn sized(id_: u32, size_len: usize, body: &[u8]) -> Vec<u8> {
    [id(id_), vint(body.len() as u64, size_len), body.to_vec()].concat()
}

/// Returns an element whose size has 4 bytes.
pub(crate) fn el(id: u32, body: &[u8]) -> Vec<u8> {
    sized(id, 4, body)
}

/// Returns an element of unknown size, coded in `size_len` bytes.
pub(crate) fn unsized_(id_: u32, size_len: usize, body: &[u8]) -> Vec<u8> {
    [id(id_), vint((1 << (7 * size_len)) - 1, size_len), body.to_vec()].concat()
}

/// Returns an EBML header.
pub(crate) fn header() -> Vec<u8> {
    sized(EBML, 1, &sized(DOC_TYPE, 1, b"matroska\0"))
}

/// Returns a document: an EBML header and a Segment of unknown size with these parts.
pub(crate) fn document(parts: &[Vec<u8>]) -> Vec<u8> {
    [header(), unsized_(SEGMENT, 8, &parts.concat())].concat()
}

/// Returns a Tags element without Targets.
pub(crate) fn tags(pairs: &[(&str, &str)]) -> Vec<u8> {
    let simple = pairs.iter().map(|(name, value)| simple_tag(name, value, &[]));
    el(TAGS, &el(TAG, &simple.collect::<Vec<_>>().concat()))
}

/// Returns a SimpleTag with further elements inside.
pub(crate) fn simple_tag(name: &str, value: &str, more: &[u8]) -> Vec<u8> {
    el(SIMPLE_TAG, &[&el(TAG_NAME, name.as_bytes()), &el(TAG_STRING, value.as_bytes()), more].concat())
}

/// Returns the body of a SimpleBlock or Block.
pub(crate) fn block(track: u64, relative: i16, flags: u8, payload: &[u8]) -> Vec<u8> {
    [&vint(track, 1)[..], &relative.to_be_bytes(), &[flags], payload].concat()
}

/// A lacing mode.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lacing {
    Xiph,
    Fixed,
    Ebml,
}

/// Returns the flags of a laced block.
pub(crate) fn lacing_flags(lacing: Lacing) -> u8 {
    match lacing {
        Lacing::Xiph => 0x02,
        Lacing::Fixed => 0x04,
        Lacing::Ebml => 0x06,
    }
}

/// Returns the payload of a laced block of 1 to 256 frames.
pub(crate) fn lace(lacing: Lacing, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![(frames.len() - 1) as u8];
    let sizes: Vec<_> = frames.iter().map(Vec::len).collect();
    let coded = &sizes[..sizes.len() - 1];
    match lacing {
        Lacing::Fixed => {}
        Lacing::Xiph => {
            for &size in coded {
                out.extend(std::iter::repeat_n(255, size / 255));
                out.push((size % 255) as u8);
            }
        }
        Lacing::Ebml => {
            for (index, &size) in coded.iter().enumerate() {
                let value = match index {
                    0 => size as u64,
                    _ => (size as i64 - sizes[index - 1] as i64 + (1 << 20) - 1) as u64,
                };
                out.extend(vint(value, 3));
            }
        }
    }
    out.extend(frames.concat());
    out
}
