//! Tracks whether the decoder has the reference pictures that a packet needs.

use std::ops::Range;

use h26x::PictureRole;

use crate::media::{Codec, MediaMs, Packet};
use crate::telemetry::decode::DropReason;

/// Numbers the packets of a decoder, and tracks which of them it can decode.
///
/// A packet needs the pictures since the last keyframe, undamaged. A leading picture also needs those before it.
pub(super) struct ReferenceTracker {
    next_number: i64,
    keyframe_number: i64,
    keyframe_media: MediaMs,
    awaits_keyframe: bool,
    /// True if a damaged packet is the reason for `awaits_keyframe`.
    after_damage: bool,
    /// True if decoding began at the last keyframe, so that the leading pictures behind it have no references.
    lacks_references: bool,
    /// The numbers from a damaged packet to the next keyframe.
    damaged: Range<i64>,
}

impl Default for ReferenceTracker {
    fn default() -> Self {
        Self {
            next_number: 0,
            keyframe_number: 0,
            keyframe_media: MediaMs::default(),
            awaits_keyframe: true,
            after_damage: false,
            lacks_references: true,
            damaged: 0..0,
        }
    }
}

impl ReferenceTracker {
    /// Returns the number of the last packet that was sent to the decoder.
    pub(super) fn last_number(&self) -> i64 {
        self.next_number - 1
    }

    /// Numbers a packet that is sent to the decoder.
    pub(super) fn take_number(&mut self, is_keyframe: bool) -> i64 {
        let number = self.next_number;
        self.next_number += 1;
        if is_keyframe {
            self.keyframe_number = number;
            (self.awaits_keyframe, self.after_damage) = (false, false);
        }
        number
    }

    /// Records a keyframe; `continues` says whether its leading pictures may refer to what was decoded before.
    pub(super) fn enter_keyframe(&mut self, packet: &Packet, role: PictureRole, continues: bool) {
        self.keyframe_media = packet.media;
        self.lacks_references = match (packet.track.codec, role) {
            // An IDR marks all reference pictures as unused (H.264 8.2.5.1), so nothing after it refers behind it.
            (Codec::H264, PictureRole::Closed) => false,
            // The RASL pictures of a BLA are not decoded (NoRaslOutputFlag, H.265 8.1.3); an IDR has none.
            (Codec::H265, PictureRole::Closed) => true,
            _ => self.awaits_keyframe || !continues,
        };
    }

    /// Returns the reason why a packet cannot be decoded, if it cannot.
    pub(super) fn why_left_out(
        &self,
        packet: &Packet,
        role: PictureRole,
        is_keyframe: bool,
    ) -> Option<DropReason> {
        let refers_behind_keyframe = match packet.track.codec {
            // RASL pictures have NAL unit types of their own (H.265 Table 7-1).
            Codec::H265 => role == PictureRole::SkippedLeading,
            // H.264 has no type for leading pictures: they are shown before the keyframe that they follow.
            Codec::H264 => !is_keyframe && packet.media < self.keyframe_media,
        };
        if self.awaits_keyframe && !is_keyframe {
            return Some(if self.after_damage { DropReason::Damaged } else { DropReason::NoKeyFrame });
        }
        (self.lacks_references && refers_behind_keyframe).then_some(DropReason::Leading)
    }

    /// Returns true if the packet with `number` depends on a damaged one.
    pub(super) fn is_damaged(&self, number: i64) -> bool {
        self.damaged.contains(&number)
    }

    /// Marks the packets that depend on the damaged packet with `number`.
    pub(super) fn mark_damaged(&mut self, number: i64) {
        let sound_again = if self.keyframe_number <= number {
            i64::MAX
        } else if self.lacks_references {
            self.keyframe_number
        } else {
            // The leading pictures that were sent since the keyframe refer to the damaged packet as well.
            self.next_number
        };
        self.lacks_references = true;
        if !self.damaged.contains(&number) {
            self.damaged = number..sound_again;
        }
    }

    /// Returns true if no keyframe has come since the damaged packet.
    pub(super) fn is_broken(&self) -> bool {
        self.damaged.end == i64::MAX
    }

    /// Waits for the next keyframe: the decoder was flushed and has no references.
    pub(super) fn reset(&mut self) {
        self.damaged = 0..0;
        (self.awaits_keyframe, self.after_damage) = (true, false);
    }

    /// Waits for the next keyframe because of damage.
    pub(super) fn reset_after_damage(&mut self) {
        self.reset();
        self.after_damage = true;
    }
}
