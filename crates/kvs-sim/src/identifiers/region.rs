//! The region that a stream belongs to and a request is signed for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};

/// The name of a region, such as `us-east-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region(Arc<str>);

/// Why a text is not the name of a region.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{text}\" is not a region: one such as eu-west-1 is needed, of a-z, 0-9 and -")]
pub struct NotARegion {
    text: String,
}

const LONGEST: usize = 64;

impl Region {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The AWS partition of the region, the second part of its ARNs.
    pub(crate) fn partition(&self) -> &'static str {
        match &*self.0 {
            name if name.starts_with("cn-") => "aws-cn",
            name if name.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// The region in the credential scope of a request's signature, which is not checked; None where it is not signed.
    ///
    /// Source: AWS, Signature Version 4, 2026: `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
    pub(crate) fn signed(headers: &HeaderMap) -> Option<Self> {
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (_, credential) = authorization.split_once("Credential=")?;
        let credential = credential.split([',', ' ']).next()?;
        let mut parts = credential.rsplit('/');
        parts.next().filter(|end| *end == "aws4_request")?;
        let (_service, region, _date) = (parts.next()?, parts.next()?, parts.next()?);
        region.parse().ok()
    }
}

impl Default for Region {
    fn default() -> Self {
        Self(Arc::from("us-east-1"))
    }
}

impl FromStr for Region {
    type Err = NotARegion;

    fn from_str(text: &str) -> Result<Self, NotARegion> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > LONGEST || !text.bytes().all(allowed) {
            return Err(NotARegion { text: text.chars().take(LONGEST).collect() });
        }
        Ok(Self(Arc::from(text)))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_is_read_of_the_credential_scope() {
        let c_sdk = "AWS4-HMAC-SHA256 Credential=AKID/20261129/us-west-2/kinesisvideo/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature=ab";
        for (authorization, region) in [
            (c_sdk, Some("us-west-2")),
            (
                "AWS4-HMAC-SHA256 Credential=a/b/20261129/eu-west-1/kinesisvideo/aws4_request",
                Some("eu-west-1"),
            ),
            ("AWS4-HMAC-SHA256 Credential=AKID/20261129/us-west-2/kinesisvideo, Signature=ab", None),
            ("AWS4-HMAC-SHA256 Credential=AKID/20261129/US West/kinesisvideo/aws4_request", None),
            ("Bearer abc", None),
            ("", None),
        ] {
            let value = authorization.parse().expect("a header");
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
            let signed = Region::signed(&headers);
            assert_eq!(signed.as_ref().map(Region::as_str), region, "{authorization}");
        }
        assert_eq!(Region::signed(&HeaderMap::new()), None);
    }
}
