//! Names of streams.

use crate::errors::ApiError;

/// Source: the service model of kinesisvideo, 2017-09-30, StreamName.
const LONGEST: usize = 256;

/// Whether a text can be the name of a stream.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed)
}

/// Errors: the text cannot be the name of a stream.
pub(crate) fn check_name(text: &str) -> Result<(), ApiError> {
    if is_name(text) {
        return Ok(());
    }
    let shown: String = text.chars().take(LONGEST).collect();
    Err(ApiError::InvalidArgument(format!(
        "StreamName \"{shown}\": 1 to {LONGEST} of the characters a-z A-Z 0-9 _ . - are needed"
    )))
}
