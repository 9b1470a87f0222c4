//! Which of Ably's hosts is asked, and which one next (Ably, client library features spec, RSC15).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use application::ports::{Entropy, Host};

/// After the first host at most three others are tried (`RSC15a`, `httpMaxRetryCount`).
const FALLBACKS_TRIED: usize = 3;

/// A fallback that served is asked first for this long (`RSC15f`).
const REMEMBERED: Duration = Duration::from_secs(600);

/// Where Ably is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Ably's own default.
    Main,
    /// A routing policy, `acme` or `nonprod:acme`.
    Policy(String),
    /// One address without fallbacks, such as `http://127.0.0.1:9000`.
    Address(String),
}

/// The hosts, and which fallback served last.
#[derive(Debug)]
pub(super) struct Hosts {
    primary: String,
    fallbacks: Vec<String>,
    /// The fallback and the uptime until which it is asked first. No await is held under it.
    served: Mutex<Option<(String, Duration)>>,
}

impl Hosts {
    pub(super) fn of(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Main => Self::of_policy("main", ""),
            Endpoint::Policy(policy) => match policy.strip_prefix("nonprod:") {
                Some(policy) => Self::of_policy(policy, "-nonprod"),
                None => Self::of_policy(policy, ""),
            },
            Endpoint::Address(address) => Self::new(address.trim_end_matches('/').to_owned(), Vec::new()),
        }
    }

    /// The fallbacks have another provider of names, so that both do not vanish together.
    fn of_policy(policy: &str, cluster: &str) -> Self {
        let fallback = |n: char| format!("https://{policy}.{n}.fallback.ably-realtime{cluster}.com");
        Self::new(
            format!("https://{policy}.realtime.ably{cluster}.net"),
            ('a'..='e').map(fallback).collect(),
        )
    }

    pub(super) fn new(primary: String, fallbacks: Vec<String>) -> Self {
        Self {
            primary,
            fallbacks,
            served: Mutex::default(),
        }
    }

    /// Returns the first host of all.
    pub(super) fn primary(&self) -> &str {
        &self.primary
    }

    /// Says which host is asked first.
    pub(super) fn first(&self, now: Duration) -> Host {
        self.remembered(now).map_or(Host::Primary, |_| Host::Fallback)
    }

    /// The fallback that served last, as long as it is asked first for that.
    fn remembered(&self, now: Duration) -> Option<String> {
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let served = served.as_ref().filter(|(_, until)| now < *until);
        served.map(|(host, _)| host.clone())
    }

    /// Lists the hosts to try in turn: the fallback that served last, then the primary, then others at random.
    pub(super) fn in_turn(&self, now: Duration, entropy: &dyn Entropy) -> Vec<String> {
        let served = self.remembered(now);
        let mut others = self.fallbacks.clone();
        shuffle(&mut others, entropy);
        others.retain(|host| Some(host) != served.as_ref());
        let first = served.into_iter().chain([self.primary.clone()]);
        first.chain(others).take(1 + FALLBACKS_TRIED).collect()
    }

    /// Takes note of the host that served.
    pub(super) fn served(&self, host: &str, now: Duration) {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = served
            .as_ref()
            .is_some_and(|(known, until)| known == host && now < *until);
        if host == self.primary {
            *served = None;
        } else if !remembered {
            *served = Some((host.to_owned(), now + REMEMBERED));
        }
    }
}

/// Fisher and Yates'. The remainder favours no host by more than one in 2^61.
fn shuffle(hosts: &mut [String], entropy: &dyn Entropy) {
    for last in (1..hosts.len()).rev() {
        let bound = u64::try_from(last + 1).unwrap_or(1);
        let drawn = usize::try_from(entropy.bits() % bound).unwrap_or_default();
        hosts.swap(last, drawn);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use application::testing::SeededEntropy;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn hosts_are_named_as_ably_names_them() {
        let hosts = Hosts::of(&Endpoint::Main);
        assert_eq!(hosts.primary, "https://main.realtime.ably.net");
        assert_eq!(hosts.fallbacks.len(), 5);
        assert_eq!(hosts.fallbacks[4], "https://main.e.fallback.ably-realtime.com");
        let hosts = Hosts::of(&Endpoint::Policy("nonprod:acme".to_owned()));
        assert_eq!(hosts.primary, "https://acme.realtime.ably-nonprod.net");
        assert_eq!(
            hosts.fallbacks[0],
            "https://acme.a.fallback.ably-realtime-nonprod.com"
        );
        let hosts = Hosts::of(&Endpoint::Address("http://127.0.0.1:9/".to_owned()));
        assert_eq!(
            (hosts.primary.as_str(), hosts.fallbacks.len()),
            ("http://127.0.0.1:9", 0)
        );
    }

    #[test]
    fn after_the_primary_three_fallbacks_are_tried_in_any_order() {
        let hosts = Hosts::of(&Endpoint::Main);
        let entropy = SeededEntropy::new(3);
        let mut second = BTreeSet::new();
        for _ in 0..200 {
            let turn = hosts.in_turn(at(0), &entropy);
            assert_eq!((turn.len(), &turn[0]), (4, &hosts.primary));
            assert_eq!(
                turn.iter().collect::<BTreeSet<_>>().len(),
                4,
                "a host was tried twice"
            );
            second.insert(turn[1].clone());
        }
        assert_eq!(second, hosts.fallbacks.iter().cloned().collect());
    }

    #[test]
    fn a_fallback_that_served_goes_first_for_ten_minutes() {
        let hosts = Hosts::of(&Endpoint::Main);
        let entropy = SeededEntropy::new(3);
        let fallback = hosts.fallbacks[2].clone();
        hosts.served(&fallback, at(0));
        hosts.served(&fallback, at(300));
        let turn = hosts.in_turn(at(599), &entropy);
        assert_eq!(turn[..2], [fallback.clone(), hosts.primary.clone()]);
        assert_eq!(hosts.first(at(599)), Host::Fallback);
        assert_eq!(hosts.first(at(600)), Host::Primary);
        assert_eq!(turn.iter().filter(|host| **host == fallback).count(), 1);
        assert_eq!(
            hosts.in_turn(at(600), &entropy)[0],
            hosts.primary,
            "it was put off"
        );
        hosts.served(&fallback, at(600));
        hosts.served(&hosts.primary.clone(), at(601));
        assert_eq!(hosts.in_turn(at(602), &entropy)[0], hosts.primary);
    }
}
