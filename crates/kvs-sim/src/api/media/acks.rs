//! Acknowledgements: what PutMedia answers, one JSON object a line.

use bytes::Bytes;
use serde::Serialize;

use crate::identifiers::fragment_number::FragmentNumber;

/// A code of an ERROR acknowledgement.
///
/// Source: PutMedia in the AWS developer guide, error codes 4000 to 5001.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    StreamRead,
    FragmentSize,
    FragmentDuration,
    TimecodeLesserThanPrevious,
    InvalidMkv,
    StreamNotActive,
    FragmentMetadata,
    TrackNumberMismatch,
    TooManyTracks,
    Internal,
}

impl Fault {
    fn id_and_code(self) -> (u32, &'static str) {
        match self {
            Self::StreamRead => (4000, "STREAM_READ_ERROR"),
            Self::FragmentSize => (4001, "MAX_FRAGMENT_SIZE_REACHED"),
            Self::FragmentDuration => (4002, "MAX_FRAGMENT_DURATION_REACHED"),
            Self::TimecodeLesserThanPrevious => (4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS"),
            Self::InvalidMkv => (4006, "INVALID_MKV_DATA"),
            Self::StreamNotActive => (4008, "STREAM_NOT_ACTIVE"),
            Self::FragmentMetadata => (4009, "FRAGMENT_METADATA_LIMIT_REACHED"),
            Self::TrackNumberMismatch => (4010, "TRACK_NUMBER_MISMATCH"),
            Self::TooManyTracks => (4012, "MORE_THAN_ALLOWED_TRACKS_FOUND"),
            Self::Internal => (5000, "INTERNAL_ERROR"),
        }
    }
}

/// Of which fragment an acknowledgement speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged {
    pub(crate) timecode_ms: i64,
    pub(crate) number: FragmentNumber,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    event_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment_timecode: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
}

pub(crate) fn buffering(fragment: Acknowledged) -> Bytes {
    line("BUFFERING", Some(fragment), None)
}

pub(crate) fn received(fragment: Acknowledged) -> Bytes {
    line("RECEIVED", Some(fragment), None)
}

pub(crate) fn persisted(fragment: Acknowledged) -> Bytes {
    line("PERSISTED", Some(fragment), None)
}

pub(crate) fn idle() -> Bytes {
    line("IDLE", None, None)
}

pub(crate) fn error(fragment: Option<Acknowledged>, fault: Fault) -> Bytes {
    line("ERROR", fragment, Some(fault))
}

fn line(event_type: &'static str, fragment: Option<Acknowledged>, fault: Option<Fault>) -> Bytes {
    let (error_id, error_code) = fault.map(Fault::id_and_code).unzip();
    let line = Line {
        event_type,
        fragment_timecode: fragment.map(|fragment| fragment.timecode_ms),
        fragment_number: fragment.map(|fragment| fragment.number.to_string()),
        error_id,
        error_code,
    };
    let mut json = serde_json::to_vec(&line).unwrap_or_default();
    json.extend_from_slice(b"\r\n");
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_the_producer_sdk_parses() {
        let fragment = Acknowledged { timecode_ms: 1_600_994_737_365, number: FragmentNumber::mint(1, 2) };
        let number = fragment.number;
        let cases = [
            (
                buffering(fragment),
                format!(
                    r#"{{"EventType":"BUFFERING","FragmentTimecode":1600994737365,"FragmentNumber":"{number}"}}"#
                ),
            ),
            (idle(), r#"{"EventType":"IDLE"}"#.to_owned()),
            (
                error(None, Fault::InvalidMkv),
                r#"{"EventType":"ERROR","ErrorId":4006,"ErrorCode":"INVALID_MKV_DATA"}"#.to_owned(),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(line, format!("{expected}\r\n"));
        }
    }
}
