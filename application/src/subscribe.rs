//! Subscribing: opening a stream, and keeping it true.

use std::sync::Arc;
use std::time::Duration;

use domain::capability::{Operation, Principal};
use domain::degrade::Coming;
use domain::event::Control;
use domain::ids::{ConnectionId, NodeId, UserId};
use domain::stream::{CloseReason, Resume};
use domain::time::Timestamp;

use crate::admission::{Admission, NotNow};
use crate::announce::announce;
use crate::error::Error;
use crate::ports::{
    Bus, Clock, Entropy, Format, OpenError, OpenStream, Presence, Registry, Reply, Selection, Store,
    StoreError, Streams, Subscription, TicketId,
};
use crate::rights::Rights;
use crate::room::Room;

/// `?channels=` names at most this many.
pub const CHANNELS_MAX: usize = 50;

/// A registry that does not answer is asked again no sooner.
const REGISTRY_RETRY: Duration = Duration::from_secs(1);

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct StreamRequest {
    /// Which channels.
    pub selection: Selection,
    /// Where the client stands.
    pub resume: Resume,
    /// How it is written.
    pub format: Format,
    /// The ticket that opens it.
    pub ticket: Option<TicketId>,
}

/// Why a stream is not opened.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The request cannot be granted: the client is told by a status.
    #[error(transparent)]
    Request(#[from] Error),
    /// The node cannot serve it now: the client is told in-band, because a native `EventSource` dies of a status.
    #[error("the stream cannot be served now")]
    Later {
        /// Why.
        reason: CloseReason,
        /// When to come back.
        after: Duration,
    },
}

/// Opens streams.
pub struct Subscribe {
    /// The open streams of this node.
    pub streams: Arc<dyn Streams>,
    /// The log, for people's first visit and for eviction.
    pub store: Arc<dyn Store>,
    /// Who has to make room for it.
    pub room: Arc<Room>,
    /// Who is let in when many come at once.
    pub admission: Arc<Admission>,
    /// Who may subscribe to what.
    pub rights: Arc<Rights>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// This node.
    pub node: NodeId,
}

impl Subscribe {
    /// Opens a stream. The newest is served: older ones beyond the person's limit are closed as `replaced`.
    pub async fn run(
        &self,
        principal: Arc<Principal>,
        request: StreamRequest,
    ) -> Result<Box<dyn Subscription>, SubscribeError> {
        self.authorise(&principal, &request.selection)?;
        let coming = match request.resume {
            Resume::Live => Coming::New,
            Resume::After(_) | Resume::Unreadable => Coming::Back,
        };
        let turn = self.admission.enter(coming).await?;
        if let Err(error) = self.store.meet(&principal.user).await {
            // A stream within the ring is served while the store is away; the next request will be the first.
            tracing::debug!(error = %error, "a first visit was not recorded");
        }
        let connection = ConnectionId {
            node: self.node,
            serial: self.entropy.bits(),
        };
        let user = principal.user.clone();
        let open = OpenStream {
            connection,
            principal,
            selection: request.selection,
            resume: request.resume,
            format: request.format,
            ticket: request.ticket,
        };
        let subscription = self.streams.open(open).await?;
        // The registry writes whoever waits for it in one go. A turn held until then would keep out those who could go
        // along, and make each wait for a commit of its own.
        drop(turn);
        let presence = Presence {
            connection,
            user,
            opened_at: self.clock.now(),
        };
        self.room.make(presence).await;
        Ok(subscription)
    }

    fn authorise(&self, principal: &Principal, selection: &Selection) -> Result<(), Error> {
        let matrix = self.rights.matrix();
        match selection {
            Selection::Default if matrix.default_channels(principal).is_empty() => Err(Error::Forbidden(
                "none of your roles may subscribe to anything".to_owned(),
            )),
            Selection::Default => Ok(()),
            Selection::Named(channels) if channels.is_empty() || channels.len() > CHANNELS_MAX => {
                let detail = format!("must name 1 to {CHANNELS_MAX} channels, got {}", channels.len());
                Err(Error::invalid("channels", detail))
            }
            Selection::Named(channels) => {
                let denied = channels
                    .iter()
                    .find(|channel| !matrix.allows(principal, channel, Operation::Subscribe));
                denied.map_or(Ok(()), |channel| {
                    Err(Error::Forbidden(format!(
                        "none of your roles may subscribe to {channel}"
                    )))
                })
            }
        }
    }
}

impl From<NotNow> for SubscribeError {
    fn from(NotNow { after }: NotNow) -> Self {
        Self::Later {
            reason: CloseReason::Overloaded,
            after,
        }
    }
}

impl From<OpenError> for SubscribeError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused { reason, after } => Self::Later { reason, after },
            OpenError::Store(
                StoreError::Unavailable { retry_after } | StoreError::OutcomeUnknown { retry_after },
            ) => Self::Later {
                reason: CloseReason::Overloaded,
                after: retry_after,
            },
        }
    }
}

/// Takes replies to heartbeats.
pub struct Heartbeat {
    /// The open streams of this node.
    pub streams: Arc<dyn Streams>,
    /// Who holds streams on other nodes.
    pub registry: Arc<dyn Registry>,
    /// How replies reach them.
    pub bus: Arc<dyn Bus>,
}

impl Heartbeat {
    /// Takes a reply, on whichever node it arrives; somebody else's stream is as unknown as one that never was.
    pub async fn run(
        &self,
        person: &Principal,
        connection: ConnectionId,
        sequence: u64,
    ) -> Result<(), Error> {
        let user = &person.user;
        if self.streams.replied(user, connection, sequence).is_ok() {
            return Ok(());
        }
        theirs(&*self.registry, user, connection).await?;
        self.bus.forward(Reply {
            connection,
            user: user.clone(),
            sequence,
        });
        Ok(())
    }
}

/// Lets a stream live on with a fresh token.
pub struct Renew {
    /// The open streams of this node.
    pub streams: Arc<dyn Streams>,
    /// Who holds streams on other nodes.
    pub registry: Arc<dyn Registry>,
    /// The log that carries renewals.
    pub store: Arc<dyn Store>,
    /// Where nodes hear of them.
    pub bus: Arc<dyn Bus>,
}

impl Renew {
    /// Renews a stream of the same person, on whichever node it is, and returns when its session ends now.
    pub async fn run(&self, fresh: Arc<Principal>, connection: ConnectionId) -> Result<Timestamp, Error> {
        if !self.streams.owns(&fresh.user, connection) {
            theirs(&*self.registry, &fresh.user, connection).await?;
        }
        let expires_at = fresh.expires_at;
        let written = self
            .store
            .control(Control::Renewed {
                connection,
                principal: fresh,
            })
            .await?;
        announce(&*self.bus, written).await;
        Ok(expires_at)
    }
}

/// Fails unless a stream is this person's, wherever it is.
async fn theirs(registry: &dyn Registry, user: &UserId, connection: ConnectionId) -> Result<(), Error> {
    match registry.owner(connection).await {
        Ok(Some(owner)) if owner == *user => Ok(()),
        Ok(Some(_)) => Err(Error::Foreign("connection")),
        Ok(None) => Err(Error::NotFound("connection")),
        Err(error) => {
            tracing::warn!(%error, "nobody could say whose a stream is");
            Err(Error::Unavailable {
                part: "registry",
                retry_after: REGISTRY_RETRY,
            })
        }
    }
}
