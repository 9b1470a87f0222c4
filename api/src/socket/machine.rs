//! What to do next, decided without I/O: one input in, at most one action out.

use std::time::Duration;

use application::ports::{Encoder, Format, Message, Outgoing};
use bytes::Bytes;
use domain::ids::NotificationId;
use domain::state::Mark;
use domain::stream::CloseReason;
use serde::Serialize;

use super::calls::{NotOpened, SessionTimes};
use super::close::CloseCode;
use super::op::{Hello, Op, Rejected, Token};
use super::problem::{Mistake, Problem};
use super::transport::Fault;
use crate::wire::{WireEncoder, to_json};

/// How long a client may take to say who it is.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A client that is wrong this often is broken, and every error costs a frame.
const MISTAKES_MAX: u8 = 16;

/// Whether it is known who is calling when the socket opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A header or a ticket said it.
    Known,
    /// The first frame is to say it.
    Awaited,
}

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client sent a text frame.
    Text(&'a str),
    /// The client sent a binary frame.
    Binary,
    /// The client's bytes are no frames of this protocol.
    Fault(Fault),
    /// The client closed, or is gone.
    Left,
    /// The client took too long: to say who it is, or to read.
    Deadline,
    /// The stream was opened, or not.
    Opened(Result<(), NotOpened>),
    /// An operation was done, or not.
    Answered(Result<Answer, Problem>),
    /// The stream has something for the client.
    Outgoing(Outgoing),
    /// The stream has ended; its `closing` has been given before.
    StreamEnded(Option<CloseReason>),
}

/// What an operation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is done; what it changed comes on the stream.
    Done,
    /// The session lives on.
    Renewed(SessionTimes),
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Write a text frame.
    Send(Bytes),
    /// Write a ping.
    Ping,
    /// Call, and give the machine what comes of it.
    Call(Call),
    /// Write a last text frame, if there is one, close with the code, and stop.
    Close {
        /// What tells the client why, unless the stream has told it.
        last: Option<Bytes>,
        /// The code.
        code: CloseCode,
    },
    /// Stop: nobody is there to be told anything.
    Leave,
}

/// A call to be made. One is in flight at a time; while it is, nothing is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Open the stream: for whom the client says it is, or for whom a header or a ticket said.
    Open(Option<Hello>),
    /// Take the reply to a heartbeat.
    Heartbeat {
        /// The heartbeat's sequence.
        sequence: u64,
    },
    /// Mark a notification.
    Mark(NotificationId, Mark),
    /// Let the session live on.
    Renew(Token),
}

impl Call {
    const fn op(&self) -> &'static str {
        match self {
            Self::Open(_) => "hello",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Mark(_, Mark::Acknowledge) => "ack",
            Self::Mark(..) => "read",
            Self::Renew(_) => "renew",
        }
    }
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    AwaitingHello,
    Opening,
    Open { calling: Option<&'static str> },
    Ended,
}

/// One connection's side of `arauto.v1`.
#[derive(Debug)]
pub struct Machine {
    phase: Phase,
    mistakes: u8,
}

impl Machine {
    /// Begins, and says what to do first.
    pub const fn start(identity: Identity) -> (Self, Action) {
        let (phase, action) = match identity {
            Identity::Known => (Phase::Opening, Action::Call(Call::Open(None))),
            Identity::Awaited => (Phase::AwaitingHello, Action::Nothing),
        };
        (Self { phase, mistakes: 0 }, action)
    }

    /// Tells whether the next frame is to be read. Otherwise it waits in the client's own buffers: a client that
    /// asks faster than it is answered slows itself down.
    pub const fn reads(&self) -> bool {
        matches!(self.phase, Phase::AwaitingHello | Phase::Open { calling: None })
    }

    /// Tells whether the client still has to say who it is.
    pub const fn awaits_hello(&self) -> bool {
        matches!(self.phase, Phase::AwaitingHello)
    }

    /// Takes what happened and says what to do.
    pub fn on(&mut self, input: Input<'_>) -> Action {
        if self.phase == Phase::Ended {
            return Action::Nothing;
        }
        match input {
            Input::Text(text) => match Op::parse(text) {
                Ok(op) => self.op(op),
                Err(rejected) => self.mistake(&rejected),
            },
            Input::Binary => {
                let problem = Mistake::BinaryFrame.says("frames of arauto.v1 are text");
                self.refuse(None, &problem, CloseCode::BadProtocol)
            }
            Input::Fault(fault) => self.fault(fault),
            Input::Left => self.end(Action::Leave),
            Input::Deadline => self.deadline(),
            Input::Opened(opened) => self.opened(opened),
            Input::Answered(answered) => self.answered(answered),
            Input::Outgoing(Outgoing::Frame(frame)) if frame.is_empty() => Action::Nothing,
            Input::Outgoing(Outgoing::Frame(frame)) => Action::Send(frame),
            Input::Outgoing(Outgoing::KeepAlive) => Action::Ping,
            Input::StreamEnded(reason) => {
                let code = reason.map_or(CloseCode::Overloaded, CloseCode::from);
                self.end(Action::Close { last: None, code })
            }
        }
    }

    fn op(&mut self, op: Op) -> Action {
        let call = match op {
            Op::Hello(hello) => Call::Open(Some(hello)),
            Op::Heartbeat { sequence } => Call::Heartbeat { sequence },
            Op::Mark(id, mark) => Call::Mark(id, mark),
            Op::Renew(token) => Call::Renew(token),
        };
        let name = call.op();
        let problem = match (self.phase, &call) {
            (Phase::AwaitingHello, Call::Open(_)) => {
                self.phase = Phase::Opening;
                return Action::Call(call);
            }
            (Phase::AwaitingHello, _) => Mistake::HelloExpected.says("the first frame is hello"),
            (_, Call::Open(_)) => Mistake::HelloRepeated.says("it is known who is calling"),
            (Phase::Open { calling: None }, _) => {
                self.phase = Phase::Open { calling: Some(name) };
                return Action::Call(call);
            }
            _ => Mistake::TooManyOperations.says("one operation at a time"),
        };
        let op = Some(name.to_owned());
        self.mistake(&Rejected { op, problem })
    }

    /// A mistake before the stream is open, or the last of too many, closes; others are answered.
    fn mistake(&mut self, rejected: &Rejected) -> Action {
        let Rejected { op, problem } = rejected;
        self.mistakes += 1;
        let open = matches!(self.phase, Phase::Open { .. });
        if !open || self.mistakes >= MISTAKES_MAX {
            return self.refuse(op.as_deref(), problem, CloseCode::BadProtocol);
        }
        Action::Send(error(op.as_deref(), problem))
    }

    fn fault(&mut self, fault: Fault) -> Action {
        let Some(code) = fault.code() else {
            return self.end(Action::Leave);
        };
        if code == CloseCode::TooLarge {
            let problem = Mistake::FrameTooLarge.says("no operation needs a frame of this size");
            return self.refuse(None, &problem, code);
        }
        self.end(Action::Close { last: None, code })
    }

    fn deadline(&mut self) -> Action {
        if self.phase == Phase::AwaitingHello {
            let title = format!("hello is awaited for {} s", HELLO_WITHIN.as_secs());
            let problem = Mistake::HelloTimeout.says(title);
            return self.refuse(None, &problem, CloseCode::HelloTimeout);
        }
        // The client does not read, so there is no use in telling it more than the code.
        let code = CloseCode::Unresponsive;
        self.end(Action::Close { last: None, code })
    }

    fn opened(&mut self, opened: Result<(), NotOpened>) -> Action {
        if self.phase != Phase::Opening {
            return Action::Nothing;
        }
        match opened {
            Ok(()) => {
                self.phase = Phase::Open { calling: None };
                Action::Nothing
            }
            Err(NotOpened::Refused { problem, code }) => self.refuse(Some("hello"), &problem, code),
            Err(NotOpened::Closing { reason, after }) => {
                let last = Some(encode(&Message::Closing { reason, after }));
                let code = reason.into();
                self.end(Action::Close { last, code })
            }
        }
    }

    fn answered(&mut self, answered: Result<Answer, Problem>) -> Action {
        let Phase::Open { calling } = &mut self.phase else {
            return Action::Nothing;
        };
        let op = calling.take();
        match answered {
            Ok(Answer::Done) => Action::Nothing,
            Ok(Answer::Renewed(times)) => Action::Send(encode(&Message::Session {
                expires_at: times.expires_at,
                renew_before: times.renew_before,
            })),
            Err(problem) => Action::Send(error(op, &problem)),
        }
    }

    fn refuse(&mut self, op: Option<&str>, problem: &Problem, code: CloseCode) -> Action {
        let last = Some(error(op, problem));
        self.end(Action::Close { last, code })
    }

    const fn end(&mut self, action: Action) -> Action {
        self.phase = Phase::Ended;
        action
    }
}

fn encode(message: &Message<'_>) -> Bytes {
    WireEncoder.encode(Format::WebSocket, message)
}

#[derive(Serialize)]
struct ErrorEvent<'a> {
    event: &'static str,
    data: ErrorData<'a>,
}

#[derive(Serialize)]
struct ErrorData<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    op: Option<&'a str>,
}

fn error(op: Option<&str>, problem: &Problem) -> Bytes {
    let data = ErrorData {
        kind: &problem.kind,
        title: &problem.title,
        op,
    };
    let event = "error";
    to_json(&ErrorEvent { event, data }).into()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
