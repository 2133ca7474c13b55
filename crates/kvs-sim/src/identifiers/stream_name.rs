//! Names of streams.

/// Characters of a name at most. Source: the service model of kinesisvideo, 2017-09-30, StreamName.
const MAX_LEN: usize = 256;

/// A text that is not a valid stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("StreamName \"{shown}\" is not valid: 1 to {MAX_LEN} of the characters a-z A-Z 0-9 _ . - are needed")]
pub(crate) struct StreamNameError {
    shown: String,
}

/// Returns whether a text is a valid stream name.
pub(crate) fn is_stream_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=MAX_LEN).contains(&text.len()) && text.bytes().all(allowed)
}

/// Checks that a text is a valid stream name.
pub(crate) fn check_stream_name(text: &str) -> Result<(), StreamNameError> {
    if is_stream_name(text) {
        return Ok(());
    }
    Err(StreamNameError { shown: text.chars().take(MAX_LEN).collect() })
}
