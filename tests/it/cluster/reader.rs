//! A client that listens to its event stream and comes back to any node after whatever happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::Value;
use tests::server::now;
use tests::whatwg::{EventStream, Message};
use tokio_util::sync::CancellationToken;

use super::ledger::{Place, Received};
use super::{Dice, Person};

/// How soon a client comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Return {
    /// Within half a second, whatever it was told: more connections to break.
    Soon,
    /// When it was told to, like a browser.
    AsTold,
}

/// What a client does about a `reset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnReset {
    /// Nothing excuses one here.
    Complain,
    /// It loads its inbox and goes on.
    Reload,
}

/// How a client behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    pub(crate) back: Return,
    pub(crate) reset: OnReset,
}

/// A `reset` that a client was given.
#[derive(Debug, Clone)]
pub(crate) struct Reset {
    pub(crate) reason: String,
    pub(crate) to: Place,
    /// How many notifications it had received before.
    pub(crate) after: usize,
    /// The numbers that its inbox held when it was loaded, newest first.
    pub(crate) inbox: Vec<u64>,
}

/// What happened to a client.
#[derive(Debug, Default)]
pub(crate) struct Story {
    pub(crate) received: Vec<Received>,
    pub(crate) resets: Vec<Reset>,
    /// When it knocked.
    pub(crate) knocks: Vec<Instant>,
    /// How often a stream was opened.
    pub(crate) opened: usize,
    /// Why streams were closed, by what they said.
    pub(crate) closings: BTreeMap<String, usize>,
    /// Whatever must not happen.
    pub(crate) complaints: Vec<String>,
}

/// A client of one person.
pub(crate) struct Reader {
    pub(crate) person: Person,
    token: String,
    doors: Vec<String>,
    client: reqwest::Client,
    manners: Manners,
    story: Mutex<Story>,
}

/// Where a client stands between two streams.
struct Standing {
    dice: Dice,
    last_event_id: String,
    /// When it was told to come back.
    wait: Duration,
}

impl Reader {
    pub(crate) fn new(
        person: Person,
        token: String,
        doors: Vec<String>,
        client: reqwest::Client,
        manners: Manners,
    ) -> Arc<Self> {
        Arc::new(Self {
            person,
            token,
            doors,
            client,
            manners,
            story: Mutex::default(),
        })
    }

    pub(crate) fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap()
    }

    /// Listens until it is told to stop.
    pub(crate) async fn run(self: Arc<Self>, dice: Dice, stop: CancellationToken) {
        let mut standing = Standing {
            dice,
            last_event_id: String::new(),
            wait: Duration::ZERO,
        };
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.listen(&mut standing) => {}
            }
            let wait = match self.manners.back {
                Return::Soon => standing.dice.millis(20, 500),
                Return::AsTold => standing.wait,
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One stream, from its request to its end.
    async fn listen(&self, standing: &mut Standing) {
        // What a browser does that was told nothing.
        standing.wait = standing.wait.max(standing.dice.millis(1_000, 3_000));
        let door = &self.doors[standing.dice.below(self.doors.len())];
        self.story().knocks.push(now());
        let mut request = self
            .client
            .get(format!("{door}/v1/stream"))
            .bearer_auth(&self.token);
        if !standing.last_event_id.is_empty() {
            request = request.header("last-event-id", &standing.last_event_id);
        }
        // A frozen node takes connections and says nothing.
        let answer = tokio::time::timeout(Duration::from_secs(3), request.send()).await;
        let Ok(Ok(answer)) = answer else { return };
        match answer.status().as_u16() {
            200 => {}
            502..=504 => return,
            other => return self.complain(format!("the stream was answered {other}")),
        }
        let mut parser = EventStream::resumed(&standing.last_event_id);
        let mut bytes = answer.bytes_stream();
        while let Some(Ok(piece)) = bytes.next().await {
            for message in parser.push(&piece) {
                if let Err(complaint) = self.take(standing, &message).await {
                    self.complain(complaint);
                }
                standing.last_event_id.clone_from(&message.last_event_id);
            }
            if let Some(retry_ms) = parser.retry_ms() {
                standing.wait = Duration::from_millis(retry_ms);
            }
        }
    }

    async fn take(&self, standing: &mut Standing, message: &Message) -> Result<(), String> {
        let data: Value =
            serde_json::from_str(&message.data).map_err(|error| format!("{error}: {message:?}"))?;
        let known = &standing.last_event_id;
        match message.event.as_str() {
            "ready" => {
                self.story().opened += 1;
                if !known.is_empty() && message.last_event_id != *known {
                    return Err(format!("opened at {} with {known}", message.last_event_id));
                }
            }
            "notification" => {
                let (number, at) = notification(&data)?;
                if data["cursor"] != message.last_event_id.as_str() {
                    return Err(format!("id {} carries {}", message.last_event_id, data["cursor"]));
                }
                let when = now();
                self.story().received.push(Received { number, at, when });
            }
            "heartbeat" => {
                let (before, here) = (Place::parse(known)?, Place::parse(&message.last_event_id)?);
                if here.position < before.position {
                    return Err(format!("a heartbeat took it back from {before:?} to {here:?}"));
                }
            }
            "reset" => self.reset(standing, &data).await?,
            "closing" => {
                let reason = data["reason"].as_str().unwrap_or_default().to_owned();
                *self.story().closings.entry(reason).or_default() += 1;
            }
            _ => {}
        }
        Ok(())
    }

    async fn reset(&self, standing: &mut Standing, data: &Value) -> Result<(), String> {
        let reason = data["reason"].as_str().unwrap_or_default().to_owned();
        if self.manners.reset == OnReset::Complain {
            return Err(format!("nothing excuses a reset here: {data}"));
        }
        let to = Place::parse(data["to"].as_str().unwrap_or_default())?;
        let inbox = self.inbox(&mut standing.dice, to.position).await?;
        let mut story = self.story();
        let after = story.received.len();
        story.resets.push(Reset {
            reason,
            to,
            after,
            inbox,
        });
        Ok(())
    }

    /// Loads the whole inbox, which must reach the place that the stream goes on from.
    async fn inbox(&self, dice: &mut Dice, reaches: u64) -> Result<Vec<u64>, String> {
        let mut numbers = Vec::new();
        let mut before = None;
        loop {
            let door = &self.doors[dice.below(self.doors.len())];
            let mut address = format!("{door}/v1/notifications?limit=1000");
            if let Some(cursor) = &before {
                address = format!("{address}&before={cursor}");
            }
            let answer = self.client.get(address).bearer_auth(&self.token).send().await;
            let Ok(answer) = answer.and_then(reqwest::Response::error_for_status) else {
                tokio::time::sleep(dice.millis(50, 200)).await;
                continue;
            };
            let Ok(page) = answer.json::<Value>().await else {
                continue;
            };
            let as_of = Place::parse(page["cursor"].as_str().unwrap_or_default())?;
            if as_of.position < reaches {
                return Err(format!(
                    "the inbox is as of {as_of:?}, the stream goes on from {reaches}"
                ));
            }
            for item in page["items"].as_array().into_iter().flatten() {
                numbers.push(notification(item)?.0);
            }
            match page["next"].as_str() {
                Some(next) => before = Some(next.to_owned()),
                None => return Ok(numbers),
            }
        }
    }

    fn complain(&self, complaint: String) {
        self.story().complaints.push(complaint);
    }
}

/// Reads what the publisher wrote, and that it is whole.
fn notification(data: &Value) -> Result<(u64, Place), String> {
    let notification = &data["notification"];
    let number = notification["data"]["number"]
        .as_u64()
        .ok_or(format!("not ours: {data}"))?;
    if notification["title"] != format!("Aviso {number}") {
        return Err(format!("the title is not that of {number}: {data}"));
    }
    Ok((number, Place::parse(data["cursor"].as_str().unwrap_or_default())?))
}
