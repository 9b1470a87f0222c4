//! Where a rollout stands in time.

use super::{AuditedRollout, Switched, What};
use crate::time::Timestamp;

/// Whether a rollout goes up by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Each stage is followed by the next when its time is over.
    Running,
    /// Only a hand raises it.
    Stopped,
}

impl Schedule {
    /// Returns the stable label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
        }
    }

    /// Reads the stable label.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Stopped]
            .into_iter()
            .find(|schedule| schedule.as_str() == text)
    }
}

/// Where a rollout stands in time, as its changes tell: whichever node decides knows the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// When it was last changed, by whatever cause.
    pub since: Timestamp,
    /// When its share last went down; `None` where it was raised, or a kill switch taken away, after that.
    pub lowered: Option<Timestamp>,
}

/// Which way a change moves people.
#[derive(PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

impl AuditedRollout {
    /// Says where it stands in time. One that was never changed stands where it is since ever.
    pub fn progress(&self) -> Progress {
        let since = self.changes().first().map_or(Timestamp::MIN, |change| change.at);
        let moved = self
            .changes()
            .iter()
            .find_map(|change| Some((way(&change.what)?, change.at)));
        Progress {
            since,
            lowered: moved.and_then(|(way, at)| (way == Way::Down).then_some(at)),
        }
    }
}

fn way(what: &What) -> Option<Way> {
    match (what.share, what.kill_switch) {
        (_, Some(Switched::Released)) => Some(Way::Up),
        (Some((from, to)), _) if to > from => Some(Way::Up),
        (Some((from, to)), _) if to < from => Some(Way::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cohort::{Salt, Share};
    use crate::rollout::{Rollout, Why};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn to(audited: &AuditedRollout, percent: u8, when: i64) -> AuditedRollout {
        let next = Rollout {
            share: Share::percent(percent),
            ..audited.rollout.clone()
        };
        let why = Why::try_new("x").ok();
        audited
            .change(next, "admin-1".parse().unwrap(), why, at(when))
            .unwrap()
    }

    #[test]
    fn it_knows_its_last_change_and_whether_it_went_down() {
        let start = AuditedRollout::new(Salt::from_bits(1, 2));
        assert_eq!(
            start.progress(),
            Progress {
                since: Timestamp::MIN,
                lowered: None
            }
        );
        let raised = to(&start, 75, 1);
        assert_eq!(
            raised.progress(),
            Progress {
                since: at(1),
                lowered: None
            }
        );
        let lowered = to(&raised, 25, 2);
        let standing = |since, lowered: Option<i64>| Progress {
            since: at(since),
            lowered: lowered.map(at),
        };
        assert_eq!(lowered.progress(), standing(2, Some(2)));
        let running = Rollout {
            schedule: Schedule::Running,
            ..lowered.rollout.clone()
        };
        let running = lowered
            .change(running, "admin-1".parse().unwrap(), None, at(3))
            .unwrap();
        assert_eq!(running.progress(), standing(3, Some(2)), "nobody was moved");
        let killed = running
            .kill("admin-1".parse().unwrap(), Why::try_new("x").unwrap(), at(4))
            .unwrap();
        assert_eq!(killed.progress(), standing(4, Some(2)));
        let released = killed.release("admin-1".parse().unwrap(), None, at(5)).unwrap();
        assert_eq!(released.progress(), standing(5, None));
        assert_eq!(to(&lowered, 100, 6).progress(), standing(6, None));
    }

    #[test]
    fn labels_read_back() {
        for schedule in [Schedule::Running, Schedule::Stopped] {
            assert_eq!(Schedule::parse(schedule.as_str()), Some(schedule));
        }
        assert_eq!(Schedule::parse("Running"), None);
    }
}
