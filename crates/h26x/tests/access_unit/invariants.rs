//! What holds for any bytes: used by the fuzz target and by the tests that replay its seeds.

use h26x::{
    Codec, DecoderConfig, Flaw, Kind, PictureRole, check as check_private, codec_string, for_decoder,
    picture_size, private_of, push_prefixed, size_in_band, split_annex_b,
};

/// Luma samples that a picture may be wide or high.
const MOST_SAMPLES: u32 = 1 << 16;

/// Takes an input as codec (1 byte, even for H.264), length of the private data (1 byte), private data, access unit.
pub(crate) fn check(input: &[u8]) {
    let Some((&[codec, length], rest)) = input.split_first_chunk::<2>() else { return };
    let codec = if codec % 2 == 0 { Codec::H264 } else { Codec::H265 };
    let (private, unit) = rest.split_at(usize::from(length).min(rest.len()));
    check_config(codec, private, unit);
    check_made(codec, private);
    check_for_decoder(codec, private, unit);
    check_annex_b(unit);
    check_role(codec, private, unit);
}

/// The role does not depend on how NAL units are separated, nor on messages that the decoder does not get.
fn check_role(codec: Codec, private: &[u8], unit: &[u8]) {
    let role = PictureRole::of(codec, private, unit);
    for px in
        size_in_band(codec, private, unit).iter().flat_map(|&(width_px, height_px)| [width_px, height_px])
    {
        assert!((1..=MOST_SAMPLES).contains(&px));
    }
    let nals = split_annex_b(unit);
    let mut prefixed = Vec::new();
    nals.iter().for_each(|nal| push_prefixed(&mut prefixed, nal));
    let lengths_of_4: &[u8] = if codec == Codec::H264 { &[1, 0, 0, 0, 3, 0, 0] } else { &HVCC_LENGTHS_OF_4 };
    let by_length = PictureRole::of(codec, lengths_of_4, &prefixed);
    assert_eq!(by_length, PictureRole::of(codec, &[], unit), "start codes or lengths");
    assert_eq!(PictureRole::of(codec, private, &for_decoder(codec, private, unit)), role);
}

const HVCC_LENGTHS_OF_4: [u8; 23] = {
    let mut private = [0; 23];
    private[H265_LENGTHS] = 3;
    private
};

/// The private data, and a unit read by it, are what the twin reads.
fn check_config(codec: Codec, private: &[u8], unit: &[u8]) {
    let config = DecoderConfig::read(codec, private);
    let twin = twin_config(codec, private);
    assert_eq!(check_private(codec, private), twin.as_ref().map(|_| ()).map_err(|flaw| *flaw));
    assert_eq!(config.is_ok(), twin.is_ok());
    let (Ok(config), Ok((length_bytes, sets))) = (config, twin) else { return };
    assert_eq!(config.parameter_sets, sets);
    assert!(codec_string(codec, private).is_ok());
    let read: Result<Vec<&[u8]>, _> = config.nal_units(unit).collect();
    assert_eq!(read.ok(), twin_units(unit, length_bytes).as_deref().map(borrowed));
}

/// What is made of the parameter sets holds all of them that belong there, and says the same of the picture.
fn check_made(codec: Codec, private: &[u8]) {
    let size = picture_size(codec, private);
    for px in size.iter().flat_map(|&(width_px, height_px)| [width_px, height_px]) {
        assert!((1..=MOST_SAMPLES).contains(&px));
    }
    let Ok(config) = DecoderConfig::read(codec, private) else { return };
    let Ok(made) = private_of(codec, &config.parameter_sets) else { return };
    assert_eq!(picture_size(codec, &made), size);
    let kept = |kind| config.parameter_sets.iter().filter(move |nal| Kind::of(codec, nal) == kind);
    let kinds =
        if codec == Codec::H264 { &[Kind::Sps, Kind::Pps][..] } else { &[Kind::Vps, Kind::Sps, Kind::Pps] };
    let sorted: Vec<&[u8]> = kinds.iter().flat_map(|&kind| kept(kind)).copied().collect();
    let mut unit = Vec::new();
    sorted.iter().for_each(|nal| push_prefixed(&mut unit, nal));
    assert_eq!(size_in_band(codec, &made, &unit), size.ok(), "in the stream as in the private data");
    assert_eq!(DecoderConfig::read(codec, &made).map(|config| config.parameter_sets), Ok(sorted));
}

fn check_for_decoder(codec: Codec, private: &[u8], unit: &[u8]) {
    let sent = for_decoder(codec, private, unit);
    assert_eq!(sent, twin_for_decoder(codec, private, unit));
    assert_eq!(for_decoder(codec, private, &sent), sent, "once is enough");
    let Some((length_bytes, nals)) = twin_length_bytes(codec, private)
        .and_then(|length_bytes| Some((length_bytes, twin_units(unit, length_bytes)?)))
    else {
        assert_eq!(sent, unit, "H.264, or lengths that do not add up");
        return;
    };
    let is_message = |nal: &Vec<u8>| Kind::of(codec, nal) == Kind::Message;
    let left = twin_units(&sent, length_bytes).unwrap_or_default();
    assert_eq!(left.iter().any(is_message), !nals.is_empty() && nals.iter().all(is_message));
    let mut rest = nals.iter();
    assert!(left.iter().all(|nal| rest.any(|of| of == nal)), "NAL units of the input, in their order");
}

/// NAL units after start codes are what the twin finds, and the same after lengths.
fn check_annex_b(unit: &[u8]) {
    let nals = split_annex_b(unit);
    assert_eq!(nals, twin_annex_b(unit));
    let mut prefixed = Vec::new();
    nals.iter().for_each(|nal| push_prefixed(&mut prefixed, nal));
    assert_eq!(twin_units(&prefixed, 4).as_deref().map(borrowed), Some(nals));
}

/// Where an hvcC says how long lengths are.
const H265_LENGTHS: usize = 21;

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

/// Of H.265 only: what goes to its decoder depends on it.
fn twin_length_bytes(codec: Codec, private: &[u8]) -> Option<usize> {
    let lengths = private.get(H265_LENGTHS).filter(|_| codec == Codec::H265);
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

fn twin_config(codec: Codec, private: &[u8]) -> Result<(usize, Vec<Vec<u8>>), Flaw> {
    let mut bytes = private.iter().copied();
    match bytes.next() {
        None => Err(Flaw::Empty),
        Some(0) => Err(Flaw::AnnexB),
        Some(1) => match codec {
            Codec::H264 => twin_avcc(&mut bytes).ok_or(Flaw::Cut),
            Codec::H265 => twin_hvcc(&mut bytes).ok_or(Flaw::Cut),
        },
        Some(version) => Err(Flaw::Version(version)),
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
    for _ in 1..H265_LENGTHS {
        bytes.next()?;
    }
    let length_bytes = number(bytes, 1)? % 4 + 1;
    let mut sets = Vec::new();
    for _ in 0..number(bytes, 1)? {
        let _completeness_and_kind = bytes.next()?;
        for _ in 0..number(bytes, 2)? {
            sets.push(sized(bytes, 2)?);
        }
    }
    Some((length_bytes as usize, sets))
}
