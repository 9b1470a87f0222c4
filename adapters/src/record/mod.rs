//! Domain values as JSON, for whatever keeps them or carries them between nodes.
//!
//! Field names are written once and for good: nodes of two versions share one log while they are exchanged. What a
//! newer node has written and this one does not know reads as [`Change::Erased`](domain::event::Change::Erased), so
//! that positions stay contiguous.

mod audit;
mod blocks;
mod delivery;
mod doorbell;
mod event;
mod holder;
mod notification;
mod principal;
mod publishing;
mod revocations;
mod rollout;
mod tally;

pub(crate) use audit::{AuditRecord, LinkRecord};
pub use blocks::BlocksJson;
pub(crate) use delivery::DeliveryRecord;
pub(crate) use doorbell::{DoorbellRecord, ReplyRecord};
pub(crate) use event::{ControlRecord, EventRecord, MarksRecord};
pub(crate) use holder::HolderRecord;
pub(crate) use notification::NotificationRecord;
pub(crate) use principal::PrincipalRecord;
pub(crate) use publishing::PublishingRecord;
pub use revocations::RevocationsJson;
pub use rollout::RolloutJson;
pub(crate) use tally::{counts as publish_counts, sum as sum_of_publish_counts};

use domain::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A text that is no record of the kind it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored record cannot be read: {what}")]
pub(crate) struct Unreadable {
    /// What is wrong, without its content.
    pub(crate) what: String,
}

impl Unreadable {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// Writes a record.
pub(crate) fn to_text(record: &impl Serialize) -> String {
    // Records hold texts, numbers and lists of them: nothing that JSON cannot say.
    serde_json::to_string(record).unwrap_or_default()
}

/// Reads a record.
pub(crate) fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|error| Unreadable::new(format!("{:?}", error.classify())))
}

/// Reads one value of a record that has a text form of its own.
fn parse<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Unreadable> {
    text.parse().map_err(|_| Unreadable::new(what))
}

/// Milliseconds since 1970.
const fn millis(at: Timestamp) -> i64 {
    at.as_millis()
}
