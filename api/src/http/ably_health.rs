//! How Ably is.

use std::sync::Arc;
use std::time::Duration;

use application::ably_examine::AblyExamined;
use domain::breaker::BreakerState;
use domain::time::Timestamp;
use poem::web::Data;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use super::health::{Health, Status};
use super::problem::{CREDENTIALS, Outcome, causes};
use super::request::MaybeCaller;
use super::schema::MomentText;
use super::{Group, Services};

causes! {
    Examining = [CREDENTIALS];
}

/// How Ably is.
pub(crate) struct AblyHealthApi;

#[OpenApi(tag = "Group::Operations")]
impl AblyHealthApi {
    /// How is Ably?
    ///
    /// As this node finds it: by messages that it sends itself through Ably while anybody may be on it, by the circuit
    /// breaker, and by asking for the time. The streams stand in for an Ably that is down, so that the node takes work
    /// all the same. `disabled` without a key to publish with. Details are for administrators.
    #[oai(path = "/health/ably", method = "get", operation_id = "ablyHealth")]
    async fn ably(
        &self,
        services: Data<&Arc<Services>>,
        caller: MaybeCaller,
    ) -> Outcome<Health<AblyHealthBody>, Examining> {
        let Some(ably) = &services.ably else {
            let status = Status::Disabled;
            return Ok(Health::new(
                status,
                &AblyHealthBody {
                    status,
                    details: None,
                },
            ));
        };
        let examined = ably.run().await;
        let administers = caller
            .0
            .is_some_and(|person| services.rights.matrix().administers(&person));
        let status = Status::from(examined.health);
        let details = administers.then(|| AblyDetails::from(&examined));
        Ok(Health::new(status, &AblyHealthBody { status, details }))
    }
}

/// How Ably is.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AblyHealth")]
pub(crate) struct AblyHealthBody {
    /// `up`, `degraded` where it answers slowly or not always, `down`, or `disabled` where it is not configured.
    status: Status,
    /// For administrators alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<AblyDetails>,
}

/// What is known of Ably on this node.
#[derive(Debug, Serialize, Object)]
struct AblyDetails {
    /// How long `GET /time` took, asked at most every ten seconds; null where it was not answered within a second.
    #[oai(nullable)]
    time_ms: Option<u64>,
    /// Which host is asked first: `primary`, or the `fallback` that stood in for it within ten minutes.
    host: String,
    /// The circuit breaker: `closed`, `open`, `half_open` or `forced_open`.
    breaker: String,
    /// The last probe; null before the first.
    #[oai(nullable)]
    probe: Option<AblyProbeBody>,
    /// The last publish of an event; null before the first.
    #[oai(nullable)]
    last_publish: Option<AblyPublishBody>,
    /// What waits, of all nodes; null where the store does not say.
    #[oai(nullable)]
    backlog: Option<AblyBacklogBody>,
    /// Channels that this node published to within five minutes.
    channels: AblyChannelsBody,
    /// People whom this node gave a token within an hour.
    token_holders: usize,
}

/// A message that the node sent itself through Ably.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AblyProbe")]
struct AblyProbeBody {
    /// `delivered`, `silent` (accepted and not received), `not_accepted`, `deaf` (nobody could listen), `accepted` (no
    /// key may listen) or `held`.
    outcome: String,
    /// From publishing to receipt; null where it was not received.
    #[oai(nullable)]
    took_ms: Option<u64>,
    /// When.
    at: MomentText,
}

/// A publish of an event.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AblyPublish")]
struct AblyPublishBody {
    /// `accepted`, `transient`, `renew`, `refused`, `held` or `lost`.
    outcome: String,
    /// When.
    at: MomentText,
}

/// What waits for Ably.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AblyBacklog")]
struct AblyBacklogBody {
    /// Deliveries that have not ended.
    open: u64,
    /// How long the oldest of them has been due, in milliseconds.
    age_ms: u64,
    /// Deliveries that are dead.
    dead: u64,
}

/// Channels in use, by class.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AblyChannels")]
pub(crate) struct AblyChannelsBody {
    /// Of people.
    user: usize,
    /// Of units.
    unit: usize,
    /// Of benefit types.
    benefit: usize,
    /// Everybody's.
    system: usize,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn moment(at: Timestamp) -> MomentText {
    at.into()
}

impl From<&AblyExamined> for AblyDetails {
    fn from(examined: &AblyExamined) -> Self {
        let breaker: BreakerState = examined.breaker;
        Self {
            time_ms: examined.time.map(millis),
            host: examined.host.as_str().to_owned(),
            breaker: breaker.as_str().to_owned(),
            probe: examined.probe.map(|last| AblyProbeBody {
                outcome: last.probed.as_str().to_owned(),
                took_ms: last.probed.took().map(millis),
                at: moment(last.at),
            }),
            last_publish: examined.publish.map(|last| AblyPublishBody {
                outcome: last.outcome.to_owned(),
                at: moment(last.at),
            }),
            backlog: examined.backlog.map(|backlog| AblyBacklogBody {
                open: backlog.open,
                age_ms: backlog
                    .oldest
                    .map_or(0, |oldest| millis(examined.now.since(oldest))),
                dead: backlog.dead,
            }),
            channels: AblyChannelsBody::of(&examined.used),
            token_holders: examined.used.holders,
        }
    }
}

impl AblyChannelsBody {
    /// Shows the channels of a report.
    pub(crate) fn of(report: &application::ably_use::AblyReport) -> Self {
        let [user, unit, benefit, system] = report.channels.map(|(_, count)| count);
        Self {
            user,
            unit,
            benefit,
            system,
        }
    }
}
