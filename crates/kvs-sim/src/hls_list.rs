//! The segments of a session, as its media playlist lists them.

use std::collections::VecDeque;

use kvs_hls::HlsTrack;

use crate::fragment::Dated;
use crate::fragment_number::FragmentNumber;
use crate::hls_request::{Discontinuities, HlsSettings};
use crate::video_fragment::VideoFragment;

/// One segment.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) number: FragmentNumber,
    /// Time of its first frame on the session's time line, ms since 1970.
    pub(crate) first_ms: i64,
    pub(crate) length_ms: i64,
    pub(crate) bytes: usize,
    pub(crate) discontinuity: bool,
    /// The fragment whose tracks its initialisation segment is made of.
    pub(crate) init: FragmentNumber,
    pub(crate) track: HlsTrack,
    server_end_ms: i64,
}

/// The segments that are listed now.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) entries: VecDeque<Entry>,
    /// Number of the first of them in the session.
    pub(crate) media_sequence: u64,
    /// Discontinuities before the first of them.
    pub(crate) discontinuity_sequence: u64,
    /// The longest segment that was ever listed.
    pub(crate) longest_ms: i64,
    /// The first fragment that was ever listed.
    first: Option<FragmentNumber>,
}

/// Between two fragments more than this is a gap or an overlap.
///
/// Source: AWS, GetHLSStreamingSessionURL, DiscontinuityMode, 2026.
const CONTINUOUS_MS: i64 = 50;

impl List {
    /// The newest segment.
    pub(crate) fn last(&self) -> Option<&Entry> {
        self.entries.back()
    }

    /// Whether the session has listed this fragment.
    pub(crate) fn knows(&self, number: FragmentNumber) -> bool {
        self.first.is_some_and(|first| first <= number)
            && self.last().is_some_and(|last| number <= last.number)
    }

    /// Server time at which the newest segment ends.
    pub(crate) fn server_end_ms(&self) -> Option<i64> {
        self.last().map(|last| last.server_end_ms)
    }

    /// Lists one more segment.
    pub(crate) fn push(&mut self, dated: &Dated, fragment: &VideoFragment, settings: &HlsSettings) {
        let first_ms = dated.on(settings.line) + fragment.first_ms();
        let last = self.entries.back();
        let same_init = last.filter(|last| last.track == fragment.track).map(|last| last.init);
        let discontinuity = last.is_some_and(|last| match settings.discontinuities {
            _ if same_init.is_none() => true,
            Discontinuities::Always => true,
            Discontinuities::Never => false,
            Discontinuities::Found => (first_ms - last.first_ms - last.length_ms).abs() > CONTINUOUS_MS,
        });
        self.longest_ms = self.longest_ms.max(fragment.length_ms);
        self.first = self.first.or(Some(dated.number));
        self.entries.push_back(Entry {
            number: dated.number,
            first_ms,
            length_ms: fragment.length_ms,
            bytes: fragment.bytes(),
            discontinuity,
            init: same_init.unwrap_or(dated.number),
            track: fragment.track.clone(),
            server_end_ms: dated.server_ms + fragment.length_ms,
        });
    }

    /// Takes the oldest from the list until there are `most`.
    pub(crate) fn trim(&mut self, most: usize) {
        while self.entries.len() > most {
            let gone = self.entries.pop_front();
            self.media_sequence += 1;
            self.discontinuity_sequence += u64::from(gone.is_some_and(|gone| gone.discontinuity));
        }
    }
}
