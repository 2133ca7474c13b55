//! Where a page of ListFragments begins, as an opaque text.

use std::fmt;

use crate::store::fragment::{Fragment, Media, TimeLine};

/// Which fragments are wanted: those that begin in a span of time, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) line: TimeLine,
    /// Milliseconds since 1970.
    pub(crate) first_ms: i64,
    /// Milliseconds since 1970.
    pub(crate) last_ms: i64,
}

/// What `NextToken` says: a stream, what is asked of it, and how far the answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageToken {
    /// When the stream was made, in milliseconds since 1970: a token is of one stream.
    pub(crate) created_ms: i64,
    pub(crate) span: Span,
    /// Rank of the last fragment on the page before.
    pub(crate) after: Option<u64>,
}

/// Hexadecimal digits: one for the time line, then four numbers of 64 bits.
const DIGITS: usize = 1 + 4 * 16;

impl Span {
    pub(crate) fn holds(self, fragment: &Fragment, media: &Media) -> bool {
        let begins_ms = match self.line {
            TimeLine::Server => fragment.server_ms,
            TimeLine::Producer => media.head.producer_ms,
        };
        (self.first_ms..=self.last_ms).contains(&begins_ms)
    }
}

impl PageToken {
    /// None where the text is no token.
    pub(crate) fn read(text: &str) -> Option<Self> {
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
        let span = Span { line, first_ms: number(1)?.cast_signed(), last_ms: number(2)?.cast_signed() };
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
        fn a_token_is_read_again(
            created_ms in any::<i64>(),
            first_ms in any::<i64>(),
            last_ms in any::<i64>(),
            after in any::<u64>(),
            producer in any::<bool>(),
        ) {
            let line = if producer { TimeLine::Producer } else { TimeLine::Server };
            let token = PageToken { created_ms, span: Span { line, first_ms, last_ms }, after: Some(after) };
            prop_assert_eq!(PageToken::read(&token.to_string()), Some(token));
        }

        #[test]
        fn any_text_is_a_token_or_none(text in "\\PC{0,80}") {
            if let Some(token) = PageToken::read(&text) {
                prop_assert_eq!(token.to_string(), text.to_lowercase());
            }
        }
    }
}
