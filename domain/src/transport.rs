//! What carries events to a person, and why it was chosen.

/// What carries events to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Ably, with the streams to fall back on.
    Ably,
    /// The service's own streams, which carry everything whatever else does.
    Streams,
}

impl Transport {
    /// Returns the name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ably => "ably",
            Self::Streams => "sse",
        }
    }

    /// Reads the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ably, Self::Streams]
            .into_iter()
            .find(|transport| transport.as_str() == text)
    }
}

/// Why a transport was chosen, for a person or for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// There are no Ably keys.
    NotConfigured,
    /// The kill switch is on.
    KillSwitch,
    /// An override names the person.
    OverrideUser,
    /// An override names a unit of theirs.
    OverrideUnit,
    /// An override names a role of theirs.
    OverrideRole,
    /// They are in the rollout's cohort.
    InCohort,
    /// They are outside the rollout's cohort.
    OutsideCohort,
    /// A group's channel: somebody may listen to it on Ably.
    RolloutOn,
    /// A group's channel: nobody is on Ably.
    RolloutOff,
    /// The person never asked for an Ably token, so nobody listens.
    NoToken,
    /// The person's Ably token has expired, so nobody listens.
    TokenExpired,
    /// The circuit breaker is open.
    BreakerOpen,
    /// The circuit breaker is trying whether Ably is back.
    BreakerProbing,
    /// Ably's health check fails.
    Unhealthy,
    /// Ably's own rate limit left no room for it in time.
    RateLimited,
    /// They may not read the past of a channel of theirs: what Ably lost of it could not be given again.
    HistoryWithheld,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::NotConfigured,
        Self::KillSwitch,
        Self::OverrideUser,
        Self::OverrideUnit,
        Self::OverrideRole,
        Self::InCohort,
        Self::OutsideCohort,
        Self::RolloutOn,
        Self::RolloutOff,
        Self::NoToken,
        Self::TokenExpired,
        Self::BreakerOpen,
        Self::BreakerProbing,
        Self::Unhealthy,
        Self::RateLimited,
        Self::HistoryWithheld,
    ];

    /// Returns the stable label, for answers, metrics and stored rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConfigured => "not_configured",
            Self::KillSwitch => "kill_switch",
            Self::OverrideUser => "override_user",
            Self::OverrideUnit => "override_unit",
            Self::OverrideRole => "override_role",
            Self::InCohort => "in_cohort",
            Self::OutsideCohort => "outside_cohort",
            Self::RolloutOn => "rollout_on",
            Self::RolloutOff => "rollout_off",
            Self::NoToken => "no_ably_token",
            Self::TokenExpired => "ably_token_expired",
            Self::BreakerOpen => "breaker_open",
            Self::BreakerProbing => "breaker_probing",
            Self::Unhealthy => "ably_unhealthy",
            Self::RateLimited => "rate_limited",
            Self::HistoryWithheld => "history_withheld",
        }
    }

    /// Reads the stable label.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_label_reads_back_and_stands_for_one_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
        }
        let labels: HashSet<_> = Reason::ALL.map(Reason::as_str).into_iter().collect();
        assert_eq!(labels.len(), Reason::ALL.len());
        for transport in [Transport::Ably, Transport::Streams] {
            assert_eq!(Transport::parse(transport.as_str()), Some(transport));
        }
        assert_eq!(Transport::parse("streams"), None);
    }
}
