//! Fragment numbers with the layout of the real ones.

use std::fmt;
use std::str::FromStr;

use rand::Rng;

/// A fragment number of 157 bits: `2^156 | counter << 92 | server_ms << 28 | 28 random bits`, 47 digits in decimal.
///
/// Source: all captured numbers have this layout; AWS does not document it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentNumber {
    /// Bits 92 and up. It stands before `low`, so that the derived order is the numeric one.
    high: u128,
    /// Bits 0 to 91.
    low: u128,
}

const LOW_BITS: u32 = 92;
const RANDOM_BITS: u32 = 28;
/// Bits of `high`: the counter's 64 and the top bit.
const HIGH_BITS: u32 = 65;
/// The bit that all numbers have: 156 of the whole, 64 of `high`.
const TOP: u128 = 1 << 64;
const DIGITS: usize = 47;

impl FragmentNumber {
    /// Generates a number. `counter` must rise from one fragment of a stream to the next.
    pub fn generate(counter: u64, server_ms: i64) -> Self {
        let random: u32 = rand::rng().random_range(0..1 << RANDOM_BITS);
        let server_ms = u128::try_from(server_ms).unwrap_or(0);
        Self { high: TOP | u128::from(counter), low: server_ms << RANDOM_BITS | u128::from(random) }
    }

    /// Returns the counter that the number was generated with.
    pub fn counter(self) -> u64 {
        u64::try_from(self.high & (TOP - 1)).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The number has more bits than u128: double and add, from the highest bit, on decimal digits.
        let mut digits = vec![0u8];
        for bit in (0..HIGH_BITS).rev() {
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

/// A text that is not a fragment number of the local KVS.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{text}\" is not a fragment number: {DIGITS} decimal digits are needed")]
pub struct FragmentNumberError {
    text: String,
}

impl FromStr for FragmentNumber {
    type Err = FragmentNumberError;

    fn from_str(text: &str) -> Result<Self, FragmentNumberError> {
        let invalid = || FragmentNumberError { text: text.chars().take(DIGITS + 1).collect() };
        if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        // The inverse of Display: each halving yields the next bit, from the lowest.
        let mut digits: Vec<u8> = text.bytes().map(|byte| byte - b'0').collect();
        let mut number = Self { high: 0, low: 0 };
        for bit in 0..LOW_BITS {
            number.low |= u128::from(halve(&mut digits)) << bit;
        }
        for bit in 0..65 {
            number.high |= u128::from(halve(&mut digits)) << bit;
        }
        if digits.iter().any(|&digit| digit != 0) || number.high & TOP == 0 {
            return Err(invalid());
        }
        Ok(number)
    }
}

/// Doubles a decimal number, whose least significant digit comes first, and adds a bit.
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

/// Halves a decimal number, whose most significant digit comes first, and returns the remainder.
fn halve(digits: &mut [u8]) -> bool {
    let mut remainder = 0;
    for digit in digits {
        let value = remainder * 10 + *digit;
        *digit = value / 2;
        remainder = value % 2;
    }
    remainder == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_number_is_two_to_the_156() {
        let zero = FragmentNumber { high: TOP, low: 0 };
        assert_eq!(zero.to_string(), "91343852333181432387730302044767688728495783936");
    }

    #[test]
    fn a_captured_number_is_parsed_and_written_back() {
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
            let (first, second) = (FragmentNumber::generate(a, ms), FragmentNumber::generate(b, ms));
            prop_assert_eq!(first.to_string().len(), DIGITS);
            prop_assert_eq!(a.cmp(&b) as i8, if a == b { 0 } else { first.to_string().cmp(&second.to_string()) as i8 });
            prop_assert_eq!(first.to_string().parse(), Ok(first));
            prop_assert_eq!(first.counter(), a);
        }
    }
}
