//! ARNs of streams.

use std::fmt;
use std::str::FromStr;

use crate::identifiers::region::Region;
use crate::identifiers::stream_name::is_stream_name;

/// The parts of a stream's ARN that identify it. The account is the same for all and is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StreamArn {
    pub(crate) region: Region,
    pub(crate) name: String,
    pub(crate) created_ms: i64,
}

/// The account of all streams: the one of AWS's documentation.
const ACCOUNT: &str = "123456789012";
const MAX_LEN: usize = 1024;

impl fmt::Display for StreamArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, name, created_ms } = self;
        write!(f, "arn:{}:kinesisvideo:{region}:{ACCOUNT}:stream/{name}/{created_ms}", region.partition())
    }
}

/// Parses an ARN. Source of the pattern: the service model of kinesisvideo, 2017-09-30, ResourceARN.
impl FromStr for StreamArn {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, "kinesisvideo", region, account, resource] = parts[..] else { return Err(()) };
        let resource: Vec<&str> = resource.split('/').collect();
        let [kind, name, created] = resource[..] else { return Err(()) };
        // The pattern allows any kind in lower case: "channel" of WebRTC as well. Such an ARN is well formed and finds no stream.
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let kind_fits = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_lowercase());
        let fits =
            text.len() <= MAX_LEN && digits(account) && kind_fits && digits(created) && is_stream_name(name);
        // A partition (aws, aws-cn) is made of the same characters as a region.
        let _partition: Region = partition.parse().map_err(|_| ())?;
        let region = region.parse().map_err(|_| ())?;
        // The pattern does not limit the digits; a number beyond 64 bits is well formed, too.
        let created_ms = created.parse().unwrap_or(i64::MAX);
        fits.then(|| Self { region, name: name.to_owned(), created_ms }).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_read_as_they_are_written() {
        for region in ["us-east-1", "cn-north-1", "us-gov-west-1"] {
            let arn = StreamArn {
                region: region.parse().expect("a region"),
                name: "gate.1_a-b".to_owned(),
                created_ms: 1_700_000_000_000,
            };
            assert_eq!(arn.to_string().parse(), Ok(arn));
        }
    }

    #[test]
    fn other_texts_are_not_arns() {
        let good = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/1";
        assert!(good.parse::<StreamArn>().is_ok());
        let long = format!("arn:aws:kinesisvideo:us-east-1:{}:stream/gate/1", "1".repeat(1024));
        for text in [
            "",
            "gate",
            "arn:aws:s3:::b",
            "arn:aws:kinesisvideo:x",
            "arn:aws:s3:us-east-1:123456789012:stream/gate/1",
            "arn:aws:kinesisvideo::123456789012:stream/gate/1",
            "arn:aws:kinesisvideo:us-east-1::stream/gate/1",
            "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate",
            "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/x",
            "arn:aws:kinesisvideo:us-east-1:123456789012:stream/ga te/1",
            "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/1/2",
            "ARN:aws:kinesisvideo:us-east-1:123456789012:stream/gate/1",
            &long,
        ] {
            assert!(text.parse::<StreamArn>().is_err(), "{text}");
        }
    }
}
