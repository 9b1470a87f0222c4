//! How a follower lives: what it listens on, and what it does with what it hears.

use std::sync::Arc;

use anyhow::Context as _;
use domain::cursor::Cursor;
use domain::safe::{End, Page, Received, Replay, Safe, Verdict};
use domain::transport::Transport;
use serde_json::Value;
use tokio::time::{Duration, Instant, sleep_until};

use super::ably::Heard;
use super::calls::{Calls, Selected, cursor};
use super::story::{Shown, Switch, Way};
use super::{Site, Told, ably, stream};
use crate::port::random;
use crate::whatwg::Message;

/// A client that cannot reach Ably for this long listens to its stream meanwhile.
pub const FALL_BACK_AFTER: Duration = Duration::from_secs(3);

/// Told to go back to Ably this often in a row, it goes: nodes may disagree for a moment.
const TOLD_IN_A_ROW: u32 = 2;

/// What is lacking is looked after this often at first.
const TEND_EVERY: Duration = Duration::from_millis(250);

/// The longest pause between two attempts to reach Ably.
const RETRY_MAX: Duration = Duration::from_secs(4);

/// A client.
pub(super) struct Client {
    site: Arc<Site>,
    calls: Calls,
    told: Arc<Told>,
    safe: Safe,
    /// What it was told to listen on.
    wanted: Transport,
    /// How often in a row it was told `ably`.
    ably_in_a_row: u32,
    stream: Option<stream::Line>,
    ably: Option<ably::Line>,
    /// Since when it has wanted Ably and not had it.
    without_ably: Instant,
    /// Attempts to reach Ably that failed in a row.
    failures: u32,
    next_attempt: Instant,
    next_poll: Instant,
    next_tending: Instant,
}

impl Client {
    /// Asks where to begin, and on what.
    pub(super) async fn begin(site: Arc<Site>, token: String, told: Arc<Told>) -> anyhow::Result<Self> {
        let turn = usize::try_from(random() % 1_000).unwrap_or_default();
        let mut calls = Calls { token, turn };
        let first = calls.transport(&site, None).await.context("the first question")?;
        let now = Instant::now();
        let mut client = Self {
            site,
            calls,
            told,
            safe: Safe::start(first.answer.cursor),
            wanted: first.transport,
            ably_in_a_row: TOLD_IN_A_ROW,
            stream: None,
            ably: None,
            without_ably: now,
            failures: 0,
            next_attempt: now,
            next_poll: now,
            next_tending: now,
        };
        client.note_switch(&first);
        client.next_poll = now + first.poll_after;
        Ok(client)
    }

    /// Lives until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                heard = ably::next(&mut self.ably) => self.heard(heard).await,
                messages = stream::next(&mut self.stream) => self.streamed(messages),
                () = sleep_until(self.next_poll) => self.poll().await,
                () = sleep_until(self.next_tending), if self.lacks() => self.tend().await,
            }
            let (attached, streaming) = (
                self.ably.as_ref().is_some_and(|line| line.settled),
                self.stream.is_some(),
            );
            self.told.tell(|story| {
                story.attached = attached;
                story.streaming = streaming;
            });
        }
    }

    /// Whether something is to be opened, attached or closed.
    fn lacks(&self) -> bool {
        match self.wanted {
            Transport::Streams => self.stream.is_none() || self.ably.is_some(),
            Transport::Ably => {
                let settled = self.ably.as_ref().is_some_and(|line| line.settled);
                !settled || self.stream.is_some()
            }
        }
    }

    async fn tend(&mut self) {
        self.next_tending = Instant::now() + TEND_EVERY;
        match self.wanted {
            Transport::Streams => self.open_stream().await,
            Transport::Ably => {
                self.attend_to_ably().await;
                let waiting = self.ably.as_ref().is_none_or(|line| !line.settled);
                if waiting && self.without_ably.elapsed() >= FALL_BACK_AFTER {
                    self.open_stream().await;
                }
            }
        }
        // The new one is there before the old one goes.
        let settled = self.ably.as_ref().is_some_and(|line| line.settled);
        match self.wanted {
            Transport::Streams if self.stream.is_some() => self.ably = None,
            Transport::Ably if settled => self.stream = None,
            _ => {}
        }
    }

    async fn open_stream(&mut self) {
        if self.stream.is_some() {
            return;
        }
        let opened = stream::Line::open(&self.site, &mut self.calls, self.safe.replay()).await;
        match opened {
            Ok(line) => self.stream = Some(line),
            Err(_) => self.next_tending = Instant::now() + spread(TEND_EVERY * 4),
        }
    }

    async fn attend_to_ably(&mut self) {
        match &self.ably {
            None if Instant::now() >= self.next_attempt => {
                if let Err(error) = self.connect().await {
                    self.lost(&error.to_string());
                }
            }
            Some(line) if !line.attached() && Instant::now() > line.deadline => {
                self.lost("channels were not attached in time");
            }
            Some(line) if line.attached() && !line.settled => self.settle().await,
            _ => {}
        }
    }

    async fn connect(&mut self) -> anyhow::Result<()> {
        let token = self.calls.ably_token(&self.site).await?;
        self.ably = Some(ably::Line::open(&self.site, &token).await?);
        Ok(())
    }

    /// Ably is gone: it is tried again, and the service asked what to do.
    fn lost(&mut self, why: &str) {
        self.told.tell(|story| {
            story.losses += 1;
            why.clone_into(&mut story.last_loss);
        });
        let had = self.ably.take().is_some_and(|line| line.settled);
        let now = Instant::now();
        if had {
            self.without_ably = now;
            self.failures = 0;
            self.next_poll = self.next_poll.min(now + spread(TEND_EVERY));
        }
        self.failures = self.failures.saturating_add(1);
        let pause = TEND_EVERY
            .saturating_mul(1 << self.failures.min(8))
            .min(RETRY_MAX);
        self.next_attempt = now + pause / 2 + spread(pause / 2);
        self.next_tending = now;
    }

    async fn heard(&mut self, heard: Vec<Heard>) {
        for heard in heard {
            match heard {
                Heard::Joined => self.change(|safe| (safe.joined(), ())),
                Heard::Event(name, data) => match &mut self.ably {
                    Some(line) if !line.settled => line.held.push((name, data)),
                    _ => self.take(Way::Ably, name, &data),
                },
                Heard::AskedForToken => {
                    if let Err(error) = self.authenticate().await {
                        self.lost(&error.to_string());
                    }
                }
                Heard::Refused(why) => self.complain(format!("Ably refused {why}")),
                Heard::Nothing => {}
                Heard::Over(why) => self.lost(&why),
            }
        }
        let due = |line: &ably::Line| line.attached() && !line.settled;
        if self.ably.as_ref().is_some_and(due) {
            self.settle().await;
        }
    }

    async fn authenticate(&mut self) -> anyhow::Result<()> {
        let token = self.calls.ably_token(&self.site).await?;
        match &mut self.ably {
            Some(line) => line.authenticate(&token).await,
            None => Ok(()),
        }
    }

    /// Closes the gap in front of a new attachment, then shows what came behind it.
    async fn settle(&mut self) {
        if self.replay(self.safe.replay()).await.is_err() {
            self.next_tending = Instant::now() + spread(TEND_EVERY * 2);
            return;
        }
        let Some(line) = &mut self.ably else { return };
        line.settled = true;
        let held = std::mem::take(&mut line.held);
        for (name, data) in held {
            self.take(Way::Ably, name, &data);
        }
        self.failures = 0;
        self.next_tending = Instant::now();
    }

    /// Takes a message of Ably.
    fn take(&mut self, by: Way, name: String, data: &Value) {
        let Ok(cursor) = cursor(data["cursor"].as_str().unwrap_or_default()) else {
            return self.complain(format!("{name} without a cursor: {data}"));
        };
        match self.change(|safe| safe.received(cursor)) {
            Received::New => self.show(cursor, name, data, by),
            Received::Repeat => self.told.tell(|story| story.repeats += 1),
            Received::Full => self.next_poll = Instant::now(),
        }
    }

    fn streamed(&mut self, messages: Option<Vec<Message>>) {
        let Some(messages) = messages else {
            self.stream = None;
            self.next_tending = Instant::now() + spread(TEND_EVERY);
            return;
        };
        for message in messages {
            if let Err(error) = self.take_streamed(message) {
                self.complain(format!("{error:#}"));
            }
        }
    }

    fn take_streamed(&mut self, message: Message) -> anyhow::Result<()> {
        let Some(replay) = self.stream.as_ref().map(|line| line.replay) else {
            return Ok(());
        };
        let data: Value = serde_json::from_str(&message.data).context("no JSON")?;
        match message.event.as_str() {
            "heartbeat" => {
                let page = (cursor(&message.last_event_id)?, End::More);
                self.take_page(replay, page, Vec::new(), Way::Stream);
            }
            "notification" | "retracted" | "state" => {
                let here = cursor(&message.last_event_id)?;
                let event = (here, message.event, data);
                self.take_page(replay, (here, End::More), vec![event], Way::Stream);
            }
            "reset" => {
                let to = cursor(data["to"].as_str().unwrap_or_default())?;
                let reason = data["reason"].as_str().unwrap_or_default().to_owned();
                self.reset(replay, reason, to);
            }
            _ => {}
        }
        Ok(())
    }

    async fn poll(&mut self) {
        let asked = self.calls.transport(&self.site, Some(self.safe.cursor())).await;
        let Ok(selected) = asked else {
            self.next_poll = Instant::now() + spread(TEND_EVERY * 4);
            return;
        };
        self.next_poll = Instant::now() + selected.poll_after;
        self.told.tell(|story| {
            story.polls += 1;
            story.sent_to_replay += usize::from(selected.answer.replay);
        });
        self.go_by(&selected);
        // On a stream everything comes by itself; while a gap is open the replay is called anyway.
        let settled = self.ably.as_ref().is_some_and(|line| line.settled);
        if settled
            && self.stream.is_none()
            && let Verdict::Replay(replay) = self.change(|safe| safe.answered(&selected.answer))
            && self.replay(replay).await.is_err()
        {
            self.next_poll = Instant::now() + spread(TEND_EVERY * 4);
        }
    }

    fn go_by(&mut self, selected: &Selected) {
        self.ably_in_a_row = match selected.transport {
            Transport::Ably => self.ably_in_a_row.saturating_add(1),
            Transport::Streams => 0,
        };
        let told_enough = selected.transport == Transport::Streams || self.ably_in_a_row >= TOLD_IN_A_ROW;
        if selected.transport != self.wanted && told_enough {
            self.wanted = selected.transport;
            self.without_ably = Instant::now();
            self.next_attempt = Instant::now();
            self.next_tending = Instant::now();
            self.note_switch(selected);
        }
    }

    /// Reads the replay to its end.
    async fn replay(&mut self, mut replay: Replay) -> anyhow::Result<()> {
        loop {
            let page = self.calls.replay(&self.site, replay.after).await?;
            if let Some((reason, to)) = page.reset {
                self.reset(replay, reason, to);
                return Ok(());
            }
            self.take_page(replay, (page.cursor, page.end), page.events, Way::Replay);
            if page.end == End::Reached {
                self.told.tell(|story| story.replays += 1);
                return Ok(());
            }
            replay = replay.next(page.cursor);
        }
    }

    fn take_page(
        &mut self,
        replay: Replay,
        (cursor, end): (Cursor, End),
        events: Vec<(Cursor, String, Value)>,
        by: Way,
    ) {
        let cursors: Vec<Cursor> = events.iter().map(|(cursor, ..)| *cursor).collect();
        let page = Page {
            events: &cursors,
            cursor,
            end,
        };
        let fresh = self.change(|safe| safe.replayed(replay, &page));
        for (cursor, name, data) in events {
            if fresh.contains(&cursor) {
                self.show(cursor, name, &data, by);
            } else {
                self.told.tell(|story| story.repeats += 1);
            }
        }
    }

    fn reset(&mut self, replay: Replay, reason: String, to: Cursor) {
        self.change(|safe| (safe.reset(replay, to), ()));
        self.told.tell(|story| story.resets.push(reason));
    }

    fn show(&self, cursor: Cursor, event: String, data: &Value, by: Way) {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let shown = Shown {
            cursor,
            channel: text(&data["channel"]).unwrap_or_default(),
            event,
            notification: text(&data["notification"]["id"]),
            by,
            at: crate::server::now(),
        };
        self.told.tell(|story| story.shown.push(shown));
    }

    fn note_switch(&self, selected: &Selected) {
        let switch = Switch {
            to: selected.transport,
            reason: selected.reason.clone(),
            at: crate::server::now(),
        };
        self.told.tell(|story| story.switches.push(switch));
    }

    fn complain(&self, what: String) {
        self.told.tell(|story| story.complaints.push(what));
    }

    fn change<T>(&mut self, change: impl FnOnce(Safe) -> (Safe, T)) -> T {
        let nothing = Safe::start(self.safe.cursor());
        let (safe, answer) = change(std::mem::replace(&mut self.safe, nothing));
        self.safe = safe;
        answer
    }
}

/// A pause by chance, so that hundreds do not act in step.
fn spread(at_most: Duration) -> Duration {
    let share = u32::try_from(random() % 1_000).unwrap_or_default();
    at_most * share / 1_000
}
