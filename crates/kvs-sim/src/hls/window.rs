//! The segments that a session's media playlist lists.

use std::collections::VecDeque;

use kvs_hls::HlsTrack;

use crate::hls::settings::{Discontinuities, HlsSettings};
use crate::identifiers::fragment_number::FragmentNumber;
use crate::store::fragment::FragmentTimes;
use crate::store::video_fragment::VideoFragment;

/// A segment of a playlist, which is a fragment of the stream.
#[derive(Debug, Clone)]
pub(crate) struct ListedSegment {
    pub(crate) number: FragmentNumber,
    /// Time of the first frame on the session's time line, in ms since 1970.
    pub(crate) first_ms: i64,
    pub(crate) length_ms: i64,
    pub(crate) bytes: usize,
    pub(crate) discontinuity: bool,
    /// The fragment whose track the initialization segment is made of.
    pub(crate) init: FragmentNumber,
    pub(crate) track: HlsTrack,
    server_end_ms: i64,
}

/// The listed segments, from which the oldest are removed as new ones come.
#[derive(Debug, Default)]
pub(crate) struct SegmentWindow {
    pub(crate) segments: VecDeque<ListedSegment>,
    /// EXT-X-MEDIA-SEQUENCE: segments that were removed before the first of the list.
    pub(crate) media_sequence: u64,
    /// EXT-X-DISCONTINUITY-SEQUENCE: discontinuities that were removed before the first of the list.
    pub(crate) discontinuity_sequence: u64,
    /// Length of the longest segment that was ever listed.
    pub(crate) longest_ms: i64,
    /// The first fragment that was ever listed.
    first: Option<FragmentNumber>,
}

/// A gap or overlap between two fragments up to which they count as continuous.
///
/// Source: AWS, GetHLSStreamingSessionURL, DiscontinuityMode, 2026.
const CONTINUOUS_MS: i64 = 50;

impl SegmentWindow {
    /// Returns the newest segment.
    pub(crate) fn last(&self) -> Option<&ListedSegment> {
        self.segments.back()
    }

    /// Returns whether a fragment lies between the first and the last that the session has listed.
    ///
    /// A segment stays available after it leaves the playlist, for players that are slow (RFC 8216, 6.2.2).
    pub(crate) fn covers(&self, number: FragmentNumber) -> bool {
        self.first.is_some_and(|first| first <= number)
            && self.last().is_some_and(|last| number <= last.number)
    }

    /// Returns the server time at which the newest segment ends.
    pub(crate) fn server_end_ms(&self) -> Option<i64> {
        self.last().map(|last| last.server_end_ms)
    }

    /// Adds a segment at the end.
    pub(crate) fn push(&mut self, times: &FragmentTimes, fragment: &VideoFragment, settings: &HlsSettings) {
        let first_ms = times.on(settings.line) + fragment.first_ms();
        let last = self.segments.back();
        // The initialization segment is that of the first of a run of segments with the same track.
        let same_init = last.filter(|last| last.track == fragment.track).map(|last| last.init);
        let discontinuity = last.is_some_and(|last| match settings.discontinuities {
            // RFC 8216, 4.3.2.3: a change of encoding parameters is marked, whatever the session asked for.
            _ if same_init.is_none() => true,
            Discontinuities::Always => true,
            Discontinuities::Never => false,
            Discontinuities::AtGaps => (first_ms - last.first_ms - last.length_ms).abs() > CONTINUOUS_MS,
        });
        self.longest_ms = self.longest_ms.max(fragment.length_ms);
        self.first = self.first.or(Some(times.number));
        self.segments.push_back(ListedSegment {
            number: times.number,
            first_ms,
            length_ms: fragment.length_ms,
            bytes: fragment.bytes(),
            discontinuity,
            init: same_init.unwrap_or(times.number),
            track: fragment.track.clone(),
            server_end_ms: times.server_ms + fragment.length_ms,
        });
    }

    /// Removes the oldest segments until at most `max_segments` remain.
    pub(crate) fn trim(&mut self, max_segments: usize) {
        while self.segments.len() > max_segments {
            let removed = self.segments.pop_front();
            // RFC 8216, 6.2.2: each removal raises the sequence numbers, by which players recognize segments.
            self.media_sequence += 1;
            self.discontinuity_sequence += u64::from(removed.is_some_and(|removed| removed.discontinuity));
        }
    }
}
