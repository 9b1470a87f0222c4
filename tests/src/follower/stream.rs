//! A follower's event stream.

use anyhow::ensure;
use domain::safe::Replay;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::time::timeout;

use super::calls::Calls;
use super::{PATIENCE, Site};
use crate::whatwg::{EventStream, Message};

/// An open event stream.
pub(super) struct Line {
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    parser: EventStream,
    /// What it is to the safe cursor: a replay that goes on.
    pub(super) replay: Replay,
}

impl Line {
    /// Opens a stream from a place.
    pub(super) async fn open(site: &Site, calls: &mut Calls, replay: Replay) -> anyhow::Result<Self> {
        let after = replay.after.to_string();
        let request = site.client.get(format!("{}/v1/stream", calls.node(site)));
        let request = request.bearer_auth(&calls.token).header("last-event-id", &after);
        let answer = match timeout(PATIENCE, request.send()).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                calls.turn_away();
                return Err(error.into());
            }
            Err(error) => {
                calls.turn_away();
                return Err(error.into());
            }
        };
        ensure!(
            answer.status() == 200,
            "the stream was answered {}",
            answer.status()
        );
        Ok(Self {
            bytes: answer.bytes_stream().boxed(),
            parser: EventStream::resumed(&after),
            replay,
        })
    }

    /// What comes next; nothing at the end.
    pub(super) async fn next(&mut self) -> Option<Vec<Message>> {
        match self.bytes.next().await {
            Some(Ok(piece)) => Some(self.parser.push(&piece)),
            Some(Err(_)) | None => None,
        }
    }
}

/// What comes next of a stream that may not be there: then nothing ever does.
pub(super) async fn next(line: &mut Option<Line>) -> Option<Vec<Message>> {
    match line {
        Some(line) => line.next().await,
        None => std::future::pending().await,
    }
}
