//! Where a file is that is not on this machine.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;

/// `s3://bucket/key`, or `https://...`; `http://` only to this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
                let message = format!("{text:?}: nothing is fetched from {scheme}://");
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
            Self::S3 { .. } => self.to_string(),
            Self::Web(url) => url.to_string(),
        }
    }
}

/// Without the query and the user, which may be secrets.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Self::Web(url) => {
                let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
                write!(f, "{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())?;
                if url.query().is_some() { f.write_str("?...") } else { Ok(()) }
            }
        }
    }
}

fn object(text: &str, rest: &str) -> Result<Address, AddressError> {
    match rest.split_once('/') {
        Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() && !key.ends_with('/') => {
            Ok(Address::S3 { bucket: bucket.to_owned(), key: key.to_owned() })
        }
        _ => Err(AddressError {
            message: format!("{text:?} names no object in S3"),
            remedy: "write s3://bucket/key, where key is the whole name of the object",
        }),
    }
}

fn web(text: &str) -> Result<Address, AddressError> {
    let url = Url::parse(text).map_err(|why| AddressError {
        message: format!("{text:?} is no web address: {why}"),
        remedy: "write https://host/path",
    })?;
    if may_be_asked(&url) {
        return Ok(Address::Web(url));
    }
    let message = format!("{}: what comes by http:// can be changed on its way", Address::Web(url));
    Err(AddressError { message, remedy: "write https://; http:// is only for this machine (localhost)" })
}

/// Whether nobody in between can change what it answers.
pub(super) fn may_be_asked(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_matches(['[', ']']);
    let local = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    url.scheme() == "https" || url.scheme() == "http" && local
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
    fn what_cannot_be_fetched_says_so() {
        let table = [
            ("s3://bucket", "names no object"),
            ("s3:///key", "names no object"),
            ("s3://bucket/folder/", "names no object"),
            ("https://", "no web address"),
            ("http://example.com/m.onnx?sig=abc", "can be changed on its way; write https://"),
            ("http://127.0.0.1.example.com/m", "can be changed on its way"),
            ("ftp://example.com/m", "nothing is fetched from ftp://; write a path, s3://"),
        ];
        for (text, words) in table {
            let error = Address::parse(text).unwrap().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("sig=abc"), "{text}: {error}");
        }
        for path in ["models/m.onnx", "/m.onnx", "street", "C:\\m.onnx"] {
            assert_eq!(Address::parse(path), None, "{path}");
        }
    }
}
