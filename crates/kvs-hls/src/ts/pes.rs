//! PES packets.

use super::CLOCK_MASK;
use crate::Error;

/// One PES packet of video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pes<'a> {
    /// Ticks; the packet goes on with the unit before it where it has none.
    pub(crate) pts: Option<u64>,
    pub(crate) payload: &'a [u8],
}

/// Reads a PES packet of which all bytes are there; `offset` is for errors.
///
/// Errors: it is none, or it ends early.
pub(crate) fn read(bytes: &[u8], offset: usize) -> Result<Pes<'_>, Error> {
    let cut = Error::Truncated { offset, part: "a PES packet" };
    let Some(head) = bytes.first_chunk::<9>() else { return Err(cut) };
    if head[..3] != [0, 0, 1] || head[6] & 0xC0 != 0x80 {
        return Err(Error::Invalid { offset, part: "a PES packet", expected: "a head of video" });
    }
    let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
    let end = if length == 0 { bytes.len() } else { 6 + length };
    let fields = bytes.get(9..9 + usize::from(head[8])).ok_or(cut.clone())?;
    let payload = bytes.get(9 + usize::from(head[8])..end).ok_or(cut.clone())?;
    let pts = match head[7] & 0x80 {
        0 => None,
        _ => Some(timestamp(fields.first_chunk().ok_or(cut)?)),
    };
    Ok(Pes { pts, payload })
}

fn timestamp(bytes: &[u8; 5]) -> u64 {
    let [a, b, c, d, e] = bytes.map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

/// The head of a PES packet of unknown length; with a decoding time where it is another than the presentation time.
pub(crate) fn push_head(out: &mut Vec<u8>, pts: u64, dts: Option<u64>) {
    out.extend_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x84]);
    match dts {
        None => {
            out.extend_from_slice(&[0x80, 5]);
            push_timestamp(out, 2, pts);
        }
        Some(dts) => {
            out.extend_from_slice(&[0xC0, 10]);
            push_timestamp(out, 3, pts);
            push_timestamp(out, 1, dts);
        }
    }
}

fn push_timestamp(out: &mut Vec<u8>, mark: u8, ticks: u64) {
    let ticks = ticks & CLOCK_MASK;
    out.push(mark << 4 | (ticks >> 29 & 0x0E) as u8 | 1);
    out.push((ticks >> 22) as u8);
    out.push((ticks >> 14) as u8 | 1);
    out.push((ticks >> 7) as u8);
    out.push((ticks << 1) as u8 | 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_33_bits_come_back() {
        for ticks in [0, 1, 0x1234_5678, 0x1_5555_5555, CLOCK_MASK] {
            for dts in [None, Some(ticks / 2)] {
                let mut bytes = Vec::new();
                push_head(&mut bytes, ticks, dts);
                bytes.extend_from_slice(b"unit");
                assert_eq!(read(&bytes, 0), Ok(Pes { pts: Some(ticks), payload: b"unit" }), "{ticks:x}");
            }
        }
    }

    #[test]
    fn a_length_that_is_told_is_kept_to() {
        let mut bytes = vec![0, 0, 1, 0xE0, 0, 5, 0x80, 0, 0, 7, 8, 9];
        assert_eq!(read(&bytes, 0), Ok(Pes { pts: None, payload: &[7, 8] }));
        bytes[5] = 7;
        assert!(matches!(read(&bytes, 0), Err(Error::Truncated { .. })));
    }
}
