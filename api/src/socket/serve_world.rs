//! The world around a connection, held in a test's hands: the hub, the routes and a client.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use application::ports::{Encoder, Format, Message as Event, Observation, Observer, Outgoing, Subscription};
use async_trait::async_trait;
use domain::ids::{ConnectionId, NodeId, NotificationId};
use domain::state::Mark;
use domain::stream::{CloseReason, Resume};
use domain::time::Timestamp;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::super::super::calls::SessionTimes;
use super::super::super::op::{Hello, Token};
use super::super::*;
use crate::wire::WireEncoder;

/// Everything that a test holds in its hands: the hub's end of the stream and what was called.
pub(super) struct World {
    pub(super) frames: mpsc::UnboundedSender<Outgoing>,
    stream: Mutex<Option<Stream>>,
    refuse: Option<NotOpened>,
    calls: Mutex<Vec<String>>,
    /// Operations wait for a permit.
    pub(super) permits: Semaphore,
    pub(super) pulled: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
    panics: AtomicUsize,
}

/// A frame that the stream panics at.
pub(super) const POISON_FRAME: &[u8] = b"POISON";
/// A heartbeat that the session panics at.
pub(super) const POISON_SEQUENCE: u64 = 13;

struct Stream {
    frames: mpsc::UnboundedReceiver<Outgoing>,
    pulled: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        Self::refusing(None)
    }

    pub(super) fn refusing(refuse: Option<NotOpened>) -> Arc<Self> {
        let (sender, frames) = mpsc::unbounded_channel();
        let (pulled, closed) = (Arc::default(), Arc::default());
        let stream = Stream {
            frames,
            pulled: Arc::clone(&pulled),
            closed: Arc::clone(&closed),
        };
        Arc::new(Self {
            frames: sender,
            stream: Mutex::new(Some(stream)),
            refuse,
            calls: Mutex::default(),
            permits: Semaphore::new(100),
            pulled,
            closed,
            panics: AtomicUsize::new(0),
        })
    }

    pub(super) fn send(&self, text: impl Into<Bytes>) {
        self.frames.send(Outgoing::Frame(text.into())).unwrap();
    }

    /// The hub ends the stream: its `closing`, and nothing after it.
    pub(super) fn end(&self, reason: CloseReason) {
        let after = Duration::from_millis(1_234);
        self.send(WireEncoder.encode(Format::WebSocket, &Event::Closing { reason, after }));
        self.send("END");
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(super) fn panics(&self) -> usize {
        self.panics.load(Ordering::SeqCst)
    }

    pub(super) async fn called(&self, call: String) -> Result<(), Problem> {
        self.permits.acquire().await.unwrap().forget();
        self.calls.lock().unwrap().push(call);
        Ok(())
    }
}

impl Observer for World {
    fn saw(&self, observation: &Observation) {
        assert_eq!(*observation, Observation::Panicked("socket"));
        self.panics.fetch_add(1, Ordering::SeqCst);
    }
}

impl Subscription for Stream {
    fn connection(&self) -> ConnectionId {
        ConnectionId {
            node: NodeId(1),
            serial: 2,
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        self.frames.poll_recv(context).map(|outgoing| {
            self.pulled.fetch_add(1, Ordering::SeqCst);
            assert_ne!(outgoing, Some(Outgoing::Frame(Bytes::from_static(POISON_FRAME))));
            outgoing.filter(|outgoing| *outgoing != Outgoing::Frame(Bytes::from_static(b"END")))
        })
    }

    fn closed(&self) -> Option<CloseReason> {
        Some(CloseReason::ShuttingDown)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

/// The routes' end.
pub(super) struct Routes(pub(super) Arc<World>);

#[async_trait]
impl Door for Routes {
    async fn open(&self, hello: Option<Hello>) -> Result<Opened, NotOpened> {
        let who = hello.map_or("known".to_owned(), |hello| match hello.resume {
            Resume::After(cursor) => cursor.to_string(),
            resume => format!("{resume:?}"),
        });
        self.0.calls.lock().unwrap().push(format!("open {who}"));
        if let Some(refused) = &self.0.refuse {
            return Err(refused.clone());
        }
        Ok(Opened {
            subscription: Box::new(self.0.stream.lock().unwrap().take().expect("opened once")),
            session: Arc::new(Self(Arc::clone(&self.0))),
        })
    }
}

#[async_trait]
impl Session for Routes {
    async fn heartbeat(&self, sequence: u64) -> Result<(), Problem> {
        assert_ne!(sequence, POISON_SEQUENCE);
        self.0.called(format!("heartbeat {sequence}")).await
    }

    async fn mark(&self, id: NotificationId, mark: Mark) -> Result<(), Problem> {
        self.0.called(format!("{mark:?} {id}")).await?;
        Err(Problem::new("not-found", "there is no such notification"))
    }

    async fn renew(&self, token: Token) -> Result<SessionTimes, Problem> {
        self.0.called(format!("renew {}", token.as_str())).await?;
        let (expires_at, renew_before) = (Timestamp::from_millis(2), Timestamp::from_millis(1));
        Ok(SessionTimes {
            expires_at,
            renew_before,
        })
    }
}

/// A client of somebody else's making.
pub(super) struct Client(pub(super) WebSocketStream<DuplexStream>);

impl Client {
    pub(super) async fn new(io: DuplexStream) -> Self {
        Self(WebSocketStream::from_raw_socket(io, Role::Client, None).await)
    }

    pub(super) async fn say(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    pub(super) async fn next(&mut self) -> Message {
        self.0.next().await.expect("not yet ended").expect("not broken")
    }

    pub(super) async fn hears(&mut self) -> Value {
        let text = self.next().await.into_text().unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Expects the close and then the end of the connection.
    pub(super) async fn is_closed(&mut self) -> u16 {
        let Message::Close(Some(frame)) = self.next().await else {
            panic!("a close is next");
        };
        assert!(self.0.next().await.is_none());
        frame.code.into()
    }
}

/// A kernel with little memory: what it does not take waits in the server.
pub(super) const KERNEL_BYTES: usize = 2 * 1024;

/// Serves one connection to a client; returns how it ended and after how many seconds.
pub(super) async fn run<F: Future>(
    world: &Arc<World>,
    identity: Identity,
    client: impl FnOnce(DuplexStream) -> F,
) -> (Ending, u64) {
    let (ours, theirs) = duplex(KERNEL_BYTES);
    let door = Arc::new(Routes(Arc::clone(world)));
    let began = Instant::now();
    let serving = async {
        let ending = serve(ours, identity, door, &**world).await;
        (ending, began.elapsed().as_secs())
    };
    tokio::join!(serving, client(theirs)).0
}

pub(super) fn error(kind: &str, op: Option<&str>) -> (Value, Value) {
    (json!(kind), json!(op))
}

pub(super) fn error_of(event: &Value) -> (Value, Value) {
    assert_eq!(event["event"], "error");
    let kind = event["data"]["type"]
        .as_str()
        .unwrap()
        .trim_start_matches("/problems/");
    (json!(kind), event["data"]["op"].clone())
}
