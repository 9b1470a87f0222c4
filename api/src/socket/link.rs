//! A socket and the stream that it carries.

use std::task::{Context, Poll};

use application::ports::{Outgoing, Subscription};
use domain::stream::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite};

use super::transport::{Fault, Inbound, Socket};

/// This many frames of a backlog are pulled before they are flushed: one write for many small frames, and still
/// nothing to speak of is held for a client that does not read.
const BATCH_FRAMES: u8 = 16;

/// Something that a link has for its loop.
pub(super) enum Event {
    /// The client sent something.
    Inbound(Inbound),
    /// The stream has something for the client, and there is room for it.
    Outgoing(Outgoing),
    /// The stream has ended.
    Ended(Option<CloseReason>),
    /// The client does not read as fast as it is written to.
    Stalled,
    /// The client has read everything after all.
    Settled,
}

/// A socket and, once it is open, the stream that it carries.
pub(super) struct Link<S> {
    pub(super) socket: Socket<S>,
    pub(super) subscription: Option<Box<dyn Subscription>>,
    /// Frames pulled since the last flush.
    pulled: u8,
    stalled: bool,
}

/// How far writing got.
enum Written {
    /// There is something for the loop.
    Event(Event),
    /// The kernel has everything, and the stream may have more.
    Batch,
    /// The kernel has everything, and the stream has no more.
    All,
    /// The kernel takes no more for now.
    Blocked,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub(super) const fn new(socket: Socket<S>) -> Self {
        Self {
            socket,
            subscription: None,
            pulled: 0,
            stalled: false,
        }
    }

    /// Writes what is queued, pulls the next frame where there is room, and reads if `reads`.
    ///
    /// The next frame is pulled only when those before it are in the kernel, but for a small batch: a client that
    /// does not read holds back its own stream and no memory.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, reads: bool) -> Poll<Event> {
        loop {
            let written = match self.poll_write(context) {
                Ok(Written::Event(event)) => return Poll::Ready(event),
                Ok(written) => written,
                Err(fault) => return Poll::Ready(Event::Inbound(Inbound::Fault(fault))),
            };
            if reads
                && self.socket.has_room()
                && let Poll::Ready(inbound) = self.socket.poll_read(context)
            {
                return Poll::Ready(Event::Inbound(inbound));
            }
            if !matches!(written, Written::Batch) {
                return Poll::Pending;
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<Written, Fault> {
        let fed = self.socket.poll_feed(context)?.is_ready();
        if fed
            && self.pulled < BATCH_FRAMES
            && let Poll::Ready(event) = self.pull(context)
        {
            return Ok(Written::Event(event));
        }
        if !fed || self.socket.poll_flush(context)?.is_pending() {
            let known = std::mem::replace(&mut self.stalled, true);
            let stalled = Written::Event(Event::Stalled);
            return Ok(if known { Written::Blocked } else { stalled });
        }
        if std::mem::take(&mut self.stalled) {
            return Ok(Written::Event(Event::Settled));
        }
        let batch = std::mem::take(&mut self.pulled) == BATCH_FRAMES;
        Ok(if batch { Written::Batch } else { Written::All })
    }

    fn pull(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let Some(subscription) = &mut self.subscription else {
            return Poll::Pending;
        };
        subscription.poll_next(context).map(|outgoing| match outgoing {
            Some(outgoing) => {
                self.pulled += 1;
                Event::Outgoing(outgoing)
            }
            None => Event::Ended(subscription.closed()),
        })
    }
}
