//! What is used of Ably on this node: which channels, by how many people, and what that costs.
//!
//! Ably tells none of this as it happens; it is estimated from what this node sees, and the estimate says what it
//! assumes. Every node counts its own: a person counts at the node that gave them their token.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::active::{ActiveChannels, ChannelClass, Room};
use domain::breaker::BreakerState;
use domain::channel::Channel;
use domain::cost::{Cost, Prices, Usage};
use domain::ids::UserId;
use domain::outbox::Outcome;
use domain::transport::Transport as Kind;

use crate::ably_health::AblyHealth;
use crate::ports::{Clock, Host, Observation, Observer, Parcel, Transport};

/// A channel that nothing was published to for this long is not in use.
const CHANNEL_WINDOW: Duration = Duration::from_secs(5 * 60);
/// A token lasts for an hour at most; whoever is still there has asked for another one by then.
const HOLDER_WINDOW: Duration = Duration::from_secs(60 * 60);
/// As many channels as the largest of Ably's plans has at once; some 15 MiB when they are all there.
const CAPACITY: usize = 50_000;
const MINUTE: Duration = Duration::from_secs(60);

/// What is used of Ably on this node.
pub struct AblyUse {
    clock: Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
    prices: Prices,
    /// Never held across an await.
    books: Mutex<Books>,
}

struct Books {
    channels: ActiveChannels,
    /// Each holder of a token by their own channel.
    holders: ActiveChannels,
    usage: Usage,
    /// Minutes of the service's own streams, to compare with.
    stream_minutes: u64,
    began: Duration,
    /// Up to when minutes were counted.
    counted: Duration,
}

/// What was used, and what it is estimated to cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AblyReport {
    /// Channels that were published to within five minutes, by class.
    pub channels: [(ChannelClass, usize); 4],
    /// People who were given a token within an hour.
    pub holders: usize,
    /// Since this node began.
    pub usage: Usage,
    /// Minutes of the service's own streams since then.
    pub stream_minutes: u64,
    /// How long that is.
    pub within: Duration,
    /// What it costs.
    pub cost: Cost,
}

impl AblyUse {
    /// Begins with nothing.
    pub fn new(clock: Arc<dyn Clock>, observer: Arc<dyn Observer>, prices: Prices) -> Self {
        let began = clock.uptime();
        Self {
            clock,
            observer,
            prices,
            books: Mutex::new(Books {
                channels: ActiveChannels::new(CHANNEL_WINDOW, CAPACITY),
                holders: ActiveChannels::new(HOLDER_WINDOW, CAPACITY),
                usage: Usage::default(),
                stream_minutes: 0,
                began,
                counted: began,
            }),
        }
    }

    /// Takes note that somebody was given a token.
    pub fn held(&self, user: &UserId) {
        let now = self.clock.now();
        let own = Channel::User(user.clone());
        if self.books().holders.touch(&own, now) == Room::Full {
            self.observer.saw(&Observation::Full("ably_holders"));
        }
    }

    /// Takes note of a message that Ably accepted. A person's goes to one connection of theirs, a group's to everybody
    /// who holds a token: that is the most it can be but for second tabs.
    pub fn published(&self, channel: &Channel) {
        let now = self.clock.now();
        let mut books = self.books();
        let room = books.channels.touch(channel, now);
        let heard = match channel {
            Channel::User(_) => 1,
            _ => books.holders.all(now),
        };
        books.usage.published += 1;
        books.usage.delivered += wide(heard);
        drop(books);
        if room == Room::Full {
            self.observer.saw(&Observation::Full("ably_channels"));
        }
    }

    /// Counts the whole minutes that have passed: of each holder one connection and their own channel, and of each
    /// group channel in use.
    pub fn pass(&self, streams: usize) {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let mut books = self.books();
        while books.counted + MINUTE <= uptime {
            books.counted += MINUTE;
            let holders = wide(books.holders.all(now));
            let groups = [ChannelClass::Unit, ChannelClass::Benefit, ChannelClass::System];
            let groups: usize = groups.map(|class| books.channels.count(class, now)).iter().sum();
            books.usage.connection_minutes += holders;
            books.usage.channel_minutes += holders + wide(groups);
            books.stream_minutes += wide(streams);
        }
    }

    /// Says what was used, and what that costs.
    pub fn report(&self) -> AblyReport {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let mut books = self.books();
        AblyReport {
            channels: ChannelClass::ALL.map(|class| (class, books.channels.count(class, now))),
            holders: books.holders.all(now),
            usage: books.usage,
            stream_minutes: books.stream_minutes,
            within: uptime.saturating_sub(books.began),
            cost: books.usage.cost(&self.prices),
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Each change is one step.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Takes note of what a transport carries, for the books and for health.
pub struct Booked {
    /// What carries.
    pub inner: Arc<dyn Transport>,
    /// Where it is written down.
    pub used: Arc<AblyUse>,
    /// Where the last outcome is known.
    pub health: Arc<AblyHealth>,
    /// When.
    pub clock: Arc<dyn Clock>,
}

#[async_trait]
impl Transport for Booked {
    fn kind(&self) -> Kind {
        self.inner.kind()
    }

    fn breaker(&self) -> BreakerState {
        self.inner.breaker()
    }

    fn host(&self) -> Host {
        self.inner.host()
    }

    async fn deliver(&self, batch: &[Parcel]) -> Vec<Outcome> {
        let outcomes = self.inner.deliver(batch).await;
        for (parcel, outcome) in batch.iter().zip(&outcomes) {
            self.observe(parcel, outcome);
        }
        outcomes
    }
}

impl Booked {
    fn observe(&self, parcel: &Parcel, outcome: &Outcome) {
        if *outcome == Outcome::Accepted {
            self.used.published(&parcel.channel);
        }
        self.health.published(outcome.as_str(), self.clock.now());
        if let Outcome::Refused { code } = outcome {
            self.used.observer.saw(&Observation::AblyRefused(*code));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{SimClock, Unobserved};

    fn used() -> (AblyUse, Arc<SimClock>) {
        let clock = Arc::new(SimClock::new());
        let used = AblyUse::new(clock.clone(), Arc::new(Unobserved), Prices::default());
        (used, clock)
    }

    #[test]
    fn what_is_published_counts_by_class_until_it_rests() {
        let (used, clock) = used();
        let unit = Channel::Unit("norte".parse().unwrap());
        for user in ["a", "b", "c"] {
            used.held(&user.parse().unwrap());
        }
        used.published(&Channel::User("a".parse().unwrap()));
        used.published(&unit);
        used.published(&unit);
        let report = used.report();
        assert_eq!(report.channels.map(|(_, count)| count), [1, 1, 0, 0]);
        assert_eq!((report.holders, report.usage.published), (3, 3));
        assert_eq!(report.usage.delivered, 1 + 3 + 3);
        clock.advance(CHANNEL_WINDOW);
        assert_eq!(used.report().channels.map(|(_, count)| count), [0; 4]);
        clock.advance(HOLDER_WINDOW);
        assert_eq!(used.report().holders, 0);
    }

    #[test]
    fn minutes_are_counted_once_however_often_somebody_looks() {
        let (used, clock) = used();
        used.held(&"a".parse().unwrap());
        used.held(&"b".parse().unwrap());
        used.published(&Channel::System);
        for _ in 0..12 {
            clock.advance(Duration::from_secs(15));
            used.pass(7);
            used.pass(7);
        }
        let report = used.report();
        assert_eq!(
            (report.usage.connection_minutes, report.usage.channel_minutes),
            (6, 9)
        );
        assert_eq!((report.stream_minutes, report.within), (21, MINUTE * 3));
        assert_eq!(report.cost, report.usage.cost(&Prices::default()));
    }
}
