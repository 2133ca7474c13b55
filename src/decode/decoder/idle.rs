//! The parts of the decoder that idle decode needs: keyframes alone, and a new beginning at one of them.

use std::sync::Arc;

use h26x::filter_for_decoder;

use super::super::current_fragment::LearnedFootage;
use super::super::error::DecodeError;
use super::super::reorder::PacketOrigin;
use super::super::track_decoder::decode_alone;
use super::Decoder;
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
        let Packet { fragment, track, index, media, unit, arrived, .. } = packet;
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
        let origin = PacketOrigin {
            number: 0,
            fragment: Arc::clone(fragment),
            index: *index,
            media: *media,
            arrived: *arrived,
            primes: false,
        };
        let frame = self.make_frame(picture?, origin)?;
        FrameDecoded { camera: &self.camera }.emit();
        Ok(frame)
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
