//! The tags by which KVS speaks: their names, and what they say of a fragment.

use crate::Tag;

/// Digits of a fragment number at most: a longer text is none. Source: API reference, GetMediaForFragmentList, `Fragments`.
const NUMBER_BYTES: usize = 128;
const PREFIX: &str = "AWS_KINESISVIDEO_";

/// What the AWS tags of one Tags element say.
///
/// GetMediaForFragmentList is documented with other names than GetMedia: both are read.
#[derive(Debug, Default)]
pub(crate) struct AwsTags {
    pub(crate) fragment_number: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) producer: Option<String>,
    pub(crate) millis_behind_now: Option<u64>,
    pub(crate) continuation_token: Option<String>,
    pub(crate) error_id: Option<u32>,
    pub(crate) error_code: Option<String>,
    trailing: bool,
    error: bool,
}

impl AwsTags {
    /// Takes the AWS tags out of a Tags element and leaves the producer's.
    pub(crate) fn split(tags: Vec<Tag>) -> (Self, Vec<Tag>) {
        let (ours, users) = tags.into_iter().partition::<Vec<_>, _>(|tag| tag.name.starts_with(PREFIX));
        let mut aws = Self::default();
        for tag in ours {
            aws.take(tag);
        }
        (aws, users)
    }

    /// Whether it is what KVS sends after a whole fragment.
    pub(crate) fn is_trailing(&self) -> bool {
        self.trailing
    }

    /// Whether it is an error record: error tags, or before a Cluster a fragment number without a server's time.
    pub(crate) fn is_error(&self, in_fragment: bool) -> bool {
        self.error || (!in_fragment && self.fragment_number.is_some() && self.server.is_none())
    }

    fn take(&mut self, Tag { name, value }: Tag) {
        match name.strip_prefix(PREFIX).unwrap_or_default() {
            "FRAGMENT_NUMBER" => {
                self.fragment_number = Some(value).filter(|number| number.len() <= NUMBER_BYTES);
            }
            "SERVER_TIMESTAMP" | "SERVER_SIDE_TIMESTAMP" => self.server = Some(value),
            "PRODUCER_TIMESTAMP" | "PRODUCER_SIDE_TIMESTAMP" => self.producer = Some(value),
            "MILLIS_BEHIND_NOW" => {
                self.trailing = true;
                self.millis_behind_now = value.parse().ok();
            }
            "CONTINUATION_TOKEN" => {
                self.trailing = true;
                self.continuation_token = Some(value);
            }
            "ERROR_ID" => {
                self.error = true;
                self.error_id = value.parse().ok().or(self.error_id);
            }
            "ERROR_CODE" | "EXCEPTION_ERROR_CODE" => {
                self.error = true;
                self.error_id = self.error_id.or(value.parse().ok());
                self.say(value);
            }
            "EXCEPTION_MESSAGE" => {
                self.error = true;
                self.say(value);
            }
            _ => {}
        }
    }

    fn say(&mut self, text: String) {
        self.error_code = Some(match self.error_code.take() {
            Some(said) => format!("{said}: {text}"),
            None => text,
        });
    }
}

/// `1511852109.126` as 1511852109126, digits after the third left out; `None` where it is no decimal number.
pub(crate) fn seconds_to_ms(text: &str) -> Option<i64> {
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
    fn a_text_that_is_longer_than_a_fragment_number_is_none() {
        let number = |digits| {
            let tags = vec![Tag::new("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "9".repeat(digits))];
            AwsTags::split(tags).0.fragment_number
        };
        assert!(number(NUMBER_BYTES).is_some());
        assert_eq!(number(NUMBER_BYTES + 1), None);
    }

    #[test]
    fn decimal_seconds() {
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
