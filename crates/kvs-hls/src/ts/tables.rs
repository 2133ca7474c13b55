//! The two tables that say where the video is: PAT and PMT.

use h26x::Codec;

use super::packet::Packet;
use super::{H264, H265};
use crate::Error;

/// Bytes of a section: its head and check sum at least.
const SHORTEST: usize = 12;
const LONGEST: usize = 4096;

/// Gathers the sections of one PID.
#[derive(Debug, Default)]
pub(crate) struct Sections {
    bytes: Vec<u8>,
}

impl Sections {
    /// The section that is whole with this packet.
    ///
    /// Errors: it is longer than a section can be, or its check sum is wrong.
    pub(crate) fn push(&mut self, packet: &Packet<'_>) -> Result<Option<Vec<u8>>, Error> {
        let Some(payload) = packet.payload else { return Ok(None) };
        let damaged = |expected| Error::Invalid { offset: packet.offset, part: "a PAT or PMT", expected };
        if packet.begins {
            let pointer = usize::from(payload.first().copied().unwrap_or(0));
            let section = payload.get(1 + pointer..).ok_or(damaged("a section that begins in its packet"))?;
            self.bytes = section.to_vec();
        } else if !self.bytes.is_empty() {
            self.bytes.extend_from_slice(payload);
        }
        let Some(&[_, high, low]) = self.bytes.first_chunk::<3>() else { return Ok(None) };
        let len = 3 + (usize::from(high & 0x0F) << 8 | usize::from(low));
        if !(SHORTEST..=LONGEST).contains(&len) {
            return Err(damaged("a section of 12 to 4096 bytes"));
        }
        if self.bytes.len() < len {
            return Ok(None);
        }
        let mut section = std::mem::take(&mut self.bytes);
        section.truncate(len);
        if crc(&section) != 0 {
            return Err(damaged("a section with the right check sum"));
        }
        section.truncate(len - 4);
        Ok(Some(section))
    }
}

/// The PID of the first program's PMT in a PAT without its check sum.
pub(crate) fn pmt_pid(pat: &[u8]) -> Option<u16> {
    let mut programs = pat.get(8..)?.chunks_exact(4);
    let program = programs.find(|entry| entry[..2] != [0, 0])?;
    Some(pid(program[2], program[3]))
}

/// PID and codec of the first stream of H.264 or H.265 in a PMT without its check sum.
///
/// Errors: there is none.
pub(crate) fn video(pmt: &[u8]) -> Result<(u16, Codec), Error> {
    let mut types = Vec::new();
    let mut rest = descriptors_end(pmt, 10).and_then(|at| pmt.get(at..)).unwrap_or_default();
    while let Some(&[kind, high, low, _, _]) = rest.first_chunk::<5>() {
        match kind {
            H264 => return Ok((pid(high, low), Codec::H264)),
            H265 => return Ok((pid(high, low), Codec::H265)),
            other => types.push(format!("{other:#04x}")),
        }
        rest = descriptors_end(rest, 3).and_then(|at| rest.get(at..)).unwrap_or_default();
    }
    let found = if types.is_empty() { "nothing".to_owned() } else { types.join(", ") };
    Err(Error::Unsupported { part: "the program", found, known: "H.264 (0x1b) and H.265 (0x24)" })
}

/// Where descriptors end whose length stands at `at`.
fn descriptors_end(bytes: &[u8], at: usize) -> Option<usize> {
    let len = usize::from(bytes.get(at)? & 0x0F) << 8 | usize::from(*bytes.get(at + 1)?);
    Some(at + 2 + len)
}

fn pid(high: u8, low: u8) -> u16 {
    u16::from(high & 0x1F) << 8 | u16::from(low)
}

/// A section after a pointer of 0: `table` and its number, its body, its check sum.
pub(crate) fn section(table: u8, number: u16, body: &[u8]) -> Vec<u8> {
    let len = (5 + body.len() + 4) as u16;
    let mut out = vec![table];
    out.extend_from_slice(&(0xB000 | len).to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&[0xC1, 0, 0]);
    out.extend_from_slice(body);
    let sum = crc(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    out.insert(0, 0);
    out
}

/// CRC-32 of MPEG-2; 0 over a section with its check sum.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |mut sum, &byte| {
        sum ^= u32::from(byte) << 24;
        for _ in 0..8 {
            sum = if sum & 0x8000_0000 != 0 { sum << 1 ^ 0x04C1_1DB7 } else { sum << 1 };
        }
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_sum_is_that_of_mpeg_2() {
        assert_eq!(crc(b"123456789"), 0x0376_E6E7);
    }

    #[test]
    fn tables_name_the_program_and_its_video() {
        assert_eq!(pmt_pid(&[0, 0xB0, 17, 0, 1, 0xC1, 0, 0, 0, 0, 0xE0, 16, 0, 1, 0xF0, 0]), Some(0x1000));
        let pmt =
            |streams: &[u8]| [&[2, 0xB0, 0, 0, 1, 0xC1, 0, 0, 0xE1, 0, 0xF0, 2, 9, 9][..], streams].concat();
        let audio = [0x0F, 0xE1, 1, 0xF0, 1, 7];
        let video_stream = [H265, 0xE1, 2, 0xF0, 0];
        assert_eq!(video(&pmt(&[&audio[..], &video_stream].concat())), Ok((0x102, Codec::H265)));
        let error = video(&pmt(&audio)).expect_err("there is sound only");
        assert_eq!(error.to_string(), "the program is 0x0f; only H.264 (0x1b) and H.265 (0x24) can be read");
    }
}
