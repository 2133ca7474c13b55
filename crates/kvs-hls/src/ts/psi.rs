//! Program specific information: the PAT and PMT, which lead to the video (ISO/IEC 13818-1, 2.4.4).

use h26x::Codec;

use super::packet::TsPacket;
use super::{STREAM_TYPE_H264, STREAM_TYPE_H265};
use crate::HlsError;

/// Minimum length of a section: its fixed fields and CRC_32.
const MIN_SECTION_LEN: usize = 12;
/// Maximum length of a section; PAT and PMT themselves are limited to 1024.
const MAX_SECTION_LEN: usize = 4096;
const CRC_LEN: usize = 4;

/// Assembler of the sections of one PID.
#[derive(Debug, Default)]
pub(crate) struct SectionAssembler {
    bytes: Vec<u8>,
}

impl SectionAssembler {
    /// Adds a packet and returns the section that it completes, without its CRC_32.
    ///
    /// # Errors
    ///
    /// The section has an impossible length or a wrong CRC_32.
    pub(crate) fn push(&mut self, packet: &TsPacket<'_>) -> Result<Option<Vec<u8>>, HlsError> {
        let Some(payload) = packet.payload else { return Ok(None) };
        let damaged = |expected| HlsError::Invalid { offset: packet.offset, part: "a PAT or PMT", expected };
        if packet.starts_unit {
            // pointer_field: the number of bytes of the section before, which is complete without them here.
            let pointer = usize::from(payload.first().copied().unwrap_or(0));
            let section = payload.get(1 + pointer..).ok_or(damaged("a section that begins in its packet"))?;
            self.bytes = section.to_vec();
        } else if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(payload);
        }
        self.take_complete().map_err(damaged)
    }

    /// Returns the section if it has arrived completely; the error is what was expected in place of it.
    fn take_complete(&mut self) -> Result<Option<Vec<u8>>, &'static str> {
        // table_id (ignored: the PID distinguishes PAT and PMT), then section_syntax_indicator and reserved
        // bits, then section_length, which counts the bytes after itself.
        let Some(&[_, high, low]) = self.bytes.first_chunk::<3>() else { return Ok(None) };
        let len = 3 + (usize::from(high & 0x0F) << 8 | usize::from(low));
        if !(MIN_SECTION_LEN..=MAX_SECTION_LEN).contains(&len) {
            return Err("a section of 12 to 4096 bytes");
        }
        if self.bytes.len() < len {
            return Ok(None);
        }
        // What follows are stuffing bytes or another section, and HLS segments have one program.
        let mut section = std::mem::take(&mut self.bytes);
        section.truncate(len);
        if crc_32(&section) != 0 {
            return Err("a section with the right check sum");
        }
        section.truncate(len - CRC_LEN);
        Ok(Some(section))
    }
}

/// Returns the PID of the first program's PMT in a PAT (2.4.4.3) without its CRC_32.
pub(crate) fn find_pmt_pid(pat: &[u8]) -> Option<u16> {
    // Skipped: table_id, section_length, transport_stream_id, version_number with current_next_indicator,
    // section_number, last_section_number.
    let mut programs = pat.get(8..)?.chunks_exact(4);
    // program_number 0 names the network information table instead of a PMT.
    let program = programs.find(|entry| entry[..2] != [0, 0])?;
    Some(read_pid(program[2], program[3]))
}

/// Returns PID and codec of the first H.264 or H.265 stream in a PMT without its CRC_32.
///
/// # Errors
///
/// The program has no such stream.
pub(crate) fn find_video(pmt: &[u8]) -> Result<(u16, Codec), HlsError> {
    let mut types = Vec::new();
    // Skipped: table_id to last_section_number (8 bytes), PCR_PID (2), and the descriptors of the program
    // after program_info_length.
    let mut rest = skip_descriptors(pmt, 10).and_then(|at| pmt.get(at..)).unwrap_or_default();
    while let Some(&[stream_type, high, low, _, _]) = rest.first_chunk::<5>() {
        match stream_type {
            STREAM_TYPE_H264 => return Ok((read_pid(high, low), Codec::H264)),
            STREAM_TYPE_H265 => return Ok((read_pid(high, low), Codec::H265)),
            other => types.push(format!("{other:#04x}")),
        }
        // Skipped: the descriptors of the stream after ES_info_length.
        rest = skip_descriptors(rest, 3).and_then(|at| rest.get(at..)).unwrap_or_default();
    }
    let found = if types.is_empty() { "nothing".to_owned() } else { types.join(", ") };
    Err(HlsError::Unsupported { part: "the program", found, known: "H.264 (0x1b) and H.265 (0x24)" })
}

/// Returns the end of the descriptors whose 12-bit length is at `at`, after 4 reserved bits.
fn skip_descriptors(bytes: &[u8], at: usize) -> Option<usize> {
    let len = usize::from(bytes.get(at)? & 0x0F) << 8 | usize::from(*bytes.get(at + 1)?);
    Some(at + 2 + len)
}

/// Reads a 13-bit PID that follows 3 reserved bits.
fn read_pid(high: u8, low: u8) -> u16 {
    u16::from(high & 0x1F) << 8 | u16::from(low)
}

/// Returns a section after a pointer_field of 0; `number` is the transport_stream_id or program_number.
pub(crate) fn build_section(table_id: u8, number: u16, body: &[u8]) -> Vec<u8> {
    // section_length counts the five bytes after it, the body and the CRC_32.
    let section_length = (5 + body.len() + CRC_LEN) as u16;
    let mut out = vec![table_id];
    // section_syntax_indicator 1, a 0 bit, two reserved bits.
    out.extend_from_slice(&(0xB000 | section_length).to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    // Two reserved bits, version_number 0, current_next_indicator 1; section_number and last_section_number.
    out.extend_from_slice(&[0xC1, 0, 0]);
    out.extend_from_slice(body);
    let crc = crc_32(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out.insert(0, 0);
    out
}

/// Returns the CRC_32 of MPEG-2 (ISO/IEC 13818-1, Annex A), which is 0 over a section that ends with its own.
fn crc_32(bytes: &[u8]) -> u32 {
    // Unlike the CRC-32 of zip and Ethernet: most significant bit first, and not inverted at the end.
    bytes.iter().fold(u32::MAX, |mut crc, &byte| {
        crc ^= u32::from(byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 != 0 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 };
        }
        crc
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_mpeg_2() {
        assert_eq!(crc_32(b"123456789"), 0x0376_E6E7);
    }

    #[test]
    fn pat_and_pmt_lead_to_the_video() {
        assert_eq!(
            find_pmt_pid(&[0, 0xB0, 17, 0, 1, 0xC1, 0, 0, 0, 0, 0xE0, 16, 0, 1, 0xF0, 0]),
            Some(0x1000)
        );
        let pmt =
            |streams: &[u8]| [&[2, 0xB0, 0, 0, 1, 0xC1, 0, 0, 0xE1, 0, 0xF0, 2, 9, 9][..], streams].concat();
        let audio = [0x0F, 0xE1, 1, 0xF0, 1, 7];
        let video_stream = [STREAM_TYPE_H265, 0xE1, 2, 0xF0, 0];
        assert_eq!(find_video(&pmt(&[&audio[..], &video_stream].concat())), Ok((0x102, Codec::H265)));
        let error = find_video(&pmt(&audio)).expect_err("the program has audio only");
        assert_eq!(error.to_string(), "the program is 0x0f; only H.264 (0x1b) and H.265 (0x24) can be read");
    }
}
