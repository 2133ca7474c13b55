//! The settings of workers that share the cameras.

use ::sharing::WhenTableIsAway;

/// The table and the pool by which many workers share the cameras.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharingSettings {
    /// The DynamoDB table of workers.
    pub table: String,
    /// The pool: workers with the same table and pool share the cameras.
    pub pool: String,
    /// The treatment of events while the table of positions does not answer.
    pub when_away: WhenTableIsAway,
}
