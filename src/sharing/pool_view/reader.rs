//! Reads the rows of a pool from its two tables.

use std::collections::BTreeSet;

use ::sharing::limits::MAX_ITEMS_PER_READ;
use ::sharing::{CameraKey, CameraLoads, TableAnswer, TableCall};
use aws_config::SdkConfig;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::{ItemOutline, PoolRows, PoolView};
use crate::aws::AwsFailure;
use crate::base::epoch_ms;
use crate::sharing::PoolTable;

/// Maximum number of reads of items under way.
const MAX_READS: usize = 4;

/// The tables of a pool could not be read. The text names the table, the failure and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PoolViewError(String);

/// Reads a pool for people.
#[derive(Debug)]
pub struct PoolViewReader {
    table: PoolTable,
    pool: String,
}

impl PoolViewReader {
    /// Creates a reader with a client of its own. Nothing is called yet.
    #[must_use]
    pub fn new(sdk: &SdkConfig, items_table: &str, members_table: &str, pool: &str) -> Self {
        Self { table: PoolTable::for_people(sdk, items_table, members_table, pool), pool: pool.to_owned() }
    }

    /// Reads the workers, and the cameras of a configuration.
    ///
    /// # Errors
    /// A table does not exist, does not answer, or is not allowed to be read, or a row cannot be read.
    pub async fn read(&self, cameras: &[CameraKey]) -> Result<PoolView, PoolViewError> {
        // One after the other, so that a table that is missing is asked once.
        let members = self.table.read_dated_members().await;
        let members = members.map_err(|failure| self.error(&TableCall::ReadMembers, &failure))?;
        let loads = self.loads().await?;
        let keys: Vec<CameraKey> = cameras.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let chunks: Vec<Vec<CameraKey>> =
            keys.chunks(MAX_ITEMS_PER_READ).map(<[CameraKey]>::to_vec).collect();
        let items = stream::iter(chunks).map(|chunk| self.items(chunk));
        let items = items.buffer_unordered(MAX_READS).try_collect::<Vec<_>>().await?;
        let rows = PoolRows { members, loads, items: items.into_iter().flatten().collect() };
        Ok(PoolView::of(&self.pool, cameras, &rows, epoch_ms()))
    }

    async fn loads(&self) -> Result<CameraLoads, PoolViewError> {
        match self.table.call(&TableCall::ReadLoads).await {
            Ok(TableAnswer::Loads(loads)) => Ok(loads),
            Ok(_) => Ok(CameraLoads::new()),
            Err(failure) => Err(self.error(&TableCall::ReadLoads, &failure)),
        }
    }

    async fn items(&self, cameras: Vec<CameraKey>) -> Result<Vec<(CameraKey, ItemOutline)>, PoolViewError> {
        let read = self.table.read_outlines(&cameras.iter().collect()).await;
        read.map_err(|failure| self.error(&TableCall::ReadItems { cameras }, &failure))
    }

    fn error(&self, call: &TableCall, failure: &AwsFailure) -> PoolViewError {
        PoolViewError(self.table.explain(call, failure))
    }
}
