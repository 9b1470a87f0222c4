//! What the channels remember: two minutes of messages, and the ids under which they were published.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::ErrorInfo;
use super::message::{Message, idempotency_key};
use crate::port::random;

/// What Ably keeps without a rule of persistence, and for how long a repeated id is recognised.
const KEPT_MS: i64 = 2 * 60 * 1_000;
/// A channel's share of memory; older messages are forgotten before their time.
const PUBLICATIONS_MAX: usize = 10_000;
/// Two minutes of what one busy channel takes.
const IDS_MAX: usize = 100_000;
/// Ably's smallest plan opens 200 at once; this is for tests of whole populations.
const CHANNELS_MAX: usize = 20_000;

/// What one publish put on one channel.
#[derive(Debug)]
pub(super) struct Publication {
    /// Its place among all publications of the stand-in.
    pub(super) sequence: u64,
    pub(super) channel: Arc<str>,
    /// What its messages' ids begin with.
    pub(super) id: String,
    pub(super) at_ms: i64,
    /// The connection that published it.
    pub(super) connection: Option<String>,
    /// The messages as subscribers get them.
    pub(super) messages: Vec<Value>,
}

/// What a publisher is told.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub(super) id: String,
    pub(super) serials: Vec<String>,
}

/// Whether a publish was new.
pub(super) enum Published {
    New(Receipt, Arc<Publication>),
    /// Its id was seen within two minutes: it is acknowledged and nothing else.
    Repeated(Receipt),
}

/// What is put on a channel.
pub(super) struct Put {
    pub(super) channel: String,
    pub(super) messages: Vec<Message>,
    pub(super) connection: Option<String>,
    /// Acknowledged, remembered by its id, and given to nobody.
    pub(super) swallowed: bool,
}

#[derive(Debug, Default)]
struct Channel {
    publications: VecDeque<Arc<Publication>>,
    ids: HashMap<String, Receipt>,
    /// The ids in the order in which they came.
    ids_by_age: VecDeque<(i64, String)>,
    /// The newest place that was forgotten.
    forgotten: u64,
}

/// All channels.
#[derive(Debug)]
pub(super) struct Channels {
    /// Tells one memory from the next.
    epoch: String,
    head: u64,
    by_name: HashMap<Arc<str>, Channel>,
    /// The newest place that was forgotten by channels that are gone.
    forgotten: u64,
}

/// Where to go on from, and whether anything since is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Everything after this place is there.
    Continued(u64),
    /// From now on.
    Fresh(u64),
}

impl Channels {
    pub(super) fn new() -> Self {
        Self {
            epoch: format!("{:016x}", random()),
            head: 0,
            by_name: HashMap::new(),
            forgotten: 0,
        }
    }

    /// The newest place.
    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    /// A place as clients see it.
    pub(super) fn serial(&self, sequence: u64) -> String {
        format!("{}@{sequence:012}", self.epoch)
    }

    /// Reads a place back and says whether it can be continued from.
    pub(super) fn start(&mut self, channel: &str, serial: Option<&str>, now_ms: i64) -> Start {
        let read = |serial: &str| {
            let (epoch, sequence) = serial.split_once('@')?;
            (epoch == self.epoch)
                .then(|| sequence.parse::<u64>().ok())
                .flatten()
        };
        let Some(sequence) = serial.and_then(read) else {
            return Start::Fresh(self.head);
        };
        let forgotten = match self.by_name.get_mut(channel) {
            Some(channel) => {
                channel.forget(now_ms);
                channel.forgotten
            }
            None => self.forgotten,
        };
        if sequence >= forgotten && sequence <= self.head {
            Start::Continued(sequence)
        } else {
            Start::Fresh(self.head)
        }
    }

    /// Takes a publish, once.
    pub(super) fn put(&mut self, put: Put, now_ms: i64) -> Result<Published, ErrorInfo> {
        let key = idempotency_key(&put.messages)?;
        self.make_room(&put.channel, now_ms)?;
        let name: Arc<str> = put.channel.into();
        let sequence = self.head + 1;
        let serial = self.serial(sequence);
        let channel = self.by_name.entry(Arc::clone(&name)).or_default();
        channel.forget(now_ms);
        if let Some(receipt) = key.as_ref().and_then(|key| channel.ids.get(key)) {
            return Ok(Published::Repeated(receipt.clone()));
        }
        self.head = sequence;
        let id = key.clone().unwrap_or_else(|| format!("{:016x}", random()));
        let serials: Vec<String> = (0..put.messages.len())
            .map(|at| format!("{serial}:{at:03}"))
            .collect();
        let publication = Arc::new(Publication {
            sequence,
            channel: name,
            messages: shown(&put.messages, &id, &serials, put.connection.as_deref(), now_ms),
            id: id.clone(),
            at_ms: now_ms,
            connection: put.connection,
        });
        let receipt = Receipt { id, serials };
        if let Some(key) = key {
            channel.ids.insert(key.clone(), receipt.clone());
            channel.ids_by_age.push_back((now_ms, key));
        }
        if !put.swallowed {
            channel.publications.push_back(Arc::clone(&publication));
        }
        Ok(Published::New(receipt, publication))
    }

    /// What stands on a channel after a place, in order.
    pub(super) fn after(
        &self,
        channel: &str,
        sequence: u64,
    ) -> impl DoubleEndedIterator<Item = &Arc<Publication>> {
        let publications = self.by_name.get(channel).map(|channel| &channel.publications);
        publications.into_iter().flat_map(move |publications| {
            let from = publications.partition_point(|publication| publication.sequence <= sequence);
            publications.range(from..)
        })
    }

    /// The place in front of the last `count` publications of a channel.
    pub(super) fn rewound(&self, channel: &str, count: usize) -> Option<u64> {
        let publications = &self.by_name.get(channel)?.publications;
        let first = publications.iter().rev().take(count).next_back()?;
        Some(first.sequence - 1)
    }

    /// What stands on a channel, after what is too old was forgotten.
    pub(super) fn history(
        &mut self,
        channel: &str,
        now_ms: i64,
    ) -> impl DoubleEndedIterator<Item = &Arc<Publication>> {
        if let Some(channel) = self.by_name.get_mut(channel) {
            channel.forget(now_ms);
        }
        self.after(channel, 0)
    }

    fn make_room(&mut self, wanted: &str, now_ms: i64) -> Result<(), ErrorInfo> {
        if self.by_name.len() < CHANNELS_MAX || self.by_name.contains_key(wanted) {
            return Ok(());
        }
        let mut forgotten = self.forgotten;
        self.by_name.retain(|_, channel| {
            channel.forget(now_ms);
            let idle = channel.publications.is_empty() && channel.ids.is_empty();
            if idle {
                forgotten = forgotten.max(channel.forgotten);
            }
            !idle
        });
        self.forgotten = forgotten;
        if self.by_name.len() < CHANNELS_MAX {
            return Ok(());
        }
        Err(ErrorInfo::new(40114, 403, "too many channels are open"))
    }
}

impl Channel {
    fn forget(&mut self, now_ms: i64) {
        let over = |at_ms: i64| at_ms <= now_ms - KEPT_MS;
        while let Some(first) = self.publications.front() {
            if self.publications.len() <= PUBLICATIONS_MAX && !over(first.at_ms) {
                break;
            }
            self.forgotten = first.sequence;
            self.publications.pop_front();
        }
        while let Some((at_ms, id)) = self.ids_by_age.front() {
            if self.ids_by_age.len() <= IDS_MAX && !over(*at_ms) {
                break;
            }
            self.ids.remove(id);
            self.ids_by_age.pop_front();
        }
    }
}

fn shown(
    messages: &[Message],
    id: &str,
    serials: &[String],
    connection: Option<&str>,
    now_ms: i64,
) -> Vec<Value> {
    let several = messages.len() > 1;
    let shown = messages.iter().zip(serials).enumerate();
    shown
        .map(|(at, (message, serial))| {
            let mut value = message.to_value();
            if message.id.is_none() {
                value["id"] = json!(if several {
                    format!("{id}:{at}")
                } else {
                    format!("{id}:0")
                });
            }
            value["timestamp"] = json!(now_ms);
            value["serial"] = json!(serial);
            value["action"] = json!(0);
            if let Some(connection) = connection {
                value["connectionId"] = json!(connection);
            }
            value
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(channels: &mut Channels, id: &str, now_ms: i64) -> bool {
        let put = Put {
            channel: "c".to_owned(),
            messages: Message::read_all(&json!({ "id": id })).unwrap(),
            connection: None,
            swallowed: false,
        };
        matches!(channels.put(put, now_ms).unwrap(), Published::New(..))
    }

    #[test]
    fn a_repeated_id_is_recognised_for_two_minutes() {
        let mut channels = Channels::new();
        assert!(put(&mut channels, "evt-1", 0));
        assert!(!put(&mut channels, "evt-1", KEPT_MS - 1));
        assert_eq!(channels.after("c", 0).count(), 1);
        assert!(put(&mut channels, "evt-1", KEPT_MS));
    }

    #[test]
    fn a_place_is_continued_from_as_long_as_nothing_since_is_forgotten() {
        let mut channels = Channels::new();
        put(&mut channels, "evt-1", 0);
        let first = channels.serial(1);
        put(&mut channels, "evt-2", 1);
        assert_eq!(channels.start("c", Some(&first), 2), Start::Continued(1));
        assert_eq!(
            channels.start("c", Some(&first), KEPT_MS),
            Start::Continued(1),
            "only the first is forgotten"
        );
        assert_eq!(channels.start("c", Some(&first), KEPT_MS + 1), Start::Fresh(2));
        assert_eq!(
            channels.start("c", Some("other@000000000001"), 2),
            Start::Fresh(2)
        );
        assert_eq!(channels.start("c", None, 2), Start::Fresh(2));
    }
}
