//! The byte range that a request asks for (RFC 9110, 14).

/// The part of a file that answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// The whole file.
    Whole,
    /// The bytes from `first` to `last`, both included.
    Part { first: u64, last: u64 },
    /// The file has none of the bytes.
    Unsatisfiable,
}

impl ByteRange {
    /// Returns the part of a file of `bytes` bytes that a request with these headers asks for; `etag`: the file's entity tag.
    pub(super) fn of(range: Option<&str>, if_range: Option<&str>, etag: &str, bytes: u64) -> Self {
        // 13.1.5: the client has parts of another file, so it needs the whole of this one.
        if if_range.is_some_and(|known| known != etag) {
            return Self::Whole;
        }
        // 14.2: another unit, or a malformed set, is ignored. Several ranges may be ignored, too, and no player sends them.
        let Some(set) = range.and_then(|range| range.trim().strip_prefix("bytes=")) else {
            return Self::Whole;
        };
        match set.trim().split_once('-') {
            Some(("", suffix)) => number(suffix).map_or(Self::Whole, |count| Self::suffix(count, bytes)),
            Some((first, "")) => {
                number(first).map_or(Self::Whole, |first| Self::from(first, u64::MAX, bytes))
            }
            Some((first, last)) => match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => Self::from(first, last, bytes),
                _ => Self::Whole,
            },
            None => Self::Whole,
        }
    }

    fn from(first: u64, last: u64, bytes: u64) -> Self {
        if first >= bytes {
            return Self::Unsatisfiable;
        }
        Self::Part { first, last: last.min(bytes - 1) }
    }

    fn suffix(count: u64, bytes: u64) -> Self {
        if count == 0 || bytes == 0 {
            return Self::Unsatisfiable;
        }
        Self::Part { first: bytes.saturating_sub(count), last: bytes - 1 }
    }
}

/// Returns the number of these digits; a number that is too large counts as the largest.
fn number(digits: &str) -> Option<u64> {
    let are_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        use ByteRange::{Part, Unsatisfiable, Whole};
        for (range, expected) in [
            (None, Whole),
            (Some("bytes=0-0"), Part { first: 0, last: 0 }),
            (Some("bytes=0-"), Part { first: 0, last: 99 }),
            (Some("bytes=10-19"), Part { first: 10, last: 19 }),
            (Some("bytes=90-1000"), Part { first: 90, last: 99 }),
            (Some("bytes=99-99999999999999999999999"), Part { first: 99, last: 99 }),
            (Some("bytes=-10"), Part { first: 90, last: 99 }),
            (Some("bytes=-1000"), Part { first: 0, last: 99 }),
            (Some("bytes=-0"), Unsatisfiable),
            (Some("bytes=100-"), Unsatisfiable),
            (Some("bytes=100-200"), Unsatisfiable),
            (Some("bytes=20-10"), Whole),
            (Some("bytes=0-1,5-6"), Whole),
            (Some("bytes=-"), Whole),
            (Some("bytes=+1-2"), Whole),
            (Some("bytes=a-b"), Whole),
            (Some("bytes"), Whole),
            (Some("items=0-1"), Whole),
        ] {
            assert_eq!(ByteRange::of(range, None, "\"tag\"", 100), expected, "{range:?}");
        }
        assert_eq!(ByteRange::of(Some("bytes=-5"), None, "\"tag\"", 0), Unsatisfiable, "an empty file");
    }

    #[test]
    fn a_range_of_another_file_is_answered_with_the_whole_one() {
        let range = |if_range| ByteRange::of(Some("bytes=5-"), Some(if_range), "\"tag\"", 100);
        assert_eq!(range("\"tag\""), ByteRange::Part { first: 5, last: 99 });
        for other in ["\"other\"", "W/\"tag\"", "Tue, 01 Dec 2026 00:00:00 GMT"] {
            assert_eq!(range(other), ByteRange::Whole, "{other}");
        }
    }
}
