//! The app that the stand-in stands in for: its keys, and everything that it remembers under one lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use application::ports::Clock;
use tokio::sync::watch;

use super::ErrorInfo;
use super::channels::{Channels, Publication, Published, Put, Receipt};
use super::connections::Connections;
use super::credentials::Credentials;
use super::fault::{Befalling, Faults};
use super::grant::{Client, Grant, Life};
use super::key::AccountKey;
use super::ledger::Ledger;
use super::message::{Message, check_channel};
use super::revocation::Revocations;
use super::token::{Issued, jwt_key_name, verify_jwt};

/// What is lost with the process where nothing is kept.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) channels: Channels,
    pub(super) issued: Issued,
    pub(super) revocations: Revocations,
    pub(super) connections: Connections,
}

impl Memory {
    fn new() -> Self {
        Self {
            channels: Channels::new(),
            issued: Issued::default(),
            revocations: Revocations::default(),
            connections: Connections::default(),
        }
    }
}

/// The app. Everything that serves it shares one.
pub(super) struct App {
    pub(super) keys: Vec<AccountKey>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) faults: Faults,
    pub(super) ledger: Ledger,
    pub(super) message_bytes_max: usize,
    /// How long before a token's end its connection is asked for another one.
    pub(super) reauth_lead: Option<Duration>,
    /// No await is held under it.
    memory: Mutex<Memory>,
    /// Rings whenever there may be something for connections and streams to look at.
    bell: watch::Sender<()>,
}

/// Who publishes.
pub(super) struct Publisher<'a> {
    pub(super) grant: &'a Grant,
    /// Whom the publisher acts for where a message does not say.
    pub(super) client_id: Option<&'a str>,
    pub(super) connection: Option<&'a str>,
}

impl App {
    pub(super) fn new(
        keys: Vec<AccountKey>,
        clock: Arc<dyn Clock>,
        message_bytes_max: usize,
        reauth_lead: Option<Duration>,
    ) -> Self {
        Self {
            keys,
            clock,
            faults: Faults::default(),
            ledger: Ledger::default(),
            message_bytes_max,
            reauth_lead,
            memory: Mutex::new(Memory::new()),
            bell: watch::Sender::new(()),
        }
    }

    pub(super) fn now_ms(&self) -> i64 {
        self.clock.now().as_millis()
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self) {
        *self.memory() = Memory::new();
    }

    pub(super) fn ring(&self) {
        self.bell.send_replace(());
    }

    pub(super) fn bell(&self) -> watch::Receiver<()> {
        self.bell.subscribe()
    }

    pub(super) fn key(&self, name: &str) -> Option<&AccountKey> {
        self.keys.iter().find(|key| key.name() == name)
    }

    /// Says what credentials give.
    pub(super) fn admit(&self, credentials: &Credentials) -> Result<Grant, ErrorInfo> {
        let grant = match credentials {
            Credentials::Missing => {
                return Err(ErrorInfo::new(
                    40106,
                    401,
                    "no authentication information was provided",
                ));
            }
            Credentials::Key(text) => return self.admit_key(text),
            Credentials::Token(token) => match jwt_key_name(token) {
                Some(name) => {
                    let key = self.key(&name);
                    let key =
                        key.ok_or_else(|| ErrorInfo::new(40101, 401, "invalid credentials: unknown key"))?;
                    verify_jwt(key, token)?
                }
                None => self.memory().issued.find(token)?,
            },
        };
        self.still_good(&grant)?;
        Ok(grant)
    }

    fn admit_key(&self, text: &str) -> Result<Grant, ErrorInfo> {
        let key = self.keys.iter().find(|key| key.text() == text);
        let key = key.ok_or_else(|| ErrorInfo::new(40101, 401, "invalid credentials"))?;
        Ok(Grant {
            key_name: key.name().to_owned(),
            rights: key.rights.clone(),
            client: Client::Any,
            life: Life::Key,
            revocation_key: None,
        })
    }

    /// Says whether a token that was good still is.
    pub(super) fn still_good(&self, grant: &Grant) -> Result<(), ErrorInfo> {
        let now_ms = self.now_ms();
        if grant.has_expired(now_ms) {
            return Err(ErrorInfo::expired());
        }
        if self.memory().revocations.concern(grant, now_ms) {
            return Err(ErrorInfo::revoked());
        }
        Ok(())
    }

    /// Takes messages for one channel.
    pub(super) fn publish(
        &self,
        publisher: &Publisher<'_>,
        channel: &str,
        messages: &[Message],
        befalling: &Befalling,
    ) -> Result<Receipt, ErrorInfo> {
        check_channel(channel)?;
        publisher.grant.demand("publish", channel)?;
        let mut messages = messages.to_vec();
        for message in &mut messages {
            let claimed = message.client_id.as_deref().or(publisher.client_id);
            message.client_id = publisher.grant.client.acting_as(claimed)?;
        }
        let bytes: usize = messages.iter().map(Message::bytes).sum();
        if bytes > self.message_bytes_max {
            let limit = self.message_bytes_max;
            let message = format!("maximum size of messages exceeded: {bytes} bytes, the limit is {limit}");
            return Err(ErrorInfo::new(40009, 413, message));
        }
        if let Some(error) = befalling.failure(channel) {
            return Err(error);
        }
        let put = Put {
            channel: channel.to_owned(),
            messages,
            connection: publisher.connection.map(str::to_owned),
            swallowed: befalling.swallows(channel),
        };
        self.put(put)
    }

    /// Puts messages on a channel, whoever sends them.
    pub(super) fn put(&self, put: Put) -> Result<Receipt, ErrorInfo> {
        let (channel, swallowed) = (put.channel.clone(), put.swallowed);
        let published = self.memory().channels.put(put, self.now_ms())?;
        match published {
            Published::Repeated(receipt) => {
                self.ledger.count(|counts| counts.repeated += 1);
                Ok(receipt)
            }
            Published::New(receipt, publication) => {
                self.ledger.took(&channel, &publication.messages, swallowed);
                self.ring();
                Ok(receipt)
            }
        }
    }

    /// Collects what stands on a channel after a place.
    pub(super) fn after(&self, channel: &str, sequence: u64) -> Vec<Arc<Publication>> {
        self.memory().channels.after(channel, sequence).cloned().collect()
    }
}
