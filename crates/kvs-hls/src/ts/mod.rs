//! MPEG-TS segments. Source: ITU-T H.222.0; HLS: RFC 8216, 3.2.

mod packet;
mod pes;
mod read;
mod tables;
mod write;

pub use read::{Segment, read};
pub use write::write;

/// Ticks of PTS and DTS a second.
pub(crate) const CLOCK: u32 = 90_000;
/// PTS and DTS have 33 bits and begin again at 0.
pub(crate) const CLOCK_MASK: u64 = (1 << 33) - 1;
pub(crate) const TICKS_PER_MS: i64 = 90;

pub(crate) const PACKET: usize = 188;
pub(crate) const SYNC: u8 = 0x47;
pub(crate) const PAT_PID: u16 = 0;

/// stream_type of the two codecs in a PMT.
pub(crate) const H264: u8 = 0x1B;
pub(crate) const H265: u8 = 0x24;
