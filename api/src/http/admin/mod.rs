//! What administrators may do. Every handler under `/v1/admin/` takes an [`Administrator`], who is one by the
//! capability matrix in force; a test asks each of them as everybody else.

mod administrator;
mod audit;
mod availability;
mod blocks;
mod breakers;
mod deliveries;
mod explain;
mod revocations;
mod rollout;
mod rollout_body;
mod stats;

pub(crate) use self::administrator::{ADMINISTRATOR, Administrator};
use self::audit::AuditApi;
use self::availability::AvailabilityApi;
use self::blocks::BlocksApi;
use self::breakers::BreakersApi;
use self::deliveries::DeliveriesApi;
use self::explain::ExplainApi;
use self::revocations::RevocationsApi;
use self::rollout::RolloutApi;
use self::stats::StatsApi;

/// Every group of addresses for administrators. One member of the service's own: a tuple of them has sixteen at most.
pub(crate) type AdminApi = (
    RolloutApi,
    DeliveriesApi,
    ExplainApi,
    BreakersApi,
    AvailabilityApi,
    RevocationsApi,
    AuditApi,
    BlocksApi,
    StatsApi,
);
pub(crate) const ADMIN_API: AdminApi = (
    RolloutApi,
    DeliveriesApi,
    ExplainApi,
    BreakersApi,
    AvailabilityApi,
    RevocationsApi,
    AuditApi,
    BlocksApi,
    StatsApi,
);
