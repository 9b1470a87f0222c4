//! Writing an event stream to its socket, with next to nothing held while it is idle.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::handover::Events;

/// A backlog is written this many frames at a time, in one system call.
const BATCH_MAX_FRAMES: usize = 64;
/// Beyond this many bytes a batch takes no more frames.
const BATCH_MAX_BYTES: usize = 64 << 10;
/// The length of a chunk in hexadecimal digits, and the end of its line.
const CHUNK_HEAD_MAX_BYTES: usize = 18;
/// What ends a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How a body's end is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// HTTP/1.1: each batch is a chunk, and an empty chunk is the end.
    Chunked,
    /// HTTP/1.0: the end is where the connection ends.
    Bare,
}

/// An event stream on its way to a client.
pub(super) struct EventStream<S> {
    socket: S,
    events: Events,
    framing: Framing,
    batch: Batch,
    sent: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Open,
    /// Nothing will come; what is held is to be written.
    Ending,
    /// Everything has been written.
    Finished,
}

/// What the source of events says when it is asked for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// There may be more at once.
    HasMore,
    /// It will wake the task when there is.
    WillWake,
}

/// Frames that are written together.
#[derive(Default)]
struct Batch {
    frames: Vec<Bytes>,
    bytes: usize,
    head: [u8; CHUNK_HEAD_MAX_BYTES],
    head_bytes: usize,
    tail: &'static [u8],
}

impl<S: AsyncRead + AsyncWrite + Unpin> EventStream<S> {
    pub(super) fn new(socket: S, events: Events, framing: Framing) -> Self {
        Self {
            socket,
            events,
            framing,
            batch: Batch::default(),
            sent: 0,
            state: State::Open,
        }
    }

    /// Writes until the events end or the client has gone, and gives the socket back for its orderly end.
    pub(super) async fn run(mut self) -> io::Result<S> {
        poll_fn(|context| self.poll(context)).await?;
        Ok(self.socket)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_events(context)?.is_ready() {
            return Pin::new(&mut self.socket).poll_shutdown(context);
        }
        self.poll_client_gone(context)
    }

    /// Writes what there is; ready when everything has been written that ever will be.
    fn poll_events(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut source = Source::HasMore;
        loop {
            ready!(self.poll_write(context))?;
            match self.state {
                // Asked already, it will wake this task.
                State::Open if source == Source::WillWake => return Poll::Pending,
                State::Open => source = ready!(self.poll_fill(context))?,
                State::Ending => {
                    self.state = State::Finished;
                    if self.framing == Framing::Chunked {
                        self.batch.tail = LAST_CHUNK;
                    }
                }
                State::Finished => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Takes the frames that are there. An error of the stream cuts the connection, so that the client knows that
    /// this was not the end.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Source>> {
        let mut source = Source::HasMore;
        while self.batch.takes_more() {
            match Pin::new(&mut self.events).poll_frame(context) {
                Poll::Ready(Some(frame)) => {
                    // An empty chunk would end the body.
                    if let Ok(data) = frame?.into_data()
                        && !data.is_empty()
                    {
                        self.batch.push(data);
                    }
                }
                Poll::Ready(None) => {
                    self.state = State::Ending;
                    break;
                }
                Poll::Pending if self.batch.frames.is_empty() => return Poll::Pending,
                Poll::Pending => {
                    source = Source::WillWake;
                    break;
                }
            }
        }
        if self.framing == Framing::Chunked {
            self.batch.frame_as_chunk();
        }
        Poll::Ready(Ok(source))
    }

    /// Writes the batch.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let total = self.batch.total();
        while self.sent < total {
            let mut slices = [IoSlice::new(&[]); BATCH_MAX_FRAMES + 2];
            let used = self.batch.slices(self.sent, &mut slices);
            let socket = Pin::new(&mut self.socket);
            match ready!(socket.poll_write_vectored(context, &slices[..used]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.batch.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has gone. Whatever else it sends is of no interest.
    fn poll_client_gone(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut space = [0; 256];
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl Batch {
    fn takes_more(&self) -> bool {
        self.frames.len() < BATCH_MAX_FRAMES && self.bytes < BATCH_MAX_BYTES
    }

    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    fn frame_as_chunk(&mut self) {
        if self.frames.is_empty() {
            return;
        }
        let mut space = self.head.as_mut_slice();
        // 16 digits and two characters are the longest that a usize can need.
        let _ = write!(space, "{:x}\r\n", self.bytes);
        self.head_bytes = CHUNK_HEAD_MAX_BYTES - space.len();
        self.tail = b"\r\n";
    }

    fn total(&self) -> usize {
        self.head_bytes + self.bytes + self.tail.len()
    }

    /// Lays out what is left after the first `sent` bytes, and returns how many slices that takes.
    fn slices<'a>(&'a self, sent: usize, slices: &mut [IoSlice<'a>; BATCH_MAX_FRAMES + 2]) -> usize {
        let head = &self.head[..self.head_bytes];
        let frames = self.frames.iter().map(AsRef::as_ref);
        let parts = [head].into_iter().chain(frames).chain([self.tail]);
        let (mut skip, mut used) = (sent, 0);
        for part in parts {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices[used] = IoSlice::new(&part[skipped..]);
                used += 1;
            }
        }
        used
    }

    fn clear(&mut self) {
        if self.frames.len() > 1 {
            // A backlog's list is given back; room for one frame is kept.
            self.frames = Vec::new();
        } else {
            self.frames.clear();
        }
        self.bytes = 0;
        self.head_bytes = 0;
        self.tail = b"";
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{Stream, StreamExt, stream};
    use http_body_util::StreamBody;
    use http_body_util::combinators::BoxBody;
    use hyper::body::Frame;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    type Item = io::Result<Bytes>;

    fn events(items: impl Stream<Item = Item> + Send + Sync + 'static) -> Events {
        BoxBody::new(StreamBody::new(items.map(|item| item.map(Frame::data))))
    }

    fn all_of(frames: &[Vec<u8>]) -> Events {
        let frames: Vec<Item> = frames.iter().cloned().map(|frame| Ok(frame.into())).collect();
        events(stream::iter(frames))
    }

    /// Everything that a client reads of a stream through a pipe of `space` bytes.
    async fn written(events: Events, framing: Framing, space: usize) -> Vec<u8> {
        let (server, mut client) = duplex(space);
        let mut read = Vec::new();
        let (ended, _) = tokio::join!(
            EventStream::new(server, events, framing).run(),
            client.read_to_end(&mut read)
        );
        drop(ended);
        read
    }

    /// Reads chunks (RFC 9112, section 7.1); `None` for anything else, or without the last one.
    fn unchunked(mut text: &[u8]) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = text.windows(2).position(|pair| pair == b"\r\n")?;
            let digits = std::str::from_utf8(&text[..line]).ok()?;
            let length = usize::from_str_radix(digits, 16).ok()?;
            let chunk = text.get(line + 2..line + 2 + length)?;
            text = text[line + 2 + length..].strip_prefix(b"\r\n")?;
            if length == 0 {
                return text.is_empty().then_some(body);
            }
            body.extend_from_slice(chunk);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_the_frames_and_however_slow_the_client_the_body_arrives_whole(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..200),
            space in 1_usize..5_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let expected = frames.concat();
            let chunked = runtime.block_on(written(all_of(&frames), Framing::Chunked, space));
            prop_assert_eq!(unchunked(&chunked), Some(expected.clone()));
            let bare = runtime.block_on(written(all_of(&frames), Framing::Bare, space));
            prop_assert_eq!(bare, expected);
        }
    }

    #[tokio::test]
    async fn a_backlog_is_one_chunk() {
        let frames = vec![b"data: 1\n\n".to_vec(); BATCH_MAX_FRAMES];
        let read = written(all_of(&frames), Framing::Chunked, 1 << 20).await;
        assert!(read.starts_with(format!("{:x}\r\n", BATCH_MAX_FRAMES * 9).as_bytes()));
    }

    #[tokio::test]
    async fn an_empty_frame_does_not_end_the_stream() {
        let read = written(all_of(&[Vec::new()]), Framing::Chunked, 1 << 10).await;
        assert_eq!(read, LAST_CHUNK);
    }

    #[tokio::test]
    async fn a_stream_that_fails_is_cut_without_an_end() {
        let failing = stream::iter([
            Ok(Bytes::from_static(b": hello\n\n")),
            Err(io::Error::other("planted")),
        ]);
        let read = written(events(failing), Framing::Chunked, 1 << 20).await;
        assert_eq!(unchunked(&read), None);
    }

    async fn still_runs(client: impl AsyncFnOnce(&mut DuplexStream)) -> bool {
        let (server, mut stream) = duplex(1 << 10);
        let idle = events(stream::pending());
        let mut running = std::pin::pin!(EventStream::new(server, idle, Framing::Chunked).run());
        assert!(futures_util::poll!(&mut running).is_pending());
        client(&mut stream).await;
        futures_util::poll!(&mut running).is_pending()
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_while_nothing_is_sent_even_if_it_said_something_before() {
        let chatters =
            async |client: &mut DuplexStream| client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(still_runs(chatters).await);
        let leaves = async |client: &mut DuplexStream| client.shutdown().await.unwrap();
        assert!(!still_runs(leaves).await);
        let chatters_and_leaves = async |client: &mut DuplexStream| {
            client.write_all(b"x").await.unwrap();
            client.shutdown().await.unwrap();
        };
        assert!(!still_runs(chatters_and_leaves).await);
    }
}
