//! The registry's scripts, each with its keys and arguments.

use std::time::Duration;

use application::ports::TicketId;
use domain::capability::Principal;
use domain::ids::{ConnectionId, NodeId, UserId};
use redis::{Script, ScriptInvocation};

use super::super::connect::Server;
use crate::record::{PrincipalRecord, to_text};
use crate::registry::{Arrival, Entry, LEASE, Mark, Standing, TICKET_KEPT_MAX};

/// The registry's keys.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(server: &Server) -> Self {
        Self {
            prefix: server.key("registry:"),
        }
    }

    /// All nodes that have, or had, entries.
    fn nodes(&self) -> String {
        format!("{}nodes", self.prefix)
    }

    fn lease(&self, node: NodeId) -> String {
        format!("{}lease:{:08x}", self.prefix, node.0)
    }

    /// The streams of a node: a sorted set of "serial opened user", all scores 0, so that they are found by serial.
    pub(super) fn node(&self, node: NodeId) -> String {
        format!("{}node:{:08x}", self.prefix, node.0)
    }

    /// The streams of a person: a sorted set by when they were opened.
    fn user(&self, user: &UserId) -> String {
        format!("{}user:{user}", self.prefix)
    }

    pub(super) fn ticket(&self, ticket: TicketId) -> String {
        format!("{}ticket:{ticket:032x}", self.prefix)
    }
}

/// The scripts; each file says what it does.
pub(super) struct Scripts {
    claim: Script,
    enter: Script,
    leave: Script,
    count: Script,
    list: Script,
    owner: Script,
    sweep: Script,
    spend: Script,
    end: Script,
    renew: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            claim: Script::new(include_str!("../lua/claim.lua")),
            enter: Script::new(include_str!("../lua/enter.lua")),
            leave: Script::new(include_str!("../lua/leave.lua")),
            count: Script::new(include_str!("../lua/count.lua")),
            list: Script::new(include_str!("../lua/list.lua")),
            owner: Script::new(include_str!("../lua/owner.lua")),
            sweep: Script::new(include_str!("../lua/sweep.lua")),
            spend: Script::new(include_str!("../lua/spend.lua")),
            end: Script::new(include_str!("../lua/end.lua")),
            renew: Script::new(include_str!("../lua/renew.lua")),
        }
    }

    /// Those that are sent several at once, without asking whether they are known.
    pub(super) const fn written(&self) -> [&Script; 4] {
        [&self.enter, &self.leave, &self.end, &self.renew]
    }

    pub(super) fn claim(&self, keys: &Keys, node: NodeId) -> ScriptInvocation<'_> {
        let mut call = self.claim.key(keys.lease(node));
        call.key(keys.nodes())
            .arg(format!("{:08x}", node.0))
            .arg(millis(LEASE));
        call
    }

    pub(super) fn enter(&self, keys: &Keys, arrival: &Arrival) -> ScriptInvocation<'_> {
        let presence = &arrival.presence;
        let node = presence.connection.node;
        let mut call = self.enter.key(keys.lease(node));
        call.key(keys.node(node))
            .key(keys.user(&presence.user))
            .arg(&keys.prefix)
            .arg(presence.connection.to_string())
            .arg(presence.opened_at.as_millis())
            .arg(presence.user.as_str())
            .arg(arrival.limit)
            .arg(u8::from(arrival.standing == Standing::Newest));
        call
    }

    pub(super) fn leave(&self, keys: &Keys, entry: &Entry) -> ScriptInvocation<'_> {
        let mut call = self.leave.key(keys.node(entry.connection.node));
        call.key(keys.user(&entry.user))
            .arg(entry.connection.to_string())
            .arg(entry.user.as_str());
        call
    }

    pub(super) fn mark(&self, keys: &Keys, mark: &Mark) -> ScriptInvocation<'_> {
        match mark {
            Mark::Ended { ticket, keep } => {
                let mut call = self.end.key(keys.ticket(*ticket));
                call.arg(millis(*keep));
                call
            }
            Mark::Renewed { ticket, principal } => {
                let principal: &Principal = principal;
                let mut call = self.renew.key(keys.ticket(*ticket));
                call.arg(to_text(&PrincipalRecord::from(principal)))
                    .arg(principal.expires_at.as_millis())
                    .arg(millis(TICKET_KEPT_MAX));
                call
            }
        }
    }

    pub(super) fn count(&self, keys: &Keys) -> ScriptInvocation<'_> {
        let mut call = self.count.key(keys.nodes());
        call.arg(&keys.prefix);
        call
    }

    pub(super) fn list(
        &self,
        keys: &Keys,
        after: Option<ConnectionId>,
        limit: usize,
    ) -> ScriptInvocation<'_> {
        let mut call = self.list.key(keys.nodes());
        call.arg(&keys.prefix)
            .arg(after.map_or_else(String::new, |after| after.to_string()))
            .arg(limit);
        call
    }

    pub(super) fn owner(&self, keys: &Keys, connection: ConnectionId) -> ScriptInvocation<'_> {
        let mut call = self.owner.key(keys.lease(connection.node));
        call.key(keys.node(connection.node))
            .arg(format!("{:016x}", connection.serial));
        call
    }

    pub(super) fn sweep(&self, keys: &Keys, at_once: usize) -> ScriptInvocation<'_> {
        let mut call = self.sweep.key(keys.nodes());
        call.arg(&keys.prefix).arg(at_once);
        call
    }

    pub(super) fn spend(&self, keys: &Keys, ticket: TicketId, keep: Duration) -> ScriptInvocation<'_> {
        let mut call = self.spend.key(keys.ticket(ticket));
        call.arg(millis(keep.min(TICKET_KEPT_MAX)));
        call
    }

    /// The key of a node's lease, for whoever gives it up.
    pub(super) fn release(keys: &Keys, node: NodeId) -> String {
        keys.lease(node)
    }
}

/// Whole milliseconds.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
