//! The parts of the decoder that NVDEC needs: the choice of the decoder, and pictures that leave its surfaces.

use std::sync::Arc;
use std::time::Instant;

use h26x::PictureRole;

use super::super::error::DecodeError;
use super::super::nvdec::{DecoderMove, NvdecGpu};
use super::super::picture::DecodedPicture;
use super::super::track_decoder::reopen_decoder;
use super::Decoder;
use crate::media::{Decoded, MediaMs, Packet, VideoTrack};

/// The maximum by which a frame's time is raised above that of the frame before it, ms: 1 ms per frame that waits.
const MAX_RAISE_MS: i64 = 20;

impl Decoder {
    /// Sets the GPU that may decode the camera.
    #[must_use]
    pub fn with_gpu(mut self, gpu: Option<Arc<NvdecGpu>>) -> Self {
        self.choice.set_gpu(gpu);
        self
    }

    /// Reports the loss of the GPU, if the last calls found one; returns the reason.
    ///
    /// Nothing that the decoder has returned since is to be used: frames are missing.
    pub fn find_gpu_loss(&mut self) -> Option<String> {
        let _work = self.choice.begin_work();
        self.choice.find_loss()
    }

    /// Follows a keyframe, at which the camera may change between NVDEC and the CPU.
    pub(super) fn follow_choice(
        &mut self,
        packet: &Packet,
        role: PictureRole,
        primes: bool,
        out: &mut Vec<Decoded>,
    ) -> Result<(), DecodeError> {
        let now = Instant::now();
        self.choice.enter_keyframe(packet.media, now);
        // A new decoder has no references, and needs the parameter sets.
        let can_begin = role == PictureRole::Closed && !primes && self.limit.is_self_contained();
        if !can_begin || self.opened.is_none() || self.choice.next_move(now) == DecoderMove::Stay {
            return Ok(());
        }
        let drained = self.drain(out);
        self.flush();
        let Some(track) = self.track.clone() else { return drained };
        drained.and(self.reopen(&track))
    }

    /// Opens the decoder of the same track again, by NVDEC or on the CPU as the choice is.
    ///
    /// # Errors
    /// FFmpeg cannot open it; it is opened with the next packet.
    pub(super) fn reopen(&mut self, track: &Arc<VideoTrack>) -> Result<(), DecodeError> {
        let Some(before) = self.opened.take() else { return Ok(()) };
        // Unset until it is open, so that an error is not the end.
        self.track = None;
        let device = self.choice.reopen(Instant::now());
        self.opened = Some(reopen_decoder(self.camera.id(), before, track, &self.limit, device.as_ref())?);
        self.track = Some(Arc::clone(track));
        Ok(())
    }

    /// Takes the frames that wait out of NVDEC's surfaces, of which it has a few only.
    pub(super) fn free_surfaces(&mut self) {
        let shows_times = self.shows_times();
        let Some(copier) = self.choice.copier() else { return };
        let mut has_failed = false;
        for (origin, picture) in self.reorder.held_mut() {
            let last = self.last_frame.as_ref().filter(|(fragment, _)| *fragment == origin.fragment.number);
            let latest = last.map_or(origin.media.0, |(_, last)| last.0 + MAX_RAISE_MS);
            let media = MediaMs(origin.media.0.max(latest));
            let is_needed = !origin.primes && (!shows_times || self.sampler.may_pick(media));
            let taken = std::mem::replace(picture, DecodedPicture::Unneeded);
            *picture = self.pictures.free_surface(taken, Some(copier), is_needed);
            has_failed |= matches!(picture, DecodedPicture::Failed(_));
        }
        if has_failed {
            self.choice.count_failed_copy();
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Ended here, and not with the other fields, for the guard: what FFmpeg and the reorder buffer free may be on the GPU.
        let _work = self.choice.begin_work();
        self.reorder.reset();
        self.opened = None;
        self.choice.close();
    }
}
