//! Where a file is that is not on this machine.

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use kvs_config::without_address_secrets;
use reqwest::Url;

/// A path or an address as a person gave it. It is displayed without an address's user, password and query.
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
        f.write_str(&without_address_secrets(&self.0))
    }
}

impl fmt::Debug for GivenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `s3://bucket/key`, or `https://...`; `http://` only to this machine. It is displayed without its secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An object in S3.
    S3 {
        /// Its bucket.
        bucket: String,
        /// Its key.
        key: String,
    },
    /// A file on the web.
    Web(Url),
}

/// Why a text with `://` in it names nothing that can be fetched, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct AddressError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Address {
    /// The address that `text` is; `None` where it has not the form of one, so that it is a path.
    ///
    /// # Errors
    /// It has the form, and is none that can be fetched.
    pub fn parse(text: &str) -> Option<Result<Self, AddressError>> {
        let (scheme, rest) = text.split_once("://")?;
        Some(match scheme {
            "s3" => object(text, rest),
            "https" | "http" => web(text),
            _ => {
                let message = format!("{}: nothing is fetched from {scheme}://", quoted(text));
                Err(AddressError { message, remedy: "write a path, s3://bucket/key or https://..." })
            }
        })
    }

    /// The last part of its path.
    #[must_use]
    pub fn file_name(&self) -> &str {
        let path = match self {
            Self::S3 { key, .. } => key,
            Self::Web(url) => url.path(),
        };
        path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
    }

    /// The whole of it, with what [`fmt::Display`] leaves out: a name for the cache, never for a person.
    pub(super) fn secret(&self) -> String {
        match self {
            Self::S3 { bucket, key } => format!("s3://{bucket}/{key}"),
            Self::Web(url) => url.to_string(),
        }
    }
}

/// Without the query and the user, which may be secrets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => {
                f.write_str(&without_address_secrets(&format!("s3://{bucket}/{key}")))
            }
            Self::Web(url) => {
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

/// Returns a text that is no address for a message: in quotes, and without what would be secret in an address.
fn quoted(text: &str) -> String {
    format!("{:?}", without_address_secrets(text))
}

fn object(text: &str, rest: &str) -> Result<Address, AddressError> {
    match rest.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => {
            Ok(Address::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
        }
        _ => Err(AddressError {
            message: format!("{} names no object in S3", quoted(text)),
            remedy: "write s3://bucket/key, where key is the whole name of the object",
        }),
    }
}

fn web(text: &str) -> Result<Address, AddressError> {
    let url = Url::parse(text).map_err(|why| AddressError {
        message: format!("{} is no web address: {why}", quoted(text)),
        remedy: "write https://host/path",
    })?;
    if may_be_asked(&url) {
        return Ok(Address::Web(url));
    }
    let message = format!("{}: what comes by http:// can be changed on its way", Address::Web(url));
    Err(AddressError { message, remedy: "write https://; http:// is only for this machine (localhost)" })
}

/// Whether nobody in between can change what it answers.
fn may_be_asked(url: &Url) -> bool {
    url.scheme() == "https" || is_plain_loopback(url)
}

/// Returns `true` where a server at `from` may send the program on to `to`.
///
/// Only what this machine serves itself may lead to `http://` of this machine. Else a server elsewhere could have the
/// program call services that listen on loopback alone.
pub(super) fn may_lead(from: &Url, to: &Url) -> bool {
    to.scheme() == "https" || is_plain_loopback(from) && is_plain_loopback(to)
}

/// Returns `true` for `http://` of this machine.
fn is_plain_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
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
        ] {
            let Ok(given) = text.parse::<GivenAddress>();
            assert_eq!((given.to_string(), format!("{given:?}")), (shown.to_owned(), shown.to_owned()));
            assert_eq!(given.secret(), text);
            let debug = format!("{:?}", Address::parse(text));
            assert!(!debug.contains("HUSH"), "{debug}");
        }
    }

    #[test]
    fn who_may_lead_where() {
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
            assert_eq!(may_lead(&from.parse().unwrap(), &to.parse().unwrap()), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn what_cannot_be_fetched_says_so() {
        let table = [
            ("s3://bucket", "names no object"),
            ("s3:///key", "names no object"),
            ("s3://bucket/folder/", "names no object"),
            ("https://", "no web address"),
            ("http://example.com/m.onnx?sig=abc", "can be changed on its way; write https://"),
            ("http://127.0.0.1.example.com/m", "can be changed on its way"),
            ("ftp://example.com/m", "nothing is fetched from ftp://; write a path, s3://"),
            ("ftp://me:HUSH@example.com/m?sig=abc", "nothing is fetched from ftp://"),
            ("https://me:HUSH/word@example.com/m?sig=abc", "no web address"),
            ("https://me:HUSH@/m?sig=abc", "no web address"),
            ("http://me:HUSH@example.com/m?sig=abc", "can be changed on its way"),
            ("s3://me:HUSH@bucket?sig=abc", "names no object"),
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
