//! The wire format of Protocol Buffers, read and written field by field, without a schema.
//!
//! Source: "Encoding" of protobuf.dev, read on 2026-11-30. A message is edited by copying the fields that stay, byte by byte, so
//! that fields that this program does not know survive.

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Number(u64),
    /// Wire type 1 or 5, or 2: a nested message, text, bytes, or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of a message, each with its number and all its bytes; ends where the bytes are no message.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// A field in its message.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumberedField<'a> {
    pub(super) number: u64,
    pub(super) field: Field<'a>,
    /// Tag and content, as they stand in the message.
    pub(super) whole: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = NumberedField<'a>;

    fn next(&mut self) -> Option<NumberedField<'a>> {
        let before = self.0;
        let (number, field) = next_field(&mut self.0)?;
        let whole = before.get(..before.len() - self.0.len())?;
        Some(NumberedField { number, field, whole })
    }
}

impl<'a> NumberedField<'a> {
    /// Returns the content of a nested message or text.
    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        match self.field {
            Field::Bytes(bytes) => Some(bytes),
            Field::Number(_) => None,
        }
    }
}

/// Takes the next field off the bytes; `None` at their end, or where they are no message.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = varint(bytes)?;
    // Wire types of Protocol Buffers: 0 varint, 1 fixed 64 bits, 2 length-delimited, 5 fixed 32 bits.
    let field = match tag & 7 {
        0 => Field::Number(varint(bytes)?),
        1 => Field::Bytes(bytes.split_off(..8)?),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Field::Bytes(bytes.split_off(..length)?)
        }
        5 => Field::Bytes(bytes.split_off(..4)?),
        _ => return None,
    };
    Some((tag >> 3, field))
}

/// Takes a number off the bytes.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    // Base 128, least significant group first; the high bit marks that a byte follows.
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A message under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageWriter(Vec<u8>);

impl MessageWriter {
    /// Appends a number (int32, int64, enum).
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// Appends a nested message, text or bytes.
    pub(super) fn bytes(mut self, field: u64, content: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(content.len() as u64);
        self.0.extend_from_slice(content);
        self
    }

    /// Appends a text.
    pub(super) fn text(self, field: u64, content: &str) -> Self {
        self.bytes(field, content.as_bytes())
    }

    /// Appends a field of another message as it is there.
    pub(super) fn copy(mut self, field: &NumberedField<'_>) -> Self {
        self.0.extend_from_slice(field.whole);
        self
    }

    /// Returns the message.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            // The low seven bits, with the mark that more follow.
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_written_message_is_read_back(number in 1_u64..5000, value in any::<u64>(), content in any::<Vec<u8>>()) {
            let message = MessageWriter::default().number(number, value).bytes(number + 1, &content).finish();
            let fields: Vec<_> = Fields(&message).map(|field| (field.number, field.field)).collect();
            prop_assert_eq!(&fields, &[(number, Field::Number(value)), (number + 1, Field::Bytes(&content))]);
            let copy = Fields(&message).fold(MessageWriter::default(), |copy, field| copy.copy(&field)).finish();
            prop_assert_eq!(copy, message);
        }

        #[test]
        fn any_bytes_end(bytes in any::<Vec<u8>>()) {
            let read: usize = Fields(&bytes).map(|field| field.whole.len()).sum();
            prop_assert!(read <= bytes.len());
        }
    }
}
