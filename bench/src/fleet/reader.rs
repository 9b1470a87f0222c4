//! One stream of a fleet: connect, ask, check the head, then read events for ever.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use mio::event::Event as Readiness;
use mio::net::TcpStream;
use mio::{Registry, Token};

use super::{INTEREST, Protocol, Tally};
use crate::clock;
use crate::wire::chunked::Chunked;
use crate::wire::http::Head;
use crate::wire::mark::Mark;
use crate::wire::sse::Scanner;
use crate::wire::websocket::{self, Decoder, Message};
use crate::wire::{Event, Malformed};

/// Bytes of an unexpected answer that are worth showing.
const EXCERPT: usize = 400;

#[derive(Default)]
pub(super) struct Reader {
    socket: Option<TcpStream>,
    phase: Phase,
    journal: Journal,
}

/// What a reader remembers across connections.
#[derive(Default)]
struct Journal {
    last_id: String,
    positions: Vec<u64>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Closed,
    Connecting {
        protocol: Protocol,
        request: Vec<u8>,
    },
    Head {
        protocol: Protocol,
        bytes: Vec<u8>,
    },
    EventStream {
        body: Body,
        scanner: Scanner,
    },
    WebSocket(Decoder),
}

enum Body {
    Chunked(Chunked),
    /// Ends with the connection.
    Plain,
}

impl Reader {
    pub(super) fn last_id(&self) -> Option<&str> {
        Some(self.journal.last_id.as_str()).filter(|id| !id.is_empty())
    }

    pub(super) fn positions(&self) -> &[u64] {
        &self.journal.positions
    }

    /// Takes what was kept for [`Self::positions`].
    pub(super) fn take_positions(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.journal.positions)
    }

    pub(super) fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn connect(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
        request: Vec<u8>,
        registry: &Registry,
        token: Token,
    ) -> Result<()> {
        let mut socket = TcpStream::connect(address)?;
        registry.register(&mut socket, token, INTEREST)?;
        self.socket = Some(socket);
        self.journal.positions.clear();
        self.phase = Phase::Connecting { protocol, request };
        Ok(())
    }

    /// Closes the socket. What it had seen stays.
    pub(super) fn cut(&mut self) {
        self.socket = None;
        self.phase = Phase::Closed;
    }

    pub(super) fn handle(&mut self, event: &Readiness, buffer: &mut [u8], tally: &mut Tally) -> Result<()> {
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        if let Phase::Connecting { protocol, request } = &mut self.phase {
            if let Some(error) = socket.take_error()? {
                return Err(error).context("cannot connect");
            }
            if !event.is_writable() {
                return Ok(());
            }
            send(socket, request)?;
            self.phase = Phase::Head {
                protocol: *protocol,
                bytes: Vec::new(),
            };
        }
        if !event.is_readable() && !event.is_read_closed() {
            return Ok(());
        }
        loop {
            let read = match socket.read(buffer) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("connection lost"),
            };
            let received = clock::now();
            tally.record(&buffer[..read]);
            self.phase
                .read(&buffer[..read], received, socket, &mut self.journal, tally)?;
            // A short read has emptied the socket, and new bytes raise a new event; but the end of the stream
            // may have been announced by this one.
            if read < buffer.len() && !event.is_read_closed() {
                return Ok(());
            }
        }
    }
}

impl Phase {
    fn read(
        &mut self,
        bytes: &[u8],
        received: u64,
        socket: &mut TcpStream,
        journal: &mut Journal,
        tally: &mut Tally,
    ) -> Result<()> {
        match self {
            Self::Closed | Self::Connecting { .. } => Ok(()),
            Self::Head {
                protocol,
                bytes: so_far,
            } => {
                so_far.extend_from_slice(bytes);
                let Some((head, length)) = Head::parse(so_far)? else {
                    return Ok(());
                };
                let rest = so_far.split_off(length);
                *self = Self::after(*protocol, &head, &rest)?;
                if rest.is_empty() {
                    Ok(())
                } else {
                    self.read(&rest, received, socket, journal, tally)
                }
            }
            Self::EventStream {
                body: Body::Plain,
                scanner,
            } => {
                let mut outcome = Ok(());
                scanner.feed(bytes, |event| note(event, received, journal, tally, &mut outcome))?;
                outcome
            }
            Self::EventStream {
                body: Body::Chunked(decoder),
                scanner,
            } => {
                let mut outcome = Ok(());
                let mut input = bytes;
                while let Some(body) = decoder.next(&mut input)? {
                    scanner.feed(body, |event| note(event, received, journal, tally, &mut outcome))?;
                }
                if decoder.is_done() {
                    outcome = outcome.and_then(|()| bail!("the server ended the stream"));
                }
                outcome
            }
            Self::WebSocket(decoder) => {
                let mut outcome = Ok(());
                decoder.feed(bytes, |message| match message {
                    Message::Text(text) => {
                        note(websocket::event(text), received, journal, tally, &mut outcome);
                    }
                    Message::Ping(payload) => {
                        tally.upkeep += 1;
                        if let Err(error) = send(socket, &websocket::pong(payload)) {
                            outcome = Err(error);
                        }
                    }
                    Message::Pong => {}
                    Message::Close(code) => outcome = Err(anyhow::anyhow!("closed with code {code}")),
                })?;
                outcome
            }
        }
    }

    fn after(protocol: Protocol, head: &Head, rest: &[u8]) -> Result<Self> {
        match (protocol, head.status) {
            (Protocol::EventStream, 200) => {
                let body = if head.chunked {
                    Body::Chunked(Chunked::default())
                } else {
                    Body::Plain
                };
                Ok(Self::EventStream {
                    body,
                    scanner: Scanner::default(),
                })
            }
            (Protocol::WebSocket, 101) => {
                if head.accept.as_deref() != Some(websocket::ACCEPT) {
                    return Err(Malformed("Sec-WebSocket-Accept").into());
                }
                if head.protocol.as_deref() != Some("arauto.v1") {
                    return Err(Malformed("Sec-WebSocket-Protocol").into());
                }
                Ok(Self::WebSocket(Decoder::default()))
            }
            (_, status) => {
                let excerpt = String::from_utf8_lossy(&rest[..rest.len().min(EXCERPT)]);
                bail!("answered {status}: {excerpt}")
            }
        }
    }
}

/// Takes one event into the books. Anything that a healthy server does not send to a quiet reader is an error.
fn note(event: Event<'_>, received: u64, journal: &mut Journal, tally: &mut Tally, outcome: &mut Result<()>) {
    if let Some(id) = event.id {
        journal.last_id.clear();
        journal.last_id.push_str(&String::from_utf8_lossy(id));
    }
    match event.name {
        b"notification" => {
            if let Some(position) = event.id.and_then(position) {
                journal.positions.push(position);
            }
            match Mark::find(event.data) {
                Some(mark) => tally.receive(mark, received),
                None => *outcome = Err(anyhow::anyhow!("a notification without the mark of this run")),
            }
        }
        b"ready" => tally.ready += 1,
        b"heartbeat" | b"session" | b"" => tally.upkeep += 1,
        name => {
            tally.resets += u64::from(name == b"reset");
            let (name, data) = (String::from_utf8_lossy(name), String::from_utf8_lossy(event.data));
            *outcome = Err(anyhow::anyhow!("unexpected event {name}: {data}"));
        }
    }
}

/// The position of a cursor `epoch-position`.
pub(crate) fn position(cursor: &[u8]) -> Option<u64> {
    let dash = memchr::memrchr(b'-', cursor)?;
    std::str::from_utf8(&cursor[dash + 1..]).ok()?.parse().ok()
}

/// Writes a request or a pong: small beside an empty send buffer, so a partial write means a broken connection.
fn send(socket: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    let written = socket.write(bytes).context("cannot send")?;
    if written < bytes.len() {
        bail!("only {written} of {} bytes could be sent", bytes.len());
    }
    Ok(())
}
