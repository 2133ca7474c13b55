//! Calls on the items of cameras.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ::sharing::{CameraItem, CameraKey, ItemCall, ItemGrant, OwnerAfter, OwnerWrite, TableAnswer};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValue, ReturnValuesOnConditionCheckFailure,
};

use super::item_form::{PackedWrite, camera_item};
use super::row_reader::RowReader;
use super::row_update::{RowUpdate, binary, number, text};
use crate::aws::AwsFailure;
use crate::base::epoch_ms;
use crate::delivery::ItemAttributes;

const KEY: &str = "camera_id";
/// The attributes of a read of many items: all but state and records, which are most of its bytes.
const OUTLINE: [&str; 13] = [
    KEY,
    "rev",
    "epoch",
    "owner",
    "next",
    "ready",
    "position",
    "seq",
    "checkpoint_version",
    "spec",
    "state_rev",
    "strikes",
    OWNER_SINCE,
];
/// The time of the last change of owner, ms since 1970 by the clock of whoever made it: for people, nothing depends on it.
const OWNER_SINCE: &str = "owner_since";
/// `ahead_rev` and `state_rev` of an item without them before they are raised: they never equal `rev`.
const STALE: i64 = -1;

/// A camera's item without checkpoint and records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ItemOutline {
    /// The item; a worker's `next` and `owner` are as up to date as a read that may be stale.
    pub(crate) item: CameraItem,
    /// The time of the last change of owner, ms since 1970; `None`: a program without this attribute made it.
    pub(crate) owner_since_ms: Option<i64>,
}

/// The items of cameras, in a table of positions.
#[derive(Debug)]
pub(super) struct ItemsTable {
    client: Client,
    pub(super) name: String,
    host: Arc<str>,
}

impl ItemsTable {
    /// Creates the calls on the table of this name.
    pub(super) fn new(client: Client, name: &str, host: Arc<str>) -> Self {
        Self { client, name: name.to_owned(), host }
    }

    /// Makes a conditional call on an item. Both answers carry the item.
    pub(super) async fn change(
        &self,
        camera: &CameraKey,
        call: &ItemCall,
    ) -> Result<TableAnswer, AwsFailure> {
        let update = self.update_of(call)?.set("updated_at", now());
        let sent = self
            .client
            .update_item()
            .table_name(&self.name)
            .key(KEY, text(camera.as_str()))
            .set_update_expression(update.update_expression())
            .set_condition_expression(update.condition())
            .set_expression_attribute_names(update.names())
            .set_expression_attribute_values(update.values())
            .return_values(ReturnValue::AllNew)
            // A refused call returns the item, which saves a read and the race between the two.
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(answer) => Ok(TableAnswer::ItemApplied(item_of(camera, answer.attributes.as_ref())?)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    Ok(TableAnswer::ItemRefused(item_of(camera, refused.item())?))
                }
                _ if is_size_limit(&error) => {
                    let text = "the item would be larger than DynamoDB takes, with the delivered state that is in it";
                    Err(AwsFailure::new("too_large", text))
                }
                _ => Err(AwsFailure::of(&error)),
            },
        }
    }

    /// Reads an item.
    pub(super) async fn read(&self, camera: &CameraKey) -> Result<CameraItem, AwsFailure> {
        let get = self.client.get_item().table_name(&self.name).key(KEY, text(camera.as_str()));
        let answer = get.consistent_read(true).send().await.map_err(|error| AwsFailure::of(&error))?;
        answer.item.map_or_else(|| Ok(CameraItem::default()), |item| camera_item(camera.as_str(), &item))
    }

    /// Reads items in the order of `cameras`, without checkpoint and records: `position` is the delivered one. DynamoDB charges for the
    /// whole items.
    pub(super) async fn read_many(
        &self,
        cameras: &[CameraKey],
    ) -> Result<Vec<(CameraKey, Arc<CameraItem>)>, AwsFailure> {
        // A key that is there twice would be refused, and so would a request without keys.
        let keys: BTreeSet<&CameraKey> = cameras.iter().collect();
        let found = if keys.is_empty() { HashMap::new() } else { self.read_keys(&keys, true).await? };
        let items = cameras.iter().map(|camera| {
            let item = found.get(camera.as_str()).map(|item| camera_item(camera.as_str(), item));
            Ok((camera.clone(), Arc::new(item.transpose()?.unwrap_or_default())))
        });
        items.collect()
    }

    /// Reads the items of at most [`MAX_ITEMS_PER_READ`](::sharing::limits::MAX_ITEMS_PER_READ) cameras for people, at half the price of
    /// [`Self::read_many`]: an item may be stale. Cameras without an item are left out.
    pub(super) async fn read_outlines(
        &self,
        cameras: &BTreeSet<&CameraKey>,
    ) -> Result<Vec<(CameraKey, ItemOutline)>, AwsFailure> {
        let found = if cameras.is_empty() { HashMap::new() } else { self.read_keys(cameras, false).await? };
        let outlines = found.iter().map(|(camera, attributes)| {
            let since_ms: i64 = RowReader::new(camera, attributes).number(OWNER_SINCE)?;
            let item = camera_item(camera, attributes)?;
            let owner_since_ms = Some(since_ms).filter(|since_ms| *since_ms > 0);
            Ok((CameraKey::new(camera), ItemOutline { item, owner_since_ms }))
        });
        outlines.collect()
    }

    async fn read_keys(
        &self,
        cameras: &BTreeSet<&CameraKey>,
        is_consistent: bool,
    ) -> Result<HashMap<String, ItemAttributes>, AwsFailure> {
        let keys = cameras.iter().map(|camera| HashMap::from([(KEY.to_owned(), text(camera.as_str()))]));
        let names = OUTLINE.map(|name| (format!("#{name}"), name.to_owned()));
        let projection =
            names.iter().map(|(placeholder, _)| placeholder.as_str()).collect::<Vec<_>>().join(", ");
        let read = KeysAndAttributes::builder()
            .set_keys(Some(keys.collect()))
            .projection_expression(projection)
            .set_expression_attribute_names(Some(names.into()))
            .consistent_read(is_consistent)
            .build()
            .map_err(|why| AwsFailure::new("not_sent", &why.to_string()))?;
        let sent = self.client.batch_get_item().request_items(&self.name, read).send().await;
        let mut answer = sent.map_err(|error| AwsFailure::of(&error))?;
        let left = answer.unprocessed_keys.as_ref().and_then(|left| left.get(&self.name));
        if let Some(left) = left.filter(|left| !left.keys().is_empty()) {
            let text = format!("{} of {} items were not read", left.keys().len(), cameras.len());
            return Err(AwsFailure::new("throttled", &text));
        }
        let rows = answer.responses.as_mut().and_then(|tables| tables.remove(&self.name)).unwrap_or_default();
        let rows = rows.into_iter().filter_map(|row| Some((row.get(KEY)?.as_s().ok()?.clone(), row)));
        Ok(rows.collect())
    }

    fn update_of(&self, call: &ItemCall) -> Result<RowUpdate, AwsFailure> {
        let update = RowUpdate::default();
        Ok(match call {
            ItemCall::Grant(grant) => grant_of(grant),
            ItemCall::Write(write) => self.write_of(write)?,
            ItemCall::Offer { owner, epoch, next } => update
                .require("owner", text(owner.as_str()))
                .require_number("epoch", *epoch)
                .require_absent("next")
                .set("next", text(next.as_str()))
                .remove("ready"),
            ItemCall::Withdraw { epoch, next } => {
                offered(update, *epoch, next.as_str()).remove("next").remove("ready")
            }
            ItemCall::Ready { epoch, next } => {
                offered(update, *epoch, next.as_str()).set("ready", AttributeValue::Bool(true))
            }
            ItemCall::Free { owner, epoch, strikes } => {
                let update = update.require("owner", text(owner.as_str())).remove("owner").remove("host");
                changed_owner(update, *epoch).set("strikes", number((*strikes).into()))
            }
        })
    }

    fn write_of(&self, write: &OwnerWrite) -> Result<RowUpdate, AwsFailure> {
        let rev = write.rev.saturating_add(1);
        let update = RowUpdate::default()
            .require("owner", text(write.owner.as_str()))
            .require_number("epoch", write.epoch)
            .require_number("rev", write.rev)
            .set("rev", number(rev))
            .set("state_rev", number(rev))
            .set("seq", number(write.state.seq))
            .set("checkpoint_version", number(write.state.checkpoint_version.into()))
            .set("spec", text(&write.spec));
        let update = match PackedWrite::of(write)? {
            PackedWrite::Delivered(state) => {
                let position = &write.state.position;
                update
                    .set_or_remove("checkpoint", state.map(binary))
                    .set_or_remove("position", (!position.is_empty()).then(|| text(position)))
                    .remove("ahead")
                    .remove("ahead_rev")
            }
            PackedWrite::Ahead(ahead) => update.set("ahead", binary(ahead)).set("ahead_rev", number(rev)),
        };
        let update = if write.clear_strikes { update.set("strikes", number(0)) } else { update };
        Ok(self.with_owner_after(update, write))
    }

    fn with_owner_after(&self, update: RowUpdate, write: &OwnerWrite) -> RowUpdate {
        let update = match &write.then {
            OwnerAfter::Same => return update.set("host", text(&self.host)),
            OwnerAfter::Next(to) => update.require("next", text(to.as_str())).set("owner", text(to.as_str())),
            OwnerAfter::Free => update.remove("owner"),
        };
        let update = update.set("epoch", number(write.epoch.saturating_add(1))).set(OWNER_SINCE, now());
        update.remove("next").remove("ready").remove("host")
    }
}

fn grant_of(grant: &ItemGrant) -> RowUpdate {
    let update = match &grant.from {
        Some(from) => RowUpdate::default().require("owner", text(from.as_str())),
        None => RowUpdate::default().require_absent("owner"),
    };
    // The host of the new owner is not known here: its first write names it.
    let update = update.set("owner", text(grant.to.as_str())).remove("host");
    changed_owner(update, grant.epoch).set("strikes", number(grant.strikes.into()))
}

/// Raises `epoch` and `rev`, and ends a hand-over. State and records stay in force, and stale ones stay stale.
fn changed_owner(update: RowUpdate, epoch: u64) -> RowUpdate {
    update
        .require_number("epoch", epoch)
        .set("epoch", number(epoch.saturating_add(1)))
        .raise("rev", 0)
        .raise("ahead_rev", STALE)
        .raise("state_rev", STALE)
        .set(OWNER_SINCE, now())
        .remove("next")
        .remove("ready")
}

fn now() -> AttributeValue {
    AttributeValue::N(epoch_ms().to_string())
}

fn offered(update: RowUpdate, epoch: u64, next: &str) -> RowUpdate {
    update.require_present("owner").require_number("epoch", epoch).require("next", text(next))
}

fn item_of(camera: &CameraKey, attributes: Option<&ItemAttributes>) -> Result<Arc<CameraItem>, AwsFailure> {
    let item = attributes.map(|attributes| camera_item(camera.as_str(), attributes)).transpose()?;
    Ok(Arc::new(item.unwrap_or_default()))
}

/// Returns whether DynamoDB refuses a write for the size of its item. Source: DynamoDB API reference, UpdateItem, 2026-11.
fn is_size_limit(error: &impl ProvideErrorMetadata) -> bool {
    error.code() == Some("ValidationException")
        && error.message().is_some_and(|text| text.contains("Item size"))
}
