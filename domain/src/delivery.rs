//! What publishing a draft comes to: which channels, and when.

use crate::channel::Channel;
use crate::notification::Draft;
use crate::time::Timestamp;

/// What publishing a draft comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryPlan {
    /// One event for each, in this order.
    pub channels: Vec<Channel>,
    /// When the events enter the log.
    pub due: Due,
}

/// When events enter the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// With the answer.
    Now,
    /// Later, by the store's clock.
    At(Timestamp),
}

impl DeliveryPlan {
    /// Plans a draft. A moment that has come counts as now.
    pub fn of(draft: &Draft, now: Timestamp) -> Self {
        let due = draft.deliver_at.filter(|at| *at > now).map_or(Due::Now, Due::At);
        Self {
            channels: draft.audience.channels(),
            due,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notification::{AudienceFields, DraftFields};

    fn draft(deliver_at: Option<i64>) -> Draft {
        Draft::check(DraftFields {
            audience: AudienceFields {
                everyone: Some(true),
                ..AudienceFields::default()
            },
            kind: "t".into(),
            title: "t".into(),
            deliver_at: deliver_at.map(Timestamp::from_millis),
            ..DraftFields::default()
        })
        .unwrap()
    }

    #[test]
    fn a_moment_that_has_come_counts_as_now() {
        let now = Timestamp::from_millis(1_000);
        let due = |at| DeliveryPlan::of(&draft(at), now).due;
        assert_eq!(due(None), Due::Now);
        assert_eq!(due(Some(999)), Due::Now);
        assert_eq!(due(Some(1_000)), Due::Now);
        assert_eq!(due(Some(1_001)), Due::At(Timestamp::from_millis(1_001)));
    }
}
