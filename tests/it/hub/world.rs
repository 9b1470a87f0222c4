//! A node with its clients, driven step by step under simulated time.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use application::ports::{
    Clock as _, Format, Outgoing, Pruned, Selection, Store as _, Streams as _, Subscription,
};
use application::subscribe::StreamRequest;
use domain::capability::{Matrix, Principal, Role};
use domain::channel::Channel;
use domain::cursor::Cursor;
use domain::event::Change;
use domain::ids::NotificationId;
use domain::notification::{AudienceFields, DraftFields};
use domain::state::Mark;
use domain::stream::Resume;

use super::checker::{Received, Truth};
use super::faults::Fault;
use super::node::{Node, Size, service};

pub(super) const USERS: usize = 4;
pub(super) const UNITS: usize = 2;

/// Who a notification is for.
#[derive(Debug, Clone)]
pub(super) enum To {
    Users(Vec<usize>),
    Unit(usize),
    Everyone,
}

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Act {
    Publish { to: To, expires_in: Option<u64> },
    Retract { nth: usize },
    Mark { user: usize, nth: usize },
    ReadAll { user: usize },
    Connect { client: usize },
    Poll { client: usize, frames: usize },
    Cut { client: usize, lost: usize },
    Advance { seconds: u64 },
    Prune,
    Replay { client: usize, limit: usize },
    Settle,
}

/// A browser: it has what it processed, and what is still on its way to it.
#[derive(Default)]
struct Client {
    stream: Option<Box<dyn Subscription>>,
    on_its_way: Vec<Received>,
    processed: Vec<Received>,
    cursor: Option<Cursor>,
}

impl Client {
    fn process(&mut self) {
        for item in self.on_its_way.drain(..) {
            match &item {
                Received::Ready { cursor } | Received::Beat { cursor } => self.cursor = Some(*cursor),
                Received::Event { position, .. } => {
                    self.cursor = self.cursor.map(|cursor| Cursor {
                        position: *position,
                        ..cursor
                    });
                }
                Received::Reset { to, .. } => self.cursor = Some(*to),
            }
            self.processed.push(item);
        }
    }
}

pub(super) struct World {
    node: Node,
    clients: Vec<Client>,
    published: Vec<NotificationId>,
    truth: Truth,
    resets: usize,
}

/// What a run went through, so that a test can tell whether it went through anything.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Trail {
    pub(super) store_reads: usize,
    pub(super) resets: usize,
    pub(super) events: usize,
}

impl World {
    pub(super) async fn new(clients: usize, ring_bytes: usize, history_events: usize, fault: Fault) -> Self {
        let size = Size {
            ring_bytes,
            history_events,
            ..Size::default()
        };
        Self {
            node: Node::start(&size, fault).await,
            clients: (0..clients).map(|_| Client::default()).collect(),
            published: Vec::new(),
            truth: Truth::default(),
            resets: 0,
        }
    }

    /// Clients take turns at being the users; odd ones also belong to a unit.
    fn principal(client: usize) -> Principal {
        let units = if client % 2 == 1 {
            vec![format!("unit-{}", client % UNITS).parse().unwrap()]
        } else {
            vec![]
        };
        Principal::new(
            format!("u-{}", client % USERS).parse().unwrap(),
            [Role::new("TECNICO")],
        )
        .with_memberships(units, vec![])
        .unwrap()
    }

    fn channels(client: usize) -> Vec<Channel> {
        Matrix::default_roles().default_channels(&Self::principal(client))
    }

    pub(super) async fn act(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Publish { to, expires_in } => self.publish(to, *expires_in).await,
            Act::Retract { nth } => {
                if let Some(id) = pick(&self.published, *nth) {
                    let _ = self.node.retract.run(&service(), id).await;
                }
            }
            Act::Mark { user, nth } => {
                if let Some(id) = pick(&self.published, *nth) {
                    let mark = if nth % 2 == 0 { Mark::Read } else { Mark::Unread };
                    let _ = self.node.inbox.mark(&Self::principal(*user), id, mark).await;
                }
            }
            Act::ReadAll { user } => {
                self.node
                    .inbox
                    .read_all(&Self::principal(*user), None)
                    .await
                    .map_err(|e| e.to_string())?;
            }
            Act::Connect { client } => self.connect(client % self.clients.len()).await?,
            Act::Poll { client, frames } => {
                self.poll(client % self.clients.len(), *frames).await?;
            }
            Act::Cut { client, lost } => self.cut(client % self.clients.len(), *lost),
            Act::Advance { seconds } => {
                self.node.clock.advance(Duration::from_secs(*seconds));
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
            }
            Act::Prune => {
                while self.node.store.prune().await.map_err(|e| e.to_string())? != Pruned::default() {}
            }
            Act::Replay { client, limit } => self.replay(client % self.clients.len(), *limit).await?,
            Act::Settle => self.node.settle().await,
        }
        self.note();
        Ok(())
    }

    fn note(&mut self) {
        for event in self.node.bus.noted.lock().unwrap().drain(..) {
            self.truth.note(&event);
        }
    }

    async fn publish(&mut self, to: &To, expires_in: Option<u64>) {
        let mut audience = AudienceFields::default();
        match to {
            To::Users(users) => {
                audience.users = Some(users.iter().map(|u| format!("u-{}", u % USERS)).collect());
            }
            To::Unit(unit) => audience.unit = Some(format!("unit-{}", unit % UNITS)),
            To::Everyone => audience.everyone = Some(true),
        }
        let expires_at =
            expires_in.map(|seconds| self.node.clock.now().plus(Duration::from_secs(seconds + 1)));
        let id = self
            .node
            .publish(DraftFields {
                audience,
                expires_at,
                ..DraftFields::default()
            })
            .await;
        self.published.push(id);
    }

    async fn connect(&mut self, at: usize) -> Result<(), String> {
        if self.clients[at].stream.is_some() {
            return Ok(());
        }
        let request = StreamRequest {
            selection: Selection::Default,
            resume: self.clients[at].cursor.map_or(Resume::Live, Resume::After),
            format: Format::Sse,
            ticket: None,
        };
        let stream = self
            .node
            .subscribe
            .run(Arc::new(Self::principal(at)), request)
            .await;
        self.clients[at].stream = Some(stream.map_err(|error| error.to_string())?);
        Ok(())
    }

    async fn poll(&mut self, at: usize, frames: usize) -> Result<usize, String> {
        let mut taken = 0;
        while taken < frames {
            let Some(stream) = &mut self.clients[at].stream else {
                break;
            };
            let outgoing = match stream.poll_next(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(outgoing)) => outgoing,
                Poll::Ready(None) => {
                    self.clients[at].stream = None;
                    break;
                }
                Poll::Pending => break,
            };
            taken += 1;
            let Outgoing::Frame(frame) = outgoing else {
                continue;
            };
            let oldest = self
                .node
                .store
                .head()
                .await
                .map_err(|error| error.to_string())?
                .oldest;
            let text = String::from_utf8(frame.to_vec()).map_err(|error| error.to_string())?;
            self.clients[at]
                .on_its_way
                .extend(read(&text, self.node.clock.now(), oldest));
        }
        Ok(taken)
    }

    /// The socket dies: what was on its way is lost from some frame on.
    fn cut(&mut self, at: usize, lost: usize) {
        let client = &mut self.clients[at];
        if client.stream.take().is_some() {
            let kept = client.on_its_way.len().saturating_sub(lost);
            client.on_its_way.truncate(kept);
            client.process();
        }
    }

    /// What was missed can also be asked for; it is the same, and nobody else's.
    async fn replay(&mut self, at: usize, limit: usize) -> Result<(), String> {
        if self.clients[at].stream.is_some() {
            return Ok(());
        }
        let Some(cursor) = self.clients[at].cursor else {
            return Ok(());
        };
        let person = Self::principal(at);
        let page = self
            .node
            .replay
            .run(&person, cursor, limit.max(1))
            .await
            .map_err(|error| error.to_string())?;
        let oldest = self
            .node
            .store
            .head()
            .await
            .map_err(|error| error.to_string())?
            .oldest;
        let now = self.node.clock.now();
        let client = &mut self.clients[at];
        if let Some(reset) = page.reset {
            let reason = reset.reason.as_str().to_owned();
            client.on_its_way.push(Received::Reset {
                from: reset.from,
                to: reset.to,
                reason,
                oldest,
            });
        }
        let events = page
            .events
            .iter()
            .filter(|event| !matches!(event.change, Change::Erased));
        client.on_its_way.extend(events.map(|event| Received::Event {
            position: event.position,
            at: now,
        }));
        client.on_its_way.push(Received::Beat { cursor: page.cursor });
        client.process();
        Ok(())
    }

    /// Brings every client up to date and checks what each has received.
    pub(super) async fn judge(mut self) -> Result<Trail, String> {
        for at in 0..self.clients.len() {
            self.connect(at).await?;
        }
        let mut quiet = 0;
        while quiet < 2 {
            self.node.settle().await;
            let mut taken = 0;
            for at in 0..self.clients.len() {
                taken += self.poll(at, usize::MAX).await?;
            }
            quiet = if taken == 0 { quiet + 1 } else { 0 };
        }
        self.note();
        let end = self.node.clock.now();
        for (at, client) in self.clients.iter_mut().enumerate() {
            client.process();
            self.resets += client
                .processed
                .iter()
                .filter(|item| matches!(item, Received::Reset { .. }))
                .count();
            let verdict = self.truth.check(&Self::channels(at), &client.processed, end);
            verdict.map_err(|error| format!("client {at}: {error}\n{:#?}", client.processed))?;
        }
        let head = self
            .node
            .store
            .head()
            .await
            .map_err(|error| error.to_string())?
            .cursor
            .position
            .0;
        if usize::try_from(head).ok() != Some(self.truth.len()) {
            return Err(format!(
                "the log has {head} events, {} were announced",
                self.truth.len()
            ));
        }
        let trail = Trail {
            store_reads: self.node.store.reads(),
            resets: self.resets,
            events: self.truth.len(),
        };
        self.clients.clear();
        let open = self.node.hub.report().connections;
        if open != 0 {
            return Err(format!("{open} connections stayed behind"));
        }
        self.node.stop().await;
        Ok(trail)
    }
}

fn pick<T: Copy>(items: &[T], nth: usize) -> Option<T> {
    (!items.is_empty()).then(|| items[nth % items.len()])
}

fn read(text: &str, now: domain::time::Timestamp, oldest: domain::cursor::Position) -> Option<Received> {
    let mut words = text.split(' ');
    let kind = words.next()?;
    let words: Vec<&str> = words.collect();
    let cursor = |at: usize| words[at].parse::<Cursor>().expect("a cursor");
    match kind {
        "ready" => Some(Received::Ready { cursor: cursor(0) }),
        "event" => Some(Received::Event {
            position: cursor(0).position,
            at: now,
        }),
        "beat" => Some(Received::Beat { cursor: cursor(0) }),
        "reset" => Some(Received::Reset {
            from: words[1].parse().ok(),
            to: cursor(2),
            reason: words[0].to_owned(),
            oldest,
        }),
        _ => None,
    }
}
