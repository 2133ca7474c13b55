//! The request of GetImages. Source: AWS, GetImages, 2026.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::image_maker::{ImageFormat, ImageSize};
use crate::api::request::stream_reference::StreamReference;
use crate::api::request::values::{TIME_LINES, invalid, millis, one_of, within};
use crate::error::ApiError;
use crate::store::fragment::TimeLine;

/// The request before its values are checked.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ImageRequest {
    #[serde(flatten)]
    pub(crate) stream: StreamReference,
    image_selector_type: String,
    start_timestamp: f64,
    end_timestamp: f64,
    sampling_interval: Option<i64>,
    format: String,
    format_config: Option<BTreeMap<String, String>>,
    width_pixels: Option<i64>,
    height_pixels: Option<i64>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

/// The images of one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImagePlan {
    pub(crate) line: TimeLine,
    /// Ascending times in ms since 1970.
    pub(crate) times_ms: Vec<i64>,
    /// The token of the next page; None on the last one.
    pub(crate) next_token: Option<String>,
}

const MAX_RANGE_MS: i64 = 300_000;
const MIN_INTERVAL_MS: i64 = 200;
/// Interval of a request that states none; the documentation names no default.
const DEFAULT_INTERVAL_MS: i64 = 3000;
const MAX_RESULTS: i64 = 100;
/// Images on a page at most, also if the request asks for more.
const PAGE: i64 = 25;
const DEFAULT_QUALITY: u8 = 80;
const MAX_WIDTH_PX: i64 = 3840;
const MAX_HEIGHT_PX: i64 = 2160;
/// Hexadecimal digits of a token: the stream's time of creation, and the first time of the page.
const TOKEN_DIGITS: usize = 2 * 16;

impl ImageRequest {
    /// Returns the page that is asked for, of a stream that was created at `created_ms`.
    ///
    /// Fails if a value is out of range, or if the token was not returned for this request.
    pub(crate) fn plan(&self, created_ms: i64) -> Result<ImagePlan, ApiError> {
        let line = one_of("ImageSelectorType", &self.image_selector_type, &TIME_LINES)?;
        let ms = |seconds| millis(seconds).ok_or_else(|| invalid("timestamps must be seconds since 1970"));
        let (start_ms, end_ms) = (ms(self.start_timestamp)?, ms(self.end_timestamp)?);
        if !(0..=MAX_RANGE_MS).contains(&end_ms.saturating_sub(start_ms)) {
            return Err(invalid("EndTimestamp must be within 300 seconds after StartTimestamp"));
        }
        let interval_ms = self.sampling_interval.unwrap_or(DEFAULT_INTERVAL_MS);
        let interval_ms = within("SamplingInterval", interval_ms, MIN_INTERVAL_MS, i64::from(i32::MAX))?;
        let count = within("MaxResults", self.max_results.unwrap_or(PAGE), 1, MAX_RESULTS)?.min(PAGE);
        let first_ms = self.first_ms(created_ms, (start_ms, end_ms), interval_ms)?;
        let at = |index: i64| first_ms.saturating_add(index * interval_ms);
        let times_ms: Vec<i64> = (0..count).map(at).take_while(|ms| *ms <= end_ms).collect();
        // The token is the first time of the next page rather than a count, so that it stays valid with another MaxResults.
        let next_ms = at(count);
        let next_token = (next_ms <= end_ms).then(|| write_token(created_ms, next_ms));
        Ok(ImagePlan { line, times_ms, next_token })
    }

    /// Returns the first time of the page: that of the token, or the start of the range.
    fn first_ms(
        &self,
        created_ms: i64,
        (start_ms, end_ms): (i64, i64),
        interval_ms: i64,
    ) -> Result<i64, ApiError> {
        let Some(token) = &self.next_token else { return Ok(start_ms) };
        // A token of another range or interval would shift the grid of times.
        let fits = |ms: &i64| (start_ms..=end_ms).contains(ms) && (ms - start_ms) % interval_ms == 0;
        let message = "NextToken was not returned by GetImages for this request; begin without it";
        parse_token(token, created_ms).filter(fits).ok_or_else(|| invalid(message))
    }

    /// Returns the format of the images. Fails if a value is out of range.
    pub(crate) fn format(&self) -> Result<ImageFormat, ApiError> {
        let (size, quality) = (self.size()?, self.quality()?);
        let known = [("JPEG", ImageFormat::Jpeg { quality, size }), ("PNG", ImageFormat::Png { size })];
        one_of("Format", &self.format, &known)
    }

    fn quality(&self) -> Result<u8, ApiError> {
        let Some(config) = &self.format_config else { return Ok(DEFAULT_QUALITY) };
        let message = || invalid("FormatConfig takes only JPEGQuality, a number from 1 to 100");
        let mut entries = config.iter();
        match (entries.next(), entries.next()) {
            (Some((key, value)), None) if key == "JPEGQuality" => {
                value.parse().ok().filter(|quality| (1..=100).contains(quality)).ok_or_else(message)
            }
            _ => Err(message()),
        }
    }

    fn size(&self) -> Result<ImageSize, ApiError> {
        let width_px = parse_px("WidthPixels", self.width_pixels, MAX_WIDTH_PX)?;
        let height_px = parse_px("HeightPixels", self.height_pixels, MAX_HEIGHT_PX)?;
        match (width_px, height_px) {
            (None, None) => Ok(ImageSize::AsDecoded),
            (None, Some(height_px)) => Ok(ImageSize::High(height_px)),
            (Some(width_px), Some(height_px)) => Ok(ImageSize::Stretched(width_px, height_px)),
            (Some(_), None) => {
                Err(invalid("WidthPixels needs HeightPixels; HeightPixels alone keeps the aspect ratio"))
            }
        }
    }
}

fn parse_px(field: &str, value: Option<i64>, max: i64) -> Result<Option<u32>, ApiError> {
    let value = value.map(|px| within(field, px, 1, max)).transpose()?;
    Ok(value.and_then(|px| u32::try_from(px).ok()))
}

fn write_token(created_ms: i64, next_ms: i64) -> String {
    format!("{created_ms:016x}{next_ms:016x}")
}

/// Returns the first time of the page; None if the text is not a token of a stream that was created then.
fn parse_token(text: &str, created_ms: i64) -> Option<i64> {
    if text.len() != TOKEN_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let number = |digits| u64::from_str_radix(digits, 16).ok().map(u64::cast_signed);
    let (created, next) = text.split_at(TOKEN_DIGITS / 2);
    number(next).filter(|_| number(created) == Some(created_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const CREATED_MS: i64 = 1_600_000_000_000;

    fn request(options: &Value) -> ImageRequest {
        let mut written = json!({
            "ImageSelectorType": "PRODUCER_TIMESTAMP", "StartTimestamp": 1000, "EndTimestamp": 1010, "Format": "JPEG",
        });
        for (key, value) in options.as_object().expect("an object") {
            written[key] = value.clone();
        }
        serde_json::from_value(written).expect("a request")
    }

    #[test]
    fn times_have_equal_intervals_up_to_the_end_of_the_range() {
        for (options, expected_s) in [
            (json!({}), vec![1000.0, 1003.0, 1006.0, 1009.0]),
            (json!({ "SamplingInterval": 5000 }), vec![1000.0, 1005.0, 1010.0]),
            (json!({ "SamplingInterval": 10_001 }), vec![1000.0]),
            (json!({ "EndTimestamp": 1000 }), vec![1000.0]),
            (json!({ "EndTimestamp": 1000.5, "SamplingInterval": 200 }), vec![1000.0, 1000.2, 1000.4]),
        ] {
            let plan = request(&options).plan(CREATED_MS).expect("a valid request");
            let expected: Vec<i64> = expected_s.iter().map(|s| (s * 1000.0_f64).round() as i64).collect();
            assert_eq!((plan.times_ms, plan.next_token), (expected, None), "{options}");
        }
    }

    #[test]
    fn a_page_begins_after_the_previous_one() {
        for (max_results, page) in [(None, 25), (Some(100), 25), (Some(7), 7)] {
            let mut options = json!({ "SamplingInterval": 200, "MaxResults": max_results });
            let mut seen = Vec::new();
            loop {
                let plan = request(&options).plan(CREATED_MS).expect("a valid request");
                assert!(plan.times_ms.len() <= page);
                seen.extend(plan.times_ms);
                let Some(token) = plan.next_token else { break };
                assert_eq!(seen.len() % page, 0);
                options["NextToken"] = json!(token);
            }
            let expected: Vec<i64> = (0..=50).map(|step| 1_000_000 + step * 200).collect();
            assert_eq!(seen, expected, "{max_results:?}");
        }
    }

    #[test]
    fn invalid_requests_are_refused() {
        let other_stream = write_token(CREATED_MS + 1, 1_003_000);
        for (options, message) in [
            (json!({ "ImageSelectorType": "NOW" }), "use SERVER_TIMESTAMP, PRODUCER_TIMESTAMP"),
            (json!({ "EndTimestamp": 999 }), "within 300 seconds"),
            (json!({ "EndTimestamp": 1300.001 }), "within 300 seconds"),
            (json!({ "SamplingInterval": 199 }), "SamplingInterval 199"),
            (json!({ "MaxResults": 0 }), "MaxResults 0"),
            (json!({ "MaxResults": 101 }), "MaxResults 101"),
            (json!({ "Format": "GIF" }), "use JPEG, PNG"),
            (json!({ "FormatConfig": { "JPEGQuality": "0" } }), "from 1 to 100"),
            (json!({ "FormatConfig": { "JPEGQuality": "101" } }), "from 1 to 100"),
            (json!({ "FormatConfig": { "Quality": "80" } }), "JPEGQuality"),
            (json!({ "FormatConfig": {} }), "JPEGQuality"),
            (json!({ "WidthPixels": 100 }), "WidthPixels needs HeightPixels"),
            (json!({ "WidthPixels": 3841, "HeightPixels": 100 }), "WidthPixels 3841"),
            (json!({ "HeightPixels": 2161 }), "HeightPixels 2161"),
            (json!({ "NextToken": "abc" }), "NextToken"),
            (json!({ "NextToken": other_stream }), "NextToken"),
            (json!({ "NextToken": write_token(CREATED_MS, 1_003_001) }), "NextToken"),
            (json!({ "NextToken": write_token(CREATED_MS, 1_012_000) }), "NextToken"),
        ] {
            let request = request(&options);
            let error = request.plan(CREATED_MS).map(|_| ()).and_then(|()| request.format().map(|_| ()));
            let error = error.expect_err(&options.to_string()).to_string();
            assert!(error.contains(message), "{options}: {error}");
        }
    }

    #[test]
    fn formats_are_parsed() {
        let size = ImageSize::AsDecoded;
        for (options, format) in [
            (json!({}), ImageFormat::Jpeg { quality: 80, size }),
            (json!({ "FormatConfig": { "JPEGQuality": "1" } }), ImageFormat::Jpeg { quality: 1, size }),
            (json!({ "Format": "PNG", "HeightPixels": 90 }), ImageFormat::Png { size: ImageSize::High(90) }),
            (
                json!({ "WidthPixels": 3840, "HeightPixels": 2160 }),
                ImageFormat::Jpeg { quality: 80, size: ImageSize::Stretched(3840, 2160) },
            ),
        ] {
            assert_eq!(request(&options).format(), Ok(format), "{options}");
        }
    }
}
