//! The access token, `HTTP_TOKEN`.

use std::fmt;

/// The length below which a token can be guessed, characters: the log warns of it.
const MIN_CHARACTERS: usize = 16;

/// The token that opens the page. Its `Debug` output does not contain it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken(String);

/// An error of a text that cannot be the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The text is only whitespace: a secret that was not filled in.
    #[error("HTTP_TOKEN is blank; give it 16 characters or more, or unset it to close the page off loopback")]
    Blank,
    /// The text has a character that no HTTP header can carry.
    #[error(
        "HTTP_TOKEN has a line break or another control character inside, which no header can carry; write it on one line"
    )]
    Control,
}

impl AccessToken {
    /// Returns the token of the variable without surrounding whitespace; `None` where it is unset or empty.
    ///
    /// A secret that was pasted or read from a file often ends in a line feed, which no header can carry.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn from_variable(value: Option<&str>) -> Result<Option<Self>, TokenError> {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(None) };
        // U+FEFF: some editors begin a file with a byte order mark.
        let token = value.trim_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
        if token.is_empty() {
            return Err(TokenError::Blank);
        }
        if token.contains(char::is_control) {
            return Err(TokenError::Control);
        }
        Ok(Some(Self(token.to_owned())))
    }

    /// Returns the number of characters of a token that is too short.
    pub(super) fn too_short(&self) -> Option<usize> {
        Some(self.0.chars().count()).filter(|count| *count < MIN_CHARACTERS)
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_by_table() {
        for (value, token) in [
            (None, Ok(None)),
            (Some(""), Ok(None)),
            (Some("s3cret"), Ok(Some("s3cret"))),
            (Some("\u{feff} s3cret\r\n"), Ok(Some("s3cret"))),
            (Some("two words"), Ok(Some("two words"))),
            (Some("schlüssel"), Ok(Some("schlüssel"))),
            (Some(" \t\r\n"), Err(TokenError::Blank)),
            (Some("two\nlines"), Err(TokenError::Control)),
            (Some("\u{1b}[31m"), Ok(Some("[31m"))),
        ] {
            let read = AccessToken::from_variable(value);
            assert_eq!(
                read.as_ref().map(|token| token.as_ref().map(AccessToken::secret)),
                token.as_ref().copied(),
                "{value:?}"
            );
            assert!(!format!("{read:?}").contains("s3cret"), "{read:?}");
        }
    }

    #[test]
    fn a_short_token_is_found() {
        let count = |text| AccessToken::from_variable(Some(text)).unwrap().unwrap().too_short();
        assert_eq!((count("ü".repeat(15).as_str()), count("ü".repeat(16).as_str())), (Some(15), None));
    }
}
