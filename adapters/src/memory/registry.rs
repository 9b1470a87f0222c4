//! The registry of a single node: gone when it ends, and its streams with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::{Clock, Observation, Observer, Presence, Registry, RegistryError, Spent, TicketId};
use async_trait::async_trait;
use domain::capability::Principal;
use domain::ids::{ConnectionId, UserId};

/// Half a million spent tickets, each kept for as long as its session may live.
const TICKETS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// One ticket in both of its indexes, allocations included.
const TICKET_BYTES: usize = 128;

/// The name of this bound among the metrics.
const FULL: &str = "registry_tickets";

/// Who is connected, and which tickets were spent.
///
/// Streams need no bound here: the node that enters them has one. Tickets are bounded in bytes; beyond that
/// `spend` answers [`RegistryError::Full`] and the observer sees `Full("registry_tickets")`.
pub struct MemoryRegistry {
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    tickets_max_bytes: usize,
    /// Never held across an await.
    state: Mutex<State>,
}

impl MemoryRegistry {
    /// Begins empty.
    pub fn new(clock: Arc<dyn Clock>, observer: Arc<dyn Observer>) -> Self {
        Self {
            clock,
            observer,
            tickets_max_bytes: TICKETS_MAX_BYTES,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What is left undone by a panic is at most an entry too many, which expires.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a ticket, entering it first where it is unknown. It is kept for `keep` from now, or longer where it
    /// already is.
    fn with_ticket<T>(
        &self,
        id: TicketId,
        keep: Duration,
        change: impl FnOnce(&mut Ticket) -> T,
    ) -> Result<T, RegistryError> {
        let now = self.clock.uptime();
        let mut state = self.state();
        state.forget_expired(now);
        let mut ticket = state.tickets.get(&id).cloned().unwrap_or_default();
        let outcome = change(&mut ticket);
        ticket.until = ticket.until.max(now.saturating_add(keep));
        let kept = state.keep(id, ticket, self.tickets_max_bytes);
        drop(state);
        if kept.is_err() {
            self.observer.saw(&Observation::Full(FULL));
        }
        kept.map(|()| outcome)
    }
}

#[async_trait]
impl Registry for MemoryRegistry {
    async fn enter(&self, presence: Presence, limit: usize) -> Result<Vec<ConnectionId>, RegistryError> {
        let mut state = self.state();
        let streams = state.streams.entry(presence.user.clone()).or_default();
        streams.retain(|older| older.connection != presence.connection);
        let beyond = (streams.len() + 1).saturating_sub(limit);
        let replaced = streams
            .iter()
            .take(beyond)
            .map(|older| older.connection)
            .collect();
        streams.push(presence.clone());
        state.owners.insert(presence.connection, presence.user);
        Ok(replaced)
    }

    /// It is never away.
    async fn surplus(&self) -> Vec<ConnectionId> {
        std::future::pending().await
    }

    fn leave(&self, user: &UserId, connection: ConnectionId) {
        let mut state = self.state();
        if let Some(streams) = state.streams.get_mut(user) {
            streams.retain(|stream| stream.connection != connection);
            if streams.is_empty() {
                state.streams.remove(user);
            }
        }
        if state.owners.get(&connection).is_some_and(|owner| owner == user) {
            state.owners.remove(&connection);
        }
    }

    async fn count(&self) -> Result<usize, RegistryError> {
        Ok(self.state().owners.len())
    }

    async fn list(&self, after: Option<ConnectionId>, limit: usize) -> Result<Vec<Presence>, RegistryError> {
        let state = self.state();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let connections = state.owners.range((from, Bound::Unbounded)).take(limit);
        Ok(connections
            .filter_map(|(connection, user)| state.presence(user, *connection).cloned())
            .collect())
    }

    async fn owner(&self, connection: ConnectionId) -> Result<Option<UserId>, RegistryError> {
        Ok(self.state().owners.get(&connection).cloned())
    }

    async fn spend(&self, ticket: TicketId, keep: Duration) -> Result<Spent, RegistryError> {
        self.with_ticket(ticket, keep, |ticket| {
            let spent = ticket.spent();
            ticket.spent = true;
            spent
        })
    }

    fn renew(&self, ticket: TicketId, principal: Arc<Principal>) {
        let keep = principal.expires_at.since(self.clock.now());
        // A full registry has been reported: the session then ends when its first token does.
        let _ = self.with_ticket(ticket, keep, |ticket| ticket.renewed = Some(principal));
    }

    async fn renewed(&self, ticket: TicketId) -> Result<Option<Arc<Principal>>, RegistryError> {
        let mut state = self.state();
        state.forget_expired(self.clock.uptime());
        Ok(state
            .tickets
            .get(&ticket)
            .and_then(|ticket| ticket.renewed.clone()))
    }

    fn end(&self, ticket: TicketId, keep: Duration) {
        // A ticket that opened a stream was spent, so its entry is there and grows no more.
        let _ = self.with_ticket(ticket, keep, |ticket| ticket.ended = true);
    }
}

#[derive(Default)]
struct State {
    /// Each person's streams, oldest first.
    streams: HashMap<UserId, Vec<Presence>>,
    /// Whose each stream is.
    owners: BTreeMap<ConnectionId, UserId>,
    tickets: HashMap<TicketId, Ticket>,
    /// The same tickets by when they are forgotten.
    expiries: BTreeSet<(Duration, TicketId)>,
    /// What the tickets take.
    bytes: usize,
}

impl State {
    fn presence(&self, user: &UserId, connection: ConnectionId) -> Option<&Presence> {
        let streams = self.streams.get(user)?;
        streams.iter().find(|stream| stream.connection == connection)
    }

    fn keep(&mut self, id: TicketId, ticket: Ticket, max_bytes: usize) -> Result<(), RegistryError> {
        let held = self.tickets.get(&id).map_or(0, Ticket::bytes);
        let bytes = self.bytes - held + ticket.bytes();
        if bytes > max_bytes && bytes > self.bytes {
            return Err(RegistryError::Full);
        }
        self.forget(id);
        self.bytes += ticket.bytes();
        self.expiries.insert((ticket.until, id));
        self.tickets.insert(id, ticket);
        Ok(())
    }

    fn forget(&mut self, id: TicketId) {
        if let Some(ticket) = self.tickets.remove(&id) {
            self.expiries.remove(&(ticket.until, id));
            self.bytes -= ticket.bytes();
        }
    }

    fn forget_expired(&mut self, now: Duration) {
        while let Some(&(until, id)) = self.expiries.first()
            && until <= now
        {
            self.forget(id);
        }
    }
}

/// What a ticket has been through.
#[derive(Debug, Clone, Default)]
struct Ticket {
    spent: bool,
    ended: bool,
    /// As whom its session goes on.
    renewed: Option<Arc<Principal>>,
    /// Forgotten at this uptime.
    until: Duration,
}

impl Ticket {
    const fn spent(&self) -> Spent {
        match (self.ended, self.spent) {
            (true, _) => Spent::Ended,
            (false, true) => Spent::Again,
            (false, false) => Spent::First,
        }
    }

    fn bytes(&self) -> usize {
        TICKET_BYTES + self.renewed.as_deref().map_or(0, principal_bytes)
    }
}

/// Counts a person's texts. Ids and roles are small, so what each allocation costs on top is counted too.
fn principal_bytes(principal: &Principal) -> usize {
    const EACH: usize = 48;
    let roles: usize = principal
        .roles
        .iter()
        .map(|role| role.as_str().len() + EACH)
        .sum();
    let units: usize = principal
        .units
        .iter()
        .map(|unit| unit.as_str().len() + EACH)
        .sum();
    let benefits: usize = principal
        .benefits
        .iter()
        .map(|benefit| benefit.as_str().len() + EACH)
        .sum();
    let texts = [&principal.profile, &principal.token_id]
        .into_iter()
        .flatten()
        .map(String::len)
        .sum::<usize>();
    size_of::<Principal>() + roles + units + benefits + texts
}

#[cfg(test)]
mod tests {
    use application::testing::SimClock;
    use domain::capability::Role;

    use super::*;

    /// Notes what it was told of.
    #[derive(Default)]
    struct Noting(Mutex<Vec<Observation>>);

    impl Observer for Noting {
        fn saw(&self, observation: &Observation) {
            self.0.lock().unwrap().push(*observation);
        }
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    fn registry_of(tickets: usize) -> (MemoryRegistry, Arc<SimClock>, Arc<Noting>) {
        let (clock, noting) = (Arc::new(SimClock::new()), Arc::new(Noting::default()));
        let mut registry = MemoryRegistry::new(clock.clone(), noting.clone());
        registry.tickets_max_bytes = tickets * TICKET_BYTES;
        (registry, clock, noting)
    }

    #[tokio::test]
    async fn a_full_registry_says_so_and_knows_what_it_knew() {
        let (registry, clock, noting) = registry_of(2);
        for ticket in [1, 2] {
            assert_eq!(registry.spend(ticket, HOUR).await, Ok(Spent::First));
        }
        assert_eq!(registry.spend(3, HOUR).await, Err(RegistryError::Full));
        assert_eq!(*noting.0.lock().unwrap(), [Observation::Full("registry_tickets")]);
        assert_eq!(registry.spend(1, HOUR).await, Ok(Spent::Again));
        registry.end(1, HOUR);
        assert_eq!(registry.spend(1, HOUR).await, Ok(Spent::Ended));
        clock.advance(HOUR);
        assert_eq!(
            registry.spend(3, HOUR).await,
            Ok(Spent::First),
            "room again after an hour"
        );
    }

    #[tokio::test]
    async fn renewals_count_by_what_the_person_takes() {
        let (registry, _, noting) = registry_of(8);
        let mut person = Principal::new("u-1".parse().unwrap(), [Role::new(&"X".repeat(4_096))]);
        person.expires_at = SimClock::START.plus(HOUR);
        registry.spend(1, HOUR).await.unwrap();
        registry.renew(1, Arc::new(person.clone()));
        assert_eq!(registry.renewed(1).await, Ok(None));
        assert_eq!(noting.0.lock().unwrap().len(), 1);
        person.roles.clear();
        registry.renew(1, Arc::new(person.clone()));
        assert_eq!(registry.renewed(1).await, Ok(Some(Arc::new(person))));
    }

    #[tokio::test]
    async fn what_is_forgotten_takes_no_room() {
        let (registry, clock, _) = registry_of(10);
        for ticket in 0..10 {
            registry.spend(ticket, HOUR).await.unwrap();
            registry.spend(ticket, HOUR * 2).await.unwrap();
        }
        clock.advance(HOUR * 2);
        registry.spend(11, HOUR).await.unwrap();
        let state = registry.state();
        assert_eq!(
            (state.tickets.len(), state.expiries.len(), state.bytes),
            (1, 1, TICKET_BYTES)
        );
    }

    #[tokio::test]
    async fn people_without_streams_leave_nothing_behind() {
        let (registry, _, _) = registry_of(1);
        let user: UserId = "u-1".parse().unwrap();
        let connection: ConnectionId = "00000001-0000000000000001".parse().unwrap();
        let presence = Presence {
            connection,
            user: user.clone(),
            opened_at: SimClock::START,
        };
        registry.enter(presence, 5).await.unwrap();
        registry.leave(&user, connection);
        assert!(registry.state().streams.is_empty());
    }
}
