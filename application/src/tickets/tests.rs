//! Tickets are worth their first use, and later ones only with their cookie.

use std::collections::HashMap;
use std::sync::Mutex;

use async_trait::async_trait;
use domain::ids::ConnectionId;
use domain::revocation::{Revocation, RevocationId, Revocations, Target};
use domain::rollout::Why;

use super::*;
use crate::ports::{Presence, RegistryError};
use crate::testing::{SeededEntropy, SimClock};

/// Seals by writing the purpose in front: enough to tell what was sealed for what.
struct PlainSeal;

impl Seal for PlainSeal {
    fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        plain
            .iter()
            .fold(format!("{purpose}:"), |text, byte| format!("{text}{byte:02x}"))
    }

    fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let hex = sealed.strip_prefix(purpose)?.strip_prefix(':')?;
        let byte = |at: usize| {
            hex.get(at..at + 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        };
        (0..hex.len()).step_by(2).map(byte).collect()
    }
}

#[derive(Default)]
struct Marks {
    spent: Mutex<HashMap<TicketId, Spent>>,
    renewed: Mutex<HashMap<TicketId, Arc<Principal>>>,
    down: bool,
}

#[async_trait]
impl Registry for Marks {
    async fn enter(&self, _: Presence, _: usize) -> Result<Vec<ConnectionId>, RegistryError> {
        Ok(Vec::new())
    }

    async fn surplus(&self) -> Vec<ConnectionId> {
        std::future::pending().await
    }

    fn leave(&self, _: &UserId, _: ConnectionId) {}

    async fn count(&self) -> Result<usize, RegistryError> {
        Ok(0)
    }

    async fn list(&self, _: Option<ConnectionId>, _: usize) -> Result<Vec<Presence>, RegistryError> {
        Ok(Vec::new())
    }

    async fn owner(&self, _: ConnectionId) -> Result<Option<UserId>, RegistryError> {
        Ok(None)
    }

    async fn spend(&self, ticket: TicketId, _: Duration) -> Result<Spent, RegistryError> {
        if self.down {
            return Err(RegistryError::Unavailable);
        }
        let mut spent = self.spent.lock().unwrap();
        let before = spent.get(&ticket).copied().unwrap_or(Spent::First);
        spent.entry(ticket).or_insert(Spent::Again);
        Ok(before)
    }

    fn renew(&self, ticket: TicketId, principal: Arc<Principal>) {
        self.renewed.lock().unwrap().insert(ticket, principal);
    }

    async fn renewed(&self, ticket: TicketId) -> Result<Option<Arc<Principal>>, RegistryError> {
        Ok(self.renewed.lock().unwrap().get(&ticket).cloned())
    }

    fn end(&self, ticket: TicketId, _: Duration) {
        self.spent.lock().unwrap().insert(ticket, Spent::Ended);
    }
}

struct Desk {
    tickets: Tickets,
    clock: Arc<SimClock>,
    marks: Arc<Marks>,
}

fn desk_with(marks: Marks) -> Desk {
    let (clock, marks) = (Arc::new(SimClock::new()), Arc::new(marks));
    let tickets = Tickets {
        seal: Arc::new(PlainSeal),
        registry: Arc::clone(&marks) as Arc<dyn Registry>,
        revocations: Arc::new(RevocationsInForce::new(Arc::clone(&clock) as Arc<dyn Clock>)),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    Desk {
        tickets,
        clock,
        marks,
    }
}

fn desk() -> Desk {
    desk_with(Marks::default())
}

fn person(user: &str) -> Principal {
    let mut person = Principal::new(user.parse().unwrap(), [Role::new("TECNICO"), Role::new("x\ny")])
        .with_memberships(vec!["cras-1".parse().unwrap()], vec!["passagem".parse().unwrap()])
        .unwrap();
    person.expires_at = SimClock::START.plus(Duration::from_secs(3_600));
    person.token_id = Some("t-1".into());
    person.issued_at = Some(SimClock::START);
    person
}

#[tokio::test]
async fn the_first_use_needs_only_the_ticket_and_brings_the_person_back_whole() {
    let desk = desk();
    let grant = desk.tickets.issue(&person("u-1"), None).unwrap();
    let redeemed = desk.tickets.redeem(&grant.ticket, None).await.unwrap();
    assert_eq!(*redeemed.principal, person("u-1"));
}

#[tokio::test]
async fn later_uses_need_the_cookie_that_was_issued_with_the_ticket() {
    let desk = desk();
    let grant = desk.tickets.issue(&person("u-1"), None).unwrap();
    desk.tickets.redeem(&grant.ticket, None).await.unwrap();
    let foreign = desk.tickets.issue(&person("u-2"), None).unwrap();
    for cookie in [
        None,
        Some("junk"),
        Some(foreign.cookie.as_str()),
        Some(grant.ticket.as_str()),
    ] {
        let refused = desk.tickets.redeem(&grant.ticket, cookie).await;
        assert_eq!(refused, Err(TicketError::CookieMismatch), "{cookie:?}");
    }
    assert!(
        desk.tickets
            .redeem(&grant.ticket, Some(&grant.cookie))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_ticket_that_lay_around_needs_its_cookie_from_the_start() {
    let desk = desk();
    let grant = desk.tickets.issue(&person("u-1"), None).unwrap();
    desk.clock.advance(FIRST_USE_WITHIN + Duration::from_millis(1));
    assert_eq!(
        desk.tickets.redeem(&grant.ticket, None).await,
        Err(TicketError::CookieMismatch)
    );
    assert!(
        desk.tickets
            .redeem(&grant.ticket, Some(&grant.cookie))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn another_tab_of_the_same_person_keeps_the_first_tabs_ticket_alive() {
    let desk = desk();
    let first = desk.tickets.issue(&person("u-1"), None).unwrap();
    desk.tickets.redeem(&first.ticket, None).await.unwrap();
    let second = desk.tickets.issue(&person("u-1"), Some(&first.cookie)).unwrap();
    assert!(
        desk.tickets
            .redeem(&first.ticket, Some(&second.cookie))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn another_persons_login_in_the_same_browser_inherits_nothing() {
    let desk = desk();
    let first = desk.tickets.issue(&person("u-1"), None).unwrap();
    desk.tickets.redeem(&first.ticket, None).await.unwrap();
    let second = desk.tickets.issue(&person("u-2"), Some(&first.cookie)).unwrap();
    let refused = desk.tickets.redeem(&first.ticket, Some(&second.cookie)).await;
    assert_eq!(refused, Err(TicketError::CookieMismatch));
}

#[tokio::test]
async fn a_session_ends_with_its_token_unless_it_was_renewed() {
    let desk = desk();
    let grant = desk.tickets.issue(&person("u-1"), None).unwrap();
    let redeemed = desk.tickets.redeem(&grant.ticket, None).await.unwrap();
    desk.clock.advance(Duration::from_secs(3_600));
    assert_eq!(
        desk.tickets.redeem(&grant.ticket, Some(&grant.cookie)).await,
        Err(TicketError::Expired)
    );
    let mut fresh = person("u-1");
    fresh.expires_at = desk.clock.now().plus(Duration::from_secs(3_600));
    fresh.units.clear();
    desk.marks.renew(redeemed.ticket, Arc::new(fresh.clone()));
    let renewed = desk
        .tickets
        .redeem(&grant.ticket, Some(&grant.cookie))
        .await
        .unwrap();
    assert_eq!(*renewed.principal, fresh);
}

#[tokio::test]
async fn a_stream_that_was_closed_for_good_is_told_so() {
    let desk = desk();
    let grant = desk.tickets.issue(&person("u-1"), None).unwrap();
    let redeemed = desk.tickets.redeem(&grant.ticket, None).await.unwrap();
    desk.marks.end(redeemed.ticket, Duration::from_secs(1));
    assert_eq!(
        desk.tickets.redeem(&grant.ticket, Some(&grant.cookie)).await,
        Err(TicketError::Ended)
    );
}

#[tokio::test]
async fn a_tampered_ticket_is_worth_nothing() {
    let desk = desk();
    let grant = desk.tickets.issue(&person("u-1"), None).unwrap();
    for bad in [
        "",
        "junk",
        &grant.cookie,
        &grant.ticket[..grant.ticket.len() - 2],
        &format!("{}00", grant.ticket),
    ] {
        assert_eq!(
            desk.tickets.redeem(bad, Some(&grant.cookie)).await,
            Err(TicketError::Invalid),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_ticket_that_cannot_be_checked_is_not_believed() {
    let desk = desk_with(Marks {
        down: true,
        ..Marks::default()
    });
    let grant = desk.tickets.issue(&person("u-1"), None).unwrap();
    let refused = desk.tickets.redeem(&grant.ticket, Some(&grant.cookie)).await;
    assert_eq!(refused, Err(TicketError::Unavailable));
}

#[tokio::test]
async fn a_ticket_of_a_token_that_was_taken_back_is_worth_nothing() {
    let desk = desk();
    let grant = desk.tickets.issue(&person("u-1"), None).unwrap();
    let other = desk.tickets.issue(&person("u-2"), None).unwrap();
    let revocation = Revocation {
        id: RevocationId(1),
        target: Target::IssuedBefore {
            subject: Some("u-1".parse().unwrap()),
            before: SimClock::START.plus(Duration::from_millis(1)),
        },
        by: "admin".parse().unwrap(),
        why: Why::try_new("lost phone").unwrap(),
        at: SimClock::START,
        ends_at: Timestamp::MAX,
    };
    let revocations = Revocations::new(vec![revocation]);
    desk.tickets.revocations.replace(1, revocations);
    let refused = desk.tickets.redeem(&grant.ticket, None).await;
    assert_eq!(refused, Err(TicketError::Revoked));
    assert!(desk.tickets.redeem(&other.ticket, None).await.is_ok());
}
