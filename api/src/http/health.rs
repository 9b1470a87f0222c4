//! How the service is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use application::ports::{Durability, Part, Reach, StreamsReport};
use domain::cursor::Cursor;
use domain::policy::Health as AblyStanding;
use poem::http::StatusCode;
use poem::web::Data;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaResponses, MetaSchema, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};
use serde::Serialize;
use tokio::join;
use tokio::time::timeout;

use super::answer::{Answer, json_response};
use super::problem::{CREDENTIALS, Kind, Outcome, causes};
use super::request::{FromTexts, MaybeCaller, Named, once};
use super::schema::CursorText;
use super::{Group, Services, schema};
use crate::upkeep::STORE_ANSWERS_WITHIN;

mod details;

use self::details::{Details, PartBody, PartDetails};

causes! {
    Examining = [CREDENTIALS];
    ExaminingPart = [CREDENTIALS, &[Kind::NotFound]];
}

/// How the service is.
pub(crate) struct HealthApi;

#[OpenApi(tag = "Group::Operations")]
#[expect(clippy::unused_async, reason = "handlers are async, whether they wait or not")]
impl HealthApi {
    /// Is the process alive?
    ///
    /// 200 as long as the process turns. Restart it when this does not answer.
    #[oai(path = "/health/live", method = "get", operation_id = "live")]
    async fn live(&self) -> Answer<HealthBody> {
        Answer::new(&HealthBody { status: Status::Up })
    }

    /// Does this node take work?
    ///
    /// 503 while it starts or goes, while its store does not say within a second where it stands, and while it does
    /// not follow the log. Send it no new connections then; the open ones live on. A node that is `degraded` takes
    /// work.
    #[oai(path = "/health/ready", method = "get", operation_id = "ready")]
    async fn ready(&self, services: Data<&Arc<Services>>) -> Health<HealthBody> {
        let parts = Parts::of(&services).await;
        Health::new(
            parts.status(),
            &HealthBody {
                status: parts.status(),
            },
        )
    }

    /// How is the service?
    ///
    /// The same verdict as `ready`, and what it is made of; what the level is judged by is for administrators.
    #[oai(path = "/health", method = "get", operation_id = "health")]
    async fn overview(
        &self,
        services: Data<&Arc<Services>>,
        caller: MaybeCaller,
    ) -> Outcome<Health<OverviewBody>, Examining> {
        let parts = Parts::of(&services).await;
        let standing = services.degrade.standing();
        let body = OverviewBody {
            status: parts.status(),
            level: standing.level().as_str().to_owned(),
            parts,
            details: administers(&services, &caller).then(|| Details::from(&standing)),
        };
        Ok(Health::new(body.status, &body))
    }

    /// How are the streams of this node?
    ///
    /// Details are for administrators.
    #[oai(path = "/health/streams", method = "get", operation_id = "streamsHealth")]
    async fn streams(
        &self,
        services: Data<&Arc<Services>>,
        caller: MaybeCaller,
    ) -> Outcome<Health<StreamsBody>, Examining> {
        let report = services.streams.report();
        let status = Status::up_if(report.tailing);
        let details = administers(&services, &caller).then(|| StreamsDetails::from(report));
        Ok(Health::new(status, &StreamsBody { status, details }))
    }

    /// How is a part that this service may depend on?
    ///
    /// `disabled` where it is not configured. Details are for administrators.
    #[oai(path = "/health/:part", method = "get", operation_id = "partHealth")]
    async fn part(
        &self,
        services: Data<&Arc<Services>>,
        caller: MaybeCaller,
        /// `postgres` or `redis`.
        part: Named<Part>,
    ) -> Outcome<Health<PartBody>, ExaminingPart> {
        let part = part.known("part")?;
        let asked_at = services.clock.uptime();
        let status = part_of(&services, part).await;
        let took = services.clock.uptime().saturating_sub(asked_at);
        let details =
            administers(&services, &caller).then(|| PartDetails::of(&services, part, (status, took)));
        Ok(Health::new(status, &PartBody { status, details }))
    }
}

fn administers(services: &Services, caller: &MaybeCaller) -> bool {
    let person = caller.0.as_ref();
    person.is_some_and(|person| services.rights.matrix().administers(person))
}

async fn store(services: &Services) -> Status {
    let head = timeout(STORE_ANSWERS_WITHIN, services.store.head()).await;
    Status::up_if(matches!(head, Ok(Ok(_))))
}

/// The store answers for the part that it stands on.
async fn part_of(services: &Services, part: Part) -> Status {
    match (part, services.store.durability()) {
        (Part::Postgres, Durability::Postgres) | (Part::Redis, Durability::Redis) => store(services).await,
        _ => match services.probes.iter().find(|probe| probe.part() == part) {
            Some(probe) => Status::up_if(probe.probe().await.is_ok()),
            None => Status::Disabled,
        },
    }
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Enum)]
#[oai(rename = "HealthStatus", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Up,
    Degraded,
    Down,
    Disabled,
}

impl From<AblyStanding> for Status {
    fn from(standing: AblyStanding) -> Self {
        match standing {
            AblyStanding::Up => Self::Up,
            AblyStanding::Degraded => Self::Degraded,
            AblyStanding::Down => Self::Down,
        }
    }
}

impl Status {
    const fn up_if(condition: bool) -> Self {
        if condition { Self::Up } else { Self::Down }
    }
}

/// How something is.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Health")]
pub(crate) struct HealthBody {
    /// `up`, `degraded` while others stand in for a part, `down`, or `disabled` where it is not configured.
    status: Status,
}

/// How the service is.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "HealthOverview")]
pub(crate) struct OverviewBody {
    /// `up` if every part is, `degraded` while others stand in for one, else `down`.
    status: Status,
    /// How hard this node is pressed: `normal`, `light`, `moderate`, `severe` or `critical`. It takes work on every one.
    level: String,
    /// What that is made of.
    parts: Parts,
    /// For administrators alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
}

/// What the service's health is made of.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "HealthParts")]
struct Parts {
    /// Whether this node takes work; `down` while it starts or goes.
    node: Status,
    /// Whether the store says within a second where it stands.
    store: Status,
    /// Whether this node follows the log.
    streams: Status,
    /// Whether Redis takes writes; the database stands in for it.
    redis: Status,
    /// Whether limits hold for the whole cluster; `degraded` while this node keeps to its share of them, because Redis
    /// is away, and `disabled` where they are switched off.
    limits: Status,
    /// How Ably is, as probes and the circuit breaker find it; the streams stand in for it.
    ably: Status,
}

impl Parts {
    async fn of(services: &Services) -> Self {
        let (store, redis) = join!(store(services), part_of(services, Part::Redis));
        Self {
            node: Status::up_if(services.config.ready.load(Ordering::Acquire)),
            store,
            streams: Status::up_if(services.streams.report().tailing),
            redis,
            limits: match services.limits.reach() {
                Some(Reach::Whole) => Status::Up,
                Some(Reach::Share { .. }) => Status::Degraded,
                None => Status::Disabled,
            },
            ably: services
                .ably
                .as_ref()
                .map_or(Status::Disabled, |ably| ably.standing().into()),
        }
    }

    fn status(&self) -> Status {
        let needed = [self.node, self.store, self.streams];
        if needed.contains(&Status::Down) {
            Status::Down
        } else if self.redis == Status::Down
            || self.limits == Status::Degraded
            || matches!(self.ably, Status::Down | Status::Degraded)
        {
            Status::Degraded
        } else {
            Status::Up
        }
    }
}

/// How the streams of this node are.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "StreamsHealth")]
pub(crate) struct StreamsBody {
    /// `up` while this node follows the log.
    status: Status,
    /// For administrators alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<StreamsDetails>,
}

/// How the streams of this node are, in numbers.
#[derive(Debug, Serialize, Object)]
struct StreamsDetails {
    /// Open streams on this node.
    connections: usize,
    /// How many it may hold.
    connections_max: usize,
    /// The last place in the log that this node knows; null before it knows one.
    #[oai(nullable)]
    cursor: Option<CursorText>,
    /// How many places the log is ahead of this node.
    lag_positions: u64,
    /// How long ago this node last had everything that was in the log, in milliseconds; 0 while it has.
    lag_ms: u64,
    /// Recent events that this node holds.
    ring_events: usize,
    /// Their size in bytes.
    ring_bytes: usize,
    /// How often a stream was served from the store because this node no longer held the events.
    store_reads: u64,
}

impl From<StreamsReport> for StreamsDetails {
    fn from(report: StreamsReport) -> Self {
        Self {
            connections: report.connections,
            connections_max: report.connections_max,
            cursor: report.cursor.map(|cursor: Cursor| cursor.into()),
            lag_positions: report.lag_positions,
            lag_ms: u64::try_from(report.lag.as_millis()).unwrap_or(u64::MAX),
            ring_events: report.ring_events,
            ring_bytes: report.ring_bytes,
            store_reads: report.store_reads,
        }
    }
}

impl FromTexts for Part {
    fn schema() -> MetaSchema {
        schema::one_of_texts(["postgres", "redis", "ably"])
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| match text {
            "postgres" => Ok(Self::Postgres),
            "redis" => Ok(Self::Redis),
            "ably" => Ok(Self::Ably),
            _ => Err("must be postgres, redis or ably"),
        })
    }
}

/// 200 for what is well or not there, 503 for what is not well.
pub(crate) struct Health<T> {
    status: StatusCode,
    answer: Answer<T>,
}

impl<T: Type> Health<T> {
    pub(super) fn new(status: Status, body: &impl Serialize) -> Self {
        Self {
            status: match status {
                Status::Up | Status::Degraded | Status::Disabled => StatusCode::OK,
                Status::Down => StatusCode::SERVICE_UNAVAILABLE,
            },
            answer: Answer::new(body),
        }
    }
}

impl<T: Type> IntoResponse for Health<T> {
    fn into_response(self) -> Response {
        let mut response = self.answer.into_response();
        response.set_status(self.status);
        response
    }
}

impl<T: Type> ApiResponse for Health<T> {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![
                json_response::<T>(200, "It is well, or others stand in for what is not."),
                json_response::<T>(503, "It is not well."),
            ],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
