//! Acknowledgements of PutMedia: one JSON object per line.

use bytes::Bytes;
use serde::Serialize;

use crate::identifiers::fragment_number::FragmentNumber;

/// The error of an ERROR acknowledgement.
///
/// Source: AWS, PutMedia, error codes 4000 to 5001, 2026.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckError {
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

impl AckError {
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

/// The fragment that an acknowledgement is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AckedFragment {
    /// The fragment's timecode as the producer sent it, also where it is relative.
    pub(crate) timecode_ms: i64,
    pub(crate) number: FragmentNumber,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct AckLine {
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

/// Returns the acknowledgement that a fragment's first byte has arrived.
pub(crate) fn buffering(fragment: AckedFragment) -> Bytes {
    write_line("BUFFERING", Some(fragment), None)
}

/// Returns the acknowledgement that a fragment's last byte has arrived.
pub(crate) fn received(fragment: AckedFragment) -> Bytes {
    write_line("RECEIVED", Some(fragment), None)
}

/// Returns the acknowledgement that a fragment is in the archive.
pub(crate) fn persisted(fragment: AckedFragment) -> Bytes {
    write_line("PERSISTED", Some(fragment), None)
}

/// Returns the acknowledgement of a pause in the request.
pub(crate) fn idle() -> Bytes {
    write_line("IDLE", None, None)
}

/// Returns the acknowledgement of an error, which ends the request.
pub(crate) fn error(fragment: Option<AckedFragment>, error: AckError) -> Bytes {
    write_line("ERROR", fragment, Some(error))
}

fn write_line(event_type: &'static str, fragment: Option<AckedFragment>, error: Option<AckError>) -> Bytes {
    let (error_id, error_code) = error.map(AckError::id_and_code).unzip();
    let line = AckLine {
        event_type,
        fragment_timecode: fragment.map(|fragment| fragment.timecode_ms),
        fragment_number: fragment.map(|fragment| fragment.number.to_string()),
        error_id,
        error_code,
    };
    let mut json = serde_json::to_vec(&line).unwrap_or_default();
    // A line break ends each acknowledgement: the producer SDK parses the answer as it arrives.
    json.extend_from_slice(b"\r\n");
    json.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_the_producer_sdk_parses() {
        let fragment =
            AckedFragment { timecode_ms: 1_600_994_737_365, number: FragmentNumber::generate(1, 2) };
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
                error(None, AckError::InvalidMkv),
                r#"{"EventType":"ERROR","ErrorId":4006,"ErrorCode":"INVALID_MKV_DATA"}"#.to_owned(),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(line, format!("{expected}\r\n"));
        }
    }
}
