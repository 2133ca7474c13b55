//! Tokens of the pages of ListFragments.

use std::fmt;

use crate::store::fragment::{FragmentMedia, StoredFragment, TimeLine};

/// A span of time that selects the fragments that begin in it, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FragmentSpan {
    pub(crate) line: TimeLine,
    /// Milliseconds since 1970.
    pub(crate) first_ms: i64,
    /// Milliseconds since 1970.
    pub(crate) last_ms: i64,
}

/// The content of a `NextToken`, which is opaque to clients: the stream, the selector, and the end of the previous page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageToken {
    /// The stream's time of creation in ms since 1970. It keeps a token from being used for another stream.
    pub(crate) created_ms: i64,
    pub(crate) span: FragmentSpan,
    /// Rank of the last fragment on the previous page.
    pub(crate) after: Option<u64>,
}

/// Hexadecimal digits of a token: one for the time line, then four numbers of 64 bits. The pattern of AWS allows letters and
/// digits only.
const DIGITS: usize = 1 + 4 * 16;

impl FragmentSpan {
    /// Returns whether a fragment begins in the span.
    pub(crate) fn contains(self, fragment: &StoredFragment, media: &FragmentMedia) -> bool {
        let begins_ms = match self.line {
            TimeLine::Server => fragment.server_ms,
            TimeLine::Producer => media.head.producer_ms,
        };
        (self.first_ms..=self.last_ms).contains(&begins_ms)
    }
}

impl PageToken {
    /// Parses a token; None if the text is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let (line, numbers) = text.split_at(1);
        let line = match line {
            "0" => TimeLine::Server,
            "1" => TimeLine::Producer,
            _ => return None,
        };
        let number = |index: usize| u64::from_str_radix(&numbers[index * 16..][..16], 16).ok();
        let span =
            FragmentSpan { line, first_ms: number(1)?.cast_signed(), last_ms: number(2)?.cast_signed() };
        Some(Self { created_ms: number(0)?.cast_signed(), span, after: number(3) })
    }
}

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = u8::from(self.span.line == TimeLine::Producer);
        let after = self.after.unwrap_or(0);
        write!(f, "{line:x}{:016x}{:016x}", self.created_ms, self.span.first_ms)?;
        write!(f, "{:016x}{after:016x}", self.span.last_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_written_token_parses_to_itself(
            created_ms in any::<i64>(),
            first_ms in any::<i64>(),
            last_ms in any::<i64>(),
            after in any::<u64>(),
            producer in any::<bool>(),
        ) {
            let line = if producer { TimeLine::Producer } else { TimeLine::Server };
            let span = FragmentSpan { line, first_ms, last_ms };
            let token = PageToken { created_ms, span, after: Some(after) };
            prop_assert_eq!(PageToken::parse(&token.to_string()), Some(token));
        }

        #[test]
        fn any_text_is_a_token_or_is_rejected(text in "\\PC{0,80}") {
            if let Some(token) = PageToken::parse(&text) {
                prop_assert_eq!(token.to_string(), text.to_lowercase());
            }
        }
    }
}
