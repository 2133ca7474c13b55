//! MP4: initialisation and media segments of fragmented MP4, and complete files. Source: ISO/IEC 14496-12.

mod boxes;
mod file_writer;
mod init_segment;
mod media_segment;
mod segment_writer;

pub use file_writer::{FileHead, write_file_head};
pub use init_segment::{InitSegment, read_init};
pub use media_segment::read_media;
pub use segment_writer::{write_init, write_media};

/// Ticks per second of the segments written here: timestamps of Kinesis Video Streams are in ms.
pub const TIMESCALE: u32 = 1000;

/// The flags of tfhd (8.8.7) and trun (8.8.8), which say which optional fields are present, and of samples
/// (8.8.3).
pub(crate) mod flags {
    pub(crate) const TFHD_BASE_DATA_OFFSET: u32 = 0x01;
    pub(crate) const TFHD_SAMPLE_DESCRIPTION_INDEX: u32 = 0x02;
    pub(crate) const TFHD_DEFAULT_DURATION: u32 = 0x08;
    pub(crate) const TFHD_DEFAULT_SIZE: u32 = 0x10;
    pub(crate) const TFHD_DEFAULT_FLAGS: u32 = 0x20;
    pub(crate) const TFHD_DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
    pub(crate) const TRUN_DATA_OFFSET: u32 = 0x01;
    pub(crate) const TRUN_FIRST_SAMPLE_FLAGS: u32 = 0x04;
    pub(crate) const TRUN_DURATION: u32 = 0x100;
    pub(crate) const TRUN_SIZE: u32 = 0x200;
    pub(crate) const TRUN_FLAGS: u32 = 0x400;
    pub(crate) const TRUN_COMPOSITION_OFFSET: u32 = 0x800;
    /// sample_is_non_sync_sample: the sample cannot be decoded without another.
    pub(crate) const SAMPLE_IS_NON_SYNC: u32 = 0x01_0000;
    /// sample_depends_on 2: the sample depends on no other.
    pub(crate) const SAMPLE_DEPENDS_ON_NONE: u32 = 0x0200_0000;
    /// sample_depends_on 1: the sample depends on others.
    pub(crate) const SAMPLE_DEPENDS_ON_OTHERS: u32 = 0x0100_0000;
}
