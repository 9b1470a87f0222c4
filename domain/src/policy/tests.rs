use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::cohort::Share;
use crate::outbox::Status;
use crate::rollout::{KillSwitch, Overrides};

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
/// Bucket 131 of the salt `ably-1`.
const INSIDE: &str = "u-43";
/// Bucket 9,588 of the salt `ably-1`.
const OUTSIDE: &str = "u-42";

/// One combination of everything that has a say.
#[derive(Debug, Clone, Copy)]
struct Case {
    configured: bool,
    killed: bool,
    exception: Option<Transport>,
    user: &'static str,
    percent: u8,
    token: AblyToken,
    breaker: BreakerState,
    health: Health,
}

const GOOD: Case = Case {
    configured: true,
    killed: false,
    exception: None,
    user: INSIDE,
    percent: 5,
    token: AblyToken::Until(Timestamp::from_millis(1_000_001)),
    breaker: BreakerState::Closed,
    health: Health::Up,
};

const OPEN: BreakerState = BreakerState::Open {
    retry_after: Duration::from_secs(1),
};

/// What was asked, as a person would read it.
struct Answers {
    person: Route,
    event: Route,
    group: Route,
}

fn answers(case: Case) -> Answers {
    let user: UserId = case.user.parse().unwrap();
    let mut rollout = Rollout::new("ably-1".parse().unwrap());
    rollout.share = Share::percent(case.percent);
    if case.killed {
        let thrown = KillSwitch::try_new("admin".parse().unwrap(), "test", NOW);
        rollout.kill_switch = Some(thrown.unwrap());
    }
    if let Some(to) = case.exception {
        let users = BTreeMap::from([(user.clone(), to)]);
        rollout.overrides = Overrides::try_new(users, BTreeMap::new(), BTreeMap::new()).unwrap();
    }
    let policy = DeliveryPolicy {
        configured: case.configured,
        rollout: &rollout,
        breaker: case.breaker,
        health: case.health,
    };
    let listener = Listener {
        token: case.token,
        ..Listener::unknown(&user)
    };
    Answers {
        person: policy.for_person(&listener.person),
        event: policy.for_event_to(&listener, NOW),
        group: policy.for_group_event(),
    }
}

fn told(route: &Route) -> (Transport, Reason) {
    (route.transport(), route.reason())
}

fn case(change: fn(&mut Case)) -> Case {
    let mut case = GOOD;
    change(&mut case);
    case
}

#[test]
fn each_rule_decides_where_nothing_before_it_objects() {
    use Reason::{
        BreakerOpen, BreakerProbing, InCohort, KillSwitch, NoToken, NotConfigured, OutsideCohort,
        OverrideUser, RolloutOff, RolloutOn, TokenExpired, Unhealthy,
    };
    const TO_ABLY: Option<Transport> = Some(Transport::Ably);
    const TO_STREAMS: Option<Transport> = Some(Transport::Streams);
    type Row = (fn(&mut Case), [Reason; 3]);
    // For the person, for an event on their channel, for an event on a group's.
    let table: [Row; 15] = [
        (|_| {}, [InCohort, InCohort, RolloutOn]),
        (|c| (c.configured, c.killed) = (false, true), [NotConfigured; 3]),
        (|c| (c.killed, c.exception) = (true, TO_ABLY), [KillSwitch; 3]),
        (
            |c| c.exception = TO_STREAMS,
            [OverrideUser, OverrideUser, RolloutOn],
        ),
        (
            |c| (c.exception, c.percent) = (TO_ABLY, 0),
            [OverrideUser, OverrideUser, RolloutOn],
        ),
        (
            |c| (c.exception, c.percent) = (TO_STREAMS, 0),
            [OverrideUser, OverrideUser, RolloutOff],
        ),
        (|c| c.user = OUTSIDE, [OutsideCohort, OutsideCohort, RolloutOn]),
        (|c| c.percent = 0, [OutsideCohort, OutsideCohort, RolloutOff]),
        (
            |c| (c.token, c.breaker) = (AblyToken::Never, OPEN),
            [BreakerOpen, NoToken, BreakerOpen],
        ),
        (
            |c| c.token = AblyToken::Until(NOW),
            [InCohort, TokenExpired, RolloutOn],
        ),
        (|c| (c.breaker, c.health) = (OPEN, Health::Down), [BreakerOpen; 3]),
        (|c| c.breaker = BreakerState::ForcedOpen, [BreakerOpen; 3]),
        (
            |c| c.breaker = BreakerState::HalfOpen,
            [BreakerProbing, InCohort, RolloutOn],
        ),
        (|c| c.health = Health::Down, [Unhealthy; 3]),
        (|c| c.health = Health::Degraded, [InCohort, InCohort, RolloutOn]),
    ];
    for (change, expected) in table {
        let case = case(change);
        let found = answers(case);
        let reasons = [&found.person, &found.event, &found.group].map(Route::reason);
        assert_eq!(reasons, expected, "{case:?}");
    }
    assert_eq!(told(&answers(GOOD).person), (Transport::Ably, InCohort));
}

#[test]
fn an_explanation_lists_what_was_asked_up_to_the_rule_that_decided() {
    let steps = |route: Route| {
        route
            .steps()
            .map(|step| (step.rule, step.said))
            .collect::<Vec<_>>()
    };
    let quiet = |rule| (rule, Said::Nothing);
    let cohort = (Rule::Cohort, Said::Ably(Reason::InCohort));
    let before = [
        quiet(Rule::Configured),
        quiet(Rule::KillSwitch),
        quiet(Rule::Override),
        cohort,
    ];
    assert_eq!(
        steps(answers(GOOD).person),
        [&before[..], &[quiet(Rule::Breaker), quiet(Rule::Health)]].concat()
    );
    assert_eq!(
        steps(answers(GOOD).event),
        [
            &before[..],
            &[quiet(Rule::Token), quiet(Rule::Breaker), quiet(Rule::Health)]
        ]
        .concat()
    );
    let no_token = answers(case(|c| (c.token, c.health) = (AblyToken::Never, Health::Down)));
    assert_eq!(
        steps(no_token.event),
        [&before[..], &[(Rule::Token, Said::Streams(Reason::NoToken))]].concat()
    );
    assert_eq!(
        steps(answers(case(|c| c.exception = Some(Transport::Ably))).group),
        [
            quiet(Rule::Configured),
            quiet(Rule::KillSwitch),
            (Rule::Group, Said::Ably(Reason::RolloutOn)),
            quiet(Rule::Breaker),
            quiet(Rule::Health),
        ]
    );
}

#[test]
fn an_event_begins_as_its_route_says() {
    let status = |case| answers(case).event.delivery(NOW).map(|delivery| delivery.status);
    assert_eq!(status(GOOD), Some(Status::Pending));
    let never = case(|c| c.token = AblyToken::Never);
    assert_eq!(status(never), Some(Status::Suppressed(Reason::NoToken)));
    assert_eq!(status(case(|c| c.configured = false)), None);
}

/// Every combination there is, held against the rules as one would say them aloud.
#[test]
fn ably_carries_an_event_only_where_everything_speaks_for_it() {
    let exceptions = [None, Some(Transport::Ably), Some(Transport::Streams)];
    let tokens = [AblyToken::Never, AblyToken::Until(NOW), GOOD.token];
    let breakers = [
        BreakerState::Closed,
        OPEN,
        BreakerState::HalfOpen,
        BreakerState::ForcedOpen,
    ];
    let mut cases = Vec::new();
    for configured in [true, false] {
        for killed in [true, false] {
            for exception in exceptions {
                for (user, percent) in [(INSIDE, 5), (OUTSIDE, 5), (INSIDE, 0), (OUTSIDE, 100)] {
                    for token in tokens {
                        for breaker in breakers {
                            for health in [Health::Up, Health::Degraded, Health::Down] {
                                cases.push(Case {
                                    configured,
                                    killed,
                                    exception,
                                    user,
                                    percent,
                                    token,
                                    breaker,
                                    health,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(cases.len(), 2 * 2 * 3 * 4 * 3 * 4 * 3);
    for case in cases {
        let allowed = case.configured && !case.killed && case.health != Health::Down;
        let lets_through = matches!(case.breaker, BreakerState::Closed | BreakerState::HalfOpen);
        let in_cohort = matches!((case.user, case.percent), (INSIDE, 5) | (OUTSIDE, 100));
        let on_ably = case.exception.map_or(in_cohort, |to| to == Transport::Ably);
        let anybody = case.percent > 0 || case.exception == Some(Transport::Ably);
        let listens = case.token == GOOD.token;
        let found = answers(case);
        let expected = [
            (
                found.person,
                allowed && on_ably && case.breaker == BreakerState::Closed,
            ),
            (found.event, allowed && on_ably && lets_through && listens),
            (found.group, allowed && anybody && lets_through),
        ];
        for (route, ably) in expected {
            assert_eq!(route.transport() == Transport::Ably, ably, "{case:?}: {route:?}");
            let steps: Vec<Step> = route.steps().collect();
            assert!(steps.is_sorted_by(|one, next| one.rule < next.rule), "{steps:?}");
            let objections = steps
                .iter()
                .filter(|step| matches!(step.said, Said::Streams(_)))
                .count();
            assert_eq!(objections, usize::from(!ably), "{steps:?}");
            let last = steps
                .iter()
                .rev()
                .find(|step| step.said != Said::Nothing)
                .unwrap();
            match last.said {
                Said::Ably(reason) | Said::Streams(reason) => assert_eq!(reason, route.reason()),
                Said::Nothing => unreachable!(),
            }
            if !ably {
                assert_eq!(steps.last(), Some(last));
            }
        }
    }
}
