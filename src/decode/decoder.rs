//! The decoder of one camera: takes packets, returns sampled frames and fragment ends.

mod idle;
mod nvdec;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ffmpeg_next::frame::Video;
use h26x::{PictureRole, filter_for_decoder};

use super::current_fragment::{CurrentFragment, HeldEnd, LearnedFootage};
use super::error::DecodeError;
use super::mask::Masks;
use super::nvdec::DecoderChoice;
use super::picture::{DecodedPicture, PictureMaker};
use super::reference_tracker::ReferenceTracker;
use super::reorder::{PacketOrigin, ReorderBuffer};
use super::sampler::Sampler;
use super::track_decoder::{NEEDS_PACKETS, PictureLimit, open_decoder, send_unit, stated_size_px};
use crate::media::{Decoded, FragmentEnd, Frame, MediaMs, Packet, SamplerState, VideoTrack};
use crate::status::CameraStatus;
use crate::telemetry::decode::{
    DecoderOpened, DropReason, FrameDecoded, FrameSampled, FramesDropped, SkipReason, UnitsSkipped,
};

/// Decodes the packets of one camera and returns the frames that its sampler picks.
///
/// Invariant: each frame is returned at most once, in order of presentation, and none depends on a damaged packet.
pub struct Decoder {
    camera: CameraStatus,
    sampler: Sampler,
    /// The sampler's state after the last fragment whose end was returned.
    committed: SamplerState,
    learned: LearnedFootage,
    track: Option<Arc<VideoTrack>>,
    /// FFmpeg's decoder; `None` before the first packet, or while the track cannot be decoded.
    opened: Option<ffmpeg_next::decoder::Video>,
    limit: PictureLimit,
    choice: DecoderChoice,
    pictures: PictureMaker,
    reorder: ReorderBuffer<DecodedPicture>,
    references: ReferenceTracker,
    /// The ends of fragments whose frames are not all returned yet.
    ends: VecDeque<HeldEnd>,
    /// The fragment of the last packet.
    current: Option<CurrentFragment>,
    /// The packets of the current fragment, if the stream has open GOPs: after a pause they prime the decoder again.
    kept: Vec<Packet>,
    has_open_gops: bool,
    /// True if a pause drained the decoder, and no packet has come since.
    paused: bool,
    /// The fragment and the media time of the last decoded frame.
    last_frame: Option<(Arc<str>, MediaMs)>,
}

impl Decoder {
    /// Creates a decoder that opens with the first packet.
    #[must_use]
    pub fn new(camera: CameraStatus, sampler: Sampler) -> Self {
        let committed = sampler.state();
        Self {
            choice: DecoderChoice::new(camera.clone()),
            camera,
            learned: LearnedFootage { gops: committed.gops, sizes: committed.sizes },
            committed,
            sampler,
            track: None,
            opened: None,
            limit: PictureLimit::default(),
            pictures: PictureMaker::default(),
            reorder: ReorderBuffer::default(),
            references: ReferenceTracker::default(),
            ends: VecDeque::new(),
            current: None,
            kept: Vec::new(),
            has_open_gops: false,
            paused: false,
            last_frame: None,
        }
    }

    /// Sets the limit on the size of pictures, px: larger ones are not decoded.
    #[must_use]
    pub fn with_max_pixels(mut self, max_pixels: u32) -> Self {
        self.limit = PictureLimit::new(max_pixels);
        self
    }

    /// Sets the regions that are black in each frame.
    #[must_use]
    pub fn with_masks(mut self, masks: Option<Masks>) -> Self {
        self.pictures.set_masks(masks);
        self
    }

    /// Decodes `packet` and appends the result to `out`.
    ///
    /// That is sampled frames, and the end of the previous fragment if the decoder still held frames of it.
    ///
    /// # Errors
    /// See [`DecodeError`]; `out` may contain frames nevertheless, and the next packet may be pushed.
    pub fn push(&mut self, packet: Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let _work = self.choice.begin_work();
        self.decode(packet, false, out)
    }

    /// Decodes `packet` without a frame of its own, for the frames that refer to it.
    ///
    /// Its frame was returned before a restart or reconnect; see [`Position::primer`](crate::media::Position::primer).
    ///
    /// # Errors
    /// See [`DecodeError`]; the next packet may be pushed.
    pub fn prime(&mut self, packet: Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let _work = self.choice.begin_work();
        self.decode(packet, true, out)
    }

    /// Ends a fragment: appends the frames that the decoder held back and the end to `out`.
    ///
    /// After a fragment with an open GOP they follow with the next packets, or by [`Self::pause`].
    ///
    /// # Errors
    /// See [`DecodeError`]; the fragment is ended nevertheless.
    pub fn end_fragment(&mut self, end: FragmentEnd, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let _work = self.choice.begin_work();
        let primes_next = end.position.primer.is_some();
        if let Some(current) = &mut self.current {
            current.primes_next = primes_next;
        }
        self.ends.push_back(HeldEnd { end, last: self.references.last_number(), learned: self.learned });
        // Draining needs a flush, which would remove the references of the next fragment's leading pictures.
        let drained = if primes_next { Ok(()) } else { self.drain(out) };
        self.emit_ends_before(i64::MAX, out);
        drained
    }

    /// Returns true if the end of a complete fragment waits for the first packet of the next.
    #[must_use]
    pub fn awaits_next_fragment(&self) -> bool {
        self.ends.back().is_some_and(|held| held.last == self.references.last_number())
    }

    /// Appends the frames and the end that are held back to `out`, because no next fragment comes.
    ///
    /// If it comes after all and refers to this fragment, this fragment is decoded again for it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn pause(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let _work = self.choice.begin_work();
        // The flush of the drain discards the kept packets, which a resume needs.
        let kept = std::mem::take(&mut self.kept);
        let drained = self.drain(out);
        (self.kept, self.paused) = (kept, true);
        drained
    }

    /// Discards the fragment that has begun, after the rest of a complete fragment before it was appended to `out`.
    ///
    /// # Errors
    /// See [`DecodeError`]; the decoder is ready for the next keyframe nevertheless.
    pub fn handle_discontinuity(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let _work = self.choice.begin_work();
        let before = out.len();
        let drained = if self.ends.is_empty() { Ok(()) } else { self.drain(out) };
        // Frames after the last end are of the broken fragment, which is read again as a whole.
        let ended = out.iter().rposition(|item| !matches!(item, Decoded::Frame(_))).map_or(0, |end| end + 1);
        let broken = out.drain(ended.max(before)..).count();
        self.count_dropped(broken + self.reorder.len(), DropReason::Discontinuity);
        self.last_frame = None;
        self.flush();
        self.sampler.rewind(self.committed.clone());
        self.learned = LearnedFootage { gops: self.committed.gops, sizes: self.committed.sizes };
        drained
    }

    /// Appends the frames that the decoder held back to `out`; packets before the next keyframe are left out.
    ///
    /// # Errors
    /// See [`DecodeError`]; the next packet may be pushed nevertheless.
    pub fn skip_to_keyframe(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let _work = self.choice.begin_work();
        let drained = self.drain(out);
        self.flush();
        drained
    }

    fn decode(&mut self, packet: Packet, primes: bool, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let role = packet.role();
        // Some producers do not set the keyframe flag of the block, so the NAL units count as well.
        let is_keyframe = packet.key || role.is_random_access();
        if self.paused && !primes {
            self.resume(&packet, role, out);
        }
        self.choice.wake(Instant::now());
        let (continues, entered) = self.enter_fragment(&packet, role, primes, out);
        let mut followed = entered.and(self.follow_track(&packet, out));
        if is_keyframe {
            followed = followed.and(self.follow_keyframe(&packet, out));
            followed = followed.and(self.follow_choice(&packet, role, primes, out));
            self.references.enter_keyframe(&packet, role, continues);
            if !primes {
                self.learned.gops.enter_keyframe(packet.media);
            }
        }
        self.has_open_gops |= role == PictureRole::Open;
        if self.has_open_gops && !primes {
            self.kept.push(packet.clone());
        }
        if self.count_if_left_out(&packet, role, is_keyframe, primes) {
            return followed;
        }
        let decoded = self.send(packet, is_keyframe, primes).and_then(|()| self.receive(out));
        followed.and(decoded.map_err(|error| self.recover(error, out)))
    }

    /// Follows the size of a keyframe's pictures, after the end of the GOP before it if keyframes alone are decoded.
    fn follow_keyframe(&mut self, packet: &Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        // The pictures between the keyframes were left out, so the decoder must not take them for lost.
        let skipped = if self.keyframes_suffice() { self.skip_to_keyframe(out) } else { Ok(()) };
        skipped.and(self.follow_size(packet, out))
    }

    /// Counts the packet as dropped or skipped and returns true if FFmpeg does not get it.
    fn count_if_left_out(&self, packet: &Packet, role: PictureRole, is_keyframe: bool, primes: bool) -> bool {
        let left_out = match self.opened {
            None => Some(DropReason::Track),
            Some(_) => self.references.why_left_out(packet, role, is_keyframe),
        };
        let skipped = self.why_skipped(packet, is_keyframe, primes);
        match (left_out, skipped) {
            // A leading picture that nothing needs is no loss.
            (None | Some(DropReason::Leading), Some(reason)) => {
                UnitsSkipped { camera: &self.camera, units: usize::from(!primes), reason }.emit();
            }
            (Some(reason), _) => self.count_dropped(usize::from(!primes), reason),
            (None, None) => return false,
        }
        true
    }

    /// Returns true if keyframes alone serve the sampler: its period is at least as long as a GOP.
    #[must_use]
    pub fn keyframes_suffice(&self) -> bool {
        let (period_ms, longest_ms) = (self.sampler.period_ms(), self.learned.gops.longest_ms());
        period_ms.zip(longest_ms).is_some_and(|(period_ms, longest_ms)| period_ms >= f64::from(longest_ms))
    }

    /// Returns the reason for which FFmpeg need not get the packet, if it need not.
    fn why_skipped(&self, packet: &Packet, is_keyframe: bool, primes: bool) -> Option<SkipReason> {
        if is_keyframe {
            return None;
        }
        if self.keyframes_suffice() {
            return Some(SkipReason::NotDue);
        }
        // A skipped frame must not have served a tick, nor raised the time of the next frame.
        let is_needed = !primes && (!self.shows_times() || self.may_be_sampled(packet.media));
        let VideoTrack { codec, codec_private, .. } = &*packet.track;
        let is_skipped = !is_needed && h26x::is_disposable(*codec, codec_private, &packet.unit);
        is_skipped.then_some(SkipReason::NonReference)
    }

    /// Returns true unless the sampler certainly leaves out the frame at `media`.
    fn may_be_sampled(&self, media: MediaMs) -> bool {
        // The frames that wait have not been shown to the sampler yet.
        self.sampler.may_pick(media) && !self.sampler.is_served_before(media, self.reorder.waiting_times())
    }

    /// Returns true if the times of the track's packets are the times at which their frames are shown.
    fn shows_times(&self) -> bool {
        // Some producers send decoding times. Where the decoder reorders, only a step back in time rules that out.
        self.reorder.by_presentation() || self.opened.as_ref().is_some_and(|decoder| !decoder.has_b_frames())
    }

    /// Primes the decoder with the kept fragment after a pause, if `packet` continues it and may refer to it.
    fn resume(&mut self, packet: &Packet, role: PictureRole, out: &mut Vec<Decoded>) {
        self.paused = false;
        let is_referred_to = |current: &CurrentFragment| {
            current.number != packet.fragment.number && role == PictureRole::Open && current.leads_to(packet)
        };
        if !self.current.as_ref().is_some_and(is_referred_to) {
            return;
        }
        for packet in std::mem::take(&mut self.kept) {
            // Its errors were reported when it was decoded first.
            let _repeated = self.decode(packet, true, out);
        }
    }

    /// Follows `packet` into its fragment; returns whether it may refer to what was decoded before.
    ///
    /// If it must not, the rest of the previous fragment is appended to `out`.
    fn enter_fragment(
        &mut self,
        packet: &Packet,
        role: PictureRole,
        primes: bool,
        out: &mut Vec<Decoded>,
    ) -> (bool, Result<(), DecodeError>) {
        let number = &packet.fragment.number;
        if let Some(current) = self.current.as_mut().filter(|current| current.number == *number) {
            current.newest = current.newest.max(packet.media);
            return (true, Ok(()));
        }
        let entered =
            CurrentFragment { number: Arc::clone(number), newest: packet.media, primes_next: primes };
        let before = self.current.replace(entered);
        self.kept.clear();
        let continues = role == PictureRole::Open && before.is_some_and(|before| before.leads_to(packet));
        let drained = if continues || self.ends.is_empty() { Ok(()) } else { self.drain(out) };
        (continues, drained)
    }

    /// Opens a decoder for the track of `packet` if it differs from the current one, after all frames of that one were returned.
    fn follow_track(&mut self, packet: &Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let track = &packet.track;
        let is_same = |current: &Arc<VideoTrack>| Arc::ptr_eq(current, track) || current == track;
        if self.track.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        let drained = self.drain(out);
        self.flush();
        self.reorder.reset();
        self.has_open_gops = false;
        self.track = Some(Arc::clone(track));
        // Closed first: a camera never has two decoders, whose picture buffers would add up.
        self.opened = None;
        let device = self.choice.open_track(stated_size_px(track), packet.media, Instant::now());
        let opened = open_decoder(self.camera.id(), track, &self.limit, device.as_ref());
        self.opened = Some(opened.inspect_err(|_| self.choice.close())?);
        DecoderOpened { camera: &self.camera, track }.emit();
        drained
    }

    /// Closes the decoder at a keyframe whose pictures are too large, and opens it at one whose pictures are not.
    fn follow_size(&mut self, packet: &Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        match self.limit.follow(self.camera.id(), packet) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.track = None;
                self.follow_track(packet, out)
            }
            Err(too_large) => {
                let drained = self.drain(out);
                self.flush();
                self.opened = None;
                self.choice.close();
                drained.and(Err(too_large))
            }
        }
    }

    /// Sends `packet` to FFmpeg.
    fn send(&mut self, packet: Packet, is_keyframe: bool, primes: bool) -> Result<(), DecodeError> {
        let number = self.references.take_number(is_keyframe);
        let Packet { fragment, track, index, media, unit, arrived, .. } = packet;
        let origin = PacketOrigin { number, fragment, index, media, arrived, primes };
        let given_up = self.reorder.sent(origin.clone());
        self.count_dropped(given_up, DropReason::NoPicture);
        self.choice.count_sent();
        let sent = match &mut self.opened {
            Some(decoder) => send_unit(
                decoder,
                number,
                is_keyframe,
                &filter_for_decoder(track.codec, &track.codec_private, &unit),
            ),
            None => Ok(()),
        };
        sent.map_err(|reason| self.mark_damaged(&origin, reason))
    }

    /// Receives all frames that FFmpeg has ready.
    fn receive(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let mut outcome = Ok(());
        let mut frame = Video::empty();
        while let Some(decoder) = &mut self.opened {
            let held = match decoder.receive_frame(&mut frame) {
                Ok(()) => self.hold_frame(&mut frame, out),
                Err(error) => {
                    return outcome.and(self.check_received(error)).and(self.finish_receiving(out));
                }
            };
            outcome = outcome.and(held);
        }
        outcome
    }

    /// Returns the error of the last packet, if FFmpeg returned no frame because of one.
    fn check_received(&mut self, error: ffmpeg_next::Error) -> Result<(), DecodeError> {
        match error {
            // EAGAIN: FFmpeg needs more packets. EOF: it is drained.
            ffmpeg_next::Error::Eof | NEEDS_PACKETS => Ok(()),
            error => match self.reorder.last_sent().cloned() {
                Some(origin) => Err(self.mark_damaged(&origin, error.to_string())),
                None => Ok(()),
            },
        }
    }

    fn finish_receiving(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        // A decoder without delay has returned the frame of each packet but the last, which may be a first field.
        if self.opened.as_ref().is_some_and(|decoder| !decoder.has_b_frames()) {
            let given_up = self.reorder.give_up_all_but_last();
            self.count_dropped(given_up, DropReason::NoPicture);
        }
        self.emit_ready_frames(out)
    }

    /// Moves `frame` to the reorder buffer, unless it is damaged.
    fn hold_frame(&mut self, frame: &mut Video, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        self.choice.follow_frame(frame, Instant::now());
        let Some(origin) = frame.pts().and_then(|number| self.reorder.received(number)) else {
            return Ok(());
        };
        // The H.264 decoder conceals errors and only flags the frame.
        if frame.is_corrupt() || frame.has_decode_errors() {
            return Err(self.mark_damaged(&origin, "parts of its picture are missing".to_owned()));
        }
        let picture = DecodedPicture::Ffmpeg(std::mem::replace(frame, Video::empty()));
        let given_up = self.reorder.hold(origin, picture);
        self.count_dropped(given_up, DropReason::NoPicture);
        let emitted = self.emit_ready_frames(out);
        self.free_surfaces();
        emitted
    }

    /// Emits the held frames that depend on no packet whose frame is still to come and may turn out damaged.
    fn emit_ready_frames(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let mut outcome = Ok(());
        while let Some((origin, picture)) = self.reorder.next_ready() {
            self.emit_ends_before(origin.number, out);
            outcome = outcome.and(self.emit_frame(origin, picture, out));
        }
        self.emit_ends_before(i64::MAX, out);
        outcome
    }

    /// Emits the ends of the fragments before the packet with `number` of which no frame is to come.
    fn emit_ends_before(&mut self, number: i64, out: &mut Vec<Decoded>) {
        while let Some(HeldEnd { end, learned, .. }) = self.pop_end_before(number) {
            self.emit_end(end, learned, out);
        }
    }

    fn pop_end_before(&mut self, number: i64) -> Option<HeldEnd> {
        let reorder = &self.reorder;
        self.ends.pop_front_if(|held| held.last < number && reorder.is_past(held.last))
    }

    fn emit_end(&mut self, end: FragmentEnd, learned: LearnedFootage, out: &mut Vec<Decoded>) {
        let LearnedFootage { gops, sizes } = learned;
        self.committed = SamplerState { gops, sizes, ..self.sampler.state() };
        out.push(Decoded::FragmentEnd { end, sampler: Box::new(self.committed.clone()) });
    }

    /// Appends the frame to `out` if it is sound and the sampler picks it.
    fn emit_frame(
        &mut self,
        origin: PacketOrigin,
        picture: DecodedPicture,
        out: &mut Vec<Decoded>,
    ) -> Result<(), DecodeError> {
        if origin.primes {
            return Ok(());
        }
        if self.references.is_damaged(origin.number) {
            self.count_dropped(1, DropReason::Damaged);
            return Ok(());
        }
        FrameDecoded { camera: &self.camera }.emit();
        let origin = self.raise_time(origin);
        // The sampler decides before anything is copied or converted.
        if self.sampler.picks(origin.media) {
            out.push(Decoded::Frame(self.make_frame(picture, origin)?));
        }
        Ok(())
    }

    /// Raises the frame's media time above that of the previous frame of its fragment.
    fn raise_time(&mut self, mut origin: PacketOrigin) -> PacketOrigin {
        let number = &origin.fragment.number;
        // Producers may send decoding times, or jitter. A time that repeats would pass for a frame seen before.
        if let Some((_, last)) = self.last_frame.as_ref().filter(|(fragment, _)| fragment == number) {
            origin.media = origin.media.max(MediaMs(last.0.saturating_add(1)));
        }
        self.last_frame = Some((Arc::clone(number), origin.media));
        origin
    }

    fn make_frame(
        &mut self,
        picture: DecodedPicture,
        origin: PacketOrigin,
    ) -> Result<Arc<Frame>, DecodeError> {
        let PacketOrigin { fragment, index, media, arrived, .. } = origin;
        let camera = self.camera.id().clone();
        match self.pictures.make(picture, self.choice.copier()) {
            Ok(surface) => {
                self.choice.note_copy();
                FrameSampled { camera: &self.camera }.emit();
                Ok(Arc::new(Frame { camera, fragment, index, media, arrived, surface }))
            }
            Err(error) => {
                self.choice.count_failed_copy();
                self.count_dropped(1, DropReason::Damaged);
                let (fragment, reason) = (Arc::clone(&fragment.number), error.to_string());
                Err(DecodeError::Picture { camera, fragment, index, reason })
            }
        }
    }

    /// Marks the packet of `origin` and those that depend on it as damaged; returns the error to report.
    fn mark_damaged(&mut self, origin: &PacketOrigin, reason: String) -> DecodeError {
        self.choice.count_failure();
        self.references.mark_damaged(origin.number);
        let _without_frame = self.reorder.received(origin.number);
        self.count_dropped(1, DropReason::Damaged);
        let (camera, fragment) = (self.camera.id().clone(), Arc::clone(&origin.fragment.number));
        DecodeError::Unit { camera, fragment, index: origin.index, reason }
    }

    /// Emits the sound frames that the decoder holds and readies it for the next keyframe; returns `error`.
    fn recover(&mut self, error: DecodeError, out: &mut Vec<Decoded>) -> DecodeError {
        // If a keyframe has come since the damage, the decoder is in order already.
        if self.references.is_broken() {
            // A further error has the same cause, and the first one is reported.
            let _same_cause = self.drain(out);
            self.flush();
            self.references.reset_after_damage();
        }
        error
    }

    /// Emits all frames that FFmpeg and the reorder buffer hold back; flushes the decoder if there were any.
    fn drain(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        if self.reorder.is_empty() {
            self.emit_ends_before(i64::MAX, out);
            return Ok(());
        }
        // An empty packet puts FFmpeg's decoder into draining mode, which only a flush ends.
        let sent = match &mut self.opened {
            Some(decoder) => decoder.send_eof(),
            None => Ok(()),
        };
        let received = self.receive(out).and(sent.or_else(|error| self.check_received(error)));
        let without_picture = self.reorder.give_up_all();
        self.count_dropped(without_picture, DropReason::NoPicture);
        let emitted = self.emit_ready_frames(out);
        self.flush();
        received.and(emitted)
    }

    /// Readies the decoder for the next keyframe. The frames that it holds are lost.
    fn flush(&mut self) {
        if let Some(decoder) = &mut self.opened {
            decoder.flush();
        }
        self.forget();
    }

    /// Forgets the packets and frames before the next keyframe, as a flush does.
    fn forget(&mut self) {
        self.reorder.clear();
        self.kept.clear();
        self.paused = false;
        self.references.reset();
    }

    fn count_dropped(&self, frames: usize, reason: DropReason) {
        FramesDropped { camera: &self.camera, frames, reason }.emit();
    }
}
