//! Transport packets (ISO/IEC 13818-1, 2.4.3.2).

use super::{PACKET_HEADER_LEN, PACKET_LEN, SYNC_BYTE, adaptation_flags};
use crate::HlsError;

/// One transport packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TsPacket<'a> {
    /// Offset in the segment.
    pub(crate) offset: usize,
    pub(crate) pid: u16,
    /// payload_unit_start_indicator: a PES packet or a section begins in the payload.
    pub(crate) starts_unit: bool,
    pub(crate) continuity_counter: u8,
    /// discontinuity_indicator: the continuity counter may jump.
    pub(crate) discontinuity: bool,
    pub(crate) random_access: bool,
    /// The payload, or `None` if the packet has an adaptation field only.
    pub(crate) payload: Option<&'a [u8]>,
}

/// Iterates over the packets of a segment; an item is an error if the packet is incomplete or damaged.
pub(crate) fn packets(segment: &[u8]) -> impl Iterator<Item = Result<TsPacket<'_>, HlsError>> {
    segment.chunks(PACKET_LEN).enumerate().map(|(index, bytes)| read_packet(bytes, index * PACKET_LEN))
}

fn read_packet(bytes: &[u8], offset: usize) -> Result<TsPacket<'_>, HlsError> {
    let invalid = |expected| HlsError::Invalid { offset, part: "a transport packet", expected };
    let bytes: &[u8; PACKET_LEN] =
        bytes.try_into().map_err(|_| HlsError::Truncated { offset, part: "a transport packet" })?;
    if bytes[0] != SYNC_BYTE {
        return Err(invalid("0x47 as its first byte"));
    }
    // Byte 1: transport_error_indicator, payload_unit_start_indicator, transport_priority (ignored), PID.
    if bytes[1] & 0x80 != 0 {
        return Err(invalid("no transport error"));
    }
    // Byte 3: transport_scrambling_control (2 bits, ignored: KVS does not scramble), adaptation_field_control
    // (2), continuity_counter (4).
    let has_adaptation = bytes[3] & 0x20 != 0;
    let has_payload = bytes[3] & 0x10 != 0;
    let (flags, body) =
        split_adaptation(bytes, has_adaptation).ok_or(invalid("an adaptation field that ends in it"))?;
    Ok(TsPacket {
        offset,
        pid: u16::from(bytes[1] & 0x1F) << 8 | u16::from(bytes[2]),
        starts_unit: bytes[1] & 0x40 != 0,
        continuity_counter: bytes[3] & 0x0F,
        discontinuity: flags & adaptation_flags::DISCONTINUITY != 0,
        random_access: flags & adaptation_flags::RANDOM_ACCESS != 0,
        payload: has_payload.then_some(body),
    })
}

/// Returns the flags of the adaptation field, and the bytes after it; `None` if it does not end in the packet.
fn split_adaptation(bytes: &[u8; PACKET_LEN], has_adaptation: bool) -> Option<(u8, &[u8])> {
    // adaptation_field_length does not count its own byte.
    let adaptation_len = if has_adaptation { usize::from(bytes[4]) + 1 } else { 0 };
    let body = bytes.get(PACKET_HEADER_LEN + adaptation_len..)?;
    // A field of length 0 is one stuffing byte and has no flags. Ignored after the flags: PCR, OPCR,
    // splice_countdown, private data and the extension.
    let flags = if adaptation_len > 1 { bytes[5] } else { 0 };
    Some((flags, body))
}

/// Writer of the packets of one PID.
#[derive(Debug)]
pub(crate) struct PacketWriter {
    pid: u16,
    continuity_counter: u8,
}

impl PacketWriter {
    pub(crate) fn new(pid: u16) -> Self {
        Self { pid, continuity_counter: 0 }
    }

    /// Appends `payload` in as many packets as needed; `adaptation` (flags, then fields) goes into the first.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, mut payload: &[u8], adaptation: &[u8]) {
        let mut is_first = true;
        while is_first || !payload.is_empty() {
            let adaptation = if is_first { adaptation } else { &[] };
            let adaptation_len = if adaptation.is_empty() { 0 } else { adaptation.len() + 1 };
            let max_len = PACKET_LEN - PACKET_HEADER_LEN - adaptation_len;
            let (now, later) = payload.split_at(payload.len().min(max_len));
            self.write_header(out, is_first);
            push_adaptation(out, adaptation, PACKET_LEN - PACKET_HEADER_LEN - now.len());
            out.extend_from_slice(now);
            payload = later;
            is_first = false;
        }
    }

    /// Writes a header whose adaptation_field_control says payload only; `push_adaptation` sets the other
    /// bit.
    fn write_header(&mut self, out: &mut Vec<u8>, starts_unit: bool) {
        let [high, low] = self.pid.to_be_bytes();
        let start_bit = if starts_unit { 0x40 } else { 0 };
        out.extend_from_slice(&[SYNC_BYTE, high | start_bit, low, 0x10 | self.continuity_counter]);
        self.continuity_counter = (self.continuity_counter + 1) & 0x0F;
    }
}

/// Fills `room` bytes with an adaptation field, padded with stuffing bytes.
fn push_adaptation(out: &mut Vec<u8>, adaptation: &[u8], room: usize) {
    if room == 0 {
        return;
    }
    let control_at = out.len() - 1;
    out[control_at] |= 0x20;
    out.push((room - 1) as u8);
    let end = out.len() + room - 1;
    out.extend_from_slice(adaptation);
    // Stuffing bytes come after the flags, so a field that only pads needs a byte of flags, all 0. With a
    // room of 1 the length byte alone pads.
    if out.len() < end && adaptation.is_empty() {
        out.push(0);
    }
    out.resize(end, 0xFF);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_any_length_are_read_back() {
        for len in 0..600 {
            let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            for adaptation in [&[][..], &[0x40], &[0xD0, 1, 2, 3, 4, 5, 6]] {
                let mut out = Vec::new();
                PacketWriter::new(0x101).write(&mut out, &payload, adaptation);
                let packets: Vec<_> = packets(&out).map(|packet| packet.expect("a packet")).collect();
                let read: Vec<u8> =
                    packets.iter().flat_map(|packet| packet.payload.unwrap_or(&[])).copied().collect();
                assert_eq!(read, payload, "{len} bytes");
                assert_eq!(packets[0].random_access, !adaptation.is_empty());
                assert_eq!(packets[0].discontinuity, adaptation.len() > 1);
                assert!(packets.iter().all(|packet| packet.pid == 0x101));
                assert!(packets.iter().enumerate().all(|(at, packet)| packet.starts_unit == (at == 0)));
            }
        }
    }

    #[test]
    fn damaged_packets_are_rejected() {
        let mut good = Vec::new();
        PacketWriter::new(7).write(&mut good, &[1; 184], &[]);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert!(read_packet(&good, 0).is_ok());
        let mut long = with(3, 0x30);
        long[4] = 184;
        for (name, bytes) in [
            ("cut", good[..187].to_vec()),
            ("sync", with(0, 0x48)),
            ("error", with(1, 0x80)),
            ("adaptation", long),
        ] {
            assert!(read_packet(&bytes, 0).is_err(), "{name}");
        }
    }
}
