//! MPEG-TS segments. Source: ISO/IEC 13818-1 (ITU-T H.222.0); in HLS: RFC 8216, 3.2.

mod demuxer;
mod muxer;
mod packet;
mod pes;
mod psi;

pub use demuxer::{TsSegment, read};
pub use muxer::write;

/// Ticks per second of PTS and DTS.
pub(crate) const CLOCK_HZ: u32 = 90_000;
/// Mask of PTS and DTS, which have 33 bits and wrap around.
pub(crate) const CLOCK_MASK: u64 = (1 << 33) - 1;
pub(crate) const TICKS_PER_MS: i64 = 90;

pub(crate) const PACKET_LEN: usize = 188;
/// Length of a packet's header up to the adaptation field.
pub(crate) const PACKET_HEADER_LEN: usize = 4;
pub(crate) const SYNC_BYTE: u8 = 0x47;
/// PID of the program association table.
pub(crate) const PAT_PID: u16 = 0;

/// stream_type of H.264 in a PMT.
pub(crate) const STREAM_TYPE_H264: u8 = 0x1B;
/// stream_type of H.265 in a PMT.
pub(crate) const STREAM_TYPE_H265: u8 = 0x24;

/// The flags at the start of an adaptation field (2.4.3.4) that are read or written.
pub(crate) mod adaptation_flags {
    pub(crate) const DISCONTINUITY: u8 = 0x80;
    pub(crate) const RANDOM_ACCESS: u8 = 0x40;
    /// PCR_flag: a program_clock_reference follows.
    pub(crate) const PCR: u8 = 0x10;
}
