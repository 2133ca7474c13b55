//! A stream's name, ARN and settings, and the limits of their values.

use std::collections::BTreeMap;

use crate::error::ApiError;
use crate::identifiers::region::Region;
use crate::identifiers::stream_arn::StreamArn;

/// The settings of a stream, which CreateStream states.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct StreamSettings {
    /// Hours that a fragment is kept; 0 keeps five minutes and archives nothing.
    pub retention_hours: u32,
    /// `MediaType`, for information only.
    pub media_type: Option<String>,
    /// `DeviceName`, for information only.
    pub device_name: Option<String>,
    /// `KmsKeyId`, for information only: nothing is encrypted.
    pub kms_key_id: Option<String>,
    /// Tags of the stream; those of its fragments are media.
    pub tags: BTreeMap<String, String>,
}

/// A stream's name and ARN, and its current settings.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct StreamIdentity {
    /// Unique among the streams of its region.
    pub name: String,
    /// The ARN, which ends with the time of creation.
    pub arn: String,
    /// Time of creation in ms since 1970.
    pub created_ms: i64,
    /// An opaque version, which each change of the retention replaces. UpdateDataRetention and DeleteStream compare it.
    pub version: String,
    /// The settings, after all changes.
    pub settings: StreamSettings,
}

// Source of all limits: the service model of kinesisvideo, 2017-09-30.
const MAX_RETENTION_HOURS: u32 = 87_600;
const MAX_MEDIA_TYPE_LEN: usize = 128;
const MAX_DEVICE_NAME_LEN: usize = 128;
const MAX_KEY_ID_LEN: usize = 2048;
const MAX_TAGS: usize = 50;
const MAX_TAG_KEY_LEN: usize = 128;
const MAX_TAG_VALUE_LEN: usize = 256;

impl StreamIdentity {
    /// Returns the identity of a new stream.
    pub(crate) fn new(region: &Region, name: &str, created_ms: i64, settings: StreamSettings) -> Self {
        let arn = StreamArn { region: region.clone(), name: name.to_owned(), created_ms };
        let (name, arn) = (name.to_owned(), arn.to_string());
        Self { name, arn, created_ms, version: new_version(), settings }
    }

    /// Returns the region that the stream belongs to.
    pub fn region(&self) -> Region {
        // The ARN is the only place of the region, in stream.json of older versions as well.
        self.arn.parse().map(|arn: StreamArn| arn.region).unwrap_or_default()
    }

    /// Fails if `version` is not the stream's.
    pub(crate) fn check_version(&self, version: &str) -> Result<(), ApiError> {
        if version == self.version {
            return Ok(());
        }
        let (stream, version) = (self.name.clone(), self.version.clone());
        Err(ApiError::VersionMismatch { stream, version })
    }

    /// Sets the retention, which replaces the version. Fails if it is out of range.
    pub(crate) fn set_retention(&mut self, hours: i64) -> Result<(), ApiError> {
        self.settings.retention_hours = check_retention(hours)?;
        self.version = new_version();
        Ok(())
    }

    /// Adds and replaces tags. Fails if a tag is malformed, or if there are too many.
    pub(crate) fn add_tags(&mut self, tags: BTreeMap<String, String>) -> Result<(), ApiError> {
        self.settings.tags.extend(tags);
        check_tags(&self.settings.tags)
    }
}

impl StreamSettings {
    /// Fails if a value is out of range or malformed.
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
    // Random rather than counted: clients must not compute the next version.
    format!("{:016x}", rand::random::<u64>())
}

fn check_retention(hours: i64) -> Result<u32, ApiError> {
    let allowed = u32::try_from(hours).ok().filter(|hours| *hours <= MAX_RETENTION_HOURS);
    let message =
        || format!("a retention of {hours} hours is out of range; use 0 to {MAX_RETENTION_HOURS} hours");
    allowed.ok_or_else(|| ApiError::InvalidArgument(message()))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if tags.len() > MAX_TAGS {
        return Err(ApiError::TagsPerResourceExceededLimit { tags: tags.len(), limit: MAX_TAGS });
    }
    for (key, value) in tags {
        check_tag_key(key)?;
        if value.chars().count() > MAX_TAG_VALUE_LEN || !value.chars().all(is_tag_char) {
            return Err(ApiError::InvalidArgument(format!(
                "the value of the tag \"{key}\" is not valid; use at most {MAX_TAG_VALUE_LEN} letters, digits, spaces and \
                 _ . : / = + - @"
            )));
        }
    }
    Ok(())
}

/// Fails if a text is not a valid key of a tag.
pub(crate) fn check_tag_key(key: &str) -> Result<(), ApiError> {
    if (1..=MAX_TAG_KEY_LEN).contains(&key.chars().count()) && key.chars().all(is_tag_char) {
        return Ok(());
    }
    let shown: String = key.chars().take(MAX_TAG_KEY_LEN).collect();
    Err(ApiError::InvalidArgument(format!(
        "the key of the tag \"{shown}\" is not valid; use 1 to {MAX_TAG_KEY_LEN} letters, digits, spaces and _ . : / = + - @"
    )))
}

/// Returns whether the pattern of AWS, `[\p{L}\p{Z}\p{N}_.:/=+\-@]`, has a character.
///
/// Rust's alphanumeric characters include some marks (`\p{M}`) that the pattern does not have.
fn is_tag_char(c: char) -> bool {
    c.is_alphanumeric() || c.is_whitespace() && !c.is_control() || "_.:/=+-@".contains(c)
}

/// Returns whether a text is one media type or several that commas separate.
fn is_media_type(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.+".contains(c);
    let part = |part: &str| !part.is_empty() && part.chars().all(allowed);
    let one = |one: &str| one.split_once('/').is_some_and(|(kind, subtype)| part(kind) && part(subtype));
    text.len() <= MAX_MEDIA_TYPE_LEN && text.split(',').all(one)
}

fn is_device_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=MAX_DEVICE_NAME_LEN).contains(&text.len()) && text.bytes().all(allowed)
}

fn is_key_id(text: &str) -> bool {
    (1..=MAX_KEY_ID_LEN).contains(&text.chars().count()) && !text.contains('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_have_a_type_and_a_subtype_each() {
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
    fn tags_have_letters_digits_and_some_symbols() {
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
