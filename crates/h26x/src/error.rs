//! What may be wrong with codec private data, parameter sets and access units.

use crate::Codec;

/// Why something cannot be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The codec private data is no avcC or hvcC. The track cannot be decoded until the producer sends another.
    #[error("the {} cannot be read: {flaw}; let the producer send a whole one", .codec.private_name())]
    Private {
        /// The codec that it should be for.
        codec: Codec,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// A sequence parameter set cannot be read. The track cannot be decoded until the producer sends another.
    #[error(
        "a sequence parameter set of {bytes} bytes cannot be read: it ends early or tells of no possible picture; \
         the producer sends what no decoder takes"
    )]
    ParameterSet {
        /// Its length.
        bytes: usize,
    },
    /// A parameter set that no decoder can do without is not there.
    #[error("there is no {part}, without which no picture can be decoded; let the producer send one")]
    Missing {
        /// The kind of it.
        part: &'static str,
    },
    /// Parameter sets that came in band do not fit into an avcC or hvcC.
    #[error(
        "{count} parameter sets, the longest of {longest_bytes} bytes, do not fit into the {}, which holds {most} of \
         65535 bytes at most; the producer sends what no decoder takes", .codec.private_name()
    )]
    TooMuch {
        /// The codec.
        codec: Codec,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
        /// Length of the longest.
        longest_bytes: usize,
    },
    /// A NAL unit goes on beyond its access unit. Pass the unit over.
    #[error(
        "byte {offset} of the access unit: a NAL unit ends beyond it; it was cut or is damaged, pass it over"
    )]
    Truncated {
        /// Where its length begins.
        offset: usize,
    },
}

/// Why codec private data is no avcC or hvcC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is none.
    #[error("it is empty")]
    Empty,
    /// Parameter sets after start codes, maybe.
    #[error("it starts with 0, as an Annex B stream does")]
    AnnexB,
    /// Another version, or something else altogether.
    #[error("its version is {0} instead of 1")]
    Version(u8),
    /// It goes on beyond its end.
    #[error("it ends too early")]
    Cut,
}
