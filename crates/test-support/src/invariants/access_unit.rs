//! Invariants for any bytes, checked by the fuzz target and by the tests that replay its seeds.

use h26x::{
    Codec, CodecPrivateFlaw, DecoderConfig, NalKind, PictureRole, build_codec_private, check_codec_private,
    codec_string, filter_for_decoder, in_band_picture_size, picture_size, push_length_prefixed,
    split_annex_b,
};

/// Maximum width and height of a picture in luma samples.
const MAX_SIDE_SAMPLES: u32 = 1 << 16;

/// Checks an input: codec (1 byte, even for H.264), length of the codec private data (1 byte), that data,
/// access unit.
pub fn check(input: &[u8]) {
    let Some((&[codec, length], rest)) = input.split_first_chunk::<2>() else { return };
    let codec = if codec % 2 == 0 { Codec::H264 } else { Codec::H265 };
    let (private, unit) = rest.split_at(usize::from(length).min(rest.len()));
    check_config(codec, private, unit);
    check_built(codec, private);
    check_for_decoder(codec, private, unit);
    check_annex_b(unit);
    check_role(codec, private, unit);
}

/// Checks that the role depends neither on how NAL units are separated nor on SEI that the decoder does not
/// get.
fn check_role(codec: Codec, private: &[u8], unit: &[u8]) {
    let role = PictureRole::of(codec, private, unit);
    for px in in_band_picture_size(codec, private, unit)
        .iter()
        .flat_map(|&(width_px, height_px)| [width_px, height_px])
    {
        assert!((1..=MAX_SIDE_SAMPLES).contains(&px));
    }
    let nals = split_annex_b(unit);
    let mut prefixed = Vec::new();
    nals.iter().for_each(|nal| push_length_prefixed(&mut prefixed, nal));
    let lengths_of_4: &[u8] = if codec == Codec::H264 { &[1, 0, 0, 0, 3, 0, 0] } else { &HVCC_LENGTHS_OF_4 };
    let by_length = PictureRole::of(codec, lengths_of_4, &prefixed);
    assert_eq!(
        by_length,
        PictureRole::of(codec, &[], unit),
        "the same role with start codes and with lengths"
    );
    assert_eq!(PictureRole::of(codec, private, &filter_for_decoder(codec, private, unit)), role);
}

const HVCC_LENGTHS_OF_4: [u8; 23] = {
    let mut private = [0; 23];
    private[HVCC_LENGTH_SIZE_AT] = 3;
    private
};

/// Checks that the codec private data, and the unit split by it, are read as the twin reads them.
fn check_config(codec: Codec, private: &[u8], unit: &[u8]) {
    let config = DecoderConfig::read(codec, private);
    let twin = twin_config(codec, private);
    assert_eq!(check_codec_private(codec, private), twin.as_ref().map(|_| ()).map_err(|flaw| *flaw));
    assert_eq!(config.is_ok(), twin.is_ok());
    let (Ok(config), Ok((length_bytes, sets))) = (config, twin) else { return };
    assert_eq!(config.parameter_sets, sets);
    assert!(codec_string(codec, private).is_ok());
    let read: Result<Vec<&[u8]>, _> = config.nal_units(unit).collect();
    assert_eq!(read.ok(), twin_units(unit, length_bytes).as_deref().map(borrowed));
}

/// Checks that a built avcC or hvcC holds each parameter set of its codec and gives the same picture size.
fn check_built(codec: Codec, private: &[u8]) {
    let size = picture_size(codec, private);
    for px in size.iter().flat_map(|&(width_px, height_px)| [width_px, height_px]) {
        assert!((1..=MAX_SIDE_SAMPLES).contains(&px));
    }
    let Ok(config) = DecoderConfig::read(codec, private) else { return };
    let Ok(built) = build_codec_private(codec, &config.parameter_sets) else { return };
    assert_eq!(picture_size(codec, &built), size);
    let kept = |kind| config.parameter_sets.iter().filter(move |nal| NalKind::of(codec, nal) == kind);
    let kinds = if codec == Codec::H264 {
        &[NalKind::Sps, NalKind::Pps][..]
    } else {
        &[NalKind::Vps, NalKind::Sps, NalKind::Pps]
    };
    let sorted: Vec<&[u8]> = kinds.iter().flat_map(|&kind| kept(kind)).copied().collect();
    let mut unit = Vec::new();
    sorted.iter().for_each(|nal| push_length_prefixed(&mut unit, nal));
    assert_eq!(
        in_band_picture_size(codec, &built, &unit),
        size.ok(),
        "the same size in band and in the codec private data"
    );
    assert_eq!(DecoderConfig::read(codec, &built).map(|config| config.parameter_sets), Ok(sorted));
}

fn check_for_decoder(codec: Codec, private: &[u8], unit: &[u8]) {
    let sent = filter_for_decoder(codec, private, unit);
    assert_eq!(sent, twin_for_decoder(codec, private, unit));
    assert_eq!(filter_for_decoder(codec, private, &sent), sent, "filtering twice changes nothing");
    let Some((length_bytes, nals)) = twin_length_bytes(codec, private)
        .and_then(|length_bytes| Some((length_bytes, twin_units(unit, length_bytes)?)))
    else {
        assert_eq!(sent, unit, "H.264 and lengths that do not add up are unchanged");
        return;
    };
    let is_sei = |nal: &Vec<u8>| NalKind::of(codec, nal) == NalKind::Sei;
    let left = twin_units(&sent, length_bytes).unwrap_or_default();
    assert_eq!(left.iter().any(is_sei), !nals.is_empty() && nals.iter().all(is_sei));
    let mut rest = nals.iter();
    assert!(left.iter().all(|nal| rest.any(|of| of == nal)), "the NAL units of the input, in their order");
}

/// Checks that NAL units with start codes are what the twin finds, and stay the same with lengths.
fn check_annex_b(unit: &[u8]) {
    let nals = split_annex_b(unit);
    assert_eq!(nals, twin_annex_b(unit));
    let mut prefixed = Vec::new();
    nals.iter().for_each(|nal| push_length_prefixed(&mut prefixed, nal));
    assert_eq!(twin_units(&prefixed, 4).as_deref().map(borrowed), Some(nals));
}

/// Offset of lengthSizeMinusOne in an hvcC.
const HVCC_LENGTH_SIZE_AT: usize = 21;

/// Source: ITU-T H.265, table 7-1.
const PREFIX_SEI: u8 = 39;
const SUFFIX_SEI: u8 = 40;

fn borrowed(nals: &[Vec<u8>]) -> Vec<&[u8]> {
    nals.iter().map(|nal| &nal[..]).collect()
}

fn number(bytes: &mut impl Iterator<Item = u8>, count: usize) -> Option<u64> {
    let mut number = 0;
    for _ in 0..count {
        number = number * 256 + u64::from(bytes.next()?);
    }
    Some(number)
}

fn sized(bytes: &mut impl Iterator<Item = u8>, length_bytes: usize) -> Option<Vec<u8>> {
    let mut taken = Vec::new();
    for _ in 0..number(bytes, length_bytes)? {
        taken.push(bytes.next()?);
    }
    Some(taken)
}

fn twin_units(unit: &[u8], length_bytes: usize) -> Option<Vec<Vec<u8>>> {
    let mut bytes = unit.iter().copied().peekable();
    let mut nals = Vec::new();
    while bytes.peek().is_some() {
        nals.push(sized(&mut bytes, length_bytes)?);
    }
    Some(nals)
}

fn twin_annex_b(bytes: &[u8]) -> Vec<&[u8]> {
    let starts: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(&[0, 0, 1])).collect();
    let mut nals = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        let mut nal = &bytes[start + 3..starts.get(index + 1).copied().unwrap_or(bytes.len())];
        while let [rest @ .., 0] = nal {
            nal = rest;
        }
        nals.extend((!nal.is_empty()).then_some(nal));
    }
    nals
}

/// Returns the size of length fields for H.265 only, since H.264 is not filtered.
fn twin_length_bytes(codec: Codec, private: &[u8]) -> Option<usize> {
    let lengths = private.get(HVCC_LENGTH_SIZE_AT).filter(|_| codec == Codec::H265);
    lengths.map(|lengths| usize::from(lengths % 4) + 1)
}

fn twin_for_decoder(codec: Codec, private: &[u8], unit: &[u8]) -> Vec<u8> {
    let Some(length_bytes) = twin_length_bytes(codec, private) else { return unit.to_vec() };
    let mut sent = Vec::new();
    for nal in twin_units(unit, length_bytes).unwrap_or_default() {
        let kind = nal.first().map(|head| head / 2 % 64);
        if kind != Some(PREFIX_SEI) && kind != Some(SUFFIX_SEI) {
            sent.extend_from_slice(&(nal.len() as u32).to_be_bytes()[4 - length_bytes..]);
            sent.extend_from_slice(&nal);
        }
    }
    if sent.is_empty() { unit.to_vec() } else { sent }
}

fn twin_config(codec: Codec, private: &[u8]) -> Result<(usize, Vec<Vec<u8>>), CodecPrivateFlaw> {
    let mut bytes = private.iter().copied();
    match bytes.next() {
        None => Err(CodecPrivateFlaw::Empty),
        Some(0) => Err(CodecPrivateFlaw::AnnexB),
        Some(1) => match codec {
            Codec::H264 => twin_avcc(&mut bytes).ok_or(CodecPrivateFlaw::Cut),
            Codec::H265 => twin_hvcc(&mut bytes).ok_or(CodecPrivateFlaw::Cut),
        },
        Some(version) => Err(CodecPrivateFlaw::Version(version)),
    }
}

/// Source: ISO/IEC 14496-15, 5.3.3.1, after the version.
fn twin_avcc(bytes: &mut impl Iterator<Item = u8>) -> Option<(usize, Vec<Vec<u8>>)> {
    let _profile_constraints_level = number(bytes, 3)?;
    let length_bytes = number(bytes, 1)? % 4 + 1;
    let mut sets = Vec::new();
    for _ in 0..number(bytes, 1)? % 32 {
        sets.push(sized(bytes, 2)?);
    }
    for _ in 0..number(bytes, 1)? {
        sets.push(sized(bytes, 2)?);
    }
    Some((length_bytes as usize, sets))
}

/// Source: ISO/IEC 14496-15, 8.3.3.1, after the version.
fn twin_hvcc(bytes: &mut impl Iterator<Item = u8>) -> Option<(usize, Vec<Vec<u8>>)> {
    for _ in 1..HVCC_LENGTH_SIZE_AT {
        bytes.next()?;
    }
    let length_bytes = number(bytes, 1)? % 4 + 1;
    let mut sets = Vec::new();
    for _ in 0..number(bytes, 1)? {
        let _completeness_and_type = bytes.next()?;
        for _ in 0..number(bytes, 2)? {
            sets.push(sized(bytes, 2)?);
        }
    }
    Some((length_bytes as usize, sets))
}
