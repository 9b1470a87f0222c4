//! What was acknowledged, held against what each client received.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Person;

/// A place in a history, as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) epoch: String,
    pub(crate) position: u64,
}

impl Place {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (epoch, position) = text.rsplit_once('-').ok_or(format!("{text:?} is no cursor"))?;
        let position = position.parse().map_err(|_| format!("{text:?} is no cursor"))?;
        Ok(Self {
            epoch: epoch.to_owned(),
            position,
        })
    }
}

/// Who a notification is for.
#[derive(Debug, Clone)]
pub(crate) enum Audience {
    Users(Vec<String>),
    Unit(String),
    Everyone,
}

impl Audience {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Users(users) => json!({ "users": users }),
            Self::Unit(unit) => json!({ "unit": unit }),
            Self::Everyone => json!({ "everyone": true }),
        }
    }

    fn holds(&self, person: &Person) -> bool {
        match self {
            Self::Users(users) => users.contains(&person.user),
            Self::Unit(unit) => *unit == person.unit,
            Self::Everyone => true,
        }
    }

    const fn events(&self) -> u64 {
        match self {
            Self::Users(users) => users.len() as u64,
            Self::Unit(_) | Self::Everyone => 1,
        }
    }
}

/// A publish that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) number: u64,
    pub(crate) audience: Audience,
    /// Where its last event stands.
    pub(crate) at: Place,
    /// When the acknowledgement came.
    pub(crate) acknowledged: Instant,
}

/// A notification that a client received.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) number: u64,
    pub(crate) at: Place,
    pub(crate) when: Instant,
}

/// Everything that was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: AtomicU64,
    published: Mutex<BTreeMap<u64, Published>>,
}

impl Ledger {
    /// A number for a notification that is about to be published.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self, published: Published) {
        let number = published.number;
        let before = self.published.lock().unwrap().insert(number, published);
        assert!(before.is_none(), "{number} was acknowledged twice");
    }

    /// How many publishes were acknowledged.
    pub(crate) fn len(&self) -> usize {
        self.published.lock().unwrap().len()
    }

    pub(crate) fn all(&self) -> Vec<Published> {
        self.published.lock().unwrap().values().cloned().collect()
    }

    /// The longest time from an acknowledgement to a client's receipt of it.
    pub(crate) fn slowest(&self, received: &[Received]) -> Duration {
        let published = self.published.lock().unwrap();
        let delays = received.iter().filter_map(|item| {
            let acknowledged = published.get(&item.number)?.acknowledged;
            Some(item.when.saturating_duration_since(acknowledged))
        });
        delays.max().unwrap_or_default()
    }

    /// Two receipts never speak of the same place: what was acknowledged has places of its own.
    pub(crate) fn places_are_taken_once(&self) -> Result<(), String> {
        let mut taken: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for published in self.all() {
            let last = published.at.position;
            for position in last + 1 - published.audience.events()..=last {
                let place = (published.at.epoch.clone(), position);
                if let Some(other) = taken.insert(place, published.number) {
                    let number = published.number;
                    return Err(format!("{number} and {other} both stand at {position}"));
                }
            }
        }
        Ok(())
    }

    /// Holds what a client received against what it was entitled to: all of it, in order, once, and nothing else.
    pub(crate) fn check(&self, person: &Person, received: &[Received]) -> Result<(), String> {
        self.check_where(person, received, |_| true)
    }

    /// The same for a part of what was acknowledged.
    pub(crate) fn check_where(
        &self,
        person: &Person,
        received: &[Received],
        counts: impl Fn(&Published) -> bool,
    ) -> Result<(), String> {
        let published = self.published.lock().unwrap();
        let mut due: BTreeMap<u64, &Published> = published
            .iter()
            .filter(|(_, published)| published.audience.holds(person) && counts(published))
            .map(|(number, published)| (*number, published))
            .collect();
        let mut before: Option<&Received> = None;
        for item in received {
            let Received { number, at, .. } = item;
            if let Some(before) = before
                && at.position <= before.at.position
            {
                return Err(format!(
                    "{number} at {at:?} came after {before:?}: repeated or out of order"
                ));
            }
            before = Some(item);
            let Some(expected) = due.remove(number) else {
                return Err(match published.get(number) {
                    Some(published) => format!("{number} came twice or is for {:?}", published.audience),
                    None => format!("{number} was never acknowledged"),
                });
            };
            let last = expected.at.position;
            let places = last + 1 - expected.audience.events()..=last;
            if at.epoch != expected.at.epoch || !places.contains(&at.position) {
                return Err(format!(
                    "{number} came at {at:?}, its receipt says {:?}",
                    expected.at
                ));
            }
        }
        match due.first_key_value() {
            Some((number, missed)) => Err(format!(
                "{} never came, the first of them {number} at {:?}",
                due.len(),
                missed.at
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use ::tests::server::now;

    use super::*;

    fn place(position: u64) -> Place {
        Place::parse(&format!("e1-{position}")).unwrap()
    }

    fn got(number: u64, position: u64) -> Received {
        Received {
            number,
            at: place(position),
            when: now(),
        }
    }

    fn verdict(received: &[Received]) -> Result<(), String> {
        let ledger = Ledger::default();
        let two = Audience::Users(vec!["u-0".into(), "u-1".into()]);
        let audiences = [
            (two, 2),
            (Audience::Unit("cras-1".into()), 3),
            (Audience::Everyone, 4),
        ];
        for (number, (audience, position)) in (0..).zip(audiences) {
            ledger.acknowledged(Published {
                number,
                audience,
                at: place(position),
                acknowledged: now(),
            });
        }
        ledger.places_are_taken_once().unwrap();
        let person = Person {
            user: "u-0".into(),
            unit: "cras-0".into(),
        };
        ledger.check(&person, received)
    }

    #[test]
    fn the_account_is_settled_by_everything_in_order_once() {
        verdict(&[got(0, 1), got(2, 4)]).unwrap();
    }

    #[test]
    fn the_account_names_what_is_missing_repeated_foreign_out_of_order_or_out_of_place() {
        for (received, complaint) in [
            (vec![got(0, 1)], "1 never came"),
            (vec![got(0, 1), got(0, 2), got(2, 4)], "came twice"),
            (vec![got(0, 1), got(0, 1), got(2, 4)], "repeated or out of order"),
            (vec![got(2, 4), got(0, 1)], "repeated or out of order"),
            (vec![got(0, 1), got(1, 3), got(2, 4)], "or is for Unit"),
            (vec![got(0, 1), got(2, 4), got(9, 5)], "never acknowledged"),
            (vec![got(0, 3), got(2, 4)], "its receipt says"),
        ] {
            let error = verdict(&received).unwrap_err();
            assert!(error.contains(complaint), "{error}, not {complaint}");
        }
    }
}
