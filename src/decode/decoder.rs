//! One camera's decoder: packets in, sampled frames and ends of fragments out.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use ffmpeg_next::frame::Video;
use h26x::{PictureRole, filter_for_decoder};

use super::Surface;
use super::current_fragment::{CurrentFragment, HeldEnd};
use super::error::DecodeError;
use super::mask::Masks;
use super::picture::PictureMaker;
use super::reorder::{Origin, Reorder};
use super::sampler::{Sampler, SamplerState};
use super::track_decoder::{PictureLimit, open, send_unit};
use crate::frame::{Codec, Decoded, FragmentEnd, Frame, MediaMs, Packet, VideoTrack};
use crate::telemetry::CameraBoard;
use crate::telemetry::decode::{DecoderOpened, DropReason, FrameDecoded, FrameSampled, FramesDropped};

/// Decodes one camera's packets and gives out the frames that its sampler picks.
///
/// Invariant: a frame is given out at most once, in order of presentation, and none that rests on a damaged one.
pub struct Decoder {
    camera: CameraBoard,
    sampler: Sampler,
    /// The sampler's state after the last fragment whose end was given out.
    committed: SamplerState,
    track: Option<Arc<VideoTrack>>,
    /// `None` where nothing was decoded yet, or the track is unusable.
    opened: Option<ffmpeg_next::decoder::Video>,
    limit: PictureLimit,
    pictures: PictureMaker,
    reorder: Reorder<Video>,
    /// Ends of fragments of which frames are still to come.
    ends: VecDeque<HeldEnd>,
    /// The fragment of the last packet.
    current: Option<CurrentFragment>,
    /// The packets of the current fragment, where the stream has open GOPs: after a pause they prime the decoder again.
    kept: Vec<Packet>,
    keeps: bool,
    /// Whether the decoder was flushed by a pause, and nothing came since.
    paused: bool,
    /// The fragment and the time of the last frame that was given out.
    last_given: Option<(Arc<str>, MediaMs)>,
    /// The number of the next packet: FFmpeg carries it to the frame as its pts.
    next_number: i64,
    /// The number of the last key frame's packet.
    key_number: i64,
    key_media: MediaMs,
    awaits_key: bool,
    /// `true` if a damaged packet is the reason for `awaits_key`.
    after_damage: bool,
    /// Whether decoding began at the last key frame, so that the leading pictures behind it have nothing to refer to.
    lacks_references: bool,
    /// Packets from a damaged one to the next key frame.
    damaged: Range<i64>,
}

impl Decoder {
    /// A decoder that opens with the first packet.
    #[must_use]
    pub fn new(camera: CameraBoard, sampler: Sampler) -> Self {
        Self {
            camera,
            committed: sampler.state(),
            sampler,
            track: None,
            opened: None,
            limit: PictureLimit::default(),
            pictures: PictureMaker::default(),
            reorder: Reorder::default(),
            ends: VecDeque::new(),
            current: None,
            kept: Vec::new(),
            keeps: false,
            paused: false,
            last_given: None,
            next_number: 0,
            key_number: 0,
            key_media: MediaMs::default(),
            awaits_key: true,
            after_damage: false,
            lacks_references: true,
            damaged: 0..0,
        }
    }

    /// The same decoder, which refuses pictures of more than `max_pixels`.
    #[must_use]
    pub fn limited(mut self, max_pixels: u32) -> Self {
        self.limit = PictureLimit::new(max_pixels);
        self
    }

    /// The same decoder, with `masks` black in every frame that it gives out.
    #[must_use]
    pub fn masked(mut self, masks: Option<Masks>) -> Self {
        self.pictures.mask(masks);
        self
    }

    /// Decodes `packet` and appends what came out of it to `out`: sampled frames, and the end of the fragment before where
    /// frames of that were still to come.
    ///
    /// # Errors
    /// See [`DecodeError`]; `out` may have got frames nevertheless, and the next packet may be pushed.
    pub fn push(&mut self, packet: Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        self.decode(packet, false, out)
    }

    /// Decodes `packet`, whose frame was given out by an earlier reading, for the frames that refer to it; see
    /// [`Position::primer`](crate::frame::Position::primer).
    ///
    /// # Errors
    /// See [`DecodeError`]; the next packet may be pushed.
    pub fn prime(&mut self, packet: Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        self.decode(packet, true, out)
    }

    /// Ends a fragment: appends the frames that the decoder held back to `out`, and the end with the sampler's state after it.
    ///
    /// After a fragment of open GOPs the decoder is left as it is, since the next fragment may refer to this one: the last
    /// frames come with the next packets then, or by [`Self::pause`].
    ///
    /// # Errors
    /// See [`DecodeError`]; the fragment is ended nevertheless.
    pub fn end_fragment(&mut self, end: FragmentEnd, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let primes_next = end.position.primer.is_some();
        if let Some(current) = &mut self.current {
            current.primes_next = primes_next;
        }
        self.ends.push_back(HeldEnd { end, last: self.next_number - 1 });
        let drained = if primes_next { Ok(()) } else { self.drain(out) };
        self.end_before(i64::MAX, out);
        drained
    }

    /// Whether the last frames and the end of a complete fragment wait for the first packet of the next.
    #[must_use]
    pub fn awaits_next_fragment(&self) -> bool {
        self.ends.back().is_some_and(|held| held.last == self.next_number - 1)
    }

    /// Gives out what is held back, because [`Self::awaits_next_fragment`] and none comes. When it comes and refers to this one, this
    /// one is decoded again for it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn pause(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let kept = std::mem::take(&mut self.kept);
        let drained = self.drain(out);
        (self.kept, self.paused) = (kept, true);
        drained
    }

    /// Forgets what came since the last fragment's end; decoding resumes at the next key frame. The rest of a complete
    /// fragment is given out.
    ///
    /// # Errors
    /// See [`DecodeError`]; the decoder is ready for the next key frame nevertheless.
    pub fn discontinuity(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let before = out.len();
        let drained = if self.ends.is_empty() { Ok(()) } else { self.drain(out) };
        let ended = out.iter().rposition(|item| !matches!(item, Decoded::Frame(_))).map_or(0, |end| end + 1);
        let broken = out.drain(ended.max(before)..).count();
        self.count_dropped(broken + self.reorder.len(), DropReason::Discontinuity);
        self.last_given = None;
        self.flush();
        self.sampler.rewind(self.committed);
        drained
    }

    fn decode(&mut self, packet: Packet, primes: bool, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let role = packet.role();
        let starts = packet.key || role.is_random_access();
        if self.paused && !primes {
            self.resume(&packet, role, out);
        }
        let (continues, entered) = self.enter_fragment(&packet, role, primes, out);
        let mut followed = entered.and(self.follow_track(&packet.track, out));
        if starts {
            followed = followed.and(self.follow_size(&packet, out));
            self.key_media = packet.media;
            self.lacks_references = match (packet.track.codec, role) {
                (Codec::H264, PictureRole::Closed) => false,
                // A BLA says that its RASL pictures are to be left out; an IDR has none.
                (Codec::H265, PictureRole::Closed) => true,
                _ => self.awaits_key || !continues,
            };
        }
        self.keeps |= role == PictureRole::Open;
        if self.keeps && !primes {
            self.kept.push(packet.clone());
        }
        if let Some(reason) = self.why_left_out(&packet, role, starts) {
            self.count_dropped(usize::from(!primes), reason);
            return followed;
        }
        let decoded = self.send(packet, starts, primes).and_then(|()| self.receive(out));
        followed.and(decoded.map_err(|error| self.recover(error, out)))
    }

    /// After a pause: primes the decoder with the fragment before, where `packet` continues it and may refer to it.
    fn resume(&mut self, packet: &Packet, role: PictureRole, out: &mut Vec<Decoded>) {
        self.paused = false;
        let is_referred_to = |current: &CurrentFragment| {
            current.number != packet.fragment.number && role == PictureRole::Open && current.leads_to(packet)
        };
        if !self.current.as_ref().is_some_and(is_referred_to) {
            return;
        }
        for packet in std::mem::take(&mut self.kept) {
            // Its faults were reported when it was decoded first.
            let _again = self.decode(packet, true, out);
        }
    }

    /// Follows `packet` into its fragment; returns whether it may refer to what was decoded before. Where it may not, the rest of
    /// the fragment before is given out.
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

    /// Why the packet cannot be decoded.
    fn why_left_out(&self, packet: &Packet, role: PictureRole, starts: bool) -> Option<DropReason> {
        let refers_to_nothing = match packet.track.codec {
            Codec::H265 => role == PictureRole::SkippedLeading,
            // Leading pictures have no type of their own: they are shown before the key frame that they follow.
            Codec::H264 => !starts && packet.media < self.key_media,
        };
        match self.opened {
            None => Some(DropReason::Track),
            Some(_) if self.awaits_key && !starts && self.after_damage => Some(DropReason::Damaged),
            Some(_) if self.awaits_key && !starts => Some(DropReason::NoKeyFrame),
            Some(_) if self.lacks_references && refers_to_nothing => Some(DropReason::Leading),
            Some(_) => None,
        }
    }

    /// Appends the frames that the decoder held back to `out`, and decodes nothing more before the next key frame.
    ///
    /// # Errors
    /// See [`DecodeError`]; the next packet may be pushed nevertheless.
    pub fn skip_to_key_frame(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let drained = self.drain(out);
        self.flush();
        drained
    }

    /// Opens a decoder for `track` where it is another than before, when all of the old one is out.
    fn follow_track(&mut self, track: &Arc<VideoTrack>, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let same = |now: &Arc<VideoTrack>| Arc::ptr_eq(now, track) || now == track;
        if self.track.as_ref().is_some_and(same) {
            return Ok(());
        }
        let drained = self.drain(out);
        self.flush();
        self.reorder.reset();
        self.keeps = false;
        self.track = Some(Arc::clone(track));
        self.opened = None;
        self.opened = Some(open(self.camera.id(), track, &self.limit)?);
        DecoderOpened { camera: &self.camera, track }.emit();
        drained
    }

    /// Closes the decoder where a key frame's pictures are too large, and opens it again where they no longer are.
    fn follow_size(&mut self, packet: &Packet, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        match self.limit.follow(self.camera.id(), packet) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.track = None;
                self.follow_track(&packet.track, out)
            }
            Err(too_large) => {
                let drained = self.drain(out);
                self.flush();
                self.opened = None;
                drained.and(Err(too_large))
            }
        }
    }

    fn send(&mut self, packet: Packet, starts: bool, primes: bool) -> Result<(), DecodeError> {
        let number = self.next_number;
        self.next_number += 1;
        if starts {
            self.key_number = number;
            (self.awaits_key, self.after_damage) = (false, false);
        }
        let Packet { fragment, track, index, media, unit, arrived, .. } = packet;
        let origin = Origin { number, fragment, index, media, arrived, primes };
        let given_up = self.reorder.sent(origin.clone());
        self.count_dropped(given_up, DropReason::NoPicture);
        let sent = match &mut self.opened {
            Some(decoder) => send_unit(
                decoder,
                number,
                starts,
                &filter_for_decoder(track.codec, &track.codec_private, &unit),
            ),
            None => Ok(()),
        };
        sent.map_err(|reason| self.damaged(&origin, reason))
    }

    /// Takes all that the decoder has ready.
    fn receive(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let mut outcome = Ok(());
        let mut frame = Video::empty();
        while let Some(decoder) = &mut self.opened {
            let taken = match decoder.receive_frame(&mut frame) {
                Ok(()) => self.take(&mut frame, out),
                Err(error) => return outcome.and(self.no_more(error)).and(self.wait_for_packets(out)),
            };
            outcome = outcome.and(taken);
        }
        outcome
    }

    /// The decoder gives nothing more: it wants packets, it is drained, or the last packet is damaged.
    fn no_more(&mut self, error: ffmpeg_next::Error) -> Result<(), DecodeError> {
        match error {
            ffmpeg_next::Error::Eof | WANTS_PACKETS => Ok(()),
            error => match self.reorder.last_sent().cloned() {
                Some(origin) => Err(self.damaged(&origin, error.to_string())),
                None => Ok(()),
            },
        }
    }

    /// A decoder without delay has given the frame of each packet but the last, which may be the first field of one.
    fn wait_for_packets(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        if self.opened.as_ref().is_some_and(|decoder| !decoder.has_b_frames()) {
            let given_up = self.reorder.nothing_is_delayed();
            self.count_dropped(given_up, DropReason::NoPicture);
        }
        self.release(out)
    }

    /// Takes the frame for giving out, leaving an empty one, unless it is damaged.
    fn take(&mut self, frame: &mut Video, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let Some(origin) = frame.pts().and_then(|number| self.reorder.came(number)) else { return Ok(()) };
        if frame.is_corrupt() || frame.has_decode_errors() {
            return Err(self.damaged(&origin, "parts of its picture are missing".to_owned()));
        }
        let given_up = self.reorder.hold(origin, std::mem::replace(frame, Video::empty()));
        self.count_dropped(given_up, DropReason::NoPicture);
        self.release(out)
    }

    /// Gives out the held frames that rest on nothing that is still to come: that might turn out damaged.
    fn release(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        let mut outcome = Ok(());
        while let Some((origin, picture)) = self.reorder.next() {
            self.end_before(origin.number, out);
            outcome = outcome.and(self.give_out(origin, picture, out));
        }
        self.end_before(i64::MAX, out);
        outcome
    }

    /// Gives out the ends of the fragments that are before the packet with `number`, and of which nothing is to come.
    fn end_before(&mut self, number: i64, out: &mut Vec<Decoded>) {
        let reorder = &self.reorder;
        let is_over = |held: &mut HeldEnd| held.last < number && reorder.is_past(held.last);
        while let Some(HeldEnd { end, .. }) = self.ends.pop_front_if(is_over) {
            self.committed = self.sampler.state();
            out.push(Decoded::FragmentEnd { end, sampler: self.committed });
        }
    }

    fn give_out(
        &mut self,
        origin: Origin,
        picture: Video,
        out: &mut Vec<Decoded>,
    ) -> Result<(), DecodeError> {
        if origin.primes {
            return Ok(());
        }
        if self.damaged.contains(&origin.number) {
            self.count_dropped(1, DropReason::Damaged);
            return Ok(());
        }
        FrameDecoded { camera: &self.camera }.emit();
        let origin = self.in_order(origin);
        if self.sampler.picks(origin.media) {
            out.push(Decoded::Frame(self.make_frame(picture, origin)?));
        }
        Ok(())
    }

    /// Lets time rise from frame to frame of a fragment: producers that send times of decoding, or a clock that jitters, would
    /// have a frame taken for one that was seen already.
    fn in_order(&mut self, mut origin: Origin) -> Origin {
        let number = &origin.fragment.number;
        if let Some((_, last)) = self.last_given.as_ref().filter(|(fragment, _)| fragment == number) {
            origin.media = origin.media.max(MediaMs(last.0.saturating_add(1)));
        }
        self.last_given = Some((Arc::clone(number), origin.media));
        origin
    }

    fn make_frame(&mut self, picture: Video, origin: Origin) -> Result<Arc<Frame>, DecodeError> {
        let Origin { fragment, index, media, arrived, .. } = origin;
        let camera = self.camera.id().clone();
        match self.pictures.make(picture) {
            Ok(picture) => {
                FrameSampled { camera: &self.camera }.emit();
                Ok(Arc::new(Frame {
                    camera,
                    fragment,
                    index,
                    media,
                    arrived,
                    surface: Surface::Host(picture),
                }))
            }
            Err(error) => {
                self.count_dropped(1, DropReason::Damaged);
                Err(DecodeError::Picture {
                    camera,
                    fragment: Arc::clone(&fragment.number),
                    index,
                    reason: error.to_string(),
                })
            }
        }
    }

    /// Marks what rests on the packet of `origin`: all from there to the next key frame, and the leading pictures behind that.
    fn damaged(&mut self, origin: &Origin, reason: String) -> DecodeError {
        let sound_again = match self.key_number > origin.number {
            false => i64::MAX,
            true if self.lacks_references => self.key_number,
            true => self.next_number,
        };
        self.lacks_references = true;
        if !self.damaged.contains(&origin.number) {
            self.damaged = origin.number..sound_again;
        }
        let _it_gives_no_frame = self.reorder.came(origin.number);
        self.count_dropped(1, DropReason::Damaged);
        let (camera, fragment) = (self.camera.id().clone(), Arc::clone(&origin.fragment.number));
        DecodeError::Unit { camera, fragment, index: origin.index, reason }
    }

    /// After `error`, saves the sound frames that the decoder holds and readies it for the next key frame, unless that has
    /// come already.
    fn recover(&mut self, error: DecodeError, out: &mut Vec<Decoded>) -> DecodeError {
        if self.damaged.end == i64::MAX {
            // A further error here has the same cause; the first one is told.
            let _same_cause = self.drain(out);
            self.flush();
            self.after_damage = true;
        }
        error
    }

    /// Takes out what is held back; the decoder is flushed if anything was.
    fn drain(&mut self, out: &mut Vec<Decoded>) -> Result<(), DecodeError> {
        if self.reorder.is_empty() {
            self.end_before(i64::MAX, out);
            return Ok(());
        }
        let sent = match &mut self.opened {
            Some(decoder) => decoder.send_eof(),
            None => Ok(()),
        };
        let received = self.receive(out).and(sent.or_else(|error| self.no_more(error)));
        let without_picture = self.reorder.nothing_comes_any_more();
        self.count_dropped(without_picture, DropReason::NoPicture);
        let released = self.release(out);
        self.flush();
        received.and(released)
    }

    /// Makes the decoder ready for the next key frame. What it holds is lost.
    fn flush(&mut self) {
        if let Some(decoder) = &mut self.opened {
            decoder.flush();
        }
        self.reorder.clear();
        self.kept.clear();
        self.paused = false;
        self.damaged = 0..0;
        (self.awaits_key, self.after_damage) = (true, false);
    }

    fn count_dropped(&self, frames: usize, reason: DropReason) {
        FramesDropped { camera: &self.camera, frames, reason }.emit();
    }
}

const WANTS_PACKETS: ffmpeg_next::Error = ffmpeg_next::Error::Other { errno: ffmpeg_next::error::EAGAIN };
