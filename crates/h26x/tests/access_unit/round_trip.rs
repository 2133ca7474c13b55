//! Any access unit with any codec private data keeps the invariants, and a valid track is read in full.

use h26x::{Codec, DecoderConfig, build_codec_private, codec_string, filter_for_decoder, picture_size};
use proptest::prelude::*;
use test_support::invariants::access_unit;

use crate::seeds::{codec_private, input, length_prefixed};

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::H264), Just(Codec::H265)]
}

/// NAL units, many of them H.265 SEI and some of them empty.
fn nals() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let head = prop_oneof![Just(0x26_u8), Just(0x4E), Just(0x50), any::<u8>()];
    let nal = (head, prop::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(head, rest)| [&[head][..], &rest].concat());
    prop::collection::vec(prop_oneof![9 => nal, 1 => Just(Vec::new())], 0..8)
}

#[test]
fn a_valid_track_is_read_in_full() {
    for (codec, sets, text) in [(Codec::H264, 2, "avc1.64000c"), (Codec::H265, 3, "hvc1.1.6.L60.90")] {
        let private = codec_private(codec);
        assert_eq!(DecoderConfig::read(codec, &private).expect("a valid track").parameter_sets.len(), sets);
        assert_eq!(picture_size(codec, &private), Ok((320, 178)));
        assert_eq!(codec_string(codec, &private), Ok(text.to_owned()));
    }
}

#[test]
fn an_hvcc_is_built_without_a_video_parameter_set_too() {
    let whole = codec_private(Codec::H265);
    let sets = DecoderConfig::read(Codec::H265, &whole).expect("a valid track").parameter_sets;
    let built = build_codec_private(Codec::H265, &sets[1..]).expect("valid parameter sets");
    assert_eq!(DecoderConfig::read(Codec::H265, &built).expect("a valid hvcC").parameter_sets, sets[1..]);
}

proptest! {
    #[test]
    fn complete_h265_units_lose_only_their_sei(nals in nals(), length_bytes in 1..=4_usize) {
        let mut private = codec_private(Codec::H265);
        private[21] = private[21] & !3 | (length_bytes as u8 - 1);
        let nals: Vec<&[u8]> = nals.iter().map(|nal| &nal[..]).collect();
        let is_sei = |nal: &&&[u8]| nal.first().is_some_and(|head| [39, 40].contains(&(head >> 1 & 63)));
        let pictures: Vec<&[u8]> = nals.iter().filter(|nal| !is_sei(nal)).copied().collect();
        let unit = length_prefixed(length_bytes, &nals);
        let expected = if pictures.is_empty() { unit.clone() } else { length_prefixed(length_bytes, &pictures) };
        prop_assert_eq!(&filter_for_decoder(Codec::H265, &private, &unit)[..], expected);
        access_unit::check(&input(Codec::H265, &private, &unit));
    }

    #[test]
    fn damage_anywhere_keeps_the_invariants(
        codec in codec(),
        nals in nals(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
    ) {
        let nals: Vec<&[u8]> = nals.iter().map(|nal| &nal[..]).collect();
        let mut bytes = input(codec, &codec_private(codec), &length_prefixed(4, &nals));
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        access_unit::check(&bytes[..=length.index(bytes.len())]);
        access_unit::check(&bytes);
    }

    #[test]
    fn any_bytes_keep_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        access_unit::check(&bytes);
    }
}
