//! Detects answers that do not come from AWS, such as the page of a proxy, and removes secrets from texts.

use std::fmt;

use aws_sdk_kinesis::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use kvs_config::without_address_secrets;

use crate::base::{MAX_MESSAGE_CHARS, clean_text};

/// Maximum number of characters that an error quotes from a foreign answer.
const MAX_QUOTED_CHARS: usize = 80;
/// Request id headers, of which each answer of AWS has one. Source: API references of S3 and Kinesis, common response headers, 2026.
const REQUEST_IDS: [&str; 3] = ["x-amzn-requestid", "x-amz-request-id", "x-amz-id-2"];

const SECRET_NAMES: [&str; 9] = [
    "signature=",
    "credential=",
    "token=",
    "token:",
    "token\":",
    "authorization=",
    "authorization:",
    "secret",
    "password",
];

/// A successful answer of another server: AWS has not executed the call.
#[derive(Debug)]
pub(super) struct ForeignAnswer {
    status: u16,
    words: String,
}

impl fmt::Display for ForeignAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&describe_foreign(self.status, &self.words))
    }
}

impl std::error::Error for ForeignAnswer {}

/// Returns the sentence for an answer of another server.
#[must_use]
pub fn describe_foreign(status: u16, words: &str) -> String {
    let words = if words.is_empty() { "no text" } else { words };
    format!("the answer is not from AWS: HTTP {status}: {words}")
}

/// Returns `true` if an answer has a request id, as each answer of AWS has.
#[must_use]
pub fn has_request_id(answer: &HttpResponse) -> bool {
    REQUEST_IDS.iter().any(|id| answer.headers().get(*id).is_some())
}

/// The form of answer that a request expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpectedAnswer {
    /// JSON RPC, as of Kinesis and DynamoDB.
    json: bool,
    /// DynamoDB answers each request with a JSON document.
    document: bool,
}

impl ExpectedAnswer {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let header = |name: &str| request.headers().get(name).unwrap_or_default();
        Self {
            json: header("content-type").starts_with("application/x-amz-json"),
            document: header("x-amz-target").starts_with("DynamoDB"),
        }
    }

    /// Returns the answer, unless it is a success that AWS cannot have sent.
    ///
    /// A gateway that requires a sign-in answers 200 to every request. Without this check, a picture or a record would count
    /// as delivered.
    ///
    /// # Errors
    /// [`ForeignAnswer`].
    pub(super) async fn checked(self, mut answer: HttpResponse) -> Result<HttpResponse, ForeignAnswer> {
        if !answer.status().is_success() || !self.is_foreign(&answer) {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let body = std::mem::replace(answer.body_mut(), SdkBody::empty());
        // The first part is enough for the message, and a page may be long.
        let first = match ByteStream::new(body).next().await {
            Some(Ok(part)) => first_words(&part),
            Some(Err(_)) | None => String::new(),
        };
        Err(ForeignAnswer { status, words: first })
    }

    fn is_foreign(self, answer: &HttpResponse) -> bool {
        let header = |name: &str| answer.headers().get(name);
        let kind = header("content-type").unwrap_or_default().to_ascii_lowercase();
        // Kinesis and DynamoDB answer in JSON or CBOR, S3 in XML or with no body.
        let numbered = has_request_id(answer);
        let json = kind.contains("json") || kind.contains("cbor");
        let empty = header("content-length") == Some("0");
        // The answer to a successful put is `{}`, which other servers send too, but as plain JSON.
        let marked = numbered || header("x-amz-crc32").is_some() || kind.contains("x-amz-json");
        kind.starts_with("text/html") && !numbered
            || self.json && !json
            || self.document && (empty || !marked)
    }
}

/// Returns `true` if the bytes are a page for a browser and not the answer of a service.
pub(super) fn is_page(bytes: &[u8]) -> bool {
    let start = bytes.trim_ascii_start();
    let text = String::from_utf8_lossy(&start[..start.len().min(64)]).to_ascii_lowercase();
    text.starts_with("<!doctype html") || text.starts_with("<html") || text.starts_with("<head")
}

/// Returns the sentence for text that was sent instead of footage, and `None` for anything else.
#[must_use]
pub fn text_for_footage(status: u16, start: &[u8]) -> Option<String> {
    let start = &start[..start.len().min(MAX_QUOTED_CHARS)];
    let text = start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    (text && !start.is_empty()).then(|| describe_foreign(status, &first_words(start)))
}

/// Returns the first words of an answer's text, without mark-up and without the queries of addresses.
pub(super) fn first_words(bytes: &[u8]) -> String {
    // The title and the first heading of a page are within the first 4 KiB.
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]);
    let mut plain = String::new();
    let mut in_tag = false;
    for character in text.chars() {
        match character {
            '<' => {
                in_tag = true;
                plain.push(' ');
            }
            '>' => in_tag = false,
            _ if in_tag || character.is_control() && !character.is_whitespace() => {}
            _ => plain.push(character),
        }
    }
    without_secrets(&plain).chars().take(MAX_QUOTED_CHARS).collect()
}

/// Returns a service's message on one line, without what signs a request.
///
/// A refused signature is answered with the request that should have been signed, which holds the session token; a proxy's
/// page quotes the address, whose query can be a signature.
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let text = text.split("The Canonical String").next().unwrap_or_default();
    let text = without_address_secrets(text);
    let mut words: Vec<String> = Vec::new();
    let mut is_value = false;
    for word in text.split_whitespace() {
        words.push(if is_value { "...".to_owned() } else { without_value(word) });
        is_value = !is_value && names_a_value(&word.to_ascii_lowercase());
    }
    clean_text(&words.join(" "), MAX_MESSAGE_CHARS)
}

/// Returns a word without the query of an address and without the value after a name such as `Signature=`.
fn without_value(word: &str) -> String {
    if let Some((path, _)) = word.split_once('?').filter(|(_, query)| query.contains('=')) {
        return format!("{path}?...");
    }
    let lower = word.to_ascii_lowercase();
    for name in SECRET_NAMES {
        // Lower case has other byte offsets for some letters, which the check of the boundary below catches.
        let Some(at) = lower.find(name) else { continue };
        let end = at + name.len();
        if is_assigned(&lower[at..]) && word.is_char_boundary(end) {
            return format!("{}...", &word[..end]);
        }
    }
    word.to_owned()
}

/// Returns `true` if the next word is a secret.
fn names_a_value(word: &str) -> bool {
    ["password:", "password=", "secret:", "secret=", "authorization:", "security-token:"]
        .iter()
        .any(|name| word.ends_with(name))
}

/// Returns `true` if a word such as `token=abc` contains a value after its name.
fn is_assigned(word: &str) -> bool {
    word.split_once(['=', ':']).is_some_and(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_page_by_table() {
        for (page, words) in [
            ("<html><body><h1>502 Bad Gateway</h1></body></html>", "502 Bad Gateway"),
            ("<html>captive portal: log in</html>", "captive portal: log in"),
            ("Moved to https://login.test/?X-Amz-Signature=abc now", "Moved to https://login.test/?... now"),
            ("", ""),
        ] {
            assert_eq!(first_words(page.as_bytes()), words, "{page}");
        }
        assert_eq!(first_words("x".repeat(9_000).as_bytes()).len(), MAX_QUOTED_CHARS);
    }

    #[test]
    fn messages_are_shown_without_signatures_and_secrets() {
        for (text, shown) in [
            ("Invalid keyId", "Invalid keyId"),
            ("two\nlines", "two lines"),
            (
                "The security token included in the request is expired",
                "The security token included in the request is expired",
            ),
            (
                "Signature does not match.\n\nThe Canonical String for this request should have been\n'POST\nx-amz-security-token:abc'",
                "Signature does not match.",
            ),
            (
                "Authorization=AWS4-HMAC-SHA256 Credential=AKIA/2026, Signature=abc",
                "Authorization=... Credential=... Signature=...",
            ),
            ("x-amz-security-token:abc def", "x-amz-security-token:... def"),
            ("password: hunter2 is wrong", "password: ... is wrong"),
            ("loading an access token: failed to read", "loading an access token: failed to read"),
            ("--client-secret=abc failed", "--client-secret... failed"),
            ("https://a.test/m?sig=abc", "https://a.test/m?..."),
            ("no route to http://user:abc@a.test:81/", "no route to http://...@a.test:81/"),
            ("what? no", "what? no"),
        ] {
            assert_eq!(without_secrets(text), shown, "{text}");
        }
        assert_eq!(
            without_secrets(&"x".repeat(3_000_000)).chars().count(),
            MAX_MESSAGE_CHARS + 1,
            "a long text is truncated"
        );
        assert_eq!(
            without_secrets("no\u{1b}[2J way\n\0"),
            "no\u{fffd}[2J way \u{fffd}",
            "control characters are replaced"
        );
    }

    #[test]
    fn text_is_distinguished_from_footage() {
        let ebml = b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01";
        for (start, words) in [
            (&b"{}"[..], Some("HTTP 200: {}")),
            (b" []\n", Some("HTTP 200: []")),
            (b"<Error>no</Error>", Some("HTTP 200: no")),
            (b"log in", Some("HTTP 200: log in")),
            (ebml, None),
            (b"\0\0\0\x18ftypmp42", None),
            (b"", None),
        ] {
            let sentence = text_for_footage(200, start);
            assert_eq!(sentence.is_some(), words.is_some(), "{start:?}");
            assert!(sentence.unwrap_or_default().ends_with(words.unwrap_or_default()), "{start:?}");
        }
    }

    #[test]
    fn pages_are_distinguished_from_answers_of_services() {
        for page in ["<html>", " \n<!DOCTYPE html><html>", "<HTML lang=en>"] {
            assert!(is_page(page.as_bytes()), "{page}");
        }
        for other in ["#EXTM3U", "<?xml version='1.0'?>", "{}", ""] {
            assert!(!is_page(other.as_bytes()), "{other}");
        }
    }
}
