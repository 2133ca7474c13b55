//! Removal of secrets from the addresses in a text: user, password, query and fragment.
//!
//! A presigned address grants access, and so does one with a password. Messages, logs and snippets of a file must show neither.

use std::borrow::Cow;
use std::ops::Range;

/// The replacement of a secret part of an address.
const HIDDEN: &str = "...";

/// Returns `text` with `...` in place of the user, password, query and fragment of each address (`scheme://...`) in it.
///
/// A second call changes nothing.
#[must_use]
pub fn without_address_secrets(text: &str) -> Cow<'_, str> {
    replaced(text, |_| HIDDEN.into())
}

/// Returns `text` with as many `*` in place of each secret part, so that columns stay where they are.
pub(crate) fn masked_in_place(text: &str) -> Cow<'_, str> {
    replaced(text, |secret| "*".repeat(secret.chars().count()))
}

fn replaced(text: &str, stand_in: impl Fn(&str) -> String) -> Cow<'_, str> {
    let secrets = secret_parts(text);
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
    for secret in secrets {
        shown.push_str(&text[from..secret.start]);
        shown.push_str(&stand_in(&text[secret.clone()]));
        from = secret.end;
    }
    shown.push_str(&text[from..]);
    Cow::Owned(shown)
}

/// Returns the secret parts of all addresses in the text, in order.
fn secret_parts(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let begin = from + at + "://".len();
        let end = end_of_address(text, begin);
        parts
            .extend(parts_of(&text[begin..end]).into_iter().map(|part| begin + part.start..begin + part.end));
        from = end;
    }
    // Parts that are replaced already stay, so that a second call changes nothing.
    parts.retain(|part| !part.is_empty() && !text[part.clone()].trim_matches(['.', '*']).is_empty());
    parts
}

/// Returns the end of the address whose `://` ends at `begin`: before a blank, a quotation mark or a bracket of mark-up.
///
/// A backslash ends it too, since a log line of JSON escapes a quotation mark as `\"`.
fn end_of_address(text: &str, begin: usize) -> usize {
    let is_end = |c: char| c.is_whitespace() || c.is_control() || "\"`<>\\".contains(c);
    let end = text[begin..].find(is_end).map_or(text.len(), |at| begin + at);
    // Punctuation at the end belongs to the sentence around the address.
    begin + text[begin..end].trim_end_matches([':', ';', ',', '.', ')', ']', '}', '!']).len()
}

/// Returns the secret parts of an address, from behind its `://`.
fn parts_of(rest: &str) -> Vec<Range<usize>> {
    let path = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let login = login_end(rest, path);
    let query = rest[login..].find(['?', '#']).map_or(rest.len(), |at| login + at + 1);
    vec![0..login.saturating_sub(1), query..rest.len()]
}

/// Returns the start of the host, after `user:password@`; 0 if there is no login.
///
/// A password may contain `/`, `?` or `#` by mistake. If `user:...` comes before a later `@`, everything before that is hidden.
fn login_end(rest: &str, path: usize) -> usize {
    let authority = &rest[..path];
    if let Some(at) = authority.rfind('@') {
        return at + 1;
    }
    // A colon inside the brackets of an IPv6 address does not count.
    let has_colon = authority.rsplit(']').next().is_some_and(|host| host.contains(':'));
    if has_colon { rest.rfind('@').map_or(0, |at| at + 1) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_user_password_query_and_fragment() {
        for (text, shown) in [
            ("no address", "no address"),
            ("https://example.com/a/m.onnx", "https://example.com/a/m.onnx"),
            ("https://u:HUSH@example.com:444/m?sig=HUSH#HUSH", "https://...@example.com:444/m?..."),
            ("https://HUSH@example.com", "https://...@example.com"),
            ("https://u:a'HUSH@example.com/m?b'HUSH", "https://...@example.com/m?..."),
            ("https://u:HU/SH@example.com/m", "https://...@example.com/m"),
            ("https://u:HU?SH@example.com/m", "https://...@example.com/m"),
            ("https://u:H@U@example.com/m", "https://...@example.com/m"),
            ("https://example.com/models@v1/m.onnx", "https://example.com/models@v1/m.onnx"),
            ("http://[::1]:81/m@v1?HUSH=1", "http://...@v1?..."),
            ("http://[::1]/m@v1", "http://[::1]/m@v1"),
            ("config https://h/l.yaml?s=HUSH: cannot", "config https://h/l.yaml?...: cannot"),
            ("{\"a\":\"https://h/l?s=HUSH\",\"b\":1}", "{\"a\":\"https://h/l?...\",\"b\":1}"),
            ("{\"a\":\"say \\\"https://h/l?s=HUSH\\\"\"}", "{\"a\":\"say \\\"https://h/l?...\\\"\"}"),
            ("https://h?HUSH then s3://u:HUSH@b/k?HUSH", "https://h?... then s3://...@b/k?..."),
            ("s3://bucket/key", "s3://bucket/key"),
            ("https://h/?...", "https://h/?..."),
            ("https://é:HUSH@h/ü?ß=HUSH", "https://...@h/ü?..."),
            ("://", "://"),
        ] {
            assert_eq!(without_address_secrets(text), shown, "{text}");
            assert_eq!(without_address_secrets(shown), shown, "a second time: {text}");
        }
    }

    #[test]
    fn columns_stay_where_they_are() {
        let line = "path: \"https://u:HUSH@h/m.onnx?sig=HÜSH\"  # a model";
        let masked = masked_in_place(line);
        assert_eq!(masked, "path: \"https://******@h/m.onnx?********\"  # a model");
        assert_eq!(masked.chars().count(), line.chars().count());
    }
}
