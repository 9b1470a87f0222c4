//! What administrators may do. Every handler under `/v1/admin/` takes an [`Administrator`], who is one by the
//! capability matrix in force; a test asks each of them as everybody else.

mod administrator;
mod availability;
mod breakers;
mod rollout;
mod rollout_body;

pub(crate) use self::administrator::{ADMINISTRATOR, Administrator};
pub(crate) use self::availability::AvailabilityApi;
pub(crate) use self::breakers::BreakersApi;
pub(crate) use self::rollout::RolloutApi;
