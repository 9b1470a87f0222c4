//! Event streams: Ably's SSE.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::ErrorInfo;
use super::answer::{self, Answer};
use super::app::App;
use super::call::Call;
use super::channels::{Publication, Start};
use super::grant::Grant;
use super::message::check_channel;
use crate::port::random;

/// How often a stream looks whether its token has ended; messages wake it at once.
const LOOK: Duration = Duration::from_millis(100);
const KEEPALIVE: Duration = Duration::from_secs(15);
const CHANNELS_MAX: usize = 200;

/// Lists the channels that a stream is asked for.
pub(super) fn channels(call: &Call) -> Vec<String> {
    let separator = call.asks("separator").filter(|separator| !separator.is_empty());
    let channels = call
        .asks("channels")
        .or_else(|| call.asks("channel"))
        .unwrap_or_default();
    let names = channels.split(separator.unwrap_or(","));
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Opens a stream. What is wrong is told as plain JSON.
pub(super) fn open(app: &Arc<App>, call: &Call, grant: Grant) -> Result<Answer, ErrorInfo> {
    let channels = channels(call);
    if channels.is_empty() || channels.len() > CHANNELS_MAX {
        return Err(ErrorInfo::new(40000, 400, "1 to 200 channels are named"));
    }
    for channel in &channels {
        check_channel(channel)?;
        grant.demand("subscribe", channel)?;
    }
    let last = call.header("last-event-id").or_else(|| call.asks("lastEvent"));
    let position = position(app, &channels, last, call.asks("rewind"));
    app.ledger.count(|counts| counts.event_streams += 1);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = EventStream {
        bell: app.bell(),
        app: Arc::clone(app),
        id: format!("sse-{:016x}", random()),
        channels,
        grant,
        position,
        enveloped: call.asks("enveloped") != Some("false"),
        ready: VecDeque::from([Bytes::from_static(b":keepalive\n\n")]),
        spoke: Instant::now(),
        looks,
        ended: false,
    };
    Ok(answer::event_stream(stream::unfold(stream, EventStream::next)))
}

/// Where to begin: behind the last event, where that is known; behind what is rewound; else now.
fn position(app: &App, channels: &[String], last: Option<&str>, rewind: Option<&str>) -> u64 {
    let now_ms = app.now_ms();
    let mut memory = app.memory();
    let mut position = memory.channels.head();
    for channel in channels {
        match memory.channels.start(channel, last, now_ms) {
            Start::Continued(place) => position = position.min(place),
            Start::Fresh(head) if last.is_some() => return head,
            Start::Fresh(_) => {}
        }
    }
    if let (None, Some(count)) = (last, rewind.and_then(|text| text.parse().ok())) {
        let rewound = channels
            .iter()
            .filter_map(|channel| memory.channels.rewound(channel, count));
        position = rewound.min().unwrap_or(position);
    }
    position
}

struct EventStream {
    app: Arc<App>,
    bell: watch::Receiver<()>,
    id: String,
    channels: Vec<String>,
    grant: Grant,
    position: u64,
    enveloped: bool,
    ready: VecDeque<Bytes>,
    spoke: Instant,
    looks: Interval,
    ended: bool,
}

impl EventStream {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.spoke = Instant::now();
                return Some((bytes, self));
            }
            if self.ended {
                return None;
            }
            tokio::select! {
                rung = self.bell.changed() => self.ended = rung.is_err(),
                _ = self.looks.tick() => {}
            }
            self.look();
        }
    }

    fn look(&mut self) {
        if let Err(error) = self.app.still_good(&self.grant) {
            self.ready
                .push_back(format!("event: error\ndata: {}\n\n", error.to_value()).into());
            self.ended = true;
            return;
        }
        let mut new: Vec<Arc<Publication>> = self
            .channels
            .iter()
            .flat_map(|channel| self.app.after(channel, self.position))
            .collect();
        new.sort_by_key(|publication| publication.sequence);
        for publication in new {
            self.take(&publication);
        }
        if self.ready.is_empty() && self.spoke.elapsed() >= KEEPALIVE {
            self.ready.push_back(Bytes::from_static(b":keepalive\n\n"));
        }
    }

    fn take(&mut self, publication: &Publication) {
        self.position = publication.sequence;
        let id = self.app.memory().channels.serial(publication.sequence);
        for message in &publication.messages {
            let (event, data) = if self.enveloped {
                let mut message = message.clone();
                message["channel"] = Value::from(&*publication.channel);
                ("message", message.to_string())
            } else {
                let name = message["name"].as_str().unwrap_or("message");
                (name, message["data"].as_str().unwrap_or_default().to_owned())
            };
            let fields = [
                format!("id: {id}\n"),
                format!("event: {}\n", event.replace(['\r', '\n'], " ")),
            ];
            let lines = data.split(['\r', '\n']).map(|line| format!("data: {line}\n"));
            let text: String = fields.into_iter().chain(lines).chain(["\n".to_owned()]).collect();
            self.ready.push_back(text.into());
        }
        let client = self.grant.client.name();
        self.app
            .ledger
            .delivered(&publication.channel, &publication.messages, &self.id, client);
    }
}
