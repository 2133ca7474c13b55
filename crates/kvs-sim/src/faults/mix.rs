//! Reproducible pseudo-random numbers.

/// Scrambles 64 bits. Different numbers give different results.
///
/// Source: the output function of SplitMix64, after Steele, Lea and Flood, 2014.
pub(crate) fn mix64(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_sequence() {
        let step = 0x9E37_79B9_7F4A_7C15_u64;
        let drawn: Vec<u64> = (0..3).map(|index| mix64(step.wrapping_mul(index))).collect();
        assert_eq!(drawn, [0xE220_A839_7B1D_CDAF, 0x6E78_9E6A_A1B9_65F4, 0x06C4_5D18_8009_454F]);
    }
}
