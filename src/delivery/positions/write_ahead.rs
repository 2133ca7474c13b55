//! Writes a commit's state and events into the camera's item before the commit is taken in.

use std::time::Duration;

use super::ahead::PackedAhead;
use super::ownership::{Positions, Sent, Takeover};
use super::table::{AheadChange, ItemChange};
use crate::checkpoint::Checkpoint;
use crate::delivery::delivery_progress::{Unaccepted, UnacceptedRecord};
use crate::media::CameraId;
use crate::telemetry::publish::WriteAheadDone;

/// Limit on the wait of a commit for the table. An event is to be in Kinesis 300 ms after its frame, and the table takes 5 to 20 ms;
/// a table that is away is waited for once.
const LIMIT: Duration = Duration::from_secs(1);
/// Limit on the attempts within that time: a single error of the service is no outage.
const TRIES: usize = 2;

/// The reason for which a commit was not written ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeftOut {
    /// The table did not answer, or the camera is not claimed yet.
    Table,
    /// State and records are more than an item is to hold.
    Size,
}

impl Positions {
    /// Writes a state and its new events into the camera's item, together with all records that sinks have yet to accept. Does
    /// without where the table does not answer or they are too many.
    ///
    /// # Errors
    /// Another process owns the camera.
    pub(in crate::delivery) async fn write_ahead(
        &self,
        camera: &CameraId,
        checkpoint: &Checkpoint,
        new: Vec<UnacceptedRecord>,
    ) -> Result<(), Takeover> {
        let written = tokio::time::timeout(LIMIT, self.try_ahead(camera, checkpoint, new)).await;
        if written.is_err() {
            self.lock().entry(camera.clone()).or_default().is_table_away = true;
        }
        let outcome = match written.unwrap_or(Ok(Err(LeftOut::Table)))? {
            Ok(()) => "written",
            Err(LeftOut::Table) => "table",
            Err(LeftOut::Size) => "size",
        };
        WriteAheadDone { camera, outcome }.emit();
        Ok(())
    }

    async fn try_ahead(
        &self,
        camera: &CameraId,
        checkpoint: &Checkpoint,
        new: Vec<UnacceptedRecord>,
    ) -> Result<Result<(), LeftOut>, Takeover> {
        if self.lock().get(camera).is_none_or(|ownership| ownership.is_table_away) {
            return Ok(Err(LeftOut::Table));
        }
        let writing = self.writing(camera);
        let _writing = writing.lock().await;
        let packed = self.packed(camera, checkpoint, new);
        if let Some(packed) = &packed {
            // Before the write: its answer may be lost, and then the table holds it all the same.
            self.lock().entry(camera.clone()).or_default().ahead_seq = Some(packed.seq);
        }
        let outcome = if packed.is_some() { Ok(()) } else { Err(LeftOut::Size) };
        // Without a state to write, the write still proves that the camera was not taken over.
        let change = ItemChange { position: None, ahead: packed.map_or(AheadChange::Keep, AheadChange::Set) };
        for _ in 0..TRIES {
            match self.send(camera, &change).await {
                Sent::Done => return Ok(outcome),
                Sent::TakenOver(by) => return Err(by),
                Sent::Failed => {}
            }
        }
        self.lock().entry(camera.clone()).or_default().is_table_away = true;
        Ok(Err(LeftOut::Table))
    }

    /// Returns a state with its new events and all others that sinks lack, packed; `None`: they are more than an item is to hold.
    fn packed(
        &self,
        camera: &CameraId,
        checkpoint: &Checkpoint,
        new: Vec<UnacceptedRecord>,
    ) -> Option<PackedAhead> {
        let Unaccepted::All(mut records) = self.progress.unaccepted(camera, u64::MAX) else { return None };
        records.extend(new);
        // A state without a JSON form is refused by the commit itself.
        PackedAhead::of(checkpoint, &records, &self.own).ok().flatten()
    }
}
