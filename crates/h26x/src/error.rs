//! Errors of codec private data, parameter sets and access units.

use crate::Codec;

/// The reason why codec private data, a parameter set or an access unit cannot be read or built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum H26xError {
    /// The codec private data is not an avcC or hvcC, so the track cannot be decoded until the producer sends
    /// one.
    #[error("the {} cannot be read: {flaw}; make the producer send a complete one", .codec.private_name())]
    CodecPrivate {
        /// The codec whose private data was expected.
        codec: Codec,
        /// The defect.
        flaw: CodecPrivateFlaw,
    },
    /// A sequence parameter set is invalid, so the track cannot be decoded until the producer sends another.
    #[error(
        "a sequence parameter set of {bytes} bytes cannot be read: it ends early or describes an impossible picture; \
         no decoder accepts this stream, fix the producer"
    )]
    ParameterSet {
        /// Length of the parameter set.
        bytes: usize,
    },
    /// A parameter set that every decoder needs is missing.
    #[error("the {part} is missing, so no picture can be decoded; make the producer send one")]
    Missing {
        /// Name of the missing kind of parameter set.
        part: &'static str,
    },
    /// In-band parameter sets do not fit into an avcC or hvcC.
    #[error(
        "{count} parameter sets, the longest of {longest_bytes} bytes, do not fit into the {}, which holds at most {max} \
         of 65535 bytes each; no decoder accepts this stream, fix the producer", .codec.private_name()
    )]
    TooMuch {
        /// The codec of the parameter sets.
        codec: Codec,
        /// Number of parameter sets.
        count: usize,
        /// Maximum number of parameter sets.
        max: usize,
        /// Length of the longest parameter set.
        longest_bytes: usize,
    },
    /// A NAL unit ends beyond its access unit; skip the access unit.
    #[error(
        "byte {offset} of the access unit: a NAL unit ends beyond it; the access unit is cut or damaged, skip it"
    )]
    Truncated {
        /// Offset of the NAL unit's length field.
        offset: usize,
    },
}

/// The defect because of which codec private data is not a valid avcC or hvcC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecPrivateFlaw {
    /// The data has no bytes.
    #[error("it is empty")]
    Empty,
    /// The data starts with a zero byte, probably because it is parameter sets with start codes.
    #[error("it starts with 0, as an Annex B stream does")]
    AnnexB,
    /// The configurationVersion is not 1: another version of the record, or other data.
    #[error("its version is {0} instead of 1")]
    Version(u8),
    /// A field or a parameter set ends beyond the data.
    #[error("it ends too early")]
    Cut,
}
