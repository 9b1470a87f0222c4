//! The frames of an open event stream, on their way to whoever writes them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use application::boundary::{Panicked, bounded_now};
use application::ports::{Observation, Observer, Outgoing, Subscription};
use bytes::Bytes;
use futures_core::Stream;

use super::coding::Coding;
use crate::wire::{COMMENT, Member, Saved};

/// The frames of an open stream. Each is shared with other streams where it can be, and nothing is held here.
/// One that panics ends: its client comes back with what it got last.
pub(crate) struct Frames {
    subscription: Box<dyn Subscription>,
    observer: Arc<dyn Observer>,
    /// Where the stream is compressed.
    member: Option<Member>,
}

impl Frames {
    /// Takes a subscription; its format is that of the coding.
    pub(crate) fn new(
        subscription: Box<dyn Subscription>,
        observer: Arc<dyn Observer>,
        coding: Coding,
    ) -> Self {
        Self {
            subscription,
            observer,
            member: (coding == Coding::Gzip).then(Member::default),
        }
    }

    /// Returns how they are coded.
    pub(crate) fn coding(&self) -> Coding {
        self.member.as_ref().map_or(Coding::Identity, |_| Coding::Gzip)
    }

    fn poll_subscription(&mut self, context: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        let subscription = &mut self.subscription;
        match bounded_now(&*self.observer, "stream", || subscription.poll_next(context)) {
            Ok(poll) => poll,
            Err(Panicked(_)) => Poll::Ready(None),
        }
    }

    fn report(&mut self) {
        let uncounted = self.member.as_mut().and_then(Member::uncounted);
        if let Some(Saved { plain, sent }) = uncounted {
            let what = "stream";
            self.observer.saw(&Observation::Compressed { what, plain, sent });
        }
    }
}

impl Stream for Frames {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let frames = &mut *self;
        if let Some(member) = &mut frames.member {
            if let Some(begin) = member.begin() {
                return Poll::Ready(Some(Ok(begin)));
            }
            if member.has_ended() {
                return Poll::Ready(None);
            }
        }
        let Poll::Ready(next) = frames.poll_subscription(context) else {
            frames.report();
            return Poll::Pending;
        };
        let bytes = match (&mut frames.member, next) {
            (None, None) => None,
            (None, Some(Outgoing::Frame(frame))) => Some(frame),
            (None, Some(Outgoing::KeepAlive)) => Some(Bytes::from_static(COMMENT)),
            (Some(member), None) => member.end(),
            (Some(member), Some(Outgoing::Frame(piece))) => Some(member.add(piece)),
            (Some(member), Some(Outgoing::KeepAlive)) => Some(member.comment()),
        };
        Poll::Ready(bytes.map(Ok))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.report();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::task::Waker;

    use application::testing::Unobserved;
    use domain::ids::{ConnectionId, NodeId};
    use domain::stream::CloseReason;
    use flate2::read::GzDecoder;

    use super::*;
    use crate::wire::piece;

    /// A subscription that gives these, waits once between them, and panics when there is nothing left to give.
    struct Script(Vec<Outgoing>, bool);

    impl Subscription for Script {
        fn connection(&self) -> ConnectionId {
            ConnectionId {
                node: NodeId(1),
                serial: 2,
            }
        }

        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Outgoing>> {
            self.1 = !self.1;
            if self.1 {
                return Poll::Pending;
            }
            assert!(!self.0.is_empty(), "the planted panic");
            Poll::Ready(Some(self.0.remove(0)))
        }

        fn closed(&self) -> Option<CloseReason> {
            None
        }
    }

    fn sent(script: Vec<Outgoing>, coding: Coding) -> Vec<u8> {
        let mut frames = Frames::new(Box::new(Script(script, false)), Arc::new(Unobserved), coding);
        let mut context = Context::from_waker(Waker::noop());
        let mut sent = Vec::new();
        loop {
            match Pin::new(&mut frames).poll_next(&mut context) {
                Poll::Pending => {}
                Poll::Ready(Some(bytes)) => sent.extend_from_slice(&bytes.unwrap()),
                Poll::Ready(None) => return sent,
            }
        }
    }

    #[test]
    fn a_stream_that_panics_ends_in_order_whether_it_is_compressed_or_not() {
        let frame = |text: &[u8]| Outgoing::Frame(Bytes::copy_from_slice(text));
        let plain = vec![frame(b"data: 1\n\n"), Outgoing::KeepAlive];
        assert_eq!(sent(plain, Coding::Identity), b"data: 1\n\n:\n\n");
        let pieces = vec![Outgoing::Frame(piece(b"data: 1\n\n")), Outgoing::KeepAlive];
        let gzip = sent(pieces, Coding::Gzip);
        let mut text = String::new();
        GzDecoder::new(gzip.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "data: 1\n\n:\n\n");
    }
}
