//! Limits: nobody asks so often that others are not served.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::abuse::{ATTEMPTS_MAX, Suspect};
use domain::capability::Principal;
use domain::limit::{Action, Standing, Table, Verdict};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::abuse::BlocksInForce;
use crate::ports::{Budget, Limiter, LimiterUnavailable, Observation, Observer, Reach};

/// As many networks as somebody writes by hand; each request is held against all of them.
pub const NETWORKS_MAX: usize = 256;

/// What is in force: the table, and who is not limited at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// How much is whose.
    pub table: Table,
    /// Networks that are not limited, neither by address nor by person.
    pub exempt: Vec<IpNet>,
}

impl Rules {
    /// Returns the rules that are in force until others are: the built-in table, and this machine is not limited.
    pub fn built_in() -> Self {
        Self {
            table: Table::built_in(),
            exempt: vec![
                Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
                Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
            ],
        }
    }
}

/// Whose budget decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// That of the address that the request came from.
    Address,
    /// That of the person, for what they did.
    Person,
    /// Nobody's: they are shut out for a while.
    Block,
}

impl Of {
    /// Returns the name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Person => "person",
            Self::Block => "block",
        }
    }
}

/// How the budget stands that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Whose it is.
    pub of: Of,
    /// What a window lets through.
    pub limit: u32,
    /// What is left of it.
    pub remaining: u32,
    /// When more is left than now; where nothing is left, when one is.
    pub reset: Duration,
}

/// Somebody asked too often; nothing was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.0))]
pub struct Limited(pub Left);

fn told(left: &Left) -> String {
    let limit = left.limit;
    match left.of {
        Of::Address => format!("of what comes from your address at most {limit} a minute are answered"),
        Of::Person => format!("of what you do here at most {limit} a minute are answered"),
        Of::Block => {
            "too much was tried that nobody gave a right to; nothing is answered for a while".to_owned()
        }
    }
}

/// Somebody who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// Where from; `None` when it cannot be told.
    pub client: Option<IpAddr>,
    /// Who, when their credentials count.
    pub person: Option<&'a Principal>,
    /// For what.
    pub action: Action,
}

/// Holds everybody to the limits in force.
pub struct Limits {
    /// `None` where all limits are switched off.
    limiter: Option<Arc<dyn Limiter>>,
    observer: Arc<dyn Observer>,
    rules: RwLock<Arc<Rules>>,
    blocks: Option<Arc<BlocksInForce>>,
}

impl Limits {
    /// Begins with the built-in rules. Without a limiter nobody is limited.
    pub fn new(limiter: Option<Arc<dyn Limiter>>, observer: Arc<dyn Observer>) -> Self {
        Self {
            limiter,
            observer,
            rules: RwLock::new(Arc::new(Rules::built_in())),
            blocks: None,
        }
    }

    /// Keeps out whoever is blocked, too.
    #[must_use]
    pub fn and_blocks(mut self, blocks: Arc<BlocksInForce>) -> Self {
        self.blocks = Some(blocks);
        self
    }

    /// Tells whether anything holds for somebody who comes from there.
    pub fn holds_for(&self, client: Option<IpAddr>) -> bool {
        self.limiter.is_some() && !client.is_some_and(|client| exempt(&self.rules().exempt, client))
    }

    /// Returns the rules in force.
    pub fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts other rules in force. They hold for what was let through before, too.
    pub fn replace(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Says for how much of the cluster is counted; `None` where nothing is.
    pub fn reach(&self) -> Option<Reach> {
        self.limiter.as_ref().map(|limiter| limiter.reach())
    }

    /// Takes a turn of the address and, where it is known who asks, of the person for the action: of both or of none.
    /// Returns how the tighter one stands; `None` for whoever is not limited.
    ///
    /// A limiter that cannot say lets everybody pass: it is a protection, and nobody is kept out because it is away.
    pub async fn admit(&self, asking: Asking<'_>) -> Result<Option<Left>, Limited> {
        let Some(limiter) = &self.limiter else {
            return Ok(None);
        };
        let rules = self.rules();
        if asking.client.is_some_and(|client| exempt(&rules.exempt, client)) {
            return Ok(None);
        }
        if let Some(rest) = self.blocked(asking) {
            self.observer.saw(&Observation::Limited {
                action: asking.action.as_str(),
                of: Of::Block.as_str(),
            });
            return Err(Limited(rest));
        }
        match limiter.take(&budgets(&rules.table, asking)).await {
            Ok(Verdict::Taken(standing)) => Ok(Some(left(standing))),
            Ok(Verdict::Refused(standing)) => {
                let left = left(standing);
                self.observer.saw(&Observation::Limited {
                    action: asking.action.as_str(),
                    of: left.of.as_str(),
                });
                Err(Limited(left))
            }
            Err(LimiterUnavailable) => {
                tracing::debug!("nobody could say what was let through");
                Ok(None)
            }
        }
    }
}

impl Limits {
    /// Says how long somebody is shut out yet: a person by their name, an address only where nobody could say who it is.
    fn blocked(&self, asking: Asking<'_>) -> Option<Left> {
        let reset = self.blocks.as_ref()?.rest(|| match asking.person {
            Some(person) => Suspect::User(person.user.clone()),
            None => Suspect::Address(place(asking.client).into()),
        })?;
        Some(Left {
            of: Of::Block,
            limit: u32::try_from(ATTEMPTS_MAX).unwrap_or(u32::MAX),
            remaining: 0,
            reset,
        })
    }
}

fn exempt(networks: &[IpNet], client: IpAddr) -> bool {
    let client = client.to_canonical();
    networks.iter().any(|network| network.contains(&client))
}

/// The address first: [`left`] tells the two apart by their places.
fn budgets(table: &Table, asking: Asking<'_>) -> Vec<Budget> {
    let allowances = table.budgets(asking.person, asking.action);
    let place = place(asking.client);
    let address = Budget {
        key: match asking.person {
            Some(_) => format!("address:{}:{place}", asking.action.as_str()),
            None => format!("unknown:{place}"),
        },
        allowance: allowances.address,
    };
    let person = asking
        .person
        .zip(allowances.person)
        .map(|(person, allowance)| Budget {
            key: format!("{}:{}", asking.action.as_str(), person.user),
            allowance,
        });
    [Some(address), person].into_iter().flatten().collect()
}

const fn left(standing: Standing) -> Left {
    Left {
        of: if standing.budget == 0 {
            Of::Address
        } else {
            Of::Person
        },
        limit: standing.limit,
        remaining: standing.remaining,
        reset: standing.reset,
    }
}

/// Names where somebody comes from. Whoever has one IPv6 address usually has the 64 bits behind it (RFC 6177), so the
/// network of 64 bits is what counts as one.
pub(crate) fn place(client: Option<IpAddr>) -> String {
    match client.map(|client| client.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(four)) => four.to_string(),
        Some(IpAddr::V6(six)) => {
            let mut segments = six.segments();
            segments[4..].fill(0);
            Ipv6Addr::from(segments).to_string()
        }
    }
}

#[cfg(test)]
mod tests;
