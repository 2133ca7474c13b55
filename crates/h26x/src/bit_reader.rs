//! Bit-wise reading of a parameter set, with the descriptors of H.264 and H.265.

/// A bit reader over a raw byte sequence payload (RBSP); each method returns `None` at the end of the
/// payload.
#[derive(Debug)]
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Position in bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// Returns a reader at the first bit of `bytes`, which must have no emulation prevention bytes.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Reads u(1), a flag.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    /// Reads u(n), an unsigned number of `count` bits; `count` is at most 32.
    pub(crate) fn u(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Skips `count` bits.
    pub(crate) fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count {
            self.flag()?;
        }
        Some(())
    }

    /// Reads ue(v), an unsigned Exp-Golomb number (H.264 9.1, H.265 9.2).
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut leading_zero_bits = 0;
        while !self.flag()? {
            leading_zero_bits += 1;
            // Both standards bound ue(v) to 2^32 - 2, which has 31 leading zeros; more are damage, and would
            // overflow the shift below.
            if leading_zero_bits > 31 {
                return None;
            }
        }
        let suffix = self.u(leading_zero_bits)?;
        Some((1u32 << leading_zero_bits) - 1 + suffix)
    }

    /// Reads se(v), a signed Exp-Golomb number (H.264 9.1.1, H.265 9.2.2).
    pub(crate) fn se(&mut self) -> Option<i64> {
        // The codes 0, 1, 2, 3, 4 stand for 0, 1, -1, 2, -2.
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 010 011 00100 00101, then zeros.
    const CODES: [u8; 3] = [0b1010_0110, 0b0100_0010, 0b1000_0000];

    #[test]
    fn exp_golomb_numbers_are_read() {
        let mut bits = BitReader::new(&CODES);
        let numbers: Vec<u32> = (0..5).map_while(|_| bits.ue()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert_eq!(bits.ue(), None, "only zeros are left");
        let mut bits = BitReader::new(&CODES);
        let numbers: Vec<i64> = (0..5).map_while(|_| bits.se()).collect();
        assert_eq!(numbers, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn a_number_has_at_most_31_leading_zeros() {
        for (head, number) in [(&[0, 0, 0, 1][..], Some(u32::MAX - 1)), (&[0, 0, 0, 0, 0x80], None)] {
            assert_eq!(BitReader::new(&[head, &[0xFF; 5]].concat()).ue(), number, "{head:?}");
        }
    }
}
