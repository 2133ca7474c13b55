//! Any units and any private data keep the invariants, and what a sound track gives is known.

use h26x::{Codec, DecoderConfig, codec_string, for_decoder, picture_size, private_of};
use proptest::prelude::*;

use crate::invariants;
use crate::seeds::{input, prefixed, private};

fn codec() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::H264), Just(Codec::H265)]
}

/// NAL units, many of them messages of H.265 and some of them empty.
fn nals() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let head = prop_oneof![Just(0x26_u8), Just(0x4E), Just(0x50), any::<u8>()];
    let nal = (head, prop::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(head, rest)| [&[head][..], &rest].concat());
    prop::collection::vec(prop_oneof![9 => nal, 1 => Just(Vec::new())], 0..8)
}

#[test]
fn a_sound_track_is_read_in_full() {
    for (codec, sets, text) in [(Codec::H264, 2, "avc1.64000c"), (Codec::H265, 3, "hvc1.1.6.L60.90")] {
        let private = private(codec);
        assert_eq!(DecoderConfig::read(codec, &private).expect("a sound track").parameter_sets.len(), sets);
        assert_eq!(picture_size(codec, &private), Ok((320, 178)));
        assert_eq!(codec_string(codec, &private), Ok(text.to_owned()));
    }
}

#[test]
fn private_data_is_made_without_a_video_parameter_set_too() {
    let whole = private(Codec::H265);
    let sets = DecoderConfig::read(Codec::H265, &whole).expect("a sound track").parameter_sets;
    let made = private_of(Codec::H265, &sets[1..]).expect("sound parameter sets");
    assert_eq!(
        DecoderConfig::read(Codec::H265, &made).expect("what is made is read").parameter_sets,
        sets[1..]
    );
}

proptest! {
    #[test]
    fn of_whole_units_of_h265_the_pictures_are_left(nals in nals(), length_bytes in 1..=4_usize) {
        let mut private = private(Codec::H265);
        private[21] = private[21] & !3 | (length_bytes as u8 - 1);
        let nals: Vec<&[u8]> = nals.iter().map(|nal| &nal[..]).collect();
        let is_message = |nal: &&&[u8]| nal.first().is_some_and(|head| [39, 40].contains(&(head >> 1 & 63)));
        let pictures: Vec<&[u8]> = nals.iter().filter(|nal| !is_message(nal)).copied().collect();
        let unit = prefixed(length_bytes, &nals);
        let wanted = if pictures.is_empty() { unit.clone() } else { prefixed(length_bytes, &pictures) };
        prop_assert_eq!(&for_decoder(Codec::H265, &private, &unit)[..], wanted);
        invariants::check(&input(Codec::H265, &private, &unit));
    }

    #[test]
    fn damage_anywhere_keeps_the_invariants(
        codec in codec(),
        nals in nals(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in any::<prop::sample::Index>(),
    ) {
        let nals: Vec<&[u8]> = nals.iter().map(|nal| &nal[..]).collect();
        let mut bytes = input(codec, &private(codec), &prefixed(4, &nals));
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        invariants::check(&bytes[..=length.index(bytes.len())]);
        invariants::check(&bytes);
    }

    #[test]
    fn any_bytes_keep_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        invariants::check(&bytes);
    }
}
