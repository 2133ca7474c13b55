//! Regular expressions of the schema.

/// Returns whether `text` matches `pattern`. A pattern that cannot be parsed matches nothing.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    regex_lite::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}
