//! What a publisher is given.

use application::ports::{Durability, Receipt, ReceiptStatus};
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use serde::Serialize;

use crate::http::schema::{CursorText, MomentText, NotificationIdText};

/// What a publisher is given.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Receipt", example)]
pub(crate) struct ReceiptBody {
    /// The notification's id.
    id: NotificationIdText,
    /// Whether its events are out, or wait for their moment.
    status: StatusName,
    /// How many events carry it; 0 while it is scheduled.
    events: u32,
    /// The last event's cursor; null while it is scheduled.
    #[oai(nullable)]
    cursor: Option<CursorText>,
    /// What it survives.
    durability: DurabilityName,
    /// When it was stored.
    accepted_at: MomentText,
}

/// Whether a notification's events are out.
#[derive(Debug, Serialize, Enum)]
#[oai(rename = "ReceiptStatus", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum StatusName {
    Published,
    Scheduled,
}

/// What a stored notification survives: `memory` nothing but the process, `redis` what Redis' own persistence says,
/// `postgres` a crash of everything.
#[derive(Debug, Serialize, Enum)]
#[oai(rename = "Durability", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum DurabilityName {
    Memory,
    Redis,
    Postgres,
}

impl From<&Receipt> for ReceiptBody {
    fn from(receipt: &Receipt) -> Self {
        Self {
            id: receipt.id.into(),
            status: match receipt.status {
                ReceiptStatus::Published => StatusName::Published,
                ReceiptStatus::Scheduled => StatusName::Scheduled,
            },
            events: receipt.events,
            cursor: receipt.cursor.map(Into::into),
            durability: match receipt.durability {
                Durability::Memory => DurabilityName::Memory,
                Durability::Redis => DurabilityName::Redis,
                Durability::Postgres => DurabilityName::Postgres,
            },
            accepted_at: receipt.accepted_at.into(),
        }
    }
}

impl Example for ReceiptBody {
    fn example() -> Self {
        Self {
            id: NotificationIdText("019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d".to_owned()),
            status: StatusName::Published,
            events: 1,
            cursor: Some(CursorText("8f3a-1042".to_owned())),
            durability: DurabilityName::Postgres,
            accepted_at: MomentText("2026-01-01T12:00:00.000Z".to_owned()),
        }
    }
}
