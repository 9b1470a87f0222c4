//! What administrators see beside a verdict.

use std::time::Duration;

use application::degrade::Standing;
use application::ports::Part;
use domain::degrade::Signal;
use poem_openapi::Object;
use serde::Serialize;

use super::Status;
use crate::http::Services;
use crate::http::schema::MomentText;

/// What the level of this node is judged by.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "HealthDetails")]
pub(super) struct Details {
    /// The signal that called for the level; null on the normal one.
    #[oai(nullable)]
    cause: Option<String>,
    /// What was measured; what could not be is left out.
    signals: Vec<SignalBody>,
}

/// One measurement.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Signal")]
struct SignalBody {
    /// What was measured.
    name: String,
    /// The share, 0 to 1, or seconds.
    value: f64,
}

impl From<&Standing> for Details {
    fn from(standing: &Standing) -> Self {
        let measured = Signal::ALL.into_iter().filter_map(|signal| {
            Some(SignalBody {
                name: signal.as_str().to_owned(),
                value: standing.signals.of(signal)?,
            })
        });
        let cause = standing.degradation.cause();
        Self {
            cause: cause.map(|signal| signal.as_str().to_owned()),
            signals: measured.collect(),
        }
    }
}

/// How a part is.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "PartHealth")]
pub(crate) struct PartBody {
    /// `up`, `down`, or `disabled` where it is not configured.
    pub(super) status: Status,
    /// For administrators alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) details: Option<PartDetails>,
}

/// How a part is, in numbers.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "PartDetails")]
pub(super) struct PartDetails {
    /// How long it took to find out just now, in milliseconds; null where it is not configured.
    #[oai(nullable)]
    latency_ms: Option<u64>,
    /// What its circuit breaker does: `closed`, `open`, `half_open` or `forced_open`; null where it has none.
    #[oai(nullable)]
    breaker: Option<String>,
    /// The last thing that it was asked and did not answer; null where there is none.
    #[oai(nullable)]
    last_failure: Option<String>,
    /// When that was.
    #[oai(nullable)]
    last_failure_at: Option<MomentText>,
}

impl PartDetails {
    pub(super) fn of(services: &Services, part: Part, (status, took): (Status, Duration)) -> Self {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let breakers = services.breakers.list();
        let breaker = breakers.iter().find(|report| report.name == part.as_str());
        // What it was asked to write may have failed later.
        let failures = breakers.iter().filter(|report| {
            let name = report.name.strip_suffix("-writes").unwrap_or(report.name);
            name == part.as_str()
        });
        let last = failures
            .filter_map(|report| report.last_failure)
            .max_by_key(|failure| failure.at);
        Self {
            latency_ms: Some(millis).filter(|_| !matches!(status, Status::Disabled)),
            breaker: breaker.map(|report| report.state.as_str().to_owned()),
            last_failure: last.map(|failure| failure.call.to_owned()),
            last_failure_at: last.map(|failure| failure.at.into()),
        }
    }
}
