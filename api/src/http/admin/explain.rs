//! Why somebody is, or is not, on Ably, and what became of a notification on its way to them.

use std::sync::Arc;

use application::explain::{Addressed, Complete, Explanation, Step, Way};
use application::ports::TokenHolder;
use domain::ids::{NotificationId, UserId};
use domain::policy::{Route, Said};
use domain::safe::Carried;
use domain::transport::{Reason, Transport};
use poem::web::Data;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use serde::Serialize;

use super::deliveries::DeliveryBody;
use super::{ADMINISTRATOR, Administrator};
use crate::http::answer::Answer;
use crate::http::problem::{CALLER, Kind, Outcome, STORE, causes};
use crate::http::request::{Asked, Faults};
use crate::http::schema::{
    ChannelText, CursorText, IdText, MomentText, NotificationIdText, ReasonText, TransportText,
};
use crate::http::{Group, Services};

causes! {
    Explaining = [CALLER, ADMINISTRATOR, STORE, &[Kind::InvalidRequest, Kind::NotFound]];
}

/// Why somebody is, or is not, on Ably.
pub(crate) struct ExplainApi;

#[OpenApi(tag = "Group::Administration")]
impl ExplainApi {
    /// Explain a person's transport, and a notification's way
    ///
    /// What the person is told to listen on now, rule by rule, and whether they hold a token for Ably. With
    /// `notification`, what became of it on its way to them: its events, and how the delivery of each stands.
    ///
    /// The service keeps no list of people: about somebody it never saw it says what would hold for them. Their units and
    /// roles are known from their token for Ably alone. A notification that is unknown, or gone, is 404.
    #[oai(path = "/v1/admin/explain", method = "get", operation_id = "explain")]
    async fn explain(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
        /// Who.
        user: Asked<UserId, true>,
        /// The notification in question.
        notification: Asked<NotificationId>,
    ) -> Outcome<Answer<ExplanationBody>, Explaining> {
        let mut faults = Faults::default();
        let user = faults.require(user);
        let notification = faults.take(notification);
        let user = faults.check_with(user)?;
        let explanation = services.explain.run(&user, notification).await?;
        Ok(Answer::new(&ExplanationBody::of(
            &user,
            notification,
            &explanation,
        )))
    }
}

/// What there is to say about a person.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Explanation", example)]
pub(crate) struct ExplanationBody {
    /// Who.
    user: IdText,
    /// What they are told to listen on now.
    now: RouteBody,
    /// Their token for Ably; null where none counts.
    #[oai(nullable)]
    token: Option<TokenBody>,
    /// What became of the notification; null where none was asked about.
    #[oai(nullable)]
    notification: Option<WayBody>,
}

/// The choice of a transport.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ExplainedRoute")]
struct RouteBody {
    /// What it came to.
    transport: TransportText,
    /// Why.
    reason: ReasonText,
    /// The rules that were asked, in order. One that says `sse` ends the questions.
    steps: Vec<RuleBody>,
}

/// A rule that was asked.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ExplainedRule")]
struct RuleBody {
    /// The name of the rule.
    rule: String,
    /// What it said; null for nothing that changes the choice.
    #[oai(nullable)]
    said: Option<TransportText>,
    /// Why; null where it said nothing.
    #[oai(nullable)]
    reason: Option<ReasonText>,
}

/// A token for Ably, as it was given out.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ExplainedToken")]
struct TokenBody {
    /// Until when it counts.
    until: MomentText,
    /// The units that the person belonged to.
    units: Vec<IdText>,
    /// The roles that they had.
    roles: Vec<String>,
}

/// What became of a notification on its way to a person.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ExplainedNotification")]
struct WayBody {
    /// Its id.
    id: NotificationIdText,
    /// Whether it was for them. `unknown`: it was for a group, and only their own token says whether they belong to it.
    addressed: AddressedName,
    /// The channel that carries it to them; null where it was not for them.
    #[oai(nullable)]
    channel: Option<ChannelText>,
    /// Its events on that channel, in order. None before a scheduled notification is due, and none once they have
    /// fallen out of the history.
    events: Vec<StepBody>,
    /// Whether all that is kept of the channel was looked through; the latest part may be missing otherwise.
    complete: bool,
}

/// Whether a notification was for somebody.
#[derive(Debug, Serialize, Enum)]
#[oai(rename = "ExplainedAddressed", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum AddressedName {
    Yes,
    No,
    Unknown,
}

/// An event of a notification.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "ExplainedEvent")]
struct StepBody {
    /// Its cursor.
    cursor: CursorText,
    /// Its name: notification, retracted or state.
    event: String,
    /// When it was accepted.
    at: MomentText,
    /// What clients on Ably are told: `missed` sends them to the replay for it, `gone` is nothing to miss.
    ably: CarriedName,
    /// Its delivery over Ably; null where it was left to the streams, or is not planned yet.
    #[oai(nullable)]
    delivery: Option<DeliveryBody>,
}

/// What clients on Ably are told about an event.
#[derive(Debug, Serialize, Enum)]
#[oai(rename = "ExplainedCarried", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
enum CarriedName {
    Accepted,
    Missed,
    Gone,
}

impl ExplanationBody {
    fn of(user: &UserId, id: Option<NotificationId>, explanation: &Explanation) -> Self {
        let way = id.zip(explanation.notification.as_ref());
        Self {
            user: IdText(user.to_string()),
            now: RouteBody::from(&explanation.route),
            token: explanation.holder.as_ref().map(TokenBody::from),
            notification: way.map(|(id, way)| WayBody::of(id, way)),
        }
    }
}

impl From<&Route> for RouteBody {
    fn from(route: &Route) -> Self {
        let steps = route.steps().map(|step| {
            let said = match step.said {
                Said::Nothing => None,
                Said::Ably(reason) => Some((Transport::Ably, reason)),
                Said::Streams(reason) => Some((Transport::Streams, reason)),
            };
            RuleBody {
                rule: step.rule.as_str().to_owned(),
                said: said.map(|(transport, _)| transport.into()),
                reason: said.map(|(_, reason)| reason.into()),
            }
        });
        Self {
            transport: route.transport().into(),
            reason: route.reason().into(),
            steps: steps.collect(),
        }
    }
}

impl From<&TokenHolder> for TokenBody {
    fn from(holder: &TokenHolder) -> Self {
        Self {
            until: holder.until.into(),
            units: holder.units.iter().map(|unit| IdText(unit.to_string())).collect(),
            roles: holder.roles.iter().map(|role| role.as_str().to_owned()).collect(),
        }
    }
}

impl WayBody {
    fn of(id: NotificationId, way: &Way) -> Self {
        Self {
            id: id.into(),
            addressed: match way.addressed {
                Addressed::Yes => AddressedName::Yes,
                Addressed::No => AddressedName::No,
                Addressed::Unknown => AddressedName::Unknown,
            },
            channel: way.channel.as_ref().map(Into::into),
            events: way.events.iter().map(StepBody::from).collect(),
            complete: way.complete == Complete::All,
        }
    }
}

impl From<&Step> for StepBody {
    fn from(step: &Step) -> Self {
        Self {
            cursor: step.cursor.into(),
            event: step.event.to_owned(),
            at: step.at.into(),
            ably: match step.carried {
                Carried::Accepted => CarriedName::Accepted,
                Carried::Missed => CarriedName::Missed,
                Carried::Gone => CarriedName::Gone,
            },
            delivery: step.delivery.as_ref().map(Into::into),
        }
    }
}

impl Example for ExplanationBody {
    fn example() -> Self {
        let rule = |rule: &str, said: Option<(Transport, Reason)>| RuleBody {
            rule: rule.to_owned(),
            said: said.map(|(transport, _)| transport.into()),
            reason: said.map(|(_, reason)| reason.into()),
        };
        Self {
            user: IdText("u-42".to_owned()),
            now: RouteBody {
                transport: Transport::Streams.into(),
                reason: Reason::BreakerOpen.into(),
                steps: vec![
                    rule("configured", None),
                    rule("kill_switch", None),
                    rule("override", None),
                    rule("cohort", Some((Transport::Ably, Reason::InCohort))),
                    rule("breaker", Some((Transport::Streams, Reason::BreakerOpen))),
                ],
            },
            token: Some(TokenBody {
                until: MomentText("2026-01-01T01:00:00.000Z".to_owned()),
                units: vec![IdText("cras-1".to_owned())],
                roles: vec!["TECNICO".to_owned()],
            }),
            notification: Some(WayBody {
                id: NotificationIdText("019b76da-a800-7cc0-8a5e-0a6b6e1f2c3d".to_owned()),
                addressed: AddressedName::Yes,
                channel: Some(ChannelText("private:unit:cras-1:notifications".to_owned())),
                events: vec![StepBody {
                    cursor: CursorText("8f3a-1042".to_owned()),
                    event: "notification".to_owned(),
                    at: MomentText("2026-01-01T00:00:00.000Z".to_owned()),
                    ably: CarriedName::Missed,
                    delivery: Some(DeliveryBody::example()),
                }],
                complete: true,
            }),
        }
    }
}
