//! The tags with which KVS describes a fragment: their names and meaning.

use crate::Tag;

/// Maximum digits of a fragment number; a longer text is ignored.
///
/// Source: API reference, GetMediaForFragmentList, `Fragments`.
const MAX_FRAGMENT_NUMBER_LEN: usize = 128;
const PREFIX: &str = "AWS_KINESISVIDEO_";

/// The values of the AWS tags in one Tags element.
///
/// GetMediaForFragmentList is documented with other tag names than GetMedia; both are read.
#[derive(Debug, Default)]
pub(crate) struct AwsTags {
    pub(crate) fragment_number: Option<String>,
    pub(crate) server_timestamp: Option<String>,
    pub(crate) producer_timestamp: Option<String>,
    pub(crate) millis_behind_now: Option<u64>,
    pub(crate) continuation_token: Option<String>,
    pub(crate) error_id: Option<u32>,
    /// Error code and message, joined with a colon if both were sent.
    pub(crate) error_code: Option<String>,
    has_trailing_tag: bool,
    has_error_tag: bool,
}

impl AwsTags {
    /// Splits the tags of a Tags element into the AWS tags and the producer's tags.
    pub(crate) fn split(tags: Vec<Tag>) -> (Self, Vec<Tag>) {
        let (aws_tags, producer_tags) =
            tags.into_iter().partition::<Vec<_>, _>(|tag| tag.name.starts_with(PREFIX));
        let mut aws = Self::default();
        for tag in aws_tags {
            aws.add(tag);
        }
        (aws, producer_tags)
    }

    /// Returns true for the tags that KVS sends only after a complete fragment.
    pub(crate) fn is_trailing(&self) -> bool {
        self.has_trailing_tag
    }

    /// Returns true for an error record.
    pub(crate) fn is_error(&self, in_fragment: bool) -> bool {
        // Before a Cluster a number without a server timestamp begins no fragment, so it names one that is
        // missing. Inside a fragment it means nothing: trailing tags may repeat the number.
        let number_alone = self.fragment_number.is_some() && self.server_timestamp.is_none();
        self.has_error_tag || (!in_fragment && number_alone)
    }

    fn add(&mut self, Tag { name, value }: Tag) {
        let name = name.strip_prefix(PREFIX).unwrap_or_default();
        match name {
            "FRAGMENT_NUMBER" => {
                self.fragment_number = Some(value).filter(|number| number.len() <= MAX_FRAGMENT_NUMBER_LEN);
            }
            "SERVER_TIMESTAMP" | "SERVER_SIDE_TIMESTAMP" => self.server_timestamp = Some(value),
            "PRODUCER_TIMESTAMP" | "PRODUCER_SIDE_TIMESTAMP" => self.producer_timestamp = Some(value),
            "MILLIS_BEHIND_NOW" => {
                self.has_trailing_tag = true;
                self.millis_behind_now = value.parse().ok();
            }
            "CONTINUATION_TOKEN" => {
                self.has_trailing_tag = true;
                self.continuation_token = Some(value);
            }
            "ERROR_ID" | "ERROR_CODE" | "EXCEPTION_ERROR_CODE" | "EXCEPTION_MESSAGE" => {
                self.add_error_tag(name, value);
            }
            // Ignored: END_OF_FRAGMENT of PutMedia, and tags that AWS adds later.
            _ => {}
        }
    }

    /// Adds a tag of an error record; `name` is without its prefix.
    fn add_error_tag(&mut self, name: &str, value: String) {
        self.has_error_tag = true;
        match name {
            "ERROR_ID" => self.error_id = value.parse().ok().or(self.error_id),
            "EXCEPTION_MESSAGE" => self.append_error_text(value),
            // The code is a name (GetMedia) or the id itself (GetMediaForFragmentList).
            _ => {
                self.error_id = self.error_id.or(value.parse().ok());
                self.append_error_text(value);
            }
        }
    }

    fn append_error_text(&mut self, text: String) {
        self.error_code = Some(match self.error_code.take() {
            Some(before) => format!("{before}: {text}"),
            None => text,
        });
    }
}

/// Converts decimal seconds to milliseconds, `1511852109.126` to 1511852109126; `None` if the text is not a
/// decimal number. Digits after the third decimal are cut off.
pub(crate) fn seconds_to_ms(text: &str) -> Option<i64> {
    // Not by f64: it rounds the product of 13 digits, and accepts `1e3` and `inf`.
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_decimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_decimal(whole) || !is_decimal(fraction) {
        return None;
    }
    let thousandths = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let thousandths = thousandths.fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    let ms = whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
    Some(if negative { -ms } else { ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_number_that_is_too_long_is_ignored() {
        let number = |digits| {
            let tags = vec![Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "9".repeat(digits))];
            AwsTags::split(tags).0.fragment_number
        };
        assert!(number(MAX_FRAGMENT_NUMBER_LEN).is_some());
        assert_eq!(number(MAX_FRAGMENT_NUMBER_LEN + 1), None);
    }

    #[test]
    fn decimal_seconds_become_milliseconds() {
        let table = [
            ("1511852109.126", Some(1_511_852_109_126)),
            ("0.000", Some(0)),
            ("45", Some(45_000)),
            ("45.", Some(45_000)),
            ("1.5", Some(1_500)),
            ("1.9999", Some(1_999)),
            ("-0.500", Some(-500)),
            ("", None),
            (".5", None),
            ("1e3", None),
            ("+1", None),
            ("1.-5", None),
            ("9223372036854775807", None),
            ("99999999999999999999", None),
        ];
        for (text, ms) in table {
            assert_eq!(seconds_to_ms(text), ms, "{text:?}");
        }
    }
}
