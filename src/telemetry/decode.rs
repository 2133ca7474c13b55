//! Events of decode.

use std::error::Error;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::{Metric, MetricKind};
use crate::base::LogLine;
use crate::media::VideoTrack;
use crate::status::CameraStatus;

const STAGE: &str = "decode";
const DECODED: &str = "kvs_infer_frames_decoded_total";
const SAMPLED: &str = "kvs_infer_frames_sampled_total";
const DROPPED: &str = "kvs_infer_frames_dropped_total";
const ERRORS: &str = "kvs_infer_decode_errors_total";
const SKIPPED: &str = "kvs_infer_units_skipped_total";
const WAKES: &str = "kvs_infer_wakes_total";
const RETAINED: &str = "kvs_infer_retained_bytes";
const SIZE_TRIGGER: &str = "kvs_infer_size_trigger_usable";
const OPENED: &str = "kvs_infer_decoders_opened_total";
const CAMERAS: &str = "kvs_infer_decode_cameras";
const FALLBACKS: &str = "kvs_infer_decode_fallbacks_total";

/// The metrics of decode.
pub(crate) const METRICS: &[Metric] = &[
    counter(DECODED, &["camera"], "Undamaged frames that the decoder returned."),
    counter(SAMPLED, &["camera"], "Frames that the sampler picked for inference."),
    counter(
        DROPPED,
        &["camera", "reason"],
        "Frames that were not inferred although they were due: superseded (live: inference is too slow and a newer frame came), late \
         (live: not decoded, since the host is too slow), damaged, no_key_frame (no reference to decode from), leading (of an open GOP \
         whose references were not read), no_picture (the decoder returned none for the access unit), track (its codec private data \
         is unusable), discontinuity (will be read again).",
    ),
    counter(
        SKIPPED,
        &["camera", "reason"],
        "Access units that were not decoded because nothing needs their frames: non_reference (not sampled, and no frame refers to it), \
         not_due (fps_target is served by keyframes), idle (nothing moves).",
    ),
    counter(
        WAKES,
        &["camera", "trigger"],
        "Ends of idle decode: keyframe (it differs from the last inferred frame, or an inference found something new), size (an access \
         unit was unusually large), limit (too much was retained), pause (no more footage came), damage (a keyframe cannot be decoded).",
    ),
    gauge(RETAINED, &["camera"], "Access units that are retained undecoded while nothing moves, bytes."),
    gauge(
        SIZE_TRIGGER,
        &["camera"],
        "1 while the sizes of access units are steady enough to show motion, 0 while keyframes alone do, as with a constant bitrate.",
    ),
    counter(ERRORS, &["camera", "kind"], "Decoding errors: track, too_large, unit, picture, gpu_lost."),
    counter(OPENED, &["camera"], "Decoders opened: one at the start, one for each change of codec or size."),
    gauge(CAMERAS, &["decoder"], "Cameras by their decoder: nvdec (of a GPU), cpu."),
    counter(
        FALLBACKS,
        &["camera", "reason"],
        "Decoders on the CPU where NVDEC was to be used: budget (other cameras use the GPU's decoders fully), refused (NVDEC does not \
         decode such pictures, has no memory, or failed repeatedly), unavailable (NVDEC cannot be used at all).",
    ),
];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, help }
}

/// The reason why an access unit was not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// No frame refers to its frame, which is not sampled.
    NonReference,
    /// Keyframes alone serve the sampler.
    NotDue,
    /// Nothing moves.
    Idle,
}

/// Access units were not decoded because nothing needs their frames.
pub(crate) struct UnitsSkipped<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) units: usize,
    pub(crate) reason: SkipReason,
}

impl UnitsSkipped<'_> {
    pub(crate) fn emit(self) {
        let reason = match self.reason {
            SkipReason::NonReference => "non_reference",
            SkipReason::NotDue => "not_due",
            SkipReason::Idle => "idle",
        };
        if self.units > 0 {
            let camera = self.camera.id().to_string();
            metrics::counter!(SKIPPED, "camera" => camera, "reason" => reason).increment(self.units as u64);
            self.camera.units_skipped(self.units as u64);
        }
    }
}

/// The trigger that ended idle decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeTrigger {
    /// A keyframe differs from the last inferred frame, or an inference of it found something new.
    Keyframe,
    /// An access unit is larger than those of the quiet scene.
    Size,
    /// The retained access units would take too much memory.
    Limit,
    /// No more footage came.
    Pause,
    /// A keyframe cannot be judged, because it cannot be decoded.
    Damage,
}

/// Retained access units are decoded.
pub(crate) struct Woke<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) trigger: WakeTrigger,
}

impl Woke<'_> {
    pub(crate) fn emit(self) {
        let trigger = match self.trigger {
            WakeTrigger::Keyframe => "keyframe",
            WakeTrigger::Size => "size",
            WakeTrigger::Limit => "limit",
            WakeTrigger::Pause => "pause",
            WakeTrigger::Damage => "damage",
        };
        let camera = self.camera.id();
        metrics::counter!(WAKES, "camera" => camera.to_string(), "trigger" => trigger).increment(1);
        debug!(stage = STAGE, %camera, trigger, "idle decode ended");
    }
}

/// A camera began or ended to retain access units, or retains others.
pub(crate) struct IdleChanged<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) is_idle: bool,
    pub(crate) retained_bytes: usize,
    /// `true` while sizes of access units can wake the camera.
    pub(crate) is_size_usable: bool,
}

impl IdleChanged<'_> {
    #[expect(clippy::cast_precision_loss, reason = "some MiB fit f64 exactly")]
    pub(crate) fn emit(self) {
        let camera = self.camera.id().to_string();
        metrics::gauge!(RETAINED, "camera" => camera.clone()).set(self.retained_bytes as f64);
        metrics::gauge!(SIZE_TRIGGER, "camera" => camera).set(f64::from(u8::from(self.is_size_usable)));
        self.camera.set_idle(self.is_idle);
    }
}

/// The decoder returned an undamaged frame.
pub(crate) struct FrameDecoded<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl FrameDecoded<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(DECODED, "camera" => self.camera.id().to_string()).increment(1);
        self.camera.frame_decoded();
    }
}

/// The sampler picked a frame.
pub(crate) struct FrameSampled<'a> {
    pub(crate) camera: &'a CameraStatus,
}

impl FrameSampled<'_> {
    pub(crate) fn emit(self) {
        metrics::counter!(SAMPLED, "camera" => self.camera.id().to_string()).increment(1);
        self.camera.frame_sampled();
    }
}

/// The reason why frames were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// Live: a newer frame came before detection took this one.
    Superseded,
    /// Live: the access unit waited too long for the decoder, or references one that did.
    Late,
    /// The frame is damaged or references a damaged one.
    Damaged,
    /// No keyframe came before it.
    NoKeyFrame,
    /// A leading picture of an open GOP whose references were not read.
    Leading,
    /// The decoder returned no picture for the access unit.
    NoPicture,
    /// Its track cannot be decoded.
    Track,
    /// Its fragment broke off and will be read again.
    Discontinuity,
}

impl DropReason {
    fn label(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
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

/// Frames, or access units that would have become frames, were dropped.
pub(crate) struct FramesDropped<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) frames: usize,
    pub(crate) reason: DropReason,
}

impl FramesDropped<'_> {
    pub(crate) fn emit(self) {
        // Nothing is dropped at most calls: a label set is created by its first count, and must not appear before.
        if self.frames > 0 {
            let (camera, reason) = (self.camera.id().to_string(), self.reason.label());
            metrics::counter!(DROPPED, "camera" => camera, "reason" => reason).increment(self.frames as u64);
            self.camera.frames_dropped(reason, self.frames as u64);
        }
    }
}

/// The decoder has taken an access unit, decoded or not.
pub(crate) struct UnitHandled<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// The lag behind the live edge at that time.
    pub(crate) lag: Duration,
}

impl UnitHandled<'_> {
    pub(crate) fn emit(self) {
        self.camera.unit_decoded(self.lag);
    }
}

/// Decoding failed; it resumes at the next keyframe.
pub(crate) struct DecodeFailed<'a> {
    pub(crate) camera: &'a CameraStatus,
    /// The kind of the error, as the metric's label: `track`, `too_large`, `unit` or `picture`.
    pub(crate) kind: &'static str,
    /// The reason alone, without camera, place and remedy: `/healthz` adds its own.
    pub(crate) reason: &'a str,
    pub(crate) error: &'a dyn Error,
    /// `true` where nothing of the track can be decoded until it changes.
    pub(crate) is_blinding: bool,
    /// `true` where this fragment or the one before had an error already, so that a broken camera does not fill the log.
    pub(crate) repeated: bool,
}

impl DecodeFailed<'_> {
    pub(crate) fn emit(self) {
        // Kept for the reason of a camera without decoded frames, also where the line below is suppressed.
        self.camera.decode_failed(self.reason);
        metrics::counter!(ERRORS, "camera" => self.camera.id().to_string(), "kind" => self.kind).increment(1);
        if self.is_blinding {
            // The whole text, since it names what the producer or the operator has to change.
            self.camera.blind(STAGE, Some(self.error.to_string()));
        }
        // A damaged stream fails on every frame: beyond the first error of two fragments the log limit would be used up by one camera.
        let line = if self.repeated { LogLine::Suppressed } else { self.camera.log_line(self.kind) };
        match line {
            LogLine::Shown(suppressed) => {
                warn!(stage = STAGE, camera = %self.camera.id(), suppressed, "decoding failed: {}", self.error);
            }
            LogLine::Suppressed => {
                debug!(stage = STAGE, camera = %self.camera.id(), "decoding failed: {}", self.error);
            }
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
        // A usable track ends what an unusable one before it began.
        self.camera.blind(STAGE, None);
        let camera = self.camera.id();
        match self.camera.log_line("decoder opened") {
            LogLine::Shown(suppressed) => {
                info!(stage = STAGE, %camera, ?codec, width_px, height_px, suppressed, "decoder opened");
            }
            LogLine::Suppressed => {
                debug!(stage = STAGE, %camera, ?codec, width_px, height_px, "decoder opened");
            }
        }
    }
}

/// The reason why a camera that NVDEC was to decode is decoded on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FallbackReason {
    /// The capacity of the GPU's decoders is used by other cameras.
    Budget,
    /// NVDEC does not decode these pictures, has no memory for them, or failed repeatedly.
    Refused,
    /// NVDEC cannot be used: no driver, no GPU, or an FFmpeg without it.
    Unavailable,
}

impl FallbackReason {
    fn label(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A camera that NVDEC was to decode is decoded on the CPU.
pub(crate) struct DecoderFellBack<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) reason: FallbackReason,
    /// The reason in words.
    pub(crate) said: &'a str,
}

impl DecoderFellBack<'_> {
    pub(crate) fn emit(self) {
        let (camera, reason, said) = (self.camera.id(), self.reason.label(), self.said);
        metrics::counter!(FALLBACKS, "camera" => camera.to_string(), "reason" => reason).increment(1);
        match self.camera.log_line("decoder fell back") {
            LogLine::Shown(suppressed) => {
                warn!(stage = STAGE, %camera, reason, suppressed, "decoded on the CPU, not by NVDEC: {said}");
            }
            LogLine::Suppressed => {
                debug!(stage = STAGE, %camera, reason, "decoded on the CPU, not by NVDEC: {said}");
            }
        }
    }
}

/// A camera's decoder while it is in use; dropping it ends that.
pub(crate) struct DecoderInUse {
    decoder: &'static str,
}

impl DecoderInUse {
    /// Begins the use of a decoder, `nvdec` or `cpu`; `note`: the reason if it is not the one that was to be used.
    pub(crate) fn begin(camera: &CameraStatus, decoder: &'static str, note: Option<String>) -> Self {
        metrics::gauge!(CAMERAS, "decoder" => decoder).increment(1.0);
        camera.decodes_by(decoder, note);
        Self { decoder }
    }
}

impl Drop for DecoderInUse {
    fn drop(&mut self) {
        metrics::gauge!(CAMERAS, "decoder" => self.decoder).decrement(1.0);
    }
}

/// The NVDEC of a GPU can be used.
pub(crate) struct NvdecOpened<'a> {
    pub(crate) gpu: &'a str,
    pub(crate) engines: u8,
    /// The capacity that is shared out, macroblocks per second.
    pub(crate) capacity: u64,
    /// The reason for which pictures are copied to host memory; `None` if they stay on the GPU.
    pub(crate) to_host: Option<&'a str>,
}

impl NvdecOpened<'_> {
    pub(crate) fn emit(self) {
        let Self { gpu, engines, capacity, to_host } = self;
        info!(stage = STAGE, gpu, engines, macroblocks_per_second = capacity, "NVDEC can be used");
        if let Some(reason) = to_host {
            warn!(stage = STAGE, gpu, reason, "pictures of NVDEC are copied to host memory");
        }
    }
}

/// A picture could not be copied on its GPU, mostly because the memory is full, and so was copied to host memory.
pub(crate) struct PictureLeftGpu<'a> {
    pub(crate) gpu: u32,
    pub(crate) reason: &'a str,
}

impl PictureLeftGpu<'_> {
    pub(crate) fn emit(self) {
        let Self { gpu, reason } = self;
        let gpu = format!("cuda:{gpu}");
        warn!(stage = STAGE, gpu, reason, "pictures cannot stay on the GPU: they are copied to host memory");
    }
}

/// The NVDEC of a GPU cannot be used, in this process.
pub(crate) struct NvdecUnavailable<'a> {
    pub(crate) gpu: &'a str,
    pub(crate) reason: &'a str,
}

impl NvdecUnavailable<'_> {
    pub(crate) fn emit(self) {
        warn!(
            stage = STAGE,
            gpu = self.gpu,
            reason = self.reason,
            "NVDEC cannot be used: cameras are decoded on the CPU"
        );
    }
}

/// The GPU that decodes a camera was lost.
pub(crate) struct GpuLost<'a> {
    pub(crate) camera: &'a CameraStatus,
    pub(crate) reason: &'a str,
}

impl GpuLost<'_> {
    pub(crate) fn emit(self) {
        let camera = self.camera.id();
        metrics::counter!(ERRORS, "camera" => camera.to_string(), "kind" => "gpu_lost").increment(1);
        tracing::error!(stage = STAGE, %camera, reason = self.reason, "GPU lost");
    }
}
