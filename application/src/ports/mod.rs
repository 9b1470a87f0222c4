//! What the use cases need from the world. Adapters implement these; `bootstrap` chooses them.

mod ably;
mod audit;
mod blocks;
mod breakers;
mod bus;
mod echo;
mod limiter;
mod outbox;
mod probe;
mod registry;
mod revocations;
mod rollout;
mod settings;
mod store;
mod streams;
mod surroundings;
mod tally;
mod tokens;
mod transport;
mod vitals;
mod wire;

pub use ably::{
    AblyFormat, AblyGrant, AblyRevoker, AblySigner, AblyTarget, AblyToken, AblyTokenError, AblyTokenRequest,
};
pub use audit::{
    Audit, AuditError, AuditPage, AuditQuery, Batch, Hash, Kept, Link, PublishTrail, Sealed, Stretch, Trail,
    Unrecorded,
};
pub use blocks::{BlocksFormat, UnreadableBlocks};
pub use breakers::{BreakerReport, Breakers, CallFailure};
pub use bus::{Bus, Doorbell, Listener, Reply, Rung};
pub use echo::{Echo, EchoError, Heard};
pub use limiter::{BUDGETS_MAX, Budget, Limiter, LimiterUnavailable, Reach};
pub use outbox::{Backlog, DeliveryPage, DeliveryRow, Outbox, TokenHolder};
pub use probe::{NotServing, Part, Probe};
pub use registry::{Presence, Registry, RegistryError, Spent, TicketId};
pub use revocations::{RevocationsFormat, UnreadableRevocations};
pub use rollout::{RolloutFormat, UnreadableRollout};
pub use settings::{Document, Settings, SettingsError, Version};
pub use store::{
    Acceptance, Accepted, ChannelsQuery, Digest, Durability, EventPage, Head, Idempotency, InboxItem,
    InboxPage, InboxQuery, Marking, Promoted, Pruned, ReadError, Reader, Recalled, Receipt, ReceiptStatus,
    Refusal, Retraction, Store, StoreError, Unread, Written,
};
pub use streams::{
    OpenError, OpenStream, Outgoing, Selection, Streams, StreamsReport, Subscription, Unsubscribed,
};
pub use surroundings::{Clock, Entropy, Exposition, Ids, Observation, Observer, Sanitizer, Seal};
pub use tally::{TALLY_KEPT, Tally};
pub use tokens::{Mint, TokenError, Tokens};
pub use transport::{Host, Parcel, Transport};
pub use vitals::Vitals;
pub use wire::{Encoder, Format, Message, Ready, Rendered};

#[cfg(feature = "testing")]
pub use self::{
    ably::MockAblyRevoker, ably::MockAblySigner, audit::MockAudit, audit::MockPublishTrail, bus::MockBus,
    limiter::MockLimiter, outbox::MockOutbox, probe::MockProbe, registry::MockRegistry,
    settings::MockSettings, store::MockStore, tally::MockTally, tokens::MockTokens, transport::MockTransport,
};
