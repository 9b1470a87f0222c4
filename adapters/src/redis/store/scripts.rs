//! The store's scripts. Each file says what it does; here they are put together from their parts.

use redis::{Script, ScriptInvocation};

/// What a script may do. Redis holds it to that, and refuses one that writes before it has begun: when it is full, when
/// it is a replica, when its disk fails. So a script is run whole or not at all.
macro_rules! script {
    ($flags:literal: $($part:literal)+) => {
        Script::new(concat!(
            "#!lua",
            $flags,
            "\n",
            $(include_str!(concat!("../lua/store/", $part, ".lua"))),+
        ))
    };
}

/// The scripts of the store.
pub(super) struct Scripts {
    pub(super) accept: Script,
    pub(super) channels_of: Script,
    pub(super) control: Script,
    pub(super) head: Script,
    pub(super) item: Script,
    pub(super) mark: Script,
    pub(super) meet: Script,
    pub(super) page: Script,
    pub(super) promote: Script,
    pub(super) prune: Script,
    pub(super) read: Script,
    pub(super) read_all: Script,
    pub(super) read_channels: Script,
    pub(super) recall: Script,
    pub(super) retract: Script,
    pub(super) sweep: Script,
    pub(super) unread: Script,
    pub(super) verify: Script,
}

impl Scripts {
    /// Those that free more than they take, and those without which nothing can be read, run in a full Redis, too.
    pub(super) fn new() -> Self {
        Self {
            accept: script!("": "names" "books" "append" "accept"),
            channels_of: script!(" flags=no-writes": "names" "books" "channels_of"),
            control: script!("": "names" "books" "append" "control"),
            head: script!(" flags=no-writes": "names" "books" "head"),
            item: script!(" flags=no-writes": "names" "books" "person" "item"),
            mark: script!("": "names" "books" "append" "person" "mark"),
            meet: script!("": "names" "books" "meet"),
            page: script!(" flags=no-writes": "names" "books" "person" "page"),
            promote: script!("": "names" "books" "append" "promote"),
            prune: script!(" flags=allow-oom": "names" "books" "append" "leave" "prune"),
            read: script!(" flags=no-writes": "names" "books" "entries" "read"),
            read_all: script!("": "names" "books" "append" "person" "read_all"),
            read_channels: script!(" flags=no-writes": "names" "books" "entries" "read_channels"),
            recall: script!(" flags=no-writes": "names" "books" "recall"),
            retract: script!(" flags=allow-oom": "names" "books" "append" "leave" "retract"),
            sweep: script!(" flags=allow-oom": "names" "books" "leave" "sweep"),
            unread: script!(" flags=no-writes": "names" "books" "person" "unread"),
            verify: script!(" flags=allow-oom": "names" "verify"),
        }
    }
}

/// Begins a call with what every script is given first.
pub(super) fn call<'a>(script: &'a Script, prefix: &str) -> ScriptInvocation<'a> {
    let mut call = script.prepare_invoke();
    call.arg(prefix);
    call
}
