//! Element ids of EBML and Matroska, with their names.
//!
//! Source: RFC 8794 (EBML) and RFC 9559 (Matroska).

use std::fmt;

/// An element id with its length marker, as it is coded in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementId(pub u32);

/// Declares the known ids and their names.
macro_rules! ids {
    ($($constant:ident $value:literal $name:literal)*) => {
        impl ElementId {
            $(pub(crate) const $constant: ElementId = ElementId($value);)*

            fn name(self) -> &'static str {
                match self {
                    $(Self::$constant => $name,)*
                    _ => "an element",
                }
            }
        }
    };
}

ids! {
    EBML 0x1A45_DFA3 "the EBML header"
    EBML_VERSION 0x4286 "EBMLVersion"
    EBML_READ_VERSION 0x42F7 "EBMLReadVersion"
    MAX_ID_LENGTH 0x42F2 "EBMLMaxIDLength"
    MAX_SIZE_LENGTH 0x42F3 "EBMLMaxSizeLength"
    DOC_TYPE 0x4282 "DocType"
    DOC_TYPE_VERSION 0x4287 "DocTypeVersion"
    DOC_TYPE_READ_VERSION 0x4285 "DocTypeReadVersion"
    VOID 0xEC "Void"
    CRC32 0xBF "CRC-32"
    SEGMENT 0x1853_8067 "Segment"
    SEEK_HEAD 0x114D_9B74 "SeekHead"
    INFO 0x1549_A966 "Info"
    TIMESTAMP_SCALE 0x2A_D7B1 "TimestampScale"
    MUXING_APP 0x4D80 "MuxingApp"
    WRITING_APP 0x5741 "WritingApp"
    TRACKS 0x1654_AE6B "Tracks"
    TRACK_ENTRY 0xAE "TrackEntry"
    TRACK_NUMBER 0xD7 "TrackNumber"
    TRACK_UID 0x73C5 "TrackUID"
    TRACK_TYPE 0x83 "TrackType"
    CODEC_ID 0x86 "CodecID"
    CODEC_PRIVATE 0x63A2 "CodecPrivate"
    DEFAULT_DURATION 0x23_E383 "DefaultDuration"
    CONTENT_ENCODINGS 0x6D80 "ContentEncodings"
    VIDEO 0xE0 "Video"
    PIXEL_WIDTH 0xB0 "PixelWidth"
    PIXEL_HEIGHT 0xBA "PixelHeight"
    TAGS 0x1254_C367 "Tags"
    TAG 0x7373 "Tag"
    SIMPLE_TAG 0x67C8 "SimpleTag"
    TAG_NAME 0x45A3 "TagName"
    TAG_STRING 0x4487 "TagString"
    CLUSTER 0x1F43_B675 "Cluster"
    TIMESTAMP 0xE7 "Timestamp"
    SIMPLE_BLOCK 0xA3 "SimpleBlock"
    BLOCK_GROUP 0xA0 "BlockGroup"
    BLOCK 0xA1 "Block"
    REFERENCE_BLOCK 0xFB "ReferenceBlock"
    CUES 0x1C53_BB6B "Cues"
    CHAPTERS 0x1043_A770 "Chapters"
    ATTACHMENTS 0x1941_A469 "Attachments"
}

impl ElementId {
    /// Returns true for a root-level element, which begins a document or its Segment.
    pub(crate) fn is_root_level(self) -> bool {
        matches!(self, Self::EBML | Self::SEGMENT)
    }

    /// Returns true for a direct child of the Segment, which therefore ends a Cluster of unknown size.
    pub(crate) fn is_segment_child(self) -> bool {
        matches!(
            self,
            Self::SEEK_HEAD
                | Self::INFO
                | Self::TRACKS
                | Self::TAGS
                | Self::CLUSTER
                | Self::CUES
                | Self::CHAPTERS
                | Self::ATTACHMENTS
        )
    }

    /// Returns true for a direct child of a Cluster that is read.
    pub(crate) fn is_cluster_child(self) -> bool {
        matches!(self, Self::TIMESTAMP | Self::SIMPLE_BLOCK | Self::BLOCK_GROUP)
    }
}

impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:X})", self.name(), self.0)
    }
}
