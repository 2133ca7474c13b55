//! What happens in decode.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::{Kind, Metric};
use crate::base::LogLine;
use crate::decode::DecodeError;
use crate::media::VideoTrack;
use crate::status::CameraStatus;

const STAGE: &str = "decode";
const DECODED: &str = "kvs_infer_frames_decoded_total";
const SAMPLED: &str = "kvs_infer_frames_sampled_total";
const DROPPED: &str = "kvs_infer_frames_dropped_total";
const ERRORS: &str = "kvs_infer_decode_errors_total";
const OPENED: &str = "kvs_infer_decoders_opened_total";

/// The metrics of decode.
pub(crate) const METRICS: &[Metric] = &[
    counter(DECODED, &["camera"], "Sound frames that came out of the decoder."),
    counter(SAMPLED, &["camera"], "Frames that the sampler picked for inference."),
    counter(
        DROPPED,
        &["camera", "reason"],
        "Frames that were not inferred although they should be: newer (live: the machine is behind and a newer one came), late \
         (live: not decoded, since the host is too slow), damaged, no_key_frame (nothing to build on), leading (of an open GOP \
         whose references were not read), no_picture (the decoder gave none for the access unit), track (its codec private data \
         is unusable), discontinuity (will be read again).",
    ),
    counter(ERRORS, &["camera", "kind"], "Decoding errors: track, too_large, unit, picture."),
    counter(OPENED, &["camera"], "Decoders opened: one at the start, one for each change of codec or size."),
];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

/// A sound frame came out of the decoder.
pub(crate) struct FrameDecoded<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl FrameDecoded<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(DECODED, "camera" => self.camera.id().to_string()).increment(1);
        self.camera.frame_decoded();
    }
}

/// A frame was picked.
pub(crate) struct FrameSampled<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl FrameSampled<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(SAMPLED, "camera" => self.camera.id().to_string()).increment(1);
        self.camera.frame_sampled();
    }
}

/// Why frames were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// Live: a newer one came before it was taken.
    Newer,
    /// Live: it waited too long for the decoder, or builds on one that did.
    Late,
    /// It is damaged or rests on a damaged one.
    Damaged,
    /// No key frame came before it to build on.
    NoKeyFrame,
    /// A leading picture of an open GOP, whose references were not read.
    Leading,
    /// The decoder gave no picture for it.
    NoPicture,
    /// Its track cannot be decoded.
    Track,
    /// Its fragment broke off and will be read again.
    Discontinuity,
}

impl DropReason {
    fn label(self) -> &'static str {
        match self {
            Self::Newer => "newer",
            Self::Late => "late",
            Self::Damaged => "damaged",
            Self::NoKeyFrame => "no_key_frame",
            Self::Leading => "leading",
            Self::NoPicture => "no_picture",
            Self::Track => "track",
            Self::Discontinuity => "discontinuity",
        }
    }
}

/// Frames, or packets before they were frames, were dropped.
pub(crate) struct FramesDropped<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) frames: usize,
    pub(crate) reason: DropReason,
}

impl FramesDropped<'_> {
    pub(crate) fn emit(self) {
        if self.frames > 0 {
            let (camera, reason) = (self.camera.id().to_string(), self.reason.label());
            metrics::counter!(DROPPED, "camera" => camera, "reason" => reason).increment(self.frames as u64);
            self.camera.frames_dropped(reason, self.frames as u64);
        }
    }
}

/// The decoder has dealt with an access unit.
pub(crate) struct UnitHandled<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// How far behind the live edge it was then.
    pub(crate) lag: Duration,
}

impl UnitHandled<'_> {
    pub(crate) fn emit(self) {
        self.camera.unit_decoded(self.lag);
    }
}

/// Decoding went wrong; it goes on at the next key frame.
pub(crate) struct DecodeFailed<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) error: &'a DecodeError,
    /// Whether this camera had an error in this fragment or the one before, so that a broken camera does not fill the log.
    pub(crate) repeated: bool,
}

impl DecodeFailed<'_> {
    pub(crate) fn emit(self) {
        let (kind, reason) = match self.error {
            DecodeError::Track { reason, .. } => ("track", reason.clone()),
            DecodeError::TooLarge { .. } => ("too_large", self.error.to_string()),
            DecodeError::Unit { reason, .. } => ("unit", reason.clone()),
            DecodeError::Picture { reason, .. } => ("picture", reason.clone()),
        };
        self.camera.decode_failed(&reason);
        metrics::counter!(ERRORS, "camera" => self.camera.id().to_string(), "kind" => kind).increment(1);
        if let DecodeError::Track { .. } | DecodeError::TooLarge { .. } = self.error {
            self.camera.blind(STAGE, Some(self.error.to_string()));
        }
        let line = if self.repeated { LogLine::LeftOut } else { self.camera.log_line(kind) };
        match line {
            LogLine::Shown(left_out) => {
                warn!(stage = STAGE, camera = %self.camera.id(), left_out, "{}", self.error);
            }
            LogLine::LeftOut => debug!(stage = STAGE, camera = %self.camera.id(), "{}", self.error),
        }
    }
}

/// A decoder was opened.
pub(crate) struct DecoderOpened<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) track: &'a VideoTrack,
}

impl DecoderOpened<'_> {
    pub(crate) fn emit(self) {
        let VideoTrack { codec, width_px, height_px, .. } = self.track;
        metrics::counter!(OPENED, "camera" => self.camera.id().to_string()).increment(1);
        self.camera.blind(STAGE, None);
        let camera = self.camera.id();
        match self.camera.log_line("decoder opened") {
            LogLine::Shown(left_out) => {
                info!(stage = STAGE, %camera, ?codec, width_px, height_px, left_out, "decoder opened");
            }
            LogLine::LeftOut => debug!(stage = STAGE, %camera, ?codec, width_px, height_px, "decoder opened"),
        }
    }
}
