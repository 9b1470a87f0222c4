//! What this node carries, and what that costs: Ably and the service's own streams side by side.

use std::sync::Arc;

use application::ably_use::AblyReport;
use domain::cost::Cost;
use poem::web::Data;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use super::{ADMINISTRATOR, Administrator};
use crate::http::ably_health::AblyChannelsBody;
use crate::http::answer::Answer;
use crate::http::problem::{CALLER, Outcome, causes};
use crate::http::{Group, Services};

causes! {
    Counting = [CALLER, ADMINISTRATOR];
}

/// What this node carries.
pub(crate) struct StatsApi;

#[OpenApi(tag = "Group::Administration")]
#[expect(clippy::unused_async, reason = "handlers are async, whether they wait or not")]
impl StatsApi {
    /// Show what is carried, and what it costs
    ///
    /// Of the node that answers, since it started: add the nodes up. What Ably costs is an estimate from the configured
    /// prices; `docs/ably/cost.md` says what it assumes. Own streams cost nothing by the message or by the minute.
    #[oai(path = "/v1/admin/stats", method = "get", operation_id = "stats")]
    async fn stats(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
    ) -> Outcome<Answer<StatsBody>, Counting> {
        let report = services.ably.as_ref().map(|ably| ably.used.report());
        Ok(Answer::new(&StatsBody {
            node: services.config.node.clone(),
            streams: StreamsStats {
                connections: services.streams.report().connections,
                connection_minutes: report.as_ref().map_or(0, |report| report.stream_minutes),
            },
            ably: report.as_ref().map(AblyStats::from),
        }))
    }
}

/// What this node carries.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Stats")]
pub(crate) struct StatsBody {
    /// The node that answers: whoever adds nodes up tells by it which ones there are. It changes with each start.
    node: String,
    /// The service's own streams.
    streams: StreamsStats,
    /// Ably; null where there is no key to publish with.
    #[oai(nullable)]
    ably: Option<AblyStats>,
}

/// The service's own streams on this node.
#[derive(Debug, Serialize, Object)]
struct StreamsStats {
    /// Open now.
    connections: usize,
    /// Minutes that streams were open since the node started; 0 where there is no Ably to compare with.
    connection_minutes: u64,
}

/// Ably, as far as this node uses it.
#[derive(Debug, Serialize, Object)]
struct AblyStats {
    /// Channels that were published to within five minutes.
    channels: AblyChannelsBody,
    /// People who were given a token within an hour.
    token_holders: usize,
    /// Events that Ably accepted.
    published: u64,
    /// Messages that Ably is assumed to have delivered: one for a person's event, one to each holder of a token for a
    /// group's.
    delivered_estimate: u64,
    /// Minutes of connections, assuming one for each holder of a token.
    connection_minutes_estimate: u64,
    /// Minutes of channels, assuming each holder's own and those of groups in use.
    channel_minutes_estimate: u64,
    /// For how long this was counted, in seconds.
    within_seconds: u64,
    /// What it cost so far.
    cost: CostBody,
    /// At this rate, in a day.
    cost_per_day: CostBody,
    /// At this rate, in 30 days.
    cost_per_month: CostBody,
}

/// An estimate, in millionths of the currency of the configured prices.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AblyCost")]
#[expect(clippy::struct_field_names, reason = "units stand in names")]
struct CostBody {
    /// Of messages.
    messages_micros: u64,
    /// Of connections.
    connections_micros: u64,
    /// Of channels.
    channels_micros: u64,
    /// The sum.
    total_micros: u64,
}

impl From<Cost> for CostBody {
    fn from(cost: Cost) -> Self {
        Self {
            messages_micros: cost.messages,
            connections_micros: cost.connections,
            channels_micros: cost.channels,
            total_micros: cost.total(),
        }
    }
}

impl From<&AblyReport> for AblyStats {
    fn from(report: &AblyReport) -> Self {
        Self {
            channels: AblyChannelsBody::of(report),
            token_holders: report.holders,
            published: report.usage.published,
            delivered_estimate: report.usage.delivered,
            connection_minutes_estimate: report.usage.connection_minutes,
            channel_minutes_estimate: report.usage.channel_minutes,
            within_seconds: report.within.as_secs(),
            cost: report.cost.into(),
            cost_per_day: report.cost.per_day(report.within).into(),
            cost_per_month: report.cost.per_month(report.within).into(),
        }
    }
}
