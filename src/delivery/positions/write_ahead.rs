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
        let writing = self.writing(camera);
        let _writing = writing.lock().await;
        let written = match self.packed(camera, checkpoint, new) {
            Ok(packed) => self.send_ahead(camera, packed).await?,
            Err(left_out) => Err(left_out),
        };
        let outcome = match written {
            Ok(()) => "written",
            Err(LeftOut::Table) => "table",
            Err(LeftOut::Size) => "size",
        };
        WriteAheadDone { camera, outcome }.emit();
        Ok(())
    }

    fn packed(
        &self,
        camera: &CameraId,
        checkpoint: &Checkpoint,
        new: Vec<UnacceptedRecord>,
    ) -> Result<PackedAhead, LeftOut> {
        if self.lock().get(camera).is_none_or(|ownership| ownership.is_table_away) {
            return Err(LeftOut::Table);
        }
        let Unaccepted::All(mut records) = self.progress.unaccepted(camera, u64::MAX) else {
            return Err(LeftOut::Size);
        };
        records.extend(new);
        // A state without a JSON form is refused by the commit itself.
        let packed = PackedAhead::of(checkpoint, &records, &self.own).ok().flatten();
        packed.ok_or(LeftOut::Size)
    }

    async fn send_ahead(
        &self,
        camera: &CameraId,
        packed: PackedAhead,
    ) -> Result<Result<(), LeftOut>, Takeover> {
        // Before the write: its answer may be lost, and then the table holds it all the same.
        self.lock().entry(camera.clone()).or_default().ahead_seq = Some(packed.seq);
        let change = ItemChange { position: None, ahead: AheadChange::Set(packed) };
        match tokio::time::timeout(LIMIT, self.send(camera, &change)).await {
            Ok(Sent::Done) => Ok(Ok(())),
            Ok(Sent::TakenOver(by)) => Err(by),
            Ok(Sent::Failed) | Err(_) => {
                self.lock().entry(camera.clone()).or_default().is_table_away = true;
                Ok(Err(LeftOut::Table))
            }
        }
    }
}
