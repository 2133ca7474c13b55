//! Fragment numbers that look like the real ones.

use std::fmt;
use std::str::FromStr;

use rand::Rng;

/// A number of 157 bits: `2^156 | counter << 92 | server_ms << 28 | 28 random bits`, 47 digits in decimal.
///
/// Source: the layout of all captured numbers; what its parts mean is not documented.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentNumber {
    /// Bits 92 and up, then bits 0..92; so the derived order is the numeric one.
    high: u128,
    low: u128,
}

const LOW_BITS: u32 = 92;
const RANDOM_BITS: u32 = 28;
const TOP: u128 = 1 << 64;
const DIGITS: usize = 47;

impl FragmentNumber {
    /// A new number; `counter` must rise from one fragment of a stream to the next.
    pub fn mint(counter: u64, server_ms: i64) -> Self {
        let random: u32 = rand::rng().random_range(0..1 << RANDOM_BITS);
        let server_ms = u128::try_from(server_ms).unwrap_or(0);
        Self { high: TOP | u128::from(counter), low: server_ms << RANDOM_BITS | u128::from(random) }
    }

    /// The counter that it was minted with.
    pub fn counter(self) -> u64 {
        u64::try_from(self.high & (TOP - 1)).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = vec![0u8];
        for bit in (0..65).rev() {
            double(&mut digits, self.high >> bit & 1 == 1);
        }
        for bit in (0..LOW_BITS).rev() {
            double(&mut digits, self.low >> bit & 1 == 1);
        }
        let text: String = digits.iter().rev().map(|&digit| char::from(b'0' + digit)).collect();
        f.pad(&text)
    }
}

impl fmt::Debug for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no fragment number of this KVS.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{text}\" is no fragment number: {DIGITS} decimal digits are needed")]
pub struct NotANumber {
    text: String,
}

impl FromStr for FragmentNumber {
    type Err = NotANumber;

    fn from_str(text: &str) -> Result<Self, NotANumber> {
        let wrong = || NotANumber { text: text.chars().take(DIGITS + 1).collect() };
        if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let mut digits: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
        let mut number = Self { high: 0, low: 0 };
        for bit in 0..LOW_BITS {
            number.low |= u128::from(halve(&mut digits)) << bit;
        }
        for bit in 0..65 {
            number.high |= u128::from(halve(&mut digits)) << bit;
        }
        if digits.iter().any(|&digit| digit != 0) || number.high & TOP == 0 {
            return Err(wrong());
        }
        Ok(number)
    }
}

/// Doubles a decimal number, least significant digit first, and adds a bit.
fn double(digits: &mut Vec<u8>, bit: bool) {
    let mut carry = u8::from(bit);
    for digit in digits.iter_mut() {
        let value = *digit * 2 + carry;
        *digit = value % 10;
        carry = value / 10;
    }
    if carry > 0 {
        digits.push(carry);
    }
}

/// Halves a decimal number, most significant digit first, and gives the bit that falls out.
fn halve(digits: &mut [u8]) -> bool {
    let mut rest = 0;
    for digit in digits {
        let value = rest * 10 + *digit;
        *digit = value / 2;
        rest = value % 2;
    }
    rest == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_is_two_to_the_156_at_least() {
        let zero = FragmentNumber { high: TOP, low: 0 };
        assert_eq!(zero.to_string(), "91343852333181432387730302044767688728495783936");
    }

    #[test]
    fn a_captured_number_is_read_and_written_back() {
        let text = "91343852333181432392682062607743920146159169392";
        let number: FragmentNumber = text.parse().expect("a real number");
        assert_eq!(number.to_string(), text);
        assert_eq!((number.low >> RANDOM_BITS, number.counter()), (1_511_852_109_126, 1));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "7", "9134385233318143238773030204476768872849578393x", &"0".repeat(47), &"9".repeat(48)]
        {
            assert!(text.parse::<FragmentNumber>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_order_is_the_order_of_counters(a in 0u64..1 << 60, b in 0u64..1 << 60, ms in 0i64..1 << 42) {
            let (first, second) = (FragmentNumber::mint(a, ms), FragmentNumber::mint(b, ms));
            prop_assert_eq!(first.to_string().len(), DIGITS);
            prop_assert_eq!(a.cmp(&b) as i8, if a == b { 0 } else { first.to_string().cmp(&second.to_string()) as i8 });
            prop_assert_eq!(first.to_string().parse(), Ok(first));
            prop_assert_eq!(first.counter(), a);
        }
    }
}
