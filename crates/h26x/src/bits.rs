//! Bits of a parameter set.

/// Reads a raw byte sequence payload bit by bit; `None` where it has ended.
#[derive(Debug)]
pub(crate) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1 == 1;
        self.at += 1;
        Some(bit)
    }

    /// `count` bits, 32 at most.
    pub(crate) fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    pub(crate) fn skip(&mut self, count: u32) -> Option<()> {
        for _ in 0..count {
            self.bit()?;
        }
        Some(())
    }

    /// ue(v): an unsigned Exp-Golomb number.
    pub(crate) fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.take(zeros)?;
        Some((1u32 << zeros) - 1 + rest)
    }

    /// se(v): a signed Exp-Golomb number.
    pub(crate) fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
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
        let mut bits = Bits::new(&CODES);
        let numbers: Vec<u32> = (0..5).map_while(|_| bits.golomb()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert_eq!(bits.golomb(), None, "nothing but zeros");
        let mut bits = Bits::new(&CODES);
        let numbers: Vec<i64> = (0..5).map_while(|_| bits.signed_golomb()).collect();
        assert_eq!(numbers, [0, 1, -1, 2, -2]);
    }

    #[test]
    fn up_to_31_zeros_begin_a_number() {
        for (head, number) in [(&[0, 0, 0, 1][..], Some(u32::MAX - 1)), (&[0, 0, 0, 0, 0x80], None)] {
            assert_eq!(Bits::new(&[head, &[0xFF; 5]].concat()).golomb(), number, "{head:?}");
        }
    }
}
