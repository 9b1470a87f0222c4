//! What administrators may do. Every handler under `/v1/admin/` takes an [`Administrator`], who is one by the
//! capability matrix in force; a test asks each of them as everybody else.

mod administrator;
mod rollout;
mod rollout_body;
mod stats;

pub(crate) use self::administrator::{ADMINISTRATOR, Administrator};
pub(crate) use self::rollout::RolloutApi;
pub(crate) use self::stats::StatsApi;
