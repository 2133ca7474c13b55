//! The media times of a clip, in a box at the end of its file.

/// Size of the box with the times, bytes: its size and type, its identifier, and two numbers of 64 bits.
pub(crate) const TIMES_BYTES: usize = 40;
/// Identifies the box among those of other programs: ISO/IEC 14496-12, 11.1.
const BOX_ID: [u8; 16] =
    [0x6b, 0x1d, 0x0c, 0x2e, 0x7f, 0x83, 0x4a, 0x95, 0xb4, 0x52, 0x90, 0x3e, 0x1a, 0xc7, 0x66, 0xd8];

/// The media times of a clip, ms since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipTimes {
    /// The first picture.
    pub start_ms: i64,
    /// The end of the last picture.
    pub end_ms: i64,
}

impl ClipTimes {
    /// Returns the box with the times. Players skip a box that they do not know.
    pub(super) fn to_box(self) -> Vec<u8> {
        let size = (TIMES_BYTES as u32).to_be_bytes();
        let [start, end] = [self.start_ms, self.end_ms].map(i64::to_be_bytes);
        [&size[..], b"uuid", &BOX_ID, &start, &end].concat()
    }

    /// Returns the times in the last [`TIMES_BYTES`] of a file; `None`: it does not end with the box.
    pub(crate) fn of_end(end: &[u8]) -> Option<Self> {
        let numbers = end.strip_prefix(&(TIMES_BYTES as u32).to_be_bytes())?;
        let numbers = numbers.strip_prefix(b"uuid")?.strip_prefix(&BOX_ID)?;
        let (start, end) = numbers.split_first_chunk::<8>()?;
        let [start_ms, end_ms] = [*start, end.try_into().ok()?].map(i64::from_be_bytes);
        (start_ms <= end_ms).then_some(Self { start_ms, end_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_the_end_of_a_file_and_from_no_other_bytes() {
        let times = ClipTimes { start_ms: 1_795_000_000_000, end_ms: 1_795_000_012_345 };
        let written = times.to_box();
        assert_eq!((written.len(), ClipTimes::of_end(&written)), (TIMES_BYTES, Some(times)));
        let turned = ClipTimes { start_ms: 2, end_ms: 1 };
        let [mut other_size, mut other_id] = [written.clone(), written.clone()];
        (other_size[3], other_id[8]) = (41, 0);
        for bytes in [&b""[..], &written[1..], &written[..39], &turned.to_box(), &other_size, &other_id] {
            assert_eq!(ClipTimes::of_end(bytes), None, "{bytes:?}");
        }
    }
}
