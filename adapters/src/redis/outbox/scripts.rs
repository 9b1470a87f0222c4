//! The outbox's scripts. Each file says what it does; here they are put together from their parts.

use redis::Script;

use super::super::script::script;

/// The scripts of the outbox.
pub(super) struct Scripts {
    pub(super) backlog: Script,
    pub(super) dead: Script,
    pub(super) find: Script,
    pub(super) forget: Script,
    pub(super) heads: Script,
    pub(super) lead: Script,
    pub(super) recent: Script,
    pub(super) tell: Script,
    pub(super) hold: Script,
    pub(super) holders: Script,
    pub(super) plan: Script,
    pub(super) planned: Script,
    pub(super) update: Script,
}

impl Scripts {
    /// What frees runs in a full Redis, too.
    pub(super) fn new() -> Self {
        Self {
            backlog: script!("outbox" " flags=no-writes": "names" "backlog"),
            dead: script!("outbox" " flags=no-writes": "names" "rows" "dead"),
            find: script!("outbox" " flags=no-writes": "names" "rows" "find"),
            forget: script!("outbox" " flags=allow-oom": "names" "forget"),
            heads: script!("outbox" " flags=no-writes": "names" "rows" "heads"),
            hold: script!("outbox" "": "names" "hold"),
            holders: script!("outbox" " flags=no-writes": "names" "holders"),
            plan: script!("outbox" "": "names" "put" "plan"),
            planned: script!("outbox" " flags=no-writes": "names" "planned"),
            update: script!("outbox" "": "names" "put" "update"),
            lead: script!("outbox" "": "names" "lead"),
            recent: script!("outbox" " flags=no-writes": "names" "recent"),
            tell: script!("outbox" "": "names" "tell"),
        }
    }
}
