//! Parser of H.264 and H.265 codec private data (avcC, hvcC), parameter sets and access units.
//!
//! - [`DecoderConfig`] reads codec private data; [`build_codec_private`] builds it from in-band parameter
//!   sets.
//! - [`check_codec_private`] validates codec private data before a decoder is opened with it.
//! - [`picture_size`], [`in_band_picture_size`] and [`codec_string`] describe a track for players and
//!   decoders.
//! - [`filter_for_decoder`] removes from an access unit the NAL units that make a strict decoder fail.
//! - [`PictureRole`] classifies an access unit for a decoder that joins a stream in the middle.
//! - [`is_disposable`] finds the access units that a decoder may leave out, because none refers to them.
//! - [`split_annex_b`] and [`push_length_prefixed`] convert start codes to lengths; [`NalKind`] classifies a
//!   NAL unit.
//!
//! The crate reads no socket, file or clock. No input can make it panic, loop, or use more memory than a
//! small multiple of the input's length.

mod access_unit;
mod bit_reader;
mod codec;
mod decoder_config;
mod error;
mod nal;
mod picture_role;
mod sps;

pub use access_unit::filter_for_decoder;
pub use codec::Codec;
pub use decoder_config::{
    DecoderConfig, build_codec_private, check_codec_private, codec_string, in_band_picture_size, picture_size,
};
pub use error::{CodecPrivateFlaw, H26xError};
pub use nal::{NalKind, push_length_prefixed, split_annex_b};
pub use picture_role::{PictureRole, is_disposable};
