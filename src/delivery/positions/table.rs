//! The table of positions: one item per camera, and the conditional writes to it.
//!
//! Every write raises `rev` by one and is refused unless `rev` is the one that the writer knows. So a copy of a request that
//! arrives late changes nothing, whatever it was. `epoch` rises with each claim: an owner whose epoch is gone was taken over.
//! `ahead` (see [`super::ahead`]) counts only while `ahead_rev` equals `rev`: earlier versions raise `rev` and know nothing of it.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::ahead::{MAX_PACKED_BYTES, PackedAhead, WriteAhead};
use super::stored_state::{ItemAttributes, StoredCheckpoint, StoredItemState};
use crate::aws::{AwsFailure, AwsResource};
use crate::base::{MAX_NAME_CHARS, clean_text, epoch_ms, host_name};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::delivery::clients::Clients;
use crate::media::CameraId;

/// Limit on the time to connect. With the longer timeouts of the sinks an unreachable table would hold up a start for 13 s.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Limit on the time of an attempt, connecting included. A write that takes longer is repeated with the next one.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
/// Limit on the bytes of an item, names of attributes included. Source: DynamoDB quotas, 2026-11.
pub(crate) const MAX_ITEM_BYTES: usize = 400 * 1024;

/// The part of an update expression that claims an item.
const CLAIM: &str = "SET #epoch = if_not_exists(#epoch, :zero) + :one, #rev = if_not_exists(#rev, :zero) + :one, \
                     #owner = :owner, #host = :host, #at = :now, #since = :now";

/// A DynamoDB table of positions, and the identity of this process in it.
#[derive(Debug)]
pub(in crate::delivery) struct PositionTable {
    client: Client,
    pub(super) name: String,
    /// Id of the outbox.
    owner: String,
    /// Name of the host, for people.
    host: String,
}

/// A camera's item.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PositionItem {
    /// Number of claims; 0 before the first.
    pub(super) epoch: u64,
    /// Number of writes; 0 in an item that a version without `rev` wrote.
    pub(super) rev: u64,
    pub(super) owner: String,
    pub(super) host: String,
    /// Number of the last delivered fragment.
    pub(super) position: Option<String>,
    state: StoredItemState,
}

/// The `epoch` and `rev` that an item must have for a write to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) epoch: u64,
    pub(super) rev: u64,
}

/// A position on its way into the table.
#[derive(Clone, Debug)]
pub(super) struct PackedPosition {
    fragment: String,
    checkpoint: Vec<u8>,
}

/// A change that the owner makes to its item.
#[derive(Clone, Debug, Default)]
pub(super) struct ItemChange {
    /// The delivered position; `None`: it stays.
    pub(super) position: Option<PackedPosition>,
    pub(super) ahead: AheadChange,
}

/// The change of an item's state and records that are written ahead.
#[derive(Clone, Debug, Default)]
pub(super) enum AheadChange {
    /// They stay.
    #[default]
    Keep,
    /// They are replaced.
    Set(PackedAhead),
    /// Everything is delivered.
    Clear,
}

/// Reason why a write did not happen, as far as the caller knows.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The item does not match the fence; `None`: there is no item.
    Fenced(Option<PositionItem>),
    /// No answer, or an error of the service. A write whose answer is lost may have happened.
    Failure(AwsFailure),
}

impl PositionTable {
    /// Returns the table of this name, called with timeouts of its own. All other settings are those of `clients`.
    pub(in crate::delivery) fn new(clients: &Clients, name: String, owner: &str) -> Self {
        Self { client: table_client(clients.sdk()), name, owner: owner.to_owned(), host: host_name() }
    }

    /// Returns whether this outbox was the last to claim the item, in this process or an earlier one.
    pub(super) fn is_own(&self, item: &PositionItem) -> bool {
        item.owner == self.owner
    }

    /// Creates the camera's item, claimed by this process. [`WriteError::Fenced`]: the item is there already.
    pub(super) async fn create(&self, camera: &CameraId) -> Result<PositionItem, WriteError> {
        let call = self.claim_call(camera).condition_expression("attribute_not_exists(camera_id)");
        send(call).await
    }

    /// Claims the camera's item if it is still as it was read.
    pub(super) async fn claim(
        &self,
        camera: &CameraId,
        read: &PositionItem,
    ) -> Result<PositionItem, WriteError> {
        let fence = read.fence();
        // Items of the first versions have no `epoch` or no `rev`.
        let is_same = "(#epoch = :epoch OR attribute_not_exists(#epoch)) AND (#rev = :rev OR attribute_not_exists(#rev))";
        let mut call = self.claim_call(camera).condition_expression(is_same);
        if read.state.ahead().is_some() {
            // Still in force under the new owner.
            let set = format!("{CLAIM}, #ahead_rev = :next");
            call = call.update_expression(set).expression_attribute_values(":next", number(fence.rev + 1));
        } else {
            let set = format!("{CLAIM} REMOVE #ahead, #ahead_rev");
            call = call.update_expression(set).expression_attribute_names("#ahead", "ahead");
        }
        let call = call
            .expression_attribute_names("#ahead_rev", "ahead_rev")
            .expression_attribute_values(":epoch", number(fence.epoch))
            .expression_attribute_values(":rev", number(fence.rev));
        send(call).await
    }

    /// Changes the camera's item. An empty change only raises `rev`: proof that this process still owns the camera.
    pub(super) async fn write(
        &self,
        camera: &CameraId,
        fence: Fence,
        change: &ItemChange,
    ) -> Result<PositionItem, WriteError> {
        let mut set = "SET #rev = :next, #at = :now".to_owned();
        let mut call = self
            .call(camera)
            .condition_expression("#epoch = :epoch AND #rev = :rev AND #owner = :owner")
            .expression_attribute_names("#ahead_rev", "ahead_rev");
        if let Some(PackedPosition { fragment, checkpoint }) = &change.position {
            set += ", #position = :position, #checkpoint = :checkpoint";
            call = call
                .expression_attribute_names("#position", "position")
                .expression_attribute_names("#checkpoint", "checkpoint")
                .expression_attribute_values(":position", text(fragment))
                .expression_attribute_values(":checkpoint", AttributeValue::B(Blob::new(checkpoint.clone())));
        }
        match &change.ahead {
            AheadChange::Keep => set += ", #ahead_rev = :next",
            AheadChange::Set(PackedAhead { bytes, .. }) => {
                set += ", #ahead = :ahead, #ahead_rev = :next";
                let bytes = AttributeValue::B(Blob::new(bytes.clone()));
                call = call
                    .expression_attribute_names("#ahead", "ahead")
                    .expression_attribute_values(":ahead", bytes);
            }
            AheadChange::Clear => {
                set += " REMOVE #ahead, #ahead_rev";
                call = call.expression_attribute_names("#ahead", "ahead");
            }
        }
        let call = call
            .update_expression(set)
            .expression_attribute_values(":epoch", number(fence.epoch))
            .expression_attribute_values(":rev", number(fence.rev))
            .expression_attribute_values(":next", number(fence.rev + 1));
        send(call).await
    }

    fn claim_call(&self, camera: &CameraId) -> UpdateItemFluentBuilder {
        self.call(camera)
            .update_expression(CLAIM)
            .expression_attribute_names("#host", "host")
            // Read by people alone.
            .expression_attribute_names("#since", "owner_since")
            .expression_attribute_values(":host", text(&self.host))
            .expression_attribute_values(":zero", number(0))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
    }

    fn call(&self, camera: &CameraId) -> UpdateItemFluentBuilder {
        let now = AttributeValue::N(epoch_ms().to_string());
        self.client
            .update_item()
            .table_name(&self.name)
            .key("camera_id", text(camera.as_str()))
            // A refused write returns the item, which saves a read and the race between the two.
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            // Placeholders for all names: OWNER, for example, is a reserved word of DynamoDB.
            .expression_attribute_names("#epoch", "epoch")
            .expression_attribute_names("#rev", "rev")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#at", "updated_at")
            .expression_attribute_values(":owner", text(&self.owner))
            .expression_attribute_values(":now", now)
    }
}

impl PositionItem {
    /// Returns the `epoch` and `rev` of the item.
    pub(super) fn fence(&self) -> Fence {
        Fence { epoch: self.epoch, rev: self.rev }
    }

    /// Returns the state in the item; `None`: nothing of the camera was delivered yet.
    ///
    /// # Errors
    /// Another version wrote it, or it is damaged.
    pub(super) fn checkpoint(&self) -> Result<Option<Checkpoint>, CheckpointError> {
        self.state.delivered_json()?.map(|json| Checkpoint::from_bytes(&json)).transpose()
    }

    /// Returns state and records that were written ahead of their delivery; `None`: everything up to the position is delivered.
    ///
    /// # Errors
    /// Another version wrote them, or they are damaged.
    pub(super) fn ahead(&self) -> Result<Option<WriteAhead>, CheckpointError> {
        self.state.ahead().map(WriteAhead::from_packed).transpose()
    }

    fn of(attributes: &ItemAttributes) -> Self {
        let number = |name: &str| attributes.get(name).and_then(|value| value.as_n().ok()?.parse().ok());
        let text = |name: &str| attributes.get(name).and_then(|value| value.as_s().ok().cloned());
        Self {
            epoch: number("epoch").unwrap_or(0),
            rev: number("rev").unwrap_or(0),
            owner: text("owner").unwrap_or_default(),
            host: text("host").map(|host| clean_text(&host, MAX_NAME_CHARS)).unwrap_or_default(),
            position: text("position"),
            state: StoredItemState::of(attributes),
        }
    }
}

impl Fence {
    /// Returns the fence after an accepted write.
    pub(super) fn next(self) -> Self {
        Self { rev: self.rev + 1, ..self }
    }
}

impl PackedPosition {
    /// Packs a checkpoint; `None`: it has no position yet, so there is nothing to write.
    ///
    /// # Errors
    /// The camera's item would be larger than DynamoDB takes.
    pub(super) fn of(camera: &CameraId, checkpoint: &Checkpoint) -> Result<Option<Self>, AwsFailure> {
        let Some(position) = &checkpoint.position else { return Ok(None) };
        let packed = checkpoint.to_packed();
        let packed = packed.map_err(|why| AwsFailure::new("not_sent", &why.to_string()))?;
        // The other attributes have 200 bytes at most, the host's name 64 of them.
        let bytes = packed.len() + MAX_PACKED_BYTES + camera.as_str().len() + position.fragment.len() + 512;
        if bytes > MAX_ITEM_BYTES {
            let text = format!(
                "its item would have {bytes} bytes, of at most {MAX_ITEM_BYTES}, with the state of camera {camera}"
            );
            return Err(AwsFailure::new("too_large", &text));
        }
        Ok(Some(Self { fragment: position.fragment.to_string(), checkpoint: packed }))
    }

    fn is_in(&self, item: &PositionItem) -> bool {
        item.position.as_deref() == Some(&self.fragment)
            && matches!(&item.state.delivered, Some(StoredCheckpoint::NewRecord(bytes)) if *bytes == self.checkpoint)
    }
}

impl ItemChange {
    /// Returns whether the item is as after this change.
    pub(super) fn is_in(&self, item: &PositionItem) -> bool {
        let has_ahead = match &self.ahead {
            AheadChange::Keep => true,
            AheadChange::Set(packed) => item.state.ahead() == Some(&*packed.bytes),
            AheadChange::Clear => item.state.ahead().is_none(),
        };
        has_ahead && self.position.as_ref().is_none_or(|position| position.is_in(item))
    }
}

/// Returns a client with the timeouts of a table that a camera's events wait for. All else is as in `sdk`.
pub(crate) fn table_client(sdk: &SdkConfig) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    Client::new(&sdk.to_builder().timeout_config(timeouts).build())
}

/// Returns the table with its remedies.
pub(crate) fn resource(table: &str) -> AwsResource {
    AwsResource {
        kind: "table",
        name: table.to_owned(),
        key: "state.ddb_table",
        action: "dynamodb:UpdateItem",
        endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB",
        own_remedy: |code| match code {
            "ValidationException" => Some("its key must be camera_id (S)"),
            "too_large" => Some(
                "follow fewer objects (conf_threshold, classes, roi); its position stays where it is meanwhile",
            ),
            _ => None,
        },
    }
}

async fn send(call: UpdateItemFluentBuilder) -> Result<PositionItem, WriteError> {
    match call.send().await {
        Ok(answer) => Ok(PositionItem::of(&answer.attributes.unwrap_or_default())),
        Err(error) => Err(match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                WriteError::Fenced(refused.item().filter(|item| !item.is_empty()).map(PositionItem::of))
            }
            _ => WriteError::Failure(AwsFailure::of(&error)),
        }),
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide;
    use crate::media::{MediaMs, Position};

    fn checkpoint(objects: usize, id_chars: usize) -> Checkpoint {
        let track = |id: usize| {
            let (x, speed) = (id as f32 * 20.173, id as f32 * 0.731);
            let axis =
                serde_json::json!({ "at": x, "velocity": speed, "covariance": [x * 0.317, speed, 3.771] });
            let zone = "z".repeat(id_chars);
            serde_json::json!({
                "id": id, "label": "person", "bbox": { "x1": x, "y1": x * 1.3, "x2": x + 31.7, "y2": x + 90.2 },
                "motion": { "x": axis, "y": axis }, "seen": id * 7_919, "missed": 0, "unwatched_ms": 0,
                "first_seen": 1_700_000_000_000_u64 + id as u64 * 37, "last_seen": 1_700_000_060_000_u64,
                "conf": 0.5 + speed / 1000.0, "readings": [], "confirmed": true,
                "incident": {
                    "id": format!("{:032x}", (id as u128).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)),
                    "told": 1_700_000_059_000_u64, "zones": [zone], "text": null,
                    "best": { "event_id": format!("{:032x}", id as u128 * 0x1234_5678_9abc_def1), "ts_ms": 5, "score": x },
                },
            })
        };
        let tracks: Vec<_> = (1..=objects).map(track).collect();
        let objects =
            serde_json::json!({ "last_look": 1_700_000_060_000_u64, "last_id": 9, "tracks": tracks });
        let decide = serde_json::json!({ "version": 2, "seq": 4_711, "detectors": { "objects": objects } });
        let decide: decide::DecideState = serde_json::from_value(decide).unwrap();
        let fragment = "91343852333181432392682062607743920000000000001".into();
        let position = Some(Position { fragment, media: MediaMs(1_700_000_060_000), primer: None });
        Checkpoint { position, decide, ..Checkpoint::new("front-entrance-stream") }
    }

    #[test]
    fn a_full_camera_fits_into_an_item_and_what_does_not_is_reported() {
        let front = CameraId::new("front");
        let full = PackedPosition::of(&front, &checkpoint(256, 4)).unwrap().unwrap();
        assert!(full.checkpoint.len() < 64 * 1024, "{} bytes", full.checkpoint.len());
        let nowhere = Checkpoint { position: None, ..checkpoint(1, 4) };
        assert!(PackedPosition::of(&front, &nowhere).unwrap().is_none());
        let long = CameraId::new(&"c".repeat(MAX_ITEM_BYTES));
        let failure = PackedPosition::of(&long, &checkpoint(1, 4)).unwrap_err();
        assert!(failure.code == "too_large" && failure.text.contains("of at most 409600"), "{failure:?}");
    }

    #[test]
    fn items_of_earlier_versions_are_read() {
        let json = String::from_utf8(checkpoint(2, 4).to_bytes().unwrap().into()).unwrap();
        let packed = AttributeValue::B(Blob::new(checkpoint(2, 4).to_packed().unwrap()));
        let table = [
            ("claimed, nothing delivered", None, 0, None),
            ("before rev", Some(text(&json)), 0, Some(checkpoint(2, 4))),
            ("with rev", Some(packed), 7, Some(checkpoint(2, 4))),
        ];
        for (name, stored, rev, expected) in table {
            let mut attributes =
                ItemAttributes::from([("epoch".into(), number(3)), ("owner".into(), text("me"))]);
            attributes.extend((rev > 0).then(|| ("rev".to_owned(), number(rev))));
            attributes.extend(stored.map(|stored| ("checkpoint".to_owned(), stored)));
            let item = PositionItem::of(&attributes);
            assert_eq!(item.fence(), Fence { epoch: 3, rev }, "{name}");
            assert_eq!(item.checkpoint().unwrap(), expected, "{name}");
        }
    }
}
