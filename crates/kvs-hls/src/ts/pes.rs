//! PES packets (ISO/IEC 13818-1, 2.4.3.6).

use super::CLOCK_MASK;
use crate::HlsError;

/// Length of a PES packet's fields up to PES_header_data_length, that byte included.
const FIXED_HEADER_LEN: usize = 9;
/// Length of the fields that PES_packet_length does not count: start code prefix, stream_id and the length
/// itself.
const UNCOUNTED_LEN: usize = 6;

/// One PES packet of video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PesPacket<'a> {
    /// PTS in ticks; without one the payload continues the access unit of the packet before it.
    pub(crate) pts: Option<u64>,
    pub(crate) payload: &'a [u8],
}

/// Reads a complete PES packet; `offset` is for errors.
///
/// # Errors
///
/// The bytes are not a PES packet of video, or end early.
pub(crate) fn read_pes(bytes: &[u8], offset: usize) -> Result<PesPacket<'_>, HlsError> {
    let cut = HlsError::Truncated { offset, part: "a PES packet" };
    let Some(header) = bytes.first_chunk::<FIXED_HEADER_LEN>() else { return Err(cut) };
    // Bytes 0 to 2: packet_start_code_prefix. Byte 3: stream_id, ignored since the PMT names the PID of the
    // video. Byte 6: the bits 10, then PES_scrambling_control, PES_priority, data_alignment_indicator,
    // copyright and original_or_copy, all ignored.
    if header[..3] != [0, 0, 1] || header[6] & 0xC0 != 0x80 {
        return Err(HlsError::Invalid { offset, part: "a PES packet", expected: "a head of video" });
    }
    // PES_packet_length 0 is allowed for video: the packet ends where the next one starts.
    let packet_length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = if packet_length == 0 { bytes.len() } else { UNCOUNTED_LEN + packet_length };
    let payload_at = FIXED_HEADER_LEN + usize::from(header[8]);
    let fields = bytes.get(FIXED_HEADER_LEN..payload_at).ok_or(cut.clone())?;
    let payload = bytes.get(payload_at..end).ok_or(cut.clone())?;
    // Byte 7: PTS_DTS_flags, then the flags of ESCR, ES_rate, DSM_trick_mode, additional_copy_info, PES_CRC
    // and PES_extension. The PTS is the first field; the DTS and the others are skipped by the header length.
    let pts = match header[7] & 0x80 {
        0 => None,
        _ => Some(read_timestamp(fields.first_chunk().ok_or(cut)?)),
    };
    Ok(PesPacket { pts, payload })
}

/// Reads a PTS: 4 bits of mark, then 3, 15 and 15 bits of the timestamp, each group followed by a marker_bit.
fn read_timestamp(bytes: &[u8; 5]) -> u64 {
    let [a, b, c, d, e] = bytes.map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

/// Appends the header of a PES packet of unbounded length; `dts` is given if it differs from the PTS.
pub(crate) fn push_pes_header(out: &mut Vec<u8>, pts: u64, dts: Option<u64>) {
    // Start code prefix, stream_id of the first video stream, PES_packet_length 0, and the bits 10 with
    // data_alignment_indicator: each packet begins with an access unit.
    out.extend_from_slice(&[0, 0, 1, 0xE0, 0, 0, 0x84]);
    // PTS_DTS_flags, PES_header_data_length, and the timestamps with their marks 0010, or 0011 and 0001.
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
    fn timestamps_of_33_bits_are_read_back() {
        for ticks in [0, 1, 0x1234_5678, 0x1_5555_5555, CLOCK_MASK] {
            for dts in [None, Some(ticks / 2)] {
                let mut bytes = Vec::new();
                push_pes_header(&mut bytes, ticks, dts);
                bytes.extend_from_slice(b"unit");
                assert_eq!(
                    read_pes(&bytes, 0),
                    Ok(PesPacket { pts: Some(ticks), payload: b"unit" }),
                    "{ticks:x}"
                );
            }
        }
    }

    #[test]
    fn a_packet_length_limits_the_payload() {
        let mut bytes = vec![0, 0, 1, 0xE0, 0, 5, 0x80, 0, 0, 7, 8, 9];
        assert_eq!(read_pes(&bytes, 0), Ok(PesPacket { pts: None, payload: &[7, 8] }));
        bytes[5] = 7;
        assert!(matches!(read_pes(&bytes, 0), Err(HlsError::Truncated { .. })));
    }
}
