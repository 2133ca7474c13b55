//! The parts of the decoder that idle decode needs: keyframes alone, and a new beginning at one of them.

use std::sync::Arc;
use std::time::Instant;

use ffmpeg_next::frame::Video;
use h26x::{PictureRole, filter_for_decoder};

use super::super::current_fragment::LearnedFootage;
use super::super::error::DecodeError;
use super::super::picture::DecodedPicture;
use super::super::reorder::PacketOrigin;
use super::super::track_decoder::decode_alone;
use super::Decoder;
use crate::base::return_free_memory;
use crate::media::{Decoded, FragmentEnd, Frame, MediaMs, Packet, QuietSizes};
use crate::telemetry::decode::{FrameDecoded, FrameSampled};

impl Decoder {
    /// Decodes a keyframe alone; returns its frame, without an effect on the sampler.
    ///
    /// The decoder must hold no frames; it is ready for the next keyframe afterwards.
    ///
    /// # Errors
    /// See [`DecodeError`]. A keyframe without a frame of its own, such as one that is coded as two fields, is an error too.
    pub fn decode_keyframe(&mut self, packet: &Packet) -> Result<Arc<Frame>, DecodeError> {
        let _work = self.choice.begin_work();
        // Nothing is held, so nothing comes out.
        let mut none = Vec::new();
        self.follow_track(packet, &mut none)?;
        self.follow_size(packet, &mut none)?;
        if self.needs_no_flush(packet) {
            self.forget();
        } else {
            self.flush();
        }
        let picture = self.decode_unit_alone(packet)?;
        let origin = PacketOrigin {
            number: 0,
            fragment: Arc::clone(&packet.fragment),
            index: packet.index,
            media: packet.media,
            arrived: packet.arrived,
            primes: false,
        };
        let frame = self.make_frame(DecodedPicture::Ffmpeg(picture), origin)?;
        FrameDecoded { camera: &self.camera }.emit();
        Ok(frame)
    }

    /// Returns true if a keyframe of NVDEC's needs no flush before and after it: it refers to nothing, and nothing is held back.
    ///
    /// Behind a flush, FFmpeg opens NVDEC's decoder of H.264 again, which takes longer than to decode a picture.
    fn needs_no_flush(&self, keyframe: &Packet) -> bool {
        let holds_nothing = self.opened.as_ref().is_some_and(|decoder| !decoder.has_b_frames());
        self.choice.is_for_nvdec() && holds_nothing && keyframe.role() == PictureRole::Closed
    }

    /// Decodes the access unit without any other; returns its picture.
    fn decode_unit_alone(&mut self, packet: &Packet) -> Result<Video, DecodeError> {
        let Packet { fragment, track, index, unit, .. } = packet;
        let fault = |reason: String| DecodeError::Unit {
            camera: self.camera.id().clone(),
            fragment: Arc::clone(&fragment.number),
            index: *index,
            reason,
        };
        let drains = !self.needs_no_flush(packet);
        let Some(decoder) = &mut self.opened else {
            return Err(fault("its track cannot be decoded".to_owned()));
        };
        let filtered = filter_for_decoder(track.codec, &track.codec_private, unit);
        let (picture, is_drained) = decode_alone(decoder, &filtered, drains);
        let picture = picture.map_err(fault);
        if is_drained || picture.is_err() {
            decoder.flush();
        }
        match &picture {
            Ok(picture) => self.choice.follow_frame(picture, Instant::now()),
            Err(_) => self.choice.count_failure(),
        }
        picture
    }

    /// Frees the picture buffers of FFmpeg's decoder, which keeps as many as it once needed, after a keyframe was decoded alone.
    ///
    /// # Errors
    /// FFmpeg cannot open the decoder again; it is opened with the next packet.
    pub fn release_buffers(&mut self) -> Result<(), DecodeError> {
        let _work = self.choice.begin_work();
        self.choice.become_idle(self.longest_gop_ms(), Instant::now());
        let Some(track) = self.track.clone().filter(|_| self.limit.is_self_contained()) else {
            return Ok(());
        };
        self.reopen(&track)?;
        return_free_memory();
        Ok(())
    }

    /// Records that the keyframe was judged by its frame alone, and is not decoded again.
    pub fn pass_keyframe(&mut self, packet: &Packet) {
        self.learned.gops.enter_keyframe(packet.media);
        self.sampler.pass(packet.media);
        FrameSampled { camera: &self.camera }.emit();
    }

    /// Records that nothing moved in the frames up to `media`, so that the sampler does not make up for them.
    pub fn pass_frames_until(&mut self, media: MediaMs) {
        self.sampler.pass(media);
    }

    /// Ends a fragment of which only keyframes were decoded.
    pub fn pass_fragment(&mut self, end: FragmentEnd, sizes: QuietSizes, out: &mut Vec<Decoded>) {
        let learned = LearnedFootage { sizes, ..self.learned };
        self.emit_end(end, learned, out);
    }

    /// Begins to decode again at a keyframe whose frame was judged, without a frame of its own.
    ///
    /// # Errors
    /// See [`DecodeError`]; the next packet may be pushed.
    pub fn restart_at(&mut self, packet: Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let _work = self.choice.begin_work();
        self.flush();
        self.current = None;
        let kept = packet.clone();
        let decoded = self.decode(packet, true, out);
        if self.has_open_gops {
            self.kept.push(kept);
        }
        decoded
    }

    /// Sets the usual sizes of access units that the end of a fragment carries.
    pub fn set_sizes(&mut self, sizes: QuietSizes) {
        self.learned.sizes = sizes;
    }

    /// Returns the usual sizes of access units.
    #[must_use]
    pub fn sizes(&self) -> QuietSizes {
        self.learned.sizes
    }

    /// Returns the length of the longest of the last GOPs, ms; `None` before the first is complete.
    #[must_use]
    pub fn longest_gop_ms(&self) -> Option<u32> {
        self.learned.gops.longest_ms()
    }
}
