//! The two tables of a pool in DynamoDB: each [`TableCall`] as [`MemoryTable`](::sharing::MemoryTable) applies it.
//!
//! # Items: the table of positions
//!
//! One item per camera, key `camera_id`. A process without a pool (`state.ddb_table` alone, module `delivery::positions`) uses the
//! same items, so a deployment can change from one worker to many and back, and an earlier version still reads them.
//!
//! | attribute | type | meaning | written by |
//! | --- | --- | --- | --- |
//! | `rev` | N | rises with each write of owner, state or records; absent: 0 | both |
//! | `epoch` | N | rises with each change of owner; absent: 0 | both |
//! | `owner` | S | the worker, or the outbox of a process without a pool; absent: free | both |
//! | `host` | S | the host of the last write of the owner, for people | both |
//! | `updated_at` | N | ms since 1970, for people | both |
//! | `owner_since` | N | the last change of owner, ms since 1970 by the clock of whoever made it: no decision reads it | both |
//! | `position` | S | the last delivered fragment | both |
//! | `checkpoint` | B | the delivered state: zlib of its JSON; S in the first versions | both |
//! | `ahead` | B | the state after records that a sink lacks, and these records | both |
//! | `ahead_rev` | N | `ahead` counts only while this equals `rev` | both |
//! | `seq`, `checkpoint_version`, `spec` | N, N, S | of the state | pool |
//! | `state_rev` | N | the three above count only while this equals `rev` | pool |
//! | `strikes` | N | owners in a row that died with the camera; absent: 0 | pool |
//! | `next`, `ready` | S, BOOL | the hand-over under way; absent: none | pool |
//!
//! A process without a pool raises `rev` and knows nothing of the last four rows. So `state_rev` falls behind, and what it vouches for
//! reads as unknown (0, empty) until the next owner's write. Position and `seq` of a state are read from the checkpoint itself.
//! A change of owner raises `ahead_rev` and `state_rev` together with `rev`: what counted still counts, and what was stale stays stale.
//!
//! While records wait for a sink, `checkpoint` and `position` stay the delivered ones, as an earlier version expects.
//!
//! # Members
//!
//! Keys `pool` and `member`, one partition per pool. The names are such that one range, `config` to `worker$`, has all that
//! [`TableCall::ReadMembers`] wants: plans and loads are behind it, because `#` and `$` sort before `-`.
//!
//! | `member` | attributes | written by |
//! | --- | --- | --- |
//! | `config` | `generation`, `modified_ms`, `digest` | a worker with a newer file |
//! | `leader` | `worker_id` (absent: none), `term`, `beat`, `deputies` | the leader |
//! | `worker#ID` | `beat`, `state`, `plan`, `capacity`, `cameras`, `overloaded`, `generation`, `reads`, `models`, `zone`, `host`, `ttl` | the worker; `plan`: the leader |
//! | `worker-loads#ID` | `loads` (packed), `cameras`, `ttl` | the worker |
//! | `worker-plan#ID` | `term`, `plan`, `entries` (packed), `cameras`, `ttl` | the leader |
//!
//! Plans and loads have a value per camera and nothing that a condition needs, so they are one packed attribute: of 300 cameras
//! about 1 and 2 KB (`tests/sharing/shared_table.rs` prints it), where maps would have about 9 KB and each write would cost as many
//! units.
//!
//! `ttl` is a day ahead (DynamoDB's time to live must be switched on for it), so that rows of a pool that vanished are removed. A
//! worker whose row is gone joins again. People see by it when a worker beat last; no worker reads it.
//!
//! # Errors
//!
//! Every call is tried once, within a second. A timeout, an error of the service and a row that cannot be read are an
//! [`AwsFailure`]; the change may have been applied.

mod item_form;
mod items;
mod member_rows;
mod members;
mod packed_cameras;
mod row_reader;
mod row_update;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::sharing::{CameraKey, TableAnswer, TableCall};
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;

use crate::aws::{AwsFailure, AwsResource, new_http_client};
use crate::base::host_name;
use crate::delivery::{positions_resource, table_client};
pub(crate) use items::ItemOutline;
use items::ItemsTable;
pub(crate) use members::DatedMembers;
use members::MembersTable;

/// Limits on the time to connect and on that of an attempt of a client for people: they may be far from the table.
const PATIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const PATIENT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);

/// The items and the members of one pool, in two DynamoDB tables.
#[derive(Debug)]
pub struct PoolTable {
    items: ItemsTable,
    members: MembersTable,
}

impl PoolTable {
    /// Creates a client of its own for the tables of a pool, from account, region and endpoints of `sdk`. Nothing is called yet.
    #[must_use]
    pub fn new(sdk: &SdkConfig, items_table: &str, members_table: &str, pool: &str) -> Self {
        // Connections of its own: a beat does not wait behind the records and pictures of a burst.
        let sdk =
            sdk.to_builder().http_client(new_http_client()).retry_config(RetryConfig::disabled()).build();
        Self::with_client(table_client(&sdk), items_table, members_table, pool)
    }

    /// Creates a client that has time, for people: it tries a call again, and waits longer for its answer. Nothing is called yet.
    pub(crate) fn for_people(sdk: &SdkConfig, items_table: &str, members_table: &str, pool: &str) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(PATIENT_CONNECT_TIMEOUT)
            .operation_attempt_timeout(PATIENT_ATTEMPT_TIMEOUT)
            .build();
        let retry = RetryConfig::standard().with_max_attempts(2);
        let sdk =
            sdk.to_builder().http_client(new_http_client()).retry_config(retry).timeout_config(timeouts);
        Self::with_client(Client::new(&sdk.build()), items_table, members_table, pool)
    }

    fn with_client(client: Client, items_table: &str, members_table: &str, pool: &str) -> Self {
        let host: Arc<str> = host_name().into();
        Self {
            items: ItemsTable::new(client.clone(), items_table, Arc::clone(&host)),
            members: MembersTable::new(client, members_table, pool, host),
        }
    }

    /// Reads what [`TableCall::ReadMembers`] reads, with times, for people; a row may be stale.
    pub(crate) async fn read_dated_members(&self) -> Result<DatedMembers, AwsFailure> {
        self.members.read_dated().await
    }

    /// Reads the items of at most [`MAX_ITEMS_PER_READ`](::sharing::limits::MAX_ITEMS_PER_READ) cameras, for people; an item may be stale.
    pub(crate) async fn read_outlines(
        &self,
        cameras: &BTreeSet<&CameraKey>,
    ) -> Result<Vec<(CameraKey, ItemOutline)>, AwsFailure> {
        self.items.read_outlines(cameras).await
    }

    /// Makes a call, once.
    ///
    /// # Errors
    /// A timeout, an error of the service, a row that cannot be read (`unreadable`), or a write that no table takes (`too_large`,
    /// `not_sent`). Unless it is one of the last two, a change may have been applied.
    pub async fn call(&self, call: &TableCall) -> Result<TableAnswer, AwsFailure> {
        match call {
            TableCall::Item { camera, call } => self.items.change(camera, call).await,
            TableCall::ReadItem { camera } => Ok(TableAnswer::Item(Arc::new(self.items.read(camera).await?))),
            TableCall::ReadItems { cameras } => Ok(TableAnswer::Items(self.items.read_many(cameras).await?)),
            TableCall::ReadMembers => Ok(TableAnswer::Members(self.members.read_all().await?)),
            TableCall::ReadOwnRow { worker } => {
                Ok(TableAnswer::OwnRow(self.members.read_worker(worker).await?))
            }
            TableCall::ReadLeader => Ok(TableAnswer::Leader(self.members.read_leader().await?)),
            TableCall::ReadPlan { worker } => Ok(TableAnswer::Plan(self.members.read_plan(worker).await?)),
            TableCall::ReadLoads => Ok(TableAnswer::Loads(self.members.read_loads().await?)),
            change => {
                let is_met = self.members.change(change).await?;
                Ok(if is_met { TableAnswer::Done } else { TableAnswer::Refused })
            }
        }
    }

    /// Returns one line for a person: the table of a call, its failure and the remedy.
    #[must_use]
    pub fn explain(&self, call: &TableCall, failure: &AwsFailure) -> String {
        self.resource(call).explain(failure)
    }

    fn resource(&self, call: &TableCall) -> AwsResource {
        match call {
            TableCall::Item { .. } => positions_resource(&self.items.name),
            TableCall::ReadItem { .. } => {
                AwsResource { action: "dynamodb:GetItem", ..positions_resource(&self.items.name) }
            }
            TableCall::ReadItems { .. } => {
                AwsResource { action: "dynamodb:BatchGetItem", ..positions_resource(&self.items.name) }
            }
            call => AwsResource {
                kind: "table",
                name: self.members.name.clone(),
                key: "sharing.table",
                action: match call {
                    TableCall::ReadMembers | TableCall::ReadLoads => "dynamodb:Query",
                    _ => "dynamodb:GetItem, Query, PutItem, UpdateItem and DeleteItem",
                },
                endpoint_variable: "AWS_ENDPOINT_URL_DYNAMODB",
                own_remedy: |code| match code {
                    "ValidationException" => Some("its keys must be pool (S) and member (S)"),
                    "unreadable" => Some("run one version of the program in the pool, or delete the row"),
                    _ => None,
                },
            },
        }
    }
}
