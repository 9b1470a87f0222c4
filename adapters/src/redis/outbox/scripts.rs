//! The outbox's scripts. Each file says what it does; here they are put together from their parts.

use redis::Script;

/// What a script may do, as in the store: Redis refuses one that writes before it has begun when it is full, so that a
/// script is run whole or not at all.
macro_rules! script {
    ($flags:literal: $($part:literal)+) => {
        Script::new(concat!(
            "#!lua",
            $flags,
            "\n",
            $(include_str!(concat!("../lua/outbox/", $part, ".lua"))),+
        ))
    };
}

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
            backlog: script!(" flags=no-writes": "names" "backlog"),
            dead: script!(" flags=no-writes": "names" "rows" "dead"),
            find: script!(" flags=no-writes": "names" "rows" "find"),
            forget: script!(" flags=allow-oom": "names" "forget"),
            heads: script!(" flags=no-writes": "names" "rows" "heads"),
            lead: script!("": "names" "lead"),
            recent: script!(" flags=no-writes": "names" "recent"),
            tell: script!("": "names" "tell"),
            hold: script!("": "names" "hold"),
            holders: script!(" flags=no-writes": "names" "holders"),
            plan: script!("": "names" "put" "plan"),
            planned: script!(" flags=no-writes": "names" "planned"),
            update: script!("": "names" "put" "update"),
        }
    }
}
