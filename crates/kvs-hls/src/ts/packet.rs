//! Transport packets.

use super::{PACKET, SYNC};
use crate::Error;

/// One packet of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet<'a> {
    /// In the segment.
    pub(crate) offset: usize,
    pub(crate) pid: u16,
    /// Whether a PES packet or a section begins in it.
    pub(crate) begins: bool,
    pub(crate) counter: u8,
    pub(crate) discontinuity: bool,
    pub(crate) random_access: bool,
    /// None where it has an adaptation field only.
    pub(crate) payload: Option<&'a [u8]>,
}

/// The packets of a segment.
///
/// Errors: it does not consist of whole packets.
pub(crate) fn packets(segment: &[u8]) -> impl Iterator<Item = Result<Packet<'_>, Error>> {
    segment.chunks(PACKET).enumerate().map(|(index, bytes)| read(bytes, index * PACKET))
}

fn read(bytes: &[u8], offset: usize) -> Result<Packet<'_>, Error> {
    let invalid = |expected| Error::Invalid { offset, part: "a transport packet", expected };
    let bytes: &[u8; PACKET] =
        bytes.try_into().map_err(|_| Error::Truncated { offset, part: "a transport packet" })?;
    if bytes[0] != SYNC {
        return Err(invalid("0x47 as its first byte"));
    }
    if bytes[1] & 0x80 != 0 {
        return Err(invalid("no transport error"));
    }
    let adaptation = if bytes[3] & 0x20 != 0 { usize::from(bytes[4]) + 1 } else { 0 };
    let body = bytes.get(4 + adaptation..).ok_or(invalid("an adaptation field that ends in it"))?;
    let flags = if adaptation > 1 { bytes[5] } else { 0 };
    Ok(Packet {
        offset,
        pid: u16::from(bytes[1] & 0x1F) << 8 | u16::from(bytes[2]),
        begins: bytes[1] & 0x40 != 0,
        counter: bytes[3] & 0x0F,
        discontinuity: flags & 0x80 != 0,
        random_access: flags & 0x40 != 0,
        payload: (bytes[3] & 0x10 != 0).then_some(body),
    })
}

/// Writes the packets of one PID.
#[derive(Debug)]
pub(crate) struct Packets {
    pid: u16,
    counter: u8,
}

impl Packets {
    pub(crate) fn new(pid: u16) -> Self {
        Self { pid, counter: 0 }
    }

    /// Appends `payload` in as many packets as it takes; `adaptation` (flags, then fields) goes into the first.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, mut payload: &[u8], adaptation: &[u8]) {
        let mut begins = true;
        while begins || !payload.is_empty() {
            let adaptation = if begins { adaptation } else { &[] };
            let head = if adaptation.is_empty() { 0 } else { adaptation.len() + 1 };
            let (now, later) = payload.split_at(payload.len().min(PACKET - 4 - head));
            self.write_head(out, begins);
            push_adaptation(out, adaptation, PACKET - 4 - now.len());
            out.extend_from_slice(now);
            payload = later;
            begins = false;
        }
    }

    /// Marks a packet as one with a payload; `push_adaptation` adds the other mark.
    fn write_head(&mut self, out: &mut Vec<u8>, begins: bool) {
        let [high, low] = self.pid.to_be_bytes();
        out.extend_from_slice(&[SYNC, high | if begins { 0x40 } else { 0 }, low, 0x10 | self.counter]);
        self.counter = (self.counter + 1) & 0x0F;
    }
}

/// Fills `room` bytes with an adaptation field that is stuffed where it is too short.
fn push_adaptation(out: &mut Vec<u8>, adaptation: &[u8], room: usize) {
    if room == 0 {
        return;
    }
    let head = out.len() - 1;
    out[head] |= 0x20;
    out.push((room - 1) as u8);
    let end = out.len() + room - 1;
    out.extend_from_slice(adaptation);
    if out.len() < end && adaptation.is_empty() {
        out.push(0);
    }
    out.resize(end, 0xFF);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_of_any_length_come_back() {
        for len in 0..600 {
            let payload: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            for adaptation in [&[][..], &[0x40], &[0xD0, 1, 2, 3, 4, 5, 6]] {
                let mut out = Vec::new();
                Packets::new(0x101).write(&mut out, &payload, adaptation);
                let packets: Vec<_> = packets(&out).map(|packet| packet.expect("a packet")).collect();
                let read: Vec<u8> =
                    packets.iter().flat_map(|packet| packet.payload.unwrap_or(&[])).copied().collect();
                assert_eq!(read, payload, "{len} bytes");
                assert_eq!(packets[0].random_access, !adaptation.is_empty());
                assert_eq!(packets[0].discontinuity, adaptation.len() > 1);
                assert!(packets.iter().all(|packet| packet.pid == 0x101));
                assert!(packets.iter().enumerate().all(|(at, packet)| packet.begins == (at == 0)));
            }
        }
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let mut good = Vec::new();
        Packets::new(7).write(&mut good, &[1; 184], &[]);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert!(read(&good, 0).is_ok());
        let mut long = with(3, 0x30);
        long[4] = 184;
        for (name, bytes) in [
            ("cut", good[..187].to_vec()),
            ("sync", with(0, 0x48)),
            ("error", with(1, 0x80)),
            ("adaptation", long),
        ] {
            assert!(read(&bytes, 0).is_err(), "{name}");
        }
    }
}
