//! The parts of the decoder that idle decode needs: keyframes alone, and a new beginning at one of them.

use std::sync::Arc;

use ffmpeg_next::frame::Video;
use h26x::filter_for_decoder;

use super::super::current_fragment::LearnedFootage;
use super::super::error::DecodeError;
use super::super::reorder::PacketOrigin;
use super::super::track_decoder::{decode_alone, reopen_decoder};
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
        // Nothing is held, so nothing comes out.
        let mut none = Vec::new();
        self.follow_track(&packet.track, &mut none)?;
        self.follow_size(packet, &mut none)?;
        self.flush();
        let picture = self.decode_unit_alone(packet)?;
        let origin = PacketOrigin {
            number: 0,
            fragment: Arc::clone(&packet.fragment),
            index: packet.index,
            media: packet.media,
            arrived: packet.arrived,
            primes: false,
        };
        let frame = self.make_frame(picture, origin)?;
        FrameDecoded { camera: &self.camera }.emit();
        Ok(frame)
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
        let Some(decoder) = &mut self.opened else {
            return Err(fault("its track cannot be decoded".to_owned()));
        };
        let filtered = filter_for_decoder(track.codec, &track.codec_private, unit);
        let picture = decode_alone(decoder, &filtered).map_err(fault);
        decoder.flush();
        picture
    }

    /// Frees the picture buffers of FFmpeg's decoder, which keeps as many as it once needed, after a keyframe was decoded alone.
    ///
    /// # Errors
    /// FFmpeg cannot open the decoder again; it is opened with the next packet.
    pub fn release_buffers(&mut self) -> Result<(), DecodeError> {
        let Some(track) = self.track.clone().filter(|_| self.limit.is_self_contained()) else {
            return Ok(());
        };
        let Some(before) = self.opened.take() else { return Ok(()) };
        // Unset until it is open, so that an error is not the end.
        self.track = None;
        self.opened = Some(reopen_decoder(self.camera.id(), before, &track, &self.limit)?);
        self.track = Some(track);
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
