//! What a connection does with what it hears: frames in, frames out, no socket.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::frames::{self, Greeting, Outgoing, action, flag};
use super::moment_of;
use crate::standin::ErrorInfo;
use crate::standin::app::{App, Publisher};
use crate::standin::call::Call;
use crate::standin::channels::{Publication, Start};
use crate::standin::connections::{Hold, Order};
use crate::standin::credentials::Credentials;
use crate::standin::fault::Befalling;
use crate::standin::grant::{Client, Grant, Life};
use crate::standin::message::{Message, check_channel};

/// What one connection may attach (Ably, limits).
const CHANNELS_MAX: usize = 200;

/// A connection.
pub(super) struct Session {
    app: Arc<App>,
    hold: Hold,
    grant: Grant,
    client_id: Option<String>,
    /// Whether the client gets its own messages.
    echo: bool,
    /// By the names by which the client attached.
    attached: BTreeMap<String, Attachment>,
    /// The client was asked for another token and has not sent one.
    asked: bool,
}

struct Attachment {
    channel: String,
    position: u64,
    subscribes: bool,
}

impl Session {
    /// Lets a client in and says what to greet it with.
    pub(super) fn open(app: &Arc<App>, call: &Call) -> Result<(Self, Vec<Outgoing>), ErrorInfo> {
        let grant = app.admit(&Credentials::of(&call.headers, &call.query))?;
        let client_id = acting_as(&grant, call.asks("clientId"))?;
        let wanted = call.asks("resume").or_else(|| call.asks("recover"));
        let hold = app
            .memory()
            .connections
            .open(wanted, client_id.as_deref(), app.now_ms())?;
        app.ledger.count(|counts| {
            counts.connections += 1;
            counts.resumes += u64::from(hold.resumed);
        });
        // Whoever held it before looks, and leaves.
        app.ring();
        let lost = || ErrorInfo::new(80008, 400, "unable to recover connection: it is not known here");
        let error = (wanted.is_some() && !hold.resumed).then(lost);
        let session = Self {
            app: Arc::clone(app),
            hold,
            grant,
            client_id,
            echo: call.asks("echo") != Some("false"),
            attached: BTreeMap::new(),
            asked: false,
        };
        let greeting = session.greeting(error);
        Ok((session, vec![Outgoing::Frame(greeting)]))
    }

    pub(super) fn id(&self) -> &str {
        &self.hold.id
    }

    pub(super) fn bell(&self) -> watch::Receiver<()> {
        self.app.bell()
    }

    /// Says what befalls a frame.
    pub(super) fn befalling(&self, frame: &Value) -> Befalling {
        let channel = base(frame["channel"].as_str().unwrap_or_default());
        match moment_of(frame, &[channel]) {
            Some(moment) => self.app.faults.befalling(&moment),
            None => Befalling::default(),
        }
    }

    /// Takes a frame.
    pub(super) fn hear(
        &mut self,
        frame: &Value,
        befalling: &Befalling,
        out: &mut Vec<Outgoing>,
    ) -> ControlFlow<()> {
        match frame["action"].as_u64() {
            Some(action::HEARTBEAT) => out.push(Outgoing::Frame(frames::heartbeat(frame.get("id")))),
            Some(action::ATTACH) => self.attach(frame, out),
            Some(action::DETACH) => self.detach(frame, out),
            Some(action::MESSAGE) => out.push(Outgoing::Frame(self.publish(frame, befalling))),
            Some(action::PRESENCE) => {
                let none = ErrorInfo::new(40000, 400, "this stand-in has no presence");
                out.push(Outgoing::Frame(frames::refused(frame, &none)));
            }
            Some(action::AUTH) => return self.authenticate(frame, out),
            Some(action::CLOSE) => {
                self.app.memory().connections.closed(&self.hold);
                out.push(Outgoing::Frame(json!({ "action": action::CLOSED })));
                return ControlFlow::Break(());
            }
            Some(action::DISCONNECT) => return ControlFlow::Break(()),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Looks whether there is something to say unasked.
    pub(super) fn look(&mut self, out: &mut Vec<Outgoing>) -> ControlFlow<()> {
        if !self.app.memory().connections.is_held(&self.hold) {
            return ControlFlow::Break(());
        }
        // Its own statement: the lock must not last into the branches.
        let order = self.app.memory().connections.order(&self.hold);
        match order {
            Some(Order::Authenticate) => self.ask(out),
            Some(Order::Disconnect(reason)) => {
                out.push(Outgoing::Frame(frames::ended(&reason)));
                return ControlFlow::Break(());
            }
            None => {}
        }
        if let Err(error) = self.app.still_good(&self.grant) {
            out.push(Outgoing::Frame(frames::disconnected(&error)));
            return ControlFlow::Break(());
        }
        if !self.asked && self.should_ask() {
            self.ask(out);
        }
        self.pull(out);
        ControlFlow::Continue(())
    }

    /// Shows a publication as the client gets it.
    pub(super) fn shown(&self, channel: &str, publication: &Publication) -> Value {
        let serial = self.app.memory().channels.serial(publication.sequence);
        frames::publication(channel, publication, &serial)
    }

    /// Takes note that a publication was written.
    pub(super) fn delivered(&self, publication: &Publication) {
        let client = self.client_id.as_deref();
        let ledger = &self.app.ledger;
        ledger.delivered(&publication.channel, &publication.messages, &self.hold.id, client);
    }

    fn greeting(&self, error: Option<ErrorInfo>) -> Value {
        frames::connected(&Greeting {
            id: &self.hold.id,
            key: &self.hold.key,
            client_id: self.client_id.as_deref(),
            message_bytes_max: self.app.message_bytes_max,
            error,
        })
    }

    fn attach(&mut self, frame: &Value, out: &mut Vec<Outgoing>) {
        let name = frame["channel"].as_str().unwrap_or_default();
        match self.attachment(name, frame) {
            Ok((attachment, flags)) => {
                let serial = self.app.memory().channels.serial(attachment.position);
                let mut answer = json!({
                    "action": action::ATTACHED, "channel": name, "channelSerial": serial, "flags": flags,
                });
                if let Some(params) = frame.get("params") {
                    answer["params"] = params.clone();
                }
                self.app.ledger.count(|counts| counts.attaches += 1);
                self.attached.insert(name.to_owned(), attachment);
                self.note_attached();
                out.push(Outgoing::Frame(answer));
                self.pull(out);
            }
            Err(error) => out.push(Outgoing::Frame(frames::error(Some(name), &error))),
        }
    }

    fn attachment(&self, name: &str, frame: &Value) -> Result<(Attachment, u64), ErrorInfo> {
        let channel = base(name);
        check_channel(channel)?;
        if self.attached.len() >= CHANNELS_MAX && !self.attached.contains_key(name) {
            return Err(ErrorInfo::new(
                90021,
                400,
                "a connection attaches 200 channels at most",
            ));
        }
        let wanted = match frame["flags"].as_u64().unwrap_or_default() & flag::MODES {
            0 => flag::MODES,
            wanted => wanted,
        };
        let granted = wanted & modes(&self.grant, channel);
        if granted == 0 {
            return Err(ErrorInfo::not_permitted("attach", channel));
        }
        let now_ms = self.app.now_ms();
        let mut memory = self.app.memory();
        let start = memory
            .channels
            .start(channel, frame["channelSerial"].as_str(), now_ms);
        let (position, resumed) = match start {
            Start::Continued(position) => (position, flag::RESUMED),
            Start::Fresh(head) => {
                let rewound = rewind(name, frame).and_then(|count| memory.channels.rewound(channel, count));
                (rewound.unwrap_or(head), 0)
            }
        };
        let attachment = Attachment {
            channel: channel.to_owned(),
            position,
            subscribes: granted & flag::SUBSCRIBE != 0,
        };
        Ok((attachment, granted | resumed))
    }

    fn detach(&mut self, frame: &Value, out: &mut Vec<Outgoing>) {
        let name = frame["channel"].as_str().unwrap_or_default();
        self.attached.remove(name);
        self.note_attached();
        out.push(Outgoing::Frame(
            json!({ "action": action::DETACHED, "channel": name }),
        ));
    }

    fn publish(&self, frame: &Value, befalling: &Befalling) -> Value {
        let publisher = Publisher {
            grant: &self.grant,
            client_id: self.client_id.as_deref(),
            connection: Some(&self.hold.id),
        };
        let channel = base(frame["channel"].as_str().unwrap_or_default());
        let messages = Message::read_all(&frame["messages"]);
        let receipt =
            messages.and_then(|messages| self.app.publish(&publisher, channel, &messages, befalling));
        match receipt {
            Ok(receipt) => frames::acknowledged(frame, &receipt.serials),
            Err(error) => frames::refused(frame, &error),
        }
    }

    /// Takes another token in place. Who the connection is for cannot change.
    fn authenticate(&mut self, frame: &Value, out: &mut Vec<Outgoing>) -> ControlFlow<()> {
        let token = frame["auth"]["accessToken"].as_str().unwrap_or_default();
        let admitted = self.app.admit(&Credentials::of_token(token)).and_then(|grant| {
            let client = acting_as(&grant, None)?;
            if client.is_some() && client != self.client_id {
                let why = "incompatible credentials: the clientId of a connection cannot change";
                return Err(ErrorInfo::new(40102, 401, why));
            }
            Ok(grant)
        });
        match admitted {
            Ok(grant) => {
                self.grant = grant;
                self.asked = false;
                out.push(Outgoing::Frame(self.greeting(None)));
                self.leave_what_was_lost(out);
                ControlFlow::Continue(())
            }
            Err(error) => {
                out.push(Outgoing::Frame(frames::error(None, &error)));
                ControlFlow::Break(())
            }
        }
    }

    /// Ends attachments that the new token has no right to.
    fn leave_what_was_lost(&mut self, out: &mut Vec<Outgoing>) {
        let grant = &self.grant;
        self.attached.retain(|name, attachment| {
            let granted = modes(grant, &attachment.channel);
            attachment.subscribes &= granted & flag::SUBSCRIBE != 0;
            if granted == 0 {
                let error = ErrorInfo::not_permitted("attach", &attachment.channel);
                out.push(Outgoing::Frame(frames::error(Some(name), &error)));
            }
            granted != 0
        });
        self.note_attached();
    }

    fn should_ask(&self) -> bool {
        let Life::Token { expires_ms, .. } = self.grant.life else {
            return false;
        };
        let near = |lead: std::time::Duration| {
            expires_ms - self.app.now_ms() <= i64::try_from(lead.as_millis()).unwrap_or(i64::MAX)
        };
        self.app.reauth_lead.is_some_and(near) || self.app.memory().revocations.announce(&self.grant)
    }

    fn ask(&mut self, out: &mut Vec<Outgoing>) {
        self.asked = true;
        out.push(Outgoing::Frame(json!({ "action": action::AUTH })));
    }

    fn pull(&mut self, out: &mut Vec<Outgoing>) {
        for (name, attachment) in &mut self.attached {
            for publication in self.app.after(&attachment.channel, attachment.position) {
                attachment.position = publication.sequence;
                let own = publication.connection.as_ref() == Some(&self.hold.id);
                if attachment.subscribes && (self.echo || !own) {
                    out.push(Outgoing::Publication(name.clone(), publication));
                }
            }
        }
    }

    fn note_attached(&self) {
        let channels = self
            .attached
            .values()
            .map(|attachment| attachment.channel.clone());
        self.app
            .memory()
            .connections
            .attached(&self.hold, channels.collect());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let now_ms = self.app.now_ms();
        self.app.memory().connections.left(&self.hold, now_ms);
    }
}

/// Says under which id a client acts. One that claims to be somebody else is sent away.
fn acting_as(grant: &Grant, claimed: Option<&str>) -> Result<Option<String>, ErrorInfo> {
    let claimed = claimed.filter(|claimed| *claimed != "*");
    let foreign = |_| {
        ErrorInfo::new(
            40102,
            401,
            "incompatible credentials: the token is for another clientId",
        )
    };
    match &grant.client {
        // A key's holder is nobody until they say so.
        Client::Any => Ok(claimed.map(str::to_owned)),
        client => client.acting_as(claimed).map_err(foreign),
    }
}

/// What a grant allows on a channel, in bits.
fn modes(grant: &Grant, channel: &str) -> u64 {
    let right = |operation: &str, bits: u64| {
        if grant.rights.allows(operation, channel) {
            bits
        } else {
            0
        }
    };
    right("subscribe", flag::SUBSCRIBE | flag::PRESENCE_SUBSCRIBE)
        | right("publish", flag::PUBLISH)
        | right("presence", flag::PRESENCE)
}

/// A channel's name without what stands in front of it, as in `[?rewind=1]name`.
fn base(name: &str) -> &str {
    match name.strip_prefix("[?").and_then(|rest| rest.split_once(']')) {
        Some((_, base)) => base,
        None => name,
    }
}

/// How many publications a client wants from before it came.
fn rewind(name: &str, frame: &Value) -> Option<usize> {
    let qualified = name
        .strip_prefix("[?rewind=")
        .and_then(|rest| rest.split_once(']'));
    let count = qualified
        .map(|(count, _)| count)
        .or_else(|| frame["params"]["rewind"].as_str())?;
    count.parse().ok()
}
