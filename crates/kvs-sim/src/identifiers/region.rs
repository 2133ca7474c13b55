//! AWS regions: a stream belongs to one, and a request is signed for one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};

/// The name of a region, such as `us-east-1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region(Arc<str>);

/// A text that is not the name of a region.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("\"{text}\" is not a region: a name such as eu-west-1 is needed, of a-z, 0-9 and -")]
pub struct RegionError {
    text: String,
}

const MAX_LEN: usize = 64;

impl Region {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the AWS partition of the region, which is the second part of its ARNs.
    pub(crate) fn partition(&self) -> &'static str {
        match &*self.0 {
            // China and GovCloud have partitions of their own.
            name if name.starts_with("cn-") => "aws-cn",
            name if name.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// Returns the region that a request is signed for, without a check of the signature; None if it is not signed.
    pub(crate) fn signed(headers: &HeaderMap) -> Option<Self> {
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (_, credential) = authorization.split_once("Credential=")?;
        // AWS Signature Version 4: Credential=KEY/DATE/REGION/SERVICE/aws4_request. The parts are counted from the end,
        // because a made-up access key can contain slashes.
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
    type Err = RegionError;

    fn from_str(text: &str) -> Result<Self, RegionError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > MAX_LEN || !text.bytes().all(allowed) {
            return Err(RegionError { text: text.chars().take(MAX_LEN).collect() });
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
    fn the_region_is_read_from_the_credential_scope() {
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
