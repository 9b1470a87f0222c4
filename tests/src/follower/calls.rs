//! What a follower asks of the service.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use domain::channel::Channel;
use domain::cursor::Cursor;
use domain::safe::{Answer, End};
use domain::transport::Transport;
use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;

use super::{PATIENCE, Site};

/// What `GET /v1/transport` answers.
pub(super) struct Selected {
    pub(super) transport: Transport,
    pub(super) reason: String,
    pub(super) answer: Answer,
    pub(super) poll_after: Duration,
}

/// A page of the replay.
pub(super) struct Page {
    pub(super) events: Vec<(Cursor, String, Value)>,
    pub(super) cursor: Cursor,
    pub(super) end: End,
    pub(super) reset: Option<(String, Cursor)>,
}

#[derive(Deserialize)]
struct SelectedBody {
    transport: String,
    reason: String,
    fallback: String,
    cursor: String,
    channels: BTreeMap<String, String>,
    replay: bool,
    poll_after_ms: u64,
}

#[derive(Deserialize)]
struct PageBody {
    events: Vec<EventBody>,
    cursor: String,
    has_more: bool,
    reset: Option<ResetBody>,
}

#[derive(Deserialize)]
struct EventBody {
    cursor: String,
    event: String,
    data: Value,
}

#[derive(Deserialize)]
struct ResetBody {
    reason: String,
    to: String,
}

/// The calls of one person, to one node after the other.
pub(super) struct Calls {
    pub(super) token: String,
    /// Which node is next.
    pub(super) turn: usize,
}

impl Calls {
    /// The node that is asked now.
    pub(super) fn node<'a>(&self, site: &'a Site) -> &'a str {
        &site.nodes[self.turn % site.nodes.len()]
    }

    /// Goes on to the next node.
    pub(super) const fn turn_away(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    async fn get(&mut self, site: &Site, path: &str) -> anyhow::Result<Response> {
        let request = site.client.get(format!("{}{path}", self.node(site)));
        let answer = request.bearer_auth(&self.token).timeout(PATIENCE).send().await;
        match answer.and_then(Response::error_for_status) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                self.turn_away();
                Err(error.into())
            }
        }
    }

    pub(super) async fn transport(&mut self, site: &Site, after: Option<Cursor>) -> anyhow::Result<Selected> {
        let query = after.map_or_else(String::new, |after| format!("?after={after}"));
        let answer = self.get(site, &format!("/v1/transport{query}")).await?;
        let body: SelectedBody = answer.json().await?;
        anyhow::ensure!(body.fallback == "sse", "the fallback is {}", body.fallback);
        let cursor = cursor(&body.cursor)?;
        let channels = body.channels.iter().map(|(name, last)| {
            let channel: Channel = name.parse().ok().context("a channel")?;
            anyhow::Ok((channel, self::cursor(last)?))
        });
        Ok(Selected {
            transport: Transport::parse(&body.transport).context("a transport")?,
            reason: body.reason,
            answer: Answer {
                after: after.unwrap_or(cursor),
                cursor,
                channels: channels.collect::<Result<_, _>>()?,
                replay: body.replay,
            },
            poll_after: Duration::from_millis(body.poll_after_ms),
        })
    }

    pub(super) async fn replay(&mut self, site: &Site, after: Cursor) -> anyhow::Result<Page> {
        let path = format!("/v1/events/replay?after={after}&limit=1000");
        let body: PageBody = self.get(site, &path).await?.json().await?;
        let events = body
            .events
            .into_iter()
            .map(|event| Ok((cursor(&event.cursor)?, event.event, event.data)));
        let reset = body
            .reset
            .map(|reset| anyhow::Ok((reset.reason, cursor(&reset.to)?)));
        Ok(Page {
            events: events.collect::<anyhow::Result<_>>()?,
            cursor: cursor(&body.cursor)?,
            end: if body.has_more { End::More } else { End::Reached },
            reset: reset.transpose()?,
        })
    }

    /// A token for Ably, as text.
    pub(super) async fn ably_token(&mut self, site: &Site) -> anyhow::Result<String> {
        Ok(self.get(site, "/v1/ably/token").await?.text().await?)
    }
}

pub(super) fn cursor(text: &str) -> anyhow::Result<Cursor> {
    text.parse().map_err(|error| anyhow::anyhow!("{error}: {text}"))
}
