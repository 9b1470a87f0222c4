//! How publishes to a pushed transport went lately, on all nodes together.

use std::time::Duration;

use async_trait::async_trait;
use domain::guard::Publishes;
use domain::ids::NodeId;

use super::StoreError;

/// What nodes told is kept for this long; nobody looks back further.
pub const TALLY_KEPT: Duration = Duration::from_secs(60 * 60);

/// What nodes told of their publishes, and which node acts upon it.
///
/// Time is the store's. An adapter MUST count what one node told under one number once, however often it is told, so
/// that a lost answer counts nothing twice; it MUST forget what is older than [`TALLY_KEPT`]. At any moment at most
/// one node leads a task. Contract suite: `tests/it/contract/tally.rs`.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait Tally: Send + Sync {
    /// Adds what a node saw since it last told; the same number brings the same publishes.
    async fn tell(&self, node: NodeId, number: u32, publishes: Publishes) -> Result<(), StoreError>;

    /// Adds up what was told during the last `window`, at most [`TALLY_KEPT`].
    async fn recent(&self, window: Duration) -> Result<Publishes, StoreError>;

    /// Takes the lead of a task for `term` from now, or keeps it. `false` while another node has it.
    async fn lead(&self, task: &str, node: NodeId, term: Duration) -> Result<bool, StoreError>;
}
