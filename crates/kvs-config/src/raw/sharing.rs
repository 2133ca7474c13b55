//! The section `sharing`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{TABLE, TABLE_REMEDY};

/// Sharing of the cameras by many workers, each of which runs this configuration.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharingSection {
    /// The DynamoDB table of workers, with partition key `pool` (S) and sort key `member` (S). It is not the table of positions, which
    /// `state.ddb_table` must name too.
    #[schemars(regex(pattern = TABLE), example = &"kvs-infer-workers", extend("x-remedy" = TABLE_REMEDY))]
    pub table: String,
    /// The name of the pool. Workers with the same table and pool share the cameras.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,64}$"),
        extend("x-remedy" = "use letters, digits, _ and - only, at most 64"))]
    #[serde(default = "default_pool")]
    pub pool: String,
    /// The treatment of events while the table of positions does not answer.
    #[serde(default)]
    pub when_table_is_away: TableAwayPolicy,
}

fn default_pool() -> String {
    "default".to_owned()
}

/// The treatment of events while the table of positions does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TableAwayPolicy {
    /// Events wait for the table: late, never under two ids.
    Hold,
    /// Events are published at once. If their worker dies before the table answers again, they may appear again under other ids.
    #[default]
    Publish,
}
