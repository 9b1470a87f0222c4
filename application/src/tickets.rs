//! Tickets: how a native `EventSource`, which cannot send headers, says who it is.
//!
//! A ticket is sealed, goes into the address of the stream and is worth its first use within half a minute. The
//! browser's own reconnects repeat that address; they count only together with the cookie that came with the
//! ticket. The cookie names a *binding*, drawn once for a person in a browser: another tab of the same person keeps
//! it, another person's login replaces it, and with it every earlier ticket is worth nothing.

use std::sync::Arc;
use std::time::Duration;

use domain::capability::{Principal, Role};
use domain::ids::UserId;
use domain::time::Timestamp;

use crate::error::Error;
use crate::ports::{Clock, Entropy, Registry, Seal, Spent, TicketId};
use crate::revocations::RevocationsInForce;

/// A ticket alone counts for this long, once.
pub const FIRST_USE_WITHIN: Duration = Duration::from_secs(30);
/// A spent mark outlives the ticket's session by this much, so that its last reconnect still finds it.
const MARK_OUTLIVES: Duration = Duration::from_secs(300);

const TICKET: &str = "stream-ticket";
const COOKIE: &str = "stream-cookie";

/// A fresh ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Goes into the address.
    pub ticket: String,
    /// Goes into the cookie.
    pub cookie: String,
    /// When the session ends unless it is renewed.
    pub expires_at: Timestamp,
}

/// Who a ticket stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// The person.
    pub principal: Arc<Principal>,
    /// The ticket, whose stream may be closed for good.
    pub ticket: TicketId,
}

/// Why a ticket does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It is none of ours.
    #[error("the ticket is not valid")]
    Invalid,
    /// It was used before, or too late, and the cookie that was issued with it did not come along.
    #[error("the ticket was used before and its cookie is missing or another one")]
    CookieMismatch,
    /// Its session is over.
    #[error("the ticket has expired")]
    Expired,
    /// The token that it stands for was taken back.
    #[error("the token was revoked")]
    Revoked,
    /// Its stream was closed for good: do not come back with it.
    #[error("the ticket's stream was closed")]
    Ended,
    /// It cannot be checked just now.
    #[error("the ticket cannot be checked just now")]
    Unavailable,
}

/// Issues and redeems tickets.
pub struct Tickets {
    /// What only this service can read.
    pub seal: Arc<dyn Seal>,
    /// Which were spent.
    pub registry: Arc<dyn Registry>,
    /// Which tokens were taken back.
    pub revocations: Arc<RevocationsInForce>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

impl Tickets {
    /// Issues a ticket. The browser's present cookie is kept if it is the same person's.
    pub fn issue(&self, principal: &Principal, cookie: Option<&str>) -> Result<Grant, Error> {
        let expires_at = principal.expires_at;
        let binding = cookie
            .and_then(|cookie| self.open_cookie(cookie))
            .filter(|(_, user)| *user == principal.user)
            .map_or_else(|| self.draw(), |(binding, _)| binding);
        let sealed = Sealed {
            id: self.draw(),
            binding,
            issued_at: self.clock.now(),
            principal: principal.clone(),
        };
        let mut cookie = Writer::default();
        cookie.number(binding);
        cookie.text(principal.user.as_str());
        Ok(Grant {
            ticket: self.seal.seal(TICKET, &sealed.write()),
            cookie: self.seal.seal(COOKIE, &cookie.0),
            expires_at,
        })
    }

    /// Redeems a ticket, with the cookie if one came along.
    pub async fn redeem(&self, ticket: &str, cookie: Option<&str>) -> Result<Redeemed, TicketError> {
        let plain = self.seal.open(TICKET, ticket).ok_or(TicketError::Invalid)?;
        let sealed = Sealed::read(&plain).ok_or(TicketError::Invalid)?;
        let now = self.clock.now();
        let cookie_fits = cookie
            .and_then(|cookie| self.open_cookie(cookie))
            .is_some_and(|(binding, user)| binding == sealed.binding && user == sealed.principal.user);
        let fresh = now.since(sealed.issued_at) <= FIRST_USE_WITHIN;
        if !cookie_fits && !fresh {
            return Err(TicketError::CookieMismatch);
        }
        let keep = sealed.principal.expires_at.since(now) + MARK_OUTLIVES;
        let spent = self
            .registry
            .spend(sealed.id, keep)
            .await
            .map_err(|_| TicketError::Unavailable)?;
        match spent {
            Spent::Ended => return Err(TicketError::Ended),
            Spent::Again if !cookie_fits => return Err(TicketError::CookieMismatch),
            Spent::First | Spent::Again => {}
        }
        let renewed = self
            .registry
            .renewed(sealed.id)
            .await
            .map_err(|_| TicketError::Unavailable)?;
        let principal = renewed.unwrap_or_else(|| Arc::new(sealed.principal));
        if principal.expires_at <= now {
            return Err(TicketError::Expired);
        }
        if self.revocations.hit(&principal) {
            return Err(TicketError::Revoked);
        }
        Ok(Redeemed {
            principal,
            ticket: sealed.id,
        })
    }

    fn open_cookie(&self, cookie: &str) -> Option<(u128, UserId)> {
        let plain = self.seal.open(COOKIE, cookie)?;
        let mut reader = Reader(&plain);
        let binding = reader.number()?;
        let user = reader.text()?.parse().ok()?;
        reader.0.is_empty().then_some((binding, user))
    }

    fn draw(&self) -> u128 {
        (u128::from(self.entropy.bits()) << 64) | u128::from(self.entropy.bits())
    }
}

/// What a ticket holds.
#[derive(Debug, PartialEq, Eq)]
struct Sealed {
    id: TicketId,
    binding: u128,
    issued_at: Timestamp,
    principal: Principal,
}

impl Sealed {
    fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.number(self.id);
        writer.number(self.binding);
        writer.moment(self.issued_at);
        writer.moment(self.principal.expires_at);
        writer.text(self.principal.user.as_str());
        writer.text(self.principal.token_id.as_deref().unwrap_or_default());
        writer.text(self.principal.profile.as_deref().unwrap_or_default());
        writer.texts(self.principal.roles.iter().map(Role::as_str));
        writer.texts(self.principal.units.iter().map(domain::ids::UnitId::as_str));
        writer.texts(self.principal.benefits.iter().map(domain::ids::BenefitId::as_str));
        if let Some(issued_at) = self.principal.issued_at {
            writer.moment(issued_at);
        }
        writer.0
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut reader = Reader(bytes);
        let (id, binding) = (reader.number()?, reader.number()?);
        let (issued_at, expires_at) = (reader.moment()?, reader.moment()?);
        let user = reader.text()?.parse().ok()?;
        let (token_id, profile) = (some(reader.text()?), some(reader.text()?));
        let roles = reader.texts()?.into_iter().map(Role::new).collect();
        let units = reader
            .texts()?
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let benefits = reader
            .texts()?
            .into_iter()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let token_issued_at = if reader.0.is_empty() {
            None
        } else {
            Some(reader.moment()?)
        };
        let principal = Principal {
            user,
            roles,
            units,
            benefits,
            profile,
            token_id,
            issued_at: token_issued_at,
            expires_at,
        };
        reader.0.is_empty().then_some(Self {
            id,
            binding,
            issued_at,
            principal,
        })
    }
}

/// Writes parts so that each is preceded by its length.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, number: u128) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn moment(&mut self, at: Timestamp) {
        self.0.extend_from_slice(&at.as_millis().to_be_bytes());
    }

    fn length(&mut self, length: usize) {
        self.0
            .extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.length(texts.len());
        texts.for_each(|text| self.text(text));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u128> {
        self.take().map(u128::from_be_bytes)
    }

    fn moment(&mut self) -> Option<Timestamp> {
        self.take().map(i64::from_be_bytes).map(Timestamp::from_millis)
    }

    fn length(&mut self) -> Option<usize> {
        self.take()
            .map(u32::from_be_bytes)
            .and_then(|length| usize::try_from(length).ok())
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(head).ok()
    }

    fn texts(&mut self) -> Option<Vec<&'a str>> {
        let count = self.length()?;
        (0..count).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests;
