//! Idle decode in the decode thread: carries out the steps of [`IdleDecode`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use super::error::DecodeError;
use super::frame_queue::QueueClosed;
use super::idle::{IdleDecode, IdleStep, RetainedItem};
use super::worker::DecodeWorker;
use crate::media::{Decoded, FragmentEnd, Frame, IdleQuery, KeyframeVerdict, MediaMs, Packet, QuietAnswer};
use crate::telemetry::decode::{IdleChanged, SkipReason, UnitsSkipped, WakeTrigger, Woke};

impl DecodeWorker {
    /// Processes an access unit of a camera with idle decode.
    pub(super) fn process_idly(&mut self, packet: Packet) -> Result<(), QueueClosed> {
        let Some(idle) = &mut self.idle else { return self.decode(packet) };
        let is_keyframe = packet.key || packet.role().is_random_access();
        match idle.step(&packet, is_keyframe) {
            IdleStep::Decode => self.decode(packet),
            IdleStep::Ask => self.ask(packet),
            IdleStep::Judge => self.judge(packet),
            IdleStep::Retain => {
                self.report_handled(&packet);
                self.retain(packet);
                Ok(())
            }
            IdleStep::Wake(trigger) => {
                self.wake(trigger, packet.media)?;
                self.decode(packet)
            }
        }
    }

    /// Asks whether the scene is quiet before the keyframe, and judges the keyframe if it is.
    fn ask(&mut self, packet: Packet) -> Result<(), QueueClosed> {
        let (fragment, media) = (Arc::clone(&packet.fragment), packet.media);
        let answer = self.query(|answer| IdleQuery::Quiet { fragment, media, answer })?;
        let QuietAnswer { is_quiet, size_wake_found } = answer;
        if let (Some(idle), Some(found)) = (&mut self.idle, size_wake_found) {
            idle.judge_size_wake(found);
        }
        if !is_quiet {
            return self.decode(packet);
        }
        // What the decoder holds is of the footage before the keyframe, and is shown before it.
        let drained = self.decoder.skip_to_keyframe(&mut self.decoded);
        self.report_error(drained);
        self.deliver()?;
        self.judge(packet)
    }

    /// Decodes the keyframe alone, and follows the verdict on its frame.
    fn judge(&mut self, packet: Packet) -> Result<(), QueueClosed> {
        let frame = match self.decoder.decode_keyframe(&packet) {
            Ok(frame) => frame,
            Err(error) => return self.judge_undecodable(packet, error),
        };
        match self.ask_verdict(frame, &packet)? {
            KeyframeVerdict::Still => self.stay_idle(packet),
            KeyframeVerdict::Resume => self.resume(packet),
            KeyframeVerdict::Active | KeyframeVerdict::Rewind => {
                self.rewind(WakeTrigger::Keyframe)?;
                self.decode(packet)
            }
        }
    }

    /// Retains a keyframe in whose frame nothing moves, in place of the access units before it.
    fn stay_idle(&mut self, keyframe: Packet) -> Result<(), QueueClosed> {
        let was_idle = self.idle.as_ref().is_some_and(IdleDecode::is_idle);
        self.report_handled(&keyframe);
        self.pass_retained()?;
        self.decoder.pass_keyframe(&keyframe);
        self.retain(keyframe);
        if !was_idle {
            let released = self.decoder.release_buffers();
            self.report_error(released);
        }
        Ok(())
    }

    /// Decodes from a keyframe on, without the access units before it.
    fn resume(&mut self, keyframe: Packet) -> Result<(), QueueClosed> {
        if let Some(media) = self.idle.as_ref().and_then(IdleDecode::newest_media) {
            self.decoder.pass_frames_until(media);
        }
        self.pass_retained()?;
        self.decode(keyframe)
    }

    /// Decodes everything up to a keyframe that cannot be judged, and the keyframe, which reports its error.
    fn judge_undecodable(&mut self, packet: Packet, error: DecodeError) -> Result<(), QueueClosed> {
        // An access unit that is damaged fails again below. A track fails once.
        if !matches!(error, DecodeError::Unit { .. }) {
            self.report_error(Err(error));
        }
        self.wake(WakeTrigger::Damage, packet.media)?;
        self.decode(packet)
    }

    fn ask_verdict(&mut self, frame: Arc<Frame>, packet: &Packet) -> Result<KeyframeVerdict, QueueClosed> {
        let (media, can_rewind) = (packet.media, self.idle.as_ref().is_some_and(IdleDecode::is_idle));
        let gop_ms = self.decoder.longest_gop_ms().unwrap_or(0);
        self.query(|answer| IdleQuery::Keyframe { frame, media, can_rewind, gop_ms, answer })
    }

    /// Sends a question to the analysis task and waits for the answer, which comes after the frames before it.
    fn query<T>(&mut self, query: impl FnOnce(SyncSender<T>) -> IdleQuery) -> Result<T, QueueClosed> {
        let (sender, answer) = sync_channel(1);
        let began = Instant::now();
        self.output.push(Decoded::IdleQuery(query(sender)))?;
        // The sender is dropped without an answer when the analysis task ends.
        let answered = answer.recv().map_err(|_| QueueClosed);
        self.waits.add(began, Instant::now());
        answered
    }

    fn retain(&mut self, packet: Packet) {
        let Some(idle) = &mut self.idle else { return };
        let was_idle = idle.is_idle();
        idle.retain(packet);
        if !was_idle {
            self.report_idle();
        }
    }

    fn report_idle(&self) {
        if let Some(idle) = &self.idle {
            IdleChanged {
                camera: &self.camera,
                is_idle: idle.is_idle(),
                retained_bytes: idle.retained_bytes(),
                is_size_usable: idle.sizes().is_usable(),
            }
            .emit();
        }
    }

    /// Drops the retained access units, of which none is needed, and passes on the ends of their fragments.
    fn pass_retained(&mut self) -> Result<(), QueueClosed> {
        let items = self.take_retained();
        let mut units: usize = 0;
        for item in items {
            match item {
                RetainedItem::Packet(_) => units += 1,
                RetainedItem::End(end, sizes) => self.decoder.pass_fragment(end, sizes, &mut self.decoded),
            }
        }
        // The first is the keyframe before, which was decoded.
        let units = units.saturating_sub(1);
        UnitsSkipped { camera: &self.camera, units, reason: SkipReason::Idle }.emit();
        self.deliver()
    }

    fn take_retained(&mut self) -> VecDeque<RetainedItem> {
        let items = self.idle.as_mut().map(IdleDecode::take_retained).unwrap_or_default();
        if !items.is_empty() {
            self.report_idle();
        }
        items
    }

    /// Ends idle decode for a reason other than a verdict.
    pub(super) fn wake(&mut self, trigger: WakeTrigger, media: MediaMs) -> Result<(), QueueClosed> {
        let by_size = trigger == WakeTrigger::Size;
        self.output.push(Decoded::IdleQuery(IdleQuery::Woke { media, by_size }))?;
        self.rewind(trigger)
    }

    /// Decodes what was retained, as a short catch-up: none of its frames is replaced by a newer one.
    fn rewind(&mut self, trigger: WakeTrigger) -> Result<(), QueueClosed> {
        let began = Instant::now();
        let mut items = self.take_retained();
        let Some(RetainedItem::Packet(keyframe)) = items.pop_front() else { return Ok(()) };
        Woke { camera: &self.camera, trigger }.emit();
        let restarted = self.decoder.restart_at(keyframe, &mut self.decoded);
        self.report_error(restarted);
        for item in items {
            let decoded = self.decode_retained(item);
            self.report_error(decoded);
            self.deliver_rewound()?;
        }
        // New access units waited for this: they are not late for it.
        self.waits.add(began, Instant::now());
        Ok(())
    }

    fn decode_retained(&mut self, item: RetainedItem) -> Result<(), DecodeError> {
        match item {
            RetainedItem::Packet(packet) => self.decoder.push(packet, &mut self.decoded),
            RetainedItem::End(end, sizes) => {
                self.decoder.set_sizes(sizes);
                self.decoder.end_fragment(end, &mut self.decoded)
            }
        }
    }

    fn deliver_rewound(&mut self) -> Result<(), QueueClosed> {
        self.check_gpu()?;
        self.decoded.drain(..).try_for_each(|item| self.output.push_lasting(item))
    }

    /// Retains the end of a fragment while the camera is idle; gives it back otherwise.
    pub(super) fn retain_end(&mut self, end: FragmentEnd) -> Option<FragmentEnd> {
        let Some(idle) = &mut self.idle else { return Some(end) };
        let end = idle.retain_end(end);
        match end {
            Some(_) => self.decoder.set_sizes(idle.sizes()),
            None => self.report_idle(),
        }
        end
    }

    /// Discards the fragment that has begun; returns true if complete fragments stay retained.
    pub(super) fn discard_retained(&mut self) -> bool {
        let Some(idle) = &mut self.idle else { return false };
        if !idle.is_idle() {
            return false;
        }
        idle.handle_discontinuity();
        let stays_idle = idle.is_idle();
        self.report_idle();
        stays_idle
    }
}
