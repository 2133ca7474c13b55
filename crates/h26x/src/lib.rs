//! avcC, hvcC, parameter sets and access units of H.264 and H.265.
//!
//! - [`DecoderConfig`] reads the codec private data; [`private_of`] makes it from parameter sets that came in band.
//! - [`picture_size`] and [`codec_string`] say what a player wants to know of it.
//! - [`for_decoder`] is what of an access unit goes to the decoder.
//! - [`size_in_band`] is the size by a parameter set within an access unit.
//! - [`PictureRole`] is the role of an access unit for a decoder that joins a stream in the middle.
//! - [`split_annex_b`] and [`push_prefixed`] turn start codes into lengths; [`Kind`] is what a NAL unit is for.
//!
//! Nothing here reads a socket, a file or a clock, and no bytes that a camera sends can make it panic, loop or take
//! memory beyond a small multiple of their length.

mod access_unit;
mod bits;
mod codec;
mod decoder_config;
mod error;
mod nal;
mod picture_role;
mod sps;

pub use access_unit::for_decoder;
pub use codec::Codec;
pub use decoder_config::{DecoderConfig, check, codec_string, picture_size, private_of, size_in_band};
pub use error::{Error, Flaw};
pub use nal::{Kind, push_prefixed, split_annex_b};
pub use picture_role::PictureRole;
