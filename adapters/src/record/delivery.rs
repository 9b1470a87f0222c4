//! A delivery as a record.

use domain::outbox::{DeadReason, Delivery, Status, Withdrawal};
use domain::retry::GiveUp;
use domain::time::Timestamp;
use domain::transport::Reason;
use serde::{Deserialize, Serialize};

use super::{Unreadable, millis};

/// Where a delivery stands, and what it has been through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeliveryRecord {
    since: i64,
    attempts: u32,
    leases: u32,
    renewals: u8,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    revived: bool,
    #[serde(flatten)]
    status: StatusRecord,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum StatusRecord {
    Pending,
    Leased {
        until: i64,
    },
    RetryAt {
        at: i64,
    },
    Done,
    Suppressed {
        reason: String,
    },
    Dead {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u32>,
    },
    Withdrawn {
        why: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_flight_until: Option<i64>,
    },
}

impl From<&Delivery> for DeliveryRecord {
    fn from(delivery: &Delivery) -> Self {
        let status = match delivery.status {
            Status::Pending => StatusRecord::Pending,
            Status::Leased { until } => StatusRecord::Leased { until: millis(until) },
            Status::RetryAt(at) => StatusRecord::RetryAt { at: millis(at) },
            Status::Done => StatusRecord::Done,
            Status::Suppressed(reason) => StatusRecord::Suppressed {
                reason: reason.as_str().to_owned(),
            },
            Status::Dead(reason) => StatusRecord::Dead {
                reason: reason.as_str().to_owned(),
                code: match reason {
                    DeadReason::Refused { code } => Some(code),
                    DeadReason::Unauthorized | DeadReason::GivenUp(_) => None,
                },
            },
            Status::Withdrawn { why, in_flight_until } => StatusRecord::Withdrawn {
                why: why.as_str().to_owned(),
                in_flight_until: in_flight_until.map(millis),
            },
        };
        Self {
            since: millis(delivery.since),
            attempts: delivery.attempts,
            leases: delivery.leases,
            renewals: delivery.renewals,
            revived: delivery.revived,
            status,
        }
    }
}

impl TryFrom<DeliveryRecord> for Delivery {
    type Error = Unreadable;

    fn try_from(record: DeliveryRecord) -> Result<Self, Unreadable> {
        let at = Timestamp::from_millis;
        let status = match record.status {
            StatusRecord::Pending => Status::Pending,
            StatusRecord::Leased { until } => Status::Leased { until: at(until) },
            StatusRecord::RetryAt { at: again } => Status::RetryAt(at(again)),
            StatusRecord::Done => Status::Done,
            StatusRecord::Suppressed { reason } => {
                let reason = Reason::parse(&reason);
                Status::Suppressed(reason.ok_or_else(|| Unreadable::new("reason"))?)
            }
            StatusRecord::Dead { reason, code } => Status::Dead(dead(&reason, code)?),
            StatusRecord::Withdrawn { why, in_flight_until } => Status::Withdrawn {
                why: withdrawal(&why)?,
                in_flight_until: in_flight_until.map(at),
            },
        };
        Ok(Self {
            since: at(record.since),
            attempts: record.attempts,
            leases: record.leases,
            renewals: record.renewals,
            revived: record.revived,
            status,
        })
    }
}

fn dead(reason: &str, code: Option<u32>) -> Result<DeadReason, Unreadable> {
    let known = [
        DeadReason::Refused {
            code: code.unwrap_or_default(),
        },
        DeadReason::Unauthorized,
        DeadReason::GivenUp(GiveUp::Attempts),
        DeadReason::GivenUp(GiveUp::Deadline),
    ];
    let found = known.into_iter().find(|known| known.as_str() == reason);
    found.ok_or_else(|| Unreadable::new("reason of death"))
}

fn withdrawal(why: &str) -> Result<Withdrawal, Unreadable> {
    let known = [Withdrawal::Retracted, Withdrawal::Expired];
    let found = known.into_iter().find(|known| known.as_str() == why);
    found.ok_or_else(|| Unreadable::new("reason of withdrawal"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::{from_text, to_text};

    #[test]
    fn every_status_reads_back() {
        let at = Timestamp::from_millis(1_700_000_000_123);
        let later = at.plus(Duration::from_secs(60));
        let withdrawn = |why, in_flight_until| Status::Withdrawn { why, in_flight_until };
        for status in [
            Status::Pending,
            Status::Leased { until: later },
            Status::RetryAt(later),
            Status::Done,
            Status::Suppressed(Reason::NoToken),
            Status::Dead(DeadReason::Refused { code: 40_160 }),
            Status::Dead(DeadReason::Unauthorized),
            Status::Dead(DeadReason::GivenUp(GiveUp::Attempts)),
            Status::Dead(DeadReason::GivenUp(GiveUp::Deadline)),
            withdrawn(Withdrawal::Retracted, None),
            withdrawn(Withdrawal::Expired, Some(later)),
        ] {
            let delivery = Delivery {
                since: at,
                attempts: 3,
                leases: 5,
                renewals: 1,
                revived: true,
                status,
            };
            let text = to_text(&DeliveryRecord::from(&delivery));
            let read = from_text::<DeliveryRecord>(&text).and_then(Delivery::try_from);
            assert_eq!(read, Ok(delivery), "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        for status in [
            r#""status":"lost""#,
            r#""status":"dead","reason":"old age""#,
            r#""status":"suppressed","reason":"mood""#,
        ] {
            let text = format!(r#"{{"since":1,"attempts":0,"leases":0,"renewals":0,{status}}}"#);
            let read = from_text::<DeliveryRecord>(&text).and_then(Delivery::try_from);
            assert!(read.is_err(), "{text}");
        }
    }
}
