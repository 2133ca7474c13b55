//! Names of streams.

/// Source: the service model of kinesisvideo, 2017-09-30, StreamName.
const LONGEST: usize = 256;

/// Whether a text can be the name of a stream.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed)
}

/// Reports a text that cannot be the name of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("StreamName \"{shown}\": 1 to {LONGEST} of the characters a-z A-Z 0-9 _ . - are needed")]
pub(crate) struct StreamNameError {
    shown: String,
}

/// Errors: the text cannot be the name of a stream.
pub(crate) fn check_name(text: &str) -> Result<(), StreamNameError> {
    if is_name(text) {
        return Ok(());
    }
    Err(StreamNameError { shown: text.chars().take(LONGEST).collect() })
}
