//! Availability, day by day.

use std::sync::Arc;

use application::ports::SettingsError;
use domain::availability::{DAYS_KEPT, Day, DayRecord, MINUTES, Minute};
use poem::web::Data;
use poem_openapi::registry::MetaSchema;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use super::{ADMINISTRATOR, Administrator};
use crate::http::answer::Answer;
use crate::http::problem::{CALLER, Kind, Outcome, Problem, causes};
use crate::http::request::{Asked, Faults, FromTexts, once};
use crate::http::schema::{self, MomentText};
use crate::http::{Group, Services};

/// A month.
const DAYS: u32 = 30;

causes! {
    Reading = [CALLER, ADMINISTRATOR, &[Kind::InvalidRequest, Kind::Unavailable]];
}

/// Availability.
pub(crate) struct AvailabilityApi;

#[OpenApi(tag = "Group::Administration")]
impl AvailabilityApi {
    /// Read the availability of the service
    ///
    /// Minute by minute, for up to 90 days. Each node samples its own readiness every five seconds. A minute counts as
    /// available where one node was ready in more than half of its samples of it, and as away where every node that
    /// spoke of it was not. A minute of which no node spoke is unknown and counts for neither: nothing ran, or what ran
    /// was killed before it could say so.
    #[oai(
        path = "/v1/admin/availability",
        method = "get",
        operation_id = "availability"
    )]
    async fn read(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
        /// How many days, up to today: 1 to 90.
        days: Asked<Days>,
    ) -> Outcome<Answer<AvailabilityBody>, Reading> {
        let mut faults = Faults::default();
        let days = faults.take(days).map_or(DAYS, |days| days.0);
        faults.check()?;
        let records = services
            .availability
            .read(days)
            .await
            .map_err(|error| unreadable(&error))?;
        let (today, minute) = Day::of(services.availability.now());
        let so_far = |record: &DayRecord| if record.day == today { minute } else { MINUTES };
        let days = records
            .iter()
            .map(|record| DayBody::of(record, so_far(record)))
            .collect();
        Ok(Answer::new(&AvailabilityBody { days }))
    }
}

fn unreadable(error: &SettingsError) -> Problem {
    Problem::new(Kind::Unavailable, error.to_string()).retry_after(std::time::Duration::from_secs(1))
}

/// How many days.
pub(crate) struct Days(u32);

impl FromTexts for Days {
    fn schema() -> MetaSchema {
        schema::whole_number(1, DAYS_KEPT as usize, DAYS as usize)
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| {
            let days = text.parse().ok().filter(|days| (1..=DAYS_KEPT).contains(days));
            days.map(Self)
                .ok_or_else(|| format!("must be a whole number from 1 to {DAYS_KEPT}"))
        })
    }
}

/// The availability of the service.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Availability")]
pub(crate) struct AvailabilityBody {
    /// Days of which something is known, the latest first.
    days: Vec<DayBody>,
}

/// One day, in UTC.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AvailabilityDay")]
struct DayBody {
    /// Its first moment.
    begins: MomentText,
    /// The share of its minutes in which the service was available, 0 to 1, among those that are known; null where none
    /// is.
    #[oai(nullable)]
    share: Option<f64>,
    /// Minutes in which it was available.
    available: u32,
    /// Minutes in which it was not.
    away: u32,
    /// Minutes of which nothing is known; today, those that are over.
    unknown: u32,
    /// When it was not available, in minutes of the day from 0: the first of each stretch and the one after its last.
    outages: Vec<OutageBody>,
}

/// A stretch in which the service was not available.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "AvailabilityOutage")]
struct OutageBody {
    /// Its first minute.
    from: usize,
    /// The minute after its last.
    to: usize,
}

impl DayBody {
    fn of(record: &DayRecord, before: usize) -> Self {
        let count = record.count(before);
        let mut outages: Vec<OutageBody> = Vec::new();
        let away = (0..before).filter(|minute| record.minute(*minute) == Minute::Away);
        for minute in away {
            match outages.last_mut() {
                Some(outage) if outage.to == minute => outage.to = minute + 1,
                _ => outages.push(OutageBody {
                    from: minute,
                    to: minute + 1,
                }),
            }
        }
        Self {
            begins: record.day.start().into(),
            share: count.share(),
            available: count.there,
            away: count.away,
            unknown: count.unknown,
            outages,
        }
    }
}
