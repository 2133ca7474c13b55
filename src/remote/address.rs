//! Addresses of files that are not on this machine.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use kvs_config::without_address_secrets;
use reqwest::Url;

/// A path or an address as a person wrote it. It is displayed without the user, password and query of an address.
#[derive(Clone, PartialEq, Eq)]
pub struct GivenAddress(String);

impl GivenAddress {
    /// Returns the whole text, to be parsed or opened, never shown.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl FromStr for GivenAddress {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for GivenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parsed, a quotation mark or a blank in the password or the query is percent-encoded and does not end the address.
        match Url::parse(&self.0) {
            Ok(url) if self.0.contains("://") => f.write_str(&without_address_secrets(url.as_str())),
            _ => f.write_str(&without_address_secrets(&self.0)),
        }
    }
}

impl fmt::Debug for GivenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The address of a file: `s3://bucket/key` or `https://...`, and `http://` only of this machine.
///
/// It is displayed without its secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An object in S3.
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Whole key of the object.
        key: String,
    },
    /// A file on the web.
    Web(Url),
}

/// A text with `://` in it is not an address from which a file can be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct AddressError {
    /// The mistake, with the text.
    pub message: String,
    /// A way to correct the text.
    pub remedy: &'static str,
}

impl Address {
    /// Parses an address. Returns `None` for a text without `://`, which is a path.
    ///
    /// # Errors
    /// The text has the form of an address from which no file can be fetched.
    pub fn parse(text: &str) -> Option<Result<Self, AddressError>> {
        let (scheme, rest) = text.split_once("://")?;
        Some(match scheme {
            "s3" => object(text, rest),
            "https" | "http" => web(text),
            _ => {
                // A text such as `ftp://...` is a typing error rather than a path.
                let message = format!("{}: nothing is fetched from {scheme}://", quoted(text));
                Err(AddressError { message, remedy: "write a path, s3://bucket/key or https://..." })
            }
        })
    }

    /// Returns the last part of the path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = match self {
            Self::S3 { key, .. } => key,
            Self::Web(url) => url.path(),
        };
        path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
    }

    /// Returns the whole address with the secrets that [`fmt::Display`] leaves out. It must never be shown.
    pub(super) fn secret(&self) -> String {
        match self {
            Self::S3 { bucket, key } => format!("s3://{bucket}/{key}"),
            Self::Web(url) => url.to_string(),
        }
    }
}

/// Writes the address without the user and the query, which may be secrets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => {
                f.write_str(&without_address_secrets(&format!("s3://{bucket}/{key}")))
            }
            Self::Web(url) => {
                // `Url` has no form without user, password and query, so the address is put together again.
                let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
                write!(f, "{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())?;
                if url.query().is_some() { f.write_str("?...") } else { Ok(()) }
            }
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns a text that is not an address for a message: in quotes, and without the parts that would be secret in one.
fn quoted(text: &str) -> String {
    format!("{:?}", without_address_secrets(text))
}

fn object(text: &str, rest: &str) -> Result<Address, AddressError> {
    match rest.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => {
            Ok(Address::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
        }
        _ => Err(AddressError {
            message: format!("{} does not name an object in S3", quoted(text)),
            remedy: "write s3://bucket/key, where key is the whole name of the object",
        }),
    }
}

fn web(text: &str) -> Result<Address, AddressError> {
    let url = Url::parse(text).map_err(|why| AddressError {
        message: format!("{} is not a web address: {why}", quoted(text)),
        remedy: "write https://host/path",
    })?;
    if is_tamper_proof(&url) {
        return Ok(Address::Web(url));
    }
    let message = format!("{}: content that comes by http:// can be changed in transit", Address::Web(url));
    Err(AddressError { message, remedy: "write https://; http:// is only for this machine (localhost)" })
}

/// Returns `true` if no one between the server and this program can change the content.
fn is_tamper_proof(url: &Url) -> bool {
    url.scheme() == "https" || is_plain_loopback(url)
}

/// Returns `true` if a redirect from `from` to `to` is followed.
///
/// Only a server on this machine may redirect to `http://` of this machine. Otherwise a remote server could make the
/// program call services that listen only on loopback.
pub(super) fn is_redirect_allowed(from: &Url, to: &Url) -> bool {
    to.scheme() == "https" || is_plain_loopback(from) && is_plain_loopback(to)
}

/// Returns `true` for `http://` of a loopback host.
fn is_plain_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    // `host_str` keeps the brackets of an IPv6 address, which `IpAddr` does not accept.
    let bare = host.trim_matches(['[', ']']);
    let local = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "http" && local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets_and_named_by_its_file() {
        let table = [
            ("s3://models/street/v2.onnx", "s3://models/street/v2.onnx", "v2.onnx"),
            ("https://example.com/a/m.onnx", "https://example.com/a/m.onnx", "m.onnx"),
            (
                "https://me:word@example.com:444/m.onnx?sig=abc",
                "https://example.com:444/m.onnx?...",
                "m.onnx",
            ),
            ("http://127.0.0.1:81/m", "http://127.0.0.1:81/m", "m"),
            ("http://[::1]/m", "http://[::1]/m", "m"),
            ("http://localhost/m", "http://localhost/m", "m"),
        ];
        for (text, shown, file) in table {
            let address = Address::parse(text).unwrap().unwrap();
            assert_eq!((address.to_string().as_str(), address.file_name()), (shown, file), "{text}");
        }
    }

    #[test]
    fn an_address_as_given_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("/app/config/cameras.yaml", "/app/config/cameras.yaml"),
            ("https://me:HUSH@example.com/c.yaml?sig=HUSH", "https://...@example.com/c.yaml?..."),
            ("https://me:a'HUSH@example.com/c.yaml?sig=b'HUSH", "https://...@example.com/c.yaml?..."),
            ("https://me:a\"<HUSH@example.com/c.yaml?sig=b HUSH", "https://...@example.com/c.yaml?..."),
        ] {
            let Ok(given) = text.parse::<GivenAddress>();
            assert_eq!((given.to_string(), format!("{given:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!(given.secret(), text);
            let debug = format!("{:?}", Address::parse(text));
            assert!(!debug.contains("HUSH"), "{debug}");
        }
    }

    #[test]
    fn allowed_redirects() {
        let table = [
            ("https://a.test/m", "https://b.test/m", true),
            ("https://a.test/m", "http://b.test/m", false),
            ("https://a.test/m", "http://127.0.0.1/m", false),
            ("https://a.test/m", "http://localhost/m", false),
            ("https://127.0.0.1/m", "http://127.0.0.1/m", false),
            ("http://127.0.0.1/m", "http://localhost:81/m", true),
            ("http://[::1]/m", "http://127.0.0.1/m", true),
            ("http://127.0.0.1/m", "https://a.test/m", true),
            ("http://127.0.0.1/m", "http://169.254.169.254/m", false),
            ("http://127.0.0.1/m", "file:///etc/passwd", false),
        ];
        for (from, to, expected) in table {
            assert_eq!(
                is_redirect_allowed(&from.parse().unwrap(), &to.parse().unwrap()),
                expected,
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn an_invalid_address_is_rejected_with_a_remedy_and_without_its_secrets() {
        let table = [
            ("s3://bucket", "does not name an object"),
            ("s3:///key", "does not name an object"),
            ("s3://bucket/folder/", "does not name an object"),
            ("https://", "is not a web address"),
            ("http://example.com/m.onnx?sig=abc", "can be changed in transit; write https://"),
            ("http://127.0.0.1.example.com/m", "can be changed in transit"),
            ("ftp://example.com/m", "nothing is fetched from ftp://; write a path, s3://"),
            ("ftp://me:HUSH@example.com/m?sig=abc", "nothing is fetched from ftp://"),
            ("https://me:HUSH/word@example.com/m?sig=abc", "is not a web address"),
            ("https://me:HUSH@/m?sig=abc", "is not a web address"),
            ("http://me:HUSH@example.com/m?sig=abc", "can be changed in transit"),
            ("s3://me:HUSH@bucket?sig=abc", "does not name an object"),
        ];
        for (text, words) in table {
            let error = Address::parse(text).unwrap().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("sig=abc") && !error.contains("HUSH"), "{text}: {error}");
        }
        for path in ["models/m.onnx", "/m.onnx", "street", "C:\\m.onnx"] {
            assert_eq!(Address::parse(path), None, "{path}");
        }
    }
}
