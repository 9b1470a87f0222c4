//! The client's socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::progress::Progress;
use super::refusal::{Input, discard_what_is_there};

/// The client's socket, which notes what passes through it. It counts as an open connection for as long as it
/// lives, also inside of a WebSocket.
pub(super) struct Socket {
    stream: TcpStream,
    progress: Arc<Progress>,
    _counted: TaskTrackerToken,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, progress: Arc<Progress>, counted: TaskTrackerToken) -> Self {
        Self {
            stream,
            progress,
            _counted: counted,
        }
    }

    /// Returns the socket itself.
    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Tells whether something has come in that nobody has read. It is discarded.
    pub(super) fn holds_unread(&self) -> bool {
        matches!(
            discard_what_is_there(&self.stream),
            Ok(Input::Open { bytes: 1.. })
        )
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            if buffer.filled().len() > before {
                self.progress.heard();
            } else {
                self.progress.peer_finished();
            }
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    /// hyper flushes when it has written everything that it holds.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.progress.handover.flushed();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
