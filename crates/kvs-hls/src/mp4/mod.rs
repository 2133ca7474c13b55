//! MP4: initialisation segments and media segments of fragmented MP4, and whole files. Source: ISO/IEC 14496-12.

mod boxes;
mod file;
mod init;
mod media;
mod write;

pub use file::write_file_head;
pub use init::{Init, read_init};
pub use media::read_media;
pub use write::{write_init, write_media};

/// Ticks a second of what is written here: timecodes of Kinesis Video Streams are in ms.
pub const TIMESCALE: u32 = 1000;

/// trun and tfhd: which fields are there.
pub(crate) mod flags {
    pub(crate) const BASE_DATA_OFFSET: u32 = 0x01;
    pub(crate) const DESCRIPTION: u32 = 0x02;
    pub(crate) const DEFAULT_DURATION: u32 = 0x08;
    pub(crate) const DEFAULT_SIZE: u32 = 0x10;
    pub(crate) const DEFAULT_FLAGS: u32 = 0x20;
    pub(crate) const BASE_IS_MOOF: u32 = 0x02_0000;
    pub(crate) const DATA_OFFSET: u32 = 0x01;
    pub(crate) const FIRST_FLAGS: u32 = 0x04;
    pub(crate) const DURATION: u32 = 0x100;
    pub(crate) const SIZE: u32 = 0x200;
    pub(crate) const FLAGS: u32 = 0x400;
    pub(crate) const COMPOSITION: u32 = 0x800;
    /// A sample that cannot be decoded without another.
    pub(crate) const NOT_SYNC: u32 = 0x01_0000;
    /// A sample that others depend on and that depends on none; and one that depends on others.
    pub(crate) const INDEPENDENT: u32 = 0x0200_0000;
    pub(crate) const DEPENDENT: u32 = 0x0100_0000;
}
