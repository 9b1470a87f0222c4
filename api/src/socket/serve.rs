//! The one loop of a connection.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use application::boundary::bounded;
use application::ports::Observer;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::alarm::Alarm;
use super::calls::{Door, NotOpened, Opened, Session};
use super::close::CloseCode;
use super::link::{Event, Link};
use super::machine::{Action, Answer, Call, HELLO_WITHIN, Identity, Input, Machine};
use super::op::TOKEN_OP_MAX_BYTES;
use super::problem::Problem;
use super::transport::{Inbound, Socket};

/// A client that does not take what the write buffer holds, about 8 KiB, in this time is closed; it may resume.
const STALLED_MAX: Duration = Duration::from_secs(60);
/// How long a closing handshake may take, the last frames included.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client closed, or is gone.
    Left,
    /// We closed.
    Closed(CloseCode),
}

/// Serves one connection from its upgrade to its end. Dropping the future closes the stream. What panics meanwhile ends
/// this connection alone, is counted, and its client is asked to come back.
pub async fn serve<S>(io: S, identity: Identity, door: Arc<dyn Door>, observer: &dyn Observer) -> Ending
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut link = Link::new(Socket::accept(io, TOKEN_OP_MAX_BYTES).await);
    let conversation = bounded(observer, "socket", converse(&mut link, identity, door));
    let end = conversation.await.unwrap_or(End::Close {
        last: None,
        code: CloseCode::Failed,
    });
    // The stream is given up first: what follows waits for the client.
    let Link { socket, .. } = link;
    let (ending, parting) = match end {
        End::Left => (Ending::Left, parting(socket.part())),
        End::Close { last, code } => (Ending::Closed(code), parting(socket.close(last, code))),
    };
    let _unfinished = timeout(CLOSE_WITHIN, parting).await;
    ending
}

/// On the heap, so that a connection does not carry the room for its end all its life.
fn parting<'a>(
    parting: impl Future<Output = ()> + Send + 'a,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    Box::pin(parting)
}

/// Why the loop ended.
enum End {
    Left,
    Close { last: Option<Bytes>, code: CloseCode },
}

async fn converse<S>(link: &mut Link<S>, identity: Identity, door: Arc<dyn Door>) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut machine, mut action) = Machine::start(identity);
    let mut calls = Calls::new(door);
    let (mut hello, mut stall) = (Alarm::default(), Alarm::default());
    let mut progress = link.socket.progress();
    if machine.awaits_hello() {
        hello.set(HELLO_WITHIN);
    }
    loop {
        match action {
            Action::Nothing => {}
            Action::Send(text) => link.socket.queue_text(text),
            Action::Ping => link.socket.queue_ping(),
            Action::Call(call) => {
                hello.clear();
                calls.begin(call);
            }
            Action::Close { last, code } => return End::Close { last, code },
            Action::Leave => return End::Left,
        }
        action = tokio::select! {
            event = poll_fn(|context| link.poll(context, machine.reads())) => match event {
                Event::Inbound(Inbound::Text(text)) => machine.on(Input::Text(&text)),
                Event::Inbound(Inbound::Binary(_)) => machine.on(Input::Binary),
                Event::Inbound(Inbound::Left) => machine.on(Input::Left),
                Event::Inbound(Inbound::Fault(fault)) => machine.on(Input::Fault(fault)),
                Event::Outgoing(outgoing) => machine.on(Input::Outgoing(outgoing)),
                Event::Ended(reason) => machine.on(Input::StreamEnded(reason)),
                Event::Stalled => {
                    progress = link.socket.progress();
                    stall.set(STALLED_MAX);
                    Action::Nothing
                }
                Event::Settled => {
                    stall.clear();
                    Action::Nothing
                }
            },
            reply = calls.reply() => match reply {
                Reply::Opened(Ok(opened)) => {
                    link.subscription = Some(opened.subscription);
                    calls.target = Target::Session(opened.session);
                    machine.on(Input::Opened(Ok(())))
                }
                Reply::Opened(Err(refused)) => machine.on(Input::Opened(Err(refused))),
                Reply::Answered(answered) => machine.on(Input::Answered(answered)),
            },
            () = hello.rings() => machine.on(Input::Deadline),
            () = stall.rings() => {
                let before = std::mem::replace(&mut progress, link.socket.progress());
                if before == progress {
                    machine.on(Input::Deadline)
                } else {
                    stall.set(STALLED_MAX);
                    Action::Nothing
                }
            }
        };
    }
}

/// What came of a call.
enum Reply {
    Opened(Result<Opened, NotOpened>),
    Answered(Result<Answer, Problem>),
}

/// Whom to call: the door until the stream is open, then its owner's session.
enum Target {
    Door(Arc<dyn Door>),
    Session(Arc<dyn Session>),
}

/// The call in flight, if there is one.
struct Calls {
    target: Target,
    in_flight: Option<Pin<Box<dyn Future<Output = Reply> + Send>>>,
}

impl Calls {
    const fn new(door: Arc<dyn Door>) -> Self {
        Self {
            target: Target::Door(door),
            in_flight: None,
        }
    }

    fn begin(&mut self, call: Call) {
        self.in_flight = Some(match (&self.target, call) {
            (Target::Door(door), Call::Open(hello)) => {
                let door = Arc::clone(door);
                Box::pin(async move { Reply::Opened(door.open(hello).await) })
            }
            (Target::Session(session), call) => {
                let session = Arc::clone(session);
                Box::pin(async move { Reply::Answered(answer(&*session, call).await) })
            }
            (Target::Door(_), _) => unreachable!("the machine opens before anything else"),
        });
    }

    /// Waits for the call in flight, for ever when there is none.
    async fn reply(&mut self) -> Reply {
        let Some(call) = &mut self.in_flight else {
            return pending().await;
        };
        let reply = call.await;
        self.in_flight = None;
        reply
    }
}

async fn answer(session: &dyn Session, call: Call) -> Result<Answer, Problem> {
    match call {
        Call::Heartbeat { sequence } => session.heartbeat(sequence).await.map(|()| Answer::Done),
        Call::Mark(id, mark) => session.mark(id, mark).await.map(|()| Answer::Done),
        Call::Renew(token) => session.renew(token).await.map(Answer::Renewed),
        Call::Open(_) => unreachable!("the machine opens once"),
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
