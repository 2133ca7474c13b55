//! What is known of a stream beside its fragments, and what its values may be.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::identifiers::region::Region;
use crate::identifiers::stream_arn::StreamArn;

/// What CreateStream says of a stream.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct StreamSettings {
    /// Hours that a fragment is kept; 0 keeps about five minutes.
    pub retention_hours: u32,
    /// As the creator named it.
    pub media_type: Option<String>,
    /// As the creator named it.
    pub device_name: Option<String>,
    /// As the creator named it; nothing is encrypted.
    pub kms_key_id: Option<String>,
    /// Tags of the stream, not of its fragments.
    pub tags: BTreeMap<String, String>,
}

/// A stream's name, what it got when it was made, and its settings as they are now.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct StreamIdentity {
    /// Unique among the streams of its region.
    pub name: String,
    /// Ends with the time of creation.
    pub arn: String,
    /// Milliseconds since 1970.
    pub created_ms: i64,
    /// Opaque, and another after each change of the retention; asked for by UpdateDataRetention and, where given, DeleteStream.
    pub version: String,
    /// As CreateStream gave them, or a later change.
    pub settings: StreamSettings,
}

/// Source: the service model of kinesisvideo, 2017-09-30, as of all limits here.
const LONGEST_RETENTION_HOURS: u32 = 87_600;
const LONGEST_MEDIA_TYPE: usize = 128;
const LONGEST_DEVICE_NAME: usize = 128;
const LONGEST_KEY_ID: usize = 2048;
const MOST_TAGS: usize = 50;
const LONGEST_TAG_KEY: usize = 128;
const LONGEST_TAG_VALUE: usize = 256;

impl StreamIdentity {
    /// The identity of a new stream.
    pub(crate) fn new(region: &Region, name: &str, created_ms: i64, settings: StreamSettings) -> Self {
        let arn = StreamArn { region: region.clone(), name: name.to_owned(), created_ms };
        let (name, arn) = (name.to_owned(), arn.to_string());
        Self { name, arn, created_ms, version: new_version(), settings }
    }

    /// The region that the stream belongs to.
    pub fn region(&self) -> Region {
        self.arn.parse().map(|arn: StreamArn| arn.region).unwrap_or_default()
    }

    /// Errors: `version` is another than the stream's.
    pub(crate) fn check_version(&self, version: &str) -> Result<(), ApiError> {
        if version == self.version {
            return Ok(());
        }
        let (stream, version) = (self.name.clone(), self.version.clone());
        Err(ApiError::VersionMismatch { stream, version })
    }

    /// Sets the retention, which makes another version.
    ///
    /// Errors: it is out of range.
    pub(crate) fn retain(&mut self, hours: i64) -> Result<(), ApiError> {
        self.settings.retention_hours = check_retention(hours)?;
        self.version = new_version();
        Ok(())
    }

    /// Errors: a tag is malformed, or there are too many.
    pub(crate) fn tag(&mut self, tags: BTreeMap<String, String>) -> Result<(), ApiError> {
        self.settings.tags.extend(tags);
        check_tags(&self.settings.tags)
    }
}

impl StreamSettings {
    /// Errors: a value is out of range or malformed.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        check_retention(i64::from(self.retention_hours))?;
        check_tags(&self.tags)?;
        let kinds = "type/subtype such as video/h264,audio/aac";
        check_field("MediaType", self.media_type.as_deref(), is_media_type, kinds)?;
        let name = "1 to 128 of the characters a-z A-Z 0-9 _ . -";
        check_field("DeviceName", self.device_name.as_deref(), is_device_name, name)?;
        check_field("KmsKeyId", self.kms_key_id.as_deref(), is_key_id, "1 to 2048 characters")
    }
}

fn check_field(
    field: &str,
    value: Option<&str>,
    fits: fn(&str) -> bool,
    needed: &str,
) -> Result<(), ApiError> {
    let Some(value) = value.filter(|value| !fits(value)) else { return Ok(()) };
    let shown: String = value.chars().take(100).collect();
    Err(ApiError::InvalidArgument(format!("{field} \"{shown}\" must be {needed}")))
}

fn new_version() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn check_retention(hours: i64) -> Result<u32, ApiError> {
    let allowed = u32::try_from(hours).ok().filter(|hours| *hours <= LONGEST_RETENTION_HOURS);
    let refused = || format!("a retention of {hours} hours: 0 to {LONGEST_RETENTION_HOURS} are possible");
    allowed.ok_or_else(|| ApiError::InvalidArgument(refused()))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > MOST_TAGS {
        return Err(ApiError::TagsPerResourceExceededLimit { tags: tags.len(), limit: MOST_TAGS });
    }
    for (key, value) in tags {
        check_tag_key(key)?;
        if value.chars().count() > LONGEST_TAG_VALUE || !value.chars().all(is_tag_char) {
            return Err(ApiError::InvalidArgument(format!(
                "the value of the tag \"{key}\": at most {LONGEST_TAG_VALUE} letters, digits, spaces and _ . : / = + - @ are \
                 possible"
            )));
        }
    }
    Ok(())
}

/// Errors: it cannot be the key of a tag.
pub(crate) fn check_tag_key(key: &str) -> Result<(), ApiError> {
    if (1..=LONGEST_TAG_KEY).contains(&key.chars().count()) && key.chars().all(is_tag_char) {
        return Ok(());
    }
    let shown: String = key.chars().take(LONGEST_TAG_KEY).collect();
    Err(ApiError::InvalidArgument(format!(
        "the key of the tag \"{shown}\": 1 to {LONGEST_TAG_KEY} letters, digits, spaces and _ . : / = + - @ are needed"
    )))
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`, but for marks of scripts that also count as letters here.
fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric() || c.is_whitespace() && !c.is_control() || "_.:/=+-@".contains(c)
}

/// One type or several after commas.
fn is_media_type(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.+".contains(c);
    let part = |part: &str| !part.is_empty() && part.chars().all(allowed);
    let one = |one: &str| one.split_once('/').is_some_and(|(kind, subtype)| part(kind) && part(subtype));
    text.len() <= LONGEST_MEDIA_TYPE && text.split(',').all(one)
}

fn is_device_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=LONGEST_DEVICE_NAME).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_key_id(text: &str) -> bool {
    (1..=LONGEST_KEY_ID).contains(&text.chars().count()) && !text.contains('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_a_type_and_a_subtype_each() {
        for (text, fits) in [
            ("video/h264", true),
            ("video/h264,audio/aac", true),
            ("application/x.a-b+c_d", true),
            ("nonsense", false),
            ("", false),
            ("video/", false),
            ("/h264", false),
            ("video/h264,", false),
            ("video/h264, audio/aac", false),
            ("video/h264/2", false),
        ] {
            assert_eq!(is_media_type(text), fits, "{text}");
        }
        assert!(is_media_type(&format!("video/{}", "x".repeat(122))));
        assert!(!is_media_type(&format!("video/{}", "x".repeat(123))));
    }

    #[test]
    fn tags_have_letters_digits_and_some_signs() {
        for (key, fits) in [
            ("Ort", true),
            ("Straße 7", true),
            ("a_.:/=+-@", true),
            ("門", true),
            ("", false),
            ("a#b", false),
            ("tab\t", false),
        ] {
            assert_eq!(check_tag_key(key).is_ok(), fits, "{key}");
        }
        let tags = |value: String| check_tags(&BTreeMap::from([("key".to_owned(), value)])).is_ok();
        let fits = [String::new(), "ü".repeat(256), "ü".repeat(257), "a\nb".to_owned()].map(tags);
        assert_eq!(fits, [true, true, false, false]);
    }
}
