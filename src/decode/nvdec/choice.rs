//! The choice of a camera's decoder: NVDEC with a ticket of its GPU, else the CPU.

use std::sync::Arc;
use std::time::Instant;

use ffmpeg_next::frame::Video;
use gpu::{CudaStream, GpuError, GpuWork};

use super::budget::{DecodeTicket, macroblocks};
use super::gpu_pictures::SurfaceCopier;
use super::gpus::NvdecGpu;
use super::sent_rate::SentRate;
use crate::decode::hw_device::{HardwareDevice, is_on_gpu};
use crate::media::{GpuLossListener, MediaMs};
use crate::status::CameraStatus;
use crate::telemetry::decode::{DecoderFellBack, DecoderInUse, FallbackReason};

/// The shortest and the longest time for which a camera stays on the CPU before it asks for NVDEC again, ms of media time.
///
/// The time doubles with each refusal by NVDEC, which may be for ever (4:2:2) or for a moment (no memory).
const RETRY_MS: (i64, i64) = (60_000, 3_600_000);

/// The number of errors without a frame between them after which a camera leaves NVDEC.
const MAX_FAILURES: u32 = 3;

/// The decoder that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum OpenDecoder {
    /// FFmpeg's own, on the CPU.
    #[default]
    Cpu,
    /// One that was opened for NVDEC and has returned no frame yet.
    Unproven,
    /// NVDEC.
    Nvdec,
    /// One that was opened for NVDEC, and in which FFmpeg has fallen back to the CPU.
    Software,
}

/// The decoder of a camera: which one it is, since when, and when it changes.
pub(in super::super) struct DecoderChoice {
    camera: CameraStatus,
    /// The GPU that may decode; `None`: the CPU decodes by configuration.
    gpu: Option<Arc<NvdecGpu>>,
    ticket: Option<DecodeTicket>,
    /// The copier of the open decoder's pictures, if it was opened for NVDEC.
    copier: Option<SurfaceCopier>,
    open: OpenDecoder,
    size_px: (u32, u32),
    rate: SentRate,
    /// The media time of the last keyframe.
    media: MediaMs,
    retry_at: Option<MediaMs>,
    retry_wait_ms: i64,
    /// The number of errors since the last frame of NVDEC.
    failures: u32,
    /// The number of pictures since the last one that could be copied out of a surface.
    failed_copies: u32,
    /// The loss of the GPU that was found, or a call that failed and may have been one.
    suspicion: Suspicion,
    in_use: Option<DecoderInUse>,
}

#[derive(Debug, Default)]
enum Suspicion {
    #[default]
    None,
    Suspected,
    Lost(GpuError),
}

/// The move of a camera to another decoder at a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum DecoderMove {
    /// The open decoder stays.
    Stay,
    /// The decoder is to be opened again, for the other one.
    Reopen,
}

impl DecoderChoice {
    /// Returns the choice of a camera whose decoder is not open.
    pub(in super::super) fn new(camera: CameraStatus) -> Self {
        Self {
            camera,
            gpu: None,
            ticket: None,
            copier: None,
            open: OpenDecoder::default(),
            size_px: (0, 0),
            rate: SentRate::default(),
            media: MediaMs::default(),
            retry_at: None,
            retry_wait_ms: RETRY_MS.0,
            failures: 0,
            failed_copies: 0,
            suspicion: Suspicion::None,
            in_use: None,
        }
    }

    /// Sets the GPU that may decode.
    pub(in super::super) fn set_gpu(&mut self, gpu: Option<Arc<NvdecGpu>>) {
        self.gpu = gpu;
    }

    /// Returns the device for the decoder of a new track with pictures of this size, px; `None`: the CPU decodes it.
    pub(in super::super) fn open_track(
        &mut self,
        size_px: (u32, u32),
        media: MediaMs,
        now: Instant,
    ) -> Option<HardwareDevice> {
        (self.size_px, self.rate, self.media) = (size_px, SentRate::default(), media);
        self.retry_wait_ms = RETRY_MS.0;
        self.close();
        if self.gpu.is_none() {
            self.report(OpenDecoder::Cpu, None);
            return None;
        }
        match self.take_ticket() {
            Ok(()) => self.reopen(now),
            Err((reason, said)) => {
                self.fall_back(reason, &said, now);
                None
            }
        }
    }

    /// Returns the device for a decoder that is opened again for the same track; `None`: the CPU decodes it.
    pub(in super::super) fn reopen(&mut self, now: Instant) -> Option<HardwareDevice> {
        self.settle_suspicion();
        self.copier = None;
        (self.failures, self.failed_copies) = (0, 0);
        // FFmpeg's fallback is final for its decoder. A new one is not opened for NVDEC before the time has come.
        if self.open == OpenDecoder::Software && !self.is_retry_due() {
            self.ticket = None;
        }
        self.open = OpenDecoder::Cpu;
        self.ticket.as_ref()?;
        match self.new_device() {
            Ok((device, copier)) => {
                self.copier = Some(copier);
                self.open = OpenDecoder::Unproven;
                Some(device)
            }
            Err((reason, said)) => {
                self.fall_back(reason, &said, now);
                None
            }
        }
    }

    /// Gives everything back, because no decoder is open.
    pub(in super::super) fn close(&mut self) {
        self.settle_suspicion();
        (self.ticket, self.copier, self.in_use) = (None, None, None);
        (self.open, self.retry_at) = (OpenDecoder::Cpu, None);
        (self.failures, self.failed_copies) = (0, 0);
    }

    /// Returns true if the open decoder was opened for NVDEC.
    pub(in super::super) fn is_for_nvdec(&self) -> bool {
        self.copier.is_some()
    }

    /// Returns the copier of the open decoder's pictures, if it was opened for NVDEC.
    pub(in super::super) fn copier(&mut self) -> Option<&mut SurfaceCopier> {
        self.copier.as_mut()
    }

    /// Returns a guard for calls that may work on the GPU; `None` for a camera that has none.
    pub(in super::super) fn begin_work(&self) -> Option<GpuWork> {
        self.gpu.as_ref().map(|_| GpuWork::begin())
    }

    /// Counts a packet that is sent to the decoder.
    pub(in super::super) fn count_sent(&mut self) {
        self.rate.count();
    }

    /// Follows a frame that the decoder returned, whose format shows which decoder it is.
    pub(in super::super) fn follow_frame(&mut self, frame: &Video, now: Instant) {
        self.size_px = (frame.width(), frame.height());
        if self.copier.is_none() {
            return;
        }
        match (is_on_gpu(frame), self.open) {
            (true, OpenDecoder::Nvdec) => self.failures = 0,
            (true, _) => {
                self.failures = 0;
                (self.retry_at, self.retry_wait_ms) = (None, RETRY_MS.0);
                self.report(OpenDecoder::Nvdec, None);
                self.update_price(now);
            }
            (false, OpenDecoder::Software) => {}
            (false, _) => {
                let (format, (width_px, height_px)) = (frame.format(), self.size_px);
                let said = format!(
                    "NVDEC refused its pictures ({format:?}, {width_px}x{height_px} px): this GPU does not decode them, or has no \
                     memory for another decoder"
                );
                self.suspicion.suspect();
                self.fall_back(FallbackReason::Refused, &said, now);
            }
        }
    }

    /// Counts an error of the decoder.
    pub(in super::super) fn count_failure(&mut self) {
        if self.copier.is_some() {
            self.failures += 1;
            self.suspicion.suspect();
        }
    }

    /// Counts a picture that could not be copied out of its surface.
    pub(in super::super) fn count_failed_copy(&mut self) {
        if self.copier.is_some() {
            self.failed_copies += 1;
            self.suspicion.suspect();
        }
    }

    /// Records that a picture was copied out of its surface, or needed no copy.
    pub(in super::super) fn note_copy(&mut self) {
        self.failed_copies = 0;
    }

    /// Follows a keyframe, before it is sent to the decoder.
    pub(in super::super) fn enter_keyframe(&mut self, media: MediaMs, now: Instant) {
        self.media = media;
        self.rate.enter_keyframe(media);
        self.update_price(now);
    }

    /// Returns the move at a keyframe at which another decoder can begin.
    pub(in super::super) fn next_move(&mut self, now: Instant) -> DecoderMove {
        let is_moved = match self.open {
            OpenDecoder::Unproven | OpenDecoder::Nvdec => self.leaves_nvdec(now),
            OpenDecoder::Cpu | OpenDecoder::Software => self.returns_to_nvdec(),
        };
        if is_moved { DecoderMove::Reopen } else { DecoderMove::Stay }
    }

    /// Records that only keyframes are decoded from now on, one per `gop_ms`.
    pub(in super::super) fn become_idle(&mut self, gop_ms: Option<u32>, now: Instant) {
        self.rate.become_idle(gop_ms);
        self.update_price(now);
    }

    /// Records that every access unit is decoded again.
    pub(in super::super) fn wake(&mut self, now: Instant) {
        if self.rate.wake() {
            self.update_price(now);
        }
    }

    /// Reports the loss of the GPU to the service, if a call has failed since the last check and the GPU is lost.
    ///
    /// Returns the reason.
    pub(in super::super) fn find_loss(&mut self) -> Option<String> {
        self.settle_suspicion();
        let Suspicion::Lost(error) = std::mem::take(&mut self.suspicion) else { return None };
        let gpu = self.gpu.as_ref()?;
        let reason = gpu.loss(&error);
        gpu.report_loss(format!("camera {}: {reason}", self.camera.id()));
        Some(reason)
    }

    /// Asks the driver whether the GPU is lost, if that is suspected.
    fn settle_suspicion(&mut self) {
        let Suspicion::Suspected = self.suspicion else { return };
        self.suspicion = Suspicion::None;
        // A sticky error is returned by each later call.
        if let Some(Err(error)) = self.copier.as_ref().map(|copier| copier.stream().synchronize()) {
            self.suspicion.find(error);
        }
    }

    fn leaves_nvdec(&mut self, now: Instant) -> bool {
        if self.failures >= MAX_FAILURES {
            let failures = self.failures;
            self.fall_back(
                FallbackReason::Refused,
                &format!("NVDEC failed {failures} times without a frame between"),
                now,
            );
        } else if self.failed_copies >= MAX_FAILURES {
            self.fall_back(FallbackReason::Refused, "the pictures of NVDEC cannot be copied", now);
        } else if self.ticket.as_ref().is_some_and(|ticket| ticket.is_due(now)) {
            self.fall_back(FallbackReason::Budget, OVER_BUDGET, now);
        } else {
            return false;
        }
        self.ticket = None;
        true
    }

    fn returns_to_nvdec(&mut self) -> bool {
        if !self.is_retry_due() {
            return false;
        }
        // FFmpeg's fallback leaves one, which is given up for a new one only: NVDEC may take this decoder's pictures up again.
        let before = self.ticket.take();
        self.retry_at = Some(self.next_retry());
        let has_ticket = self.take_ticket().is_ok();
        if has_ticket {
            self.open = OpenDecoder::Unproven;
        } else {
            self.ticket = before;
        }
        has_ticket
    }

    fn is_retry_due(&self) -> bool {
        // Footage of a much earlier time would wait for ever.
        let is_other_footage = |at: MediaMs| self.media.0 < at.0.saturating_sub(RETRY_MS.1);
        self.retry_at.is_some_and(|at| self.media >= at || is_other_footage(at))
    }

    fn next_retry(&self) -> MediaMs {
        MediaMs(self.media.0.saturating_add(self.retry_wait_ms))
    }

    fn take_ticket(&mut self) -> Result<(), (FallbackReason, String)> {
        let Some(gpu) = &self.gpu else { return Ok(()) };
        let opened = gpu.open().map_err(|reason| (FallbackReason::Unavailable, reason))?;
        self.ticket = opened.budget.ask(self.price());
        match self.ticket {
            Some(_) => Ok(()),
            None => Err((FallbackReason::Budget, OVER_BUDGET.to_owned())),
        }
    }

    fn new_device(&mut self) -> Result<(HardwareDevice, SurfaceCopier), (FallbackReason, String)> {
        let none = || (FallbackReason::Unavailable, "no GPU decodes".to_owned());
        let gpu = Arc::clone(self.gpu.as_ref().ok_or_else(none)?);
        let opened = gpu.open().map_err(|reason| (FallbackReason::Unavailable, reason))?;
        let (camera, losing) = (self.camera.id().clone(), Arc::clone(&gpu));
        let on_loss: GpuLossListener = Arc::new(move |error| {
            losing.report_loss(format!("camera {camera}: {}", losing.loss(error)));
        });
        let created = CudaStream::new(&opened.context).and_then(|stream| {
            let stream = Arc::new(stream);
            Ok((Arc::clone(&stream), SurfaceCopier::new(stream, opened.pool.as_ref().ok(), on_loss)?))
        });
        // The GPU works, so its memory is mostly full, for a moment.
        let (stream, copier) = created.map_err(|error| {
            let said = error.to_string();
            self.suspicion.find(error);
            (FallbackReason::Refused, said)
        })?;
        let device = HardwareDevice::new(stream).map_err(|reason| (FallbackReason::Unavailable, reason))?;
        Ok((device, copier))
    }

    fn fall_back(&mut self, reason: FallbackReason, said: &str, now: Instant) {
        DecoderFellBack { camera: &self.camera, reason, said }.emit();
        let is_ffmpegs = self.copier.is_some();
        let open = if is_ffmpegs { OpenDecoder::Software } else { OpenDecoder::Cpu };
        self.report(open, Some(said.to_owned()));
        self.retry_at = Some(self.next_retry());
        match reason {
            FallbackReason::Refused => self.retry_wait_ms = (self.retry_wait_ms * 2).min(RETRY_MS.1),
            FallbackReason::Budget => {}
            // It stays so for the life of the process.
            FallbackReason::Unavailable => self.retry_at = None,
        }
        // Kept in FFmpeg's fallback, since a change of the pictures' size may have FFmpeg use NVDEC again.
        if is_ffmpegs { self.update_price(now) } else { self.ticket = None }
    }

    fn update_price(&self, now: Instant) {
        if let Some(ticket) = &self.ticket {
            let is_free = self.open == OpenDecoder::Software;
            ticket.set_price(if is_free { 0 } else { self.price() }, now);
        }
    }

    /// Returns the part of the GPU's capacity that the camera needs, macroblocks per second.
    fn price(&self) -> u64 {
        self.rate.of(macroblocks(self.size_px))
    }

    fn report(&mut self, open: OpenDecoder, note: Option<String>) {
        self.open = open;
        let label = if open == OpenDecoder::Nvdec { "nvdec" } else { "cpu" };
        // The old one ends before the new one counts.
        self.in_use = None;
        self.in_use = Some(DecoderInUse::begin(&self.camera, label, note));
    }
}

impl Suspicion {
    fn suspect(&mut self) {
        if matches!(self, Self::None) {
            *self = Self::Suspected;
        }
    }

    fn find(&mut self, error: GpuError) {
        if error.is_sticky() {
            *self = Self::Lost(error);
        }
    }
}

/// The reason of a camera that gets no ticket.
const OVER_BUDGET: &str = "the GPU's decoders are fully used by other cameras";
