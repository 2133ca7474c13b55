//! Where each camera is delivered, in a DynamoDB table that outlives this host.
//!
//! An item a camera: key `camera_id`; `position` (the last fragment that is delivered: see `settlement`), `checkpoint` (the
//! state to go on with), `epoch`, `owner`, `updated_at` (ms since the epoch). Whoever starts a camera raises its `epoch`; a
//! write names the epoch that it knows and is refused under another one. So a process that was replaced moves nothing.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::dynamodb::place;
use super::fault::Fault;
use super::settlement::Settlement;
use super::status::Gauge;
use crate::base::epoch_ms;
use crate::frame::{CameraId, fragment_order};

/// Between two writes of a camera. Losing the disk costs so much reading again, and a write is paid for: at 10 s a camera writes
/// 260,000 times a month.
const INTERVAL: Duration = Duration::from_secs(10);
/// Writes under way at once.
const AT_ONCE: usize = 16;

/// The table of positions.
pub(super) struct Positions {
    pub(super) client: Client,
    pub(super) table: String,
    /// Who writes: the outbox's id.
    pub(super) owner: String,
    pub(super) settlement: Arc<Settlement>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) cameras: Mutex<HashMap<CameraId, Standing>>,
}

/// What is known of a camera's item.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// `None` before it was claimed.
    epoch: Option<u64>,
    /// Not written yet.
    due: Option<Checkpoint>,
    /// Another process has it now.
    replaced: bool,
}

/// Why a position could not be claimed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    /// It is tried again.
    #[error("{0}")]
    Refused(String),
    /// The item is not ours to read.
    #[error("the position of camera {camera} in table {table} cannot be used: {source}")]
    Checkpoint { camera: String, table: String, source: CheckpointError },
}

impl Positions {
    /// Takes the camera over from whoever had it; tells where it is delivered.
    ///
    /// Errors: the table does not answer, or what it holds is of another version.
    pub(super) async fn claim(&self, camera: &CameraId) -> Result<Option<Checkpoint>, ClaimError> {
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("camera_id", text(camera.as_str()))
            .update_expression(
                "SET #epoch = if_not_exists(#epoch, :zero) + :one, #owner = :owner, #at = :now",
            )
            .expression_attribute_names("#epoch", "epoch")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#at", "updated_at")
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":owner", text(&self.owner))
            .expression_attribute_values(":now", number(epoch_ms()))
            .return_values(ReturnValue::AllNew);
        let answer = call.send().await.map_err(|error| self.refused(&Fault::of(&error)))?;
        self.gauge.works();
        let item = answer.attributes.unwrap_or_default();
        let epoch =
            item.get("epoch").and_then(|epoch| epoch.as_n().ok()).and_then(|epoch| epoch.parse().ok());
        let kept = item.get("checkpoint").and_then(|kept| kept.as_s().ok());
        let checkpoint = kept.map(|kept| Checkpoint::from_bytes(kept.as_bytes())).transpose();
        let checkpoint = checkpoint.map_err(|source| {
            let (camera, table) = (camera.to_string(), self.table.clone());
            ClaimError::Checkpoint { camera, table, source }
        })?;
        self.lock().entry(camera.clone()).or_default().epoch = epoch;
        Ok(checkpoint)
    }

    fn refused(&self, fault: &Fault) -> ClaimError {
        let advice = self.advice(fault);
        self.gauge.failing(&fault.code, &advice, 1);
        ClaimError::Refused(advice)
    }

    /// From now on the camera's position is written, once it is claimed.
    pub(super) fn follow(&self, camera: &CameraId) {
        self.lock().entry(camera.clone()).or_default();
    }

    /// Writes positions as they move, until `closed`.
    pub(super) async fn run(self: Arc<Self>, closed: CancellationToken) {
        while closed.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
            closed.run_until_cancelled(self.write()).await;
        }
    }

    /// Writes what moved since the last time.
    pub(super) async fn write(&self) {
        self.claim_the_unclaimed().await;
        let due = self.due();
        let mut written = true;
        for some in due.chunks(AT_ONCE) {
            let results = join_all(some.iter().map(|(camera, epoch, at)| self.put(camera, *epoch, at))).await;
            written &= results.into_iter().all(|well| well);
        }
        if written && !self.lock().values().any(|standing| standing.replaced) {
            self.gauge.works();
        }
    }

    /// Cameras that went on from their own outbox while the table did not answer. What it says now is older.
    async fn claim_the_unclaimed(&self) {
        let unclaimed =
            |(camera, standing): (&CameraId, &Standing)| standing.epoch.is_none().then(|| camera.clone());
        let unclaimed: HashSet<CameraId> = self.lock().iter().filter_map(unclaimed).collect();
        for camera in unclaimed {
            if self.claim(&camera).await.is_err() {
                return;
            }
        }
    }

    fn due(&self) -> Vec<(CameraId, u64, Checkpoint)> {
        let mut cameras = self.lock();
        let due = cameras.iter_mut().filter_map(|(camera, standing)| {
            if let Some(moved) = self.settlement.moved(camera) {
                standing.due = Some(moved);
            }
            let epoch = standing.epoch.filter(|_| !standing.replaced)?;
            Some((camera.clone(), epoch, standing.due.clone()?))
        });
        due.collect()
    }

    /// Whether it is written.
    async fn put(&self, camera: &CameraId, epoch: u64, at: &Checkpoint) -> bool {
        let Some((position, kept)) = at.position.as_ref().zip(json(at)) else { return true };
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("camera_id", text(camera.as_str()))
            .update_expression("SET #position = :position, #checkpoint = :checkpoint, #at = :now")
            .condition_expression("#epoch = :epoch")
            .expression_attribute_names("#position", "position")
            .expression_attribute_names("#checkpoint", "checkpoint")
            .expression_attribute_names("#at", "updated_at")
            .expression_attribute_names("#epoch", "epoch")
            .expression_attribute_values(":position", text(&position.fragment))
            .expression_attribute_values(":checkpoint", text(&kept))
            .expression_attribute_values(":now", number(epoch_ms()))
            .expression_attribute_values(":epoch", number(i64::try_from(epoch).unwrap_or(i64::MAX)));
        let result = call.send().await.map_err(|error| Fault::of(&error));
        self.settle(camera, at, result.map(drop))
    }

    fn settle(&self, camera: &CameraId, at: &Checkpoint, result: Result<(), Fault>) -> bool {
        let mut cameras = self.lock();
        let standing = cameras.entry(camera.clone()).or_default();
        match result {
            Ok(()) => {
                standing.due.take_if(|due| due == at);
                true
            }
            Err(fault) if fault.code == "ConditionalCheckFailedException" => {
                standing.replaced = true;
                let text = format!(
                    "camera {camera} in table {}: another kvs-infer has taken it over; this one moves its position no \
                     more: end one of the two",
                    self.table
                );
                self.gauge.failing("replaced", &text, 0);
                false
            }
            Err(fault) => {
                self.gauge.failing(&fault.code, &self.advice(&fault), 1);
                false
            }
        }
    }

    fn advice(&self, fault: &Fault) -> String {
        fault.told(&place(&self.table), remedy(&fault.code))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CameraId, Standing>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody can do about a fault.
pub(super) fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "ResourceNotFoundException" => "create the table, or correct state.ddb_table",
        "AccessDeniedException" | "UnrecognizedClientException" => {
            "allow dynamodb:UpdateItem on it, or correct the credentials"
        }
        "ValidationException" => "its key must be camera_id (S)",
        "unreachable" | "timeout" => "check the network, and AWS_ENDPOINT_URL_DYNAMODB where it is set",
        _ => return None,
    })
}

/// The later of two checkpoints, by position. The same outbox is never behind what it delivered; another process may have
/// gone on meanwhile.
pub(super) fn later(own: Option<Checkpoint>, delivered: Option<Checkpoint>) -> Option<Checkpoint> {
    match (own, delivered) {
        (Some(own), Some(delivered)) if is_behind(&own, &delivered) => Some(delivered),
        (Some(own), _) => Some(own),
        (None, delivered) => delivered,
    }
}

fn is_behind(own: &Checkpoint, delivered: &Checkpoint) -> bool {
    match (&own.position, &delivered.position) {
        (Some(own), Some(delivered)) => fragment_order(&own.fragment, &delivered.fragment).is_lt(),
        (None, delivered) => delivered.is_some(),
        (Some(_), None) => false,
    }
}

fn json(checkpoint: &Checkpoint) -> Option<String> {
    String::from_utf8(checkpoint.to_bytes().ok()?.into()).ok()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
