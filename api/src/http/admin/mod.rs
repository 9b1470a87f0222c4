//! What administrators may do. Every handler under `/v1/admin/` takes an [`Administrator`], who is one by the
//! capability matrix in force; a test asks each of them as everybody else.

mod administrator;
mod audit;
mod blocks;
mod revocations;
mod rollout;
mod rollout_body;

use self::audit::AuditApi;
use self::blocks::BlocksApi;
use self::revocations::RevocationsApi;
use self::rollout::RolloutApi;

pub(crate) use self::administrator::{ADMINISTRATOR, Administrator};

/// What administrators may do: one group of the document, because there can be sixteen at most.
pub(crate) type AdminApi = (RolloutApi, RevocationsApi, AuditApi, BlocksApi);

/// What administrators may do.
pub(crate) const ADMIN_API: AdminApi = (RolloutApi, RevocationsApi, AuditApi, BlocksApi);
