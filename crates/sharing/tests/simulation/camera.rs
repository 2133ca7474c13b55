//! Footage with happenings, and a camera on one worker that decides about it.

use sharing::{CameraResumeState, OwnerCommit, PendingRecord};

use crate::verdict;

/// Time between two frames.
pub(crate) const FRAME_MS: u64 = 200;
/// Time between two complete fragments, and so between two positions.
const FRAGMENT_MS: u64 = 5_000;

/// A camera on one worker.
pub(crate) struct LocalCamera {
    /// Distinguishes this start from others of the same camera on the same worker.
    pub(crate) instance: u64,
    /// `None` while the camera is only warm.
    pub(crate) epoch: Option<u64>,
    next_frame: u64,
    seq: u64,
    pub(crate) is_held: bool,
    pub(crate) is_stopping: bool,
    pub(crate) is_stopped: bool,
}

/// Returns the number of happenings in a frame: the same whoever decides about it.
pub(crate) fn happenings(camera: &str, frame: u64, per_frames: u64) -> u8 {
    let hash = camera.bytes().fold(frame.wrapping_mul(0x9e37_79b9_7f4a_7c15), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    match (hash >> 20) % per_frames {
        0 => 1 + u8::from((hash >> 40).is_multiple_of(4)),
        _ => 0,
    }
}

impl LocalCamera {
    pub(crate) fn warm(instance: u64) -> Self {
        let (is_held, is_stopping, is_stopped) = (false, false, false);
        Self { instance, epoch: None, next_frame: 0, seq: 0, is_held, is_stopping, is_stopped }
    }

    pub(crate) fn start(instance: u64, epoch: u64, state: &CameraResumeState) -> Self {
        let next_frame = state.position.parse().map_or(0, |frame: u64| frame + 1);
        Self { epoch: Some(epoch), next_frame, seq: state.seq, ..Self::warm(instance) }
    }

    /// Decides the next frame if it has arrived; returns the commit that it needs.
    ///
    /// `new_id` chooses the ids of events: another one each time that a frame is decided.
    pub(crate) fn decide(
        &mut self,
        now_ms: u64,
        found: impl Fn(u64) -> u8,
        mut new_id: impl FnMut() -> String,
    ) -> Option<Option<OwnerCommit>> {
        let frame = self.next_frame;
        if frame * FRAME_MS > now_ms {
            return None;
        }
        self.next_frame += 1;
        let first = self.seq + 1;
        let records: Vec<_> = (0..found(frame))
            .zip(first..)
            .map(|(index, seq)| PendingRecord {
                seq,
                id: new_id().into(),
                body: verdict::body(frame, index).into(),
            })
            .collect();
        self.seq += records.len() as u64;
        let is_fragment_end = (frame * FRAME_MS).is_multiple_of(FRAGMENT_MS);
        Some(
            (is_fragment_end || !records.is_empty())
                .then(|| OwnerCommit { state: self.state(frame), records }),
        )
    }

    /// Returns the commit of a camera that stops now.
    pub(crate) fn last_commit(&self) -> Option<OwnerCommit> {
        let frame = self.next_frame.checked_sub(1)?;
        Some(OwnerCommit { state: self.state(frame), records: Vec::new() })
    }

    /// Returns the number of frames decided, those before a takeover included.
    pub(crate) fn frames(&self) -> u64 {
        self.next_frame
    }

    fn state(&self, frame: u64) -> CameraResumeState {
        CameraResumeState {
            position: frame.to_string().into(),
            seq: self.seq,
            checkpoint: vec![7; 200].into(),
            checkpoint_version: 1,
        }
    }
}
