//! Frames over bytes, in small and bounded buffers.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::close::CloseCode;

/// Allocated for as long as the connection lives. A `hello` with a usual token fits; longer ones grow it.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// Frames of a backlog are put together up to about this size before they are written.
const WRITE_BUFFER_BYTES: usize = 4 * 1024 - 16;
/// A message goes out in fragments of at most this size, which with its header and a full buffer before it makes
/// 8 KiB. The write buffer never shrinks again: without fragments a single broadcast of the largest size would
/// leave 32 KiB behind on every connection.
const FRAGMENT_BYTES: usize = 4 * 1024 - 16;
/// A full write buffer, one more fragment, and the answers to pings.
const WRITE_BUFFER_MAX_BYTES: usize = WRITE_BUFFER_BYTES + FRAGMENT_BYTES + 1_024;
/// After a close this much of what the client had still sent is read and dropped: closing a socket with unread
/// bytes resets it, and a reset can overtake the code.
const DISCARDED_MAX_BYTES: usize = 1024 * 1024;

/// Something that arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A whole text message.
    Text(Utf8Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// The peer closed.
    Left,
    /// The peer broke the rules of WebSocket, or is gone.
    Fault(Fault),
}

/// What is wrong with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its bytes no longer come or go.
    Gone,
    /// They are no WebSocket frames.
    Protocol,
    /// A text is no UTF-8.
    Text,
    /// A message is larger than the limit.
    TooLarge,
}

impl Fault {
    /// Returns the code that the peer is closed with; `None` when nobody is there to be told.
    pub const fn code(self) -> Option<CloseCode> {
        match self {
            Self::Gone => None,
            Self::Protocol => Some(CloseCode::ProtocolError),
            Self::Text => Some(CloseCode::InvalidText),
            Self::TooLarge => Some(CloseCode::TooLarge),
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::Gone,
            Error::Protocol(_) => Self::Protocol,
            Error::Utf8(_) => Self::Text,
            Error::Capacity(_) => Self::TooLarge,
            _ => Self::Gone,
        }
    }
}

/// A message on its way out.
#[derive(Debug)]
enum Outbound {
    /// The rest of a text or binary message, and what its next fragment is.
    Data(OpCode, Bytes),
    Ping,
}

/// A WebSocket after its handshake, the server's end.
///
/// It holds one message on its way out and one answer behind it; whoever writes waits for room.
#[derive(Debug)]
pub struct Socket<S> {
    stream: WebSocketStream<S>,
    current: Option<Outbound>,
    next: Option<Outbound>,
    /// Counts fragments, so that a slow peer can be told from one that takes nothing.
    fragments: u32,
    /// The stream may have put answers to pings into its buffer since it was last known to be empty.
    unsure: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Takes over an upgraded connection. A message from the peer has at most `message_max_bytes`.
    pub async fn accept(io: S, message_max_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES)
            .max_message_size(Some(message_max_bytes))
            .max_frame_size(Some(message_max_bytes));
        Self {
            stream: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await,
            current: None,
            next: None,
            fragments: 0,
            unsure: false,
        }
    }

    /// Tells whether there is room for an answer.
    pub const fn has_room(&self) -> bool {
        self.next.is_none()
    }

    /// Returns a number that changes whenever the peer has made room for more.
    pub(super) const fn progress(&self) -> u32 {
        self.fragments
    }

    /// Takes a text message to be written. There must be room.
    pub fn queue_text(&mut self, text: Bytes) {
        self.queue(Outbound::Data(OpCode::Data(Data::Text), text));
    }

    /// Takes a binary message to be written. There must be room.
    pub fn queue_binary(&mut self, binary: Bytes) {
        self.queue(Outbound::Data(OpCode::Data(Data::Binary), binary));
    }

    /// Takes a ping to be written. There must be room.
    pub fn queue_ping(&mut self) {
        self.queue(Outbound::Ping);
    }

    fn queue(&mut self, message: Outbound) {
        debug_assert!(self.has_room(), "whoever writes waits for room");
        let place = if self.current.is_none() {
            &mut self.current
        } else {
            &mut self.next
        };
        *place = Some(message);
    }

    /// Hands everything queued to the write buffer. Ready when there is nothing left to hand over.
    pub fn poll_feed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while let Some(message) = self.current.take().or_else(|| self.next.take()) {
            let ready = self.poll_writable(context);
            if !matches!(ready, Poll::Ready(Ok(()))) {
                self.current = Some(message);
                return ready;
            }
            let (frame, rest) = first_frame(message);
            self.current = rest;
            self.fragments = self.fragments.wrapping_add(1);
            Pin::new(&mut self.stream)
                .start_send(frame)
                .map_err(|error| Fault::of(&error))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The write buffer takes one more fragment for certain when it is empty, or when nothing but fragments went
    /// into it and none was held up.
    fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.unsure {
            ready!(self.poll_flush(context))?;
        }
        let ready = Pin::new(&mut self.stream).poll_ready(context);
        self.unsure = ready.is_pending();
        ready.map_err(|error| Fault::of(&error))
    }

    /// Writes the write buffer out.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.unsure = flushed.is_pending();
        flushed.map_err(|error| Fault::of(&error))
    }

    /// Reads the next message. Pings are answered on the way.
    pub fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Inbound> {
        loop {
            let read = Pin::new(&mut self.stream).poll_next(context);
            self.unsure = true;
            return Poll::Ready(match ready!(read) {
                Some(Ok(Message::Text(text))) => Inbound::Text(text),
                Some(Ok(Message::Binary(binary))) => Inbound::Binary(binary),
                Some(Ok(Message::Close(_))) | None => Inbound::Left,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Err(error)) => Inbound::Fault(Fault::of(&error)),
            });
        }
    }

    /// Writes what is queued and a last text, closes with a code, waits for the peer to close too, and lets go.
    /// Takes as long as the peer does: bound it.
    pub async fn close(mut self, last: Option<Bytes>, code: CloseCode) {
        let reason = Utf8Bytes::from_static(code.as_str());
        let code = code.code().into();
        let frame = Message::Close(Some(CloseFrame { code, reason }));
        if self.drain().await.is_err() {
            return;
        }
        if let Some(last) = last {
            self.queue_text(last);
        }
        let written = self.drain().await;
        if written.is_err() || Pin::new(&mut self.stream).start_send(frame).is_err() {
            return;
        }
        self.part().await;
    }

    /// Answers a close of the peer and lets go. What is still queued is dropped. Takes as long as the peer does.
    pub async fn part(mut self) {
        self.current = None;
        self.next = None;
        if self.drain().await.is_err() {
            return;
        }
        while self.discard_message().await {}
        hang_up(self.stream.into_inner()).await;
    }

    /// Waits for the next message.
    pub async fn read(&mut self) -> Inbound {
        poll_fn(|context| self.poll_read(context)).await
    }

    /// Waits until everything queued is in the kernel.
    pub async fn drain(&mut self) -> Result<(), Fault> {
        poll_fn(|context| self.poll_feed(context)).await?;
        poll_fn(|context| self.poll_flush(context)).await
    }

    async fn discard_message(&mut self) -> bool {
        let read = poll_fn(|context| Pin::new(&mut self.stream).poll_next(context)).await;
        matches!(read, Some(Ok(_)))
    }
}

fn first_frame(message: Outbound) -> (Message, Option<Outbound>) {
    match message {
        Outbound::Ping => (Message::Ping(Bytes::new()), None),
        Outbound::Data(opcode, mut rest) => {
            let fragment = rest.split_to(rest.len().min(FRAGMENT_BYTES));
            let last = rest.is_empty();
            let frame = Frame::message(fragment, opcode, last);
            let continued = OpCode::Data(Data::Continue);
            (
                Message::Frame(frame),
                (!last).then_some(Outbound::Data(continued, rest)),
            )
        }
    }
}

/// Ends our half and reads the other to its end.
async fn hang_up<S: AsyncRead + AsyncWrite + Unpin>(mut io: S) {
    if io.shutdown().await.is_err() {
        return;
    }
    let mut discarded = 0;
    let mut buffer = vec![0; 4 * 1024];
    while discarded < DISCARDED_MAX_BYTES {
        match io.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(bytes) => discarded += bytes,
        }
    }
}
