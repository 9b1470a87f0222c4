//! The store's scripts. Each file says what it does; here they are put together from their parts.

use redis::Script;

use super::super::script::script;

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
            accept: script!("store" "": "names" "books" "append" "accept"),
            channels_of: script!("store" " flags=no-writes": "names" "books" "channels_of"),
            control: script!("store" "": "names" "books" "append" "control"),
            head: script!("store" " flags=no-writes": "names" "books" "head"),
            item: script!("store" " flags=no-writes": "names" "books" "person" "item"),
            mark: script!("store" "": "names" "books" "append" "person" "mark"),
            meet: script!("store" "": "names" "books" "meet"),
            page: script!("store" " flags=no-writes": "names" "books" "person" "page"),
            promote: script!("store" "": "names" "books" "append" "promote"),
            prune: script!("store" " flags=allow-oom": "names" "books" "append" "leave" "prune"),
            read: script!("store" " flags=no-writes": "names" "books" "entries" "read"),
            read_all: script!("store" "": "names" "books" "append" "person" "read_all"),
            read_channels: script!("store" " flags=no-writes": "names" "books" "entries" "read_channels"),
            recall: script!("store" " flags=no-writes": "names" "books" "recall"),
            retract: script!("store" " flags=allow-oom": "names" "books" "append" "leave" "retract"),
            sweep: script!("store" " flags=allow-oom": "names" "books" "leave" "sweep"),
            unread: script!("store" " flags=no-writes": "names" "books" "person" "unread"),
            verify: script!("store" " flags=allow-oom": "names" "verify"),
        }
    }
}
