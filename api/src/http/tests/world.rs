//! Stand-ins for everything behind the edge.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use application::ably_tokens::{AblyTokens, Limit};
use application::abuse::{AdministerBlocks, Alarm, BlocksInForce, detector};
use application::admission::{Admission, AdmissionBounds};
use application::audit::{PublishRecords, recorder};
use application::availability::Availability;
use application::degrade::Degrade;
use application::deliveries::AdministerDeliveries;
use application::explain::Explain;
use application::inbox::Inbox;
use application::limits::{Limits, Rules};
use application::load::Load;
use application::ports::{
    AblySigner, Audit, BlocksFormat, BreakerReport, Breakers, Bus, Format, Limiter, MockAudit, MockBus,
    MockOutbox, MockRegistry, MockSettings, MockStore, MockTransport, OpenError, OpenStream, Outbox,
    Outgoing, Probe, RevocationsFormat, Sanitizer, Seal, Settings, Store, Streams, StreamsReport,
    Subscription, TokenError, Tokens, Transport, UnreadableBlocks, UnreadableRevocations, Unsubscribed,
    Vitals,
};
use application::publish::Publish;
use application::replay::Replay;
use application::retract::Retract;
use application::revocations::{RevocationsInForce, RevokeTokens};
use application::rights::Rights;
use application::rollout::AdministerRollout;
use application::room::Room;
use application::select_transport::SelectTransport;
use application::settings::ChangeSettings;
use application::subscribe::{Heartbeat, Renew, Subscribe};
use application::testing::{CountingIds, Drawer, SeededEntropy, Shelf, SimClock, Unobserved};
use application::tickets::Tickets;
use async_trait::async_trait;
use bytes::Bytes;
use domain::abuse::{Block, Blocks};
use domain::audit::ChainId;
use domain::breaker::BreakerState;
use domain::capability::{Matrix, Principal, Role};
use domain::cohort::Salt;
use domain::cursor::{Cursor, Epoch, Position};
use domain::degrade::Signals;
use domain::ids::{ConnectionId, NodeId, UserId};
use domain::policy::Health;
use domain::revocation::Revocations;
use domain::rollout::Rollout;
use domain::stream::CloseReason;
use poem::http::StatusCode;
use poem::{Request, Response};

use super::Client;
use crate::http::{HttpConfig, Services, SocketOpening, Sockets};
use crate::wire::{WireEncoder, piece};

/// Everything behind the edge, to be changed before it is served.
pub(crate) struct World {
    pub(super) store: MockStore,
    pub(super) registry: MockRegistry,
    pub(super) probes: Vec<Arc<dyn Probe>>,
    pub(super) breakers: Arc<FakeBreakers>,
    pub(super) load: Arc<Load>,
    pub(super) signals: Signals,
    pub(super) ably: Option<Arc<dyn AblySigner>>,
    pub(super) outbox: MockOutbox,
    /// What the breaker in front of Ably says; `None` where there is no Ably to publish to.
    pub(super) breaker: Option<BreakerState>,
    pub(super) rollout: Rollout,
    pub(super) limiter: Option<Arc<dyn Limiter>>,
    pub(super) rules: Option<Rules>,
    pub(super) limit_settings: MockSettings,
    pub(super) streams: Arc<FakeStreams>,
    pub(super) sockets: Arc<FakeSockets>,
    pub(super) clock: Arc<SimClock>,
    pub(super) settings: Arc<Drawer>,
    pub(super) revocation_settings: Arc<Drawer>,
    pub(super) audit: Arc<dyn Audit>,
    pub(super) block_settings: Arc<Drawer>,
    pub(super) shelf: Arc<Shelf>,
    pub(super) config: HttpConfig,
}

/// A place in the stand-in's log.
pub(super) fn cursor(position: u64) -> Cursor {
    Cursor {
        epoch: Epoch(36),
        position: Position(position),
    }
}

impl World {
    pub(super) fn new() -> Self {
        let mut registry = MockRegistry::new();
        registry.expect_enter().returning(|_, _| Ok(Vec::new()));
        registry.expect_owner().returning(|_| Ok(None));
        Self {
            store: MockStore::new(),
            registry,
            probes: Vec::new(),
            breakers: Arc::default(),
            load: Arc::default(),
            signals: Signals::default(),
            ably: None,
            outbox: MockOutbox::new(),
            breaker: None,
            rollout: Rollout::new(Salt::from_bits(0, 0)),
            limiter: None,
            rules: None,
            limit_settings: MockSettings::new(),
            streams: Arc::default(),
            sockets: Arc::default(),
            clock: Arc::default(),
            settings: Arc::default(),
            revocation_settings: Arc::default(),
            audit: Arc::new(MockAudit::new()),
            block_settings: Arc::default(),
            shelf: Arc::default(),
            config: HttpConfig::default(),
        }
    }

    pub(super) fn serve(self) -> Client {
        self.serve_with_degrade().0
    }

    /// The same, with what judges the level.
    #[expect(clippy::too_many_lines, reason = "everything that the edge calls")]
    pub(super) fn serve_with_degrade(self) -> (Client, Arc<Degrade>) {
        let mut bus = MockBus::new();
        bus.expect_announce().returning(|_| ());
        let bus: Arc<dyn Bus> = Arc::new(bus);
        let store: Arc<dyn Store> = Arc::new(self.store);
        let rights = Arc::new(Rights::new(Matrix::default_roles()));
        let registry: Arc<dyn application::ports::Registry> = Arc::new(self.registry);
        let encoder = Arc::new(WireEncoder);
        let entropy: Arc<dyn application::ports::Entropy> = Arc::new(SeededEntropy::new(1));
        let clock: Arc<dyn application::ports::Clock> = self.clock;
        let streams: Arc<dyn Streams> = self.streams;
        let observer = Arc::new(Unobserved);
        let (rollout, outbox) = (self.rollout, Arc::new(self.outbox) as Arc<dyn Outbox>);
        let transport = Arc::new(SelectTransport {
            store: Arc::clone(&store),
            outbox: Arc::clone(&outbox),
            rights: Arc::clone(&rights),
            ably: self.breaker.map(behind),
            rollout: Box::new(move || rollout.clone()),
            health: Box::new(|| Health::Up),
            entropy: Arc::clone(&entropy),
            observer: observer.clone(),
        });
        let load = self.load;
        let revocations = Arc::new(RevocationsInForce::new(Arc::clone(&clock)));
        let limits = limits(self.limiter, self.rules);
        let (recorder, _) = recorder(
            ChainId(1),
            self.audit.clone(),
            Arc::clone(&clock),
            observer.clone(),
        );
        let blocks = Arc::new(AdministerBlocks {
            change: change_settings(self.block_settings, &store, &bus),
            format: Arc::new(NoRevocations),
            in_force: Arc::new(BlocksInForce::new(Arc::clone(&clock))),
            clock: Arc::clone(&clock),
            observer: observer.clone(),
        });
        let (limits_seen, blocks_seen) = (Arc::clone(&limits), Arc::clone(&blocks));
        let (watch, _) = detector(limits_seen, blocks_seen, recorder.clone(), Arc::new(Unalarmed));
        let ably_tokens = self.ably.map(|signer| {
            AblyTokens::new(
                Arc::clone(&rights),
                signer,
                Arc::clone(&clock),
                observer.clone(),
                Limit::Enforced,
            )
        });
        let degrade = Arc::new(Degrade {
            vitals: Arc::new(Feels(self.signals)),
            breakers: self.breakers.clone(),
            streams: Arc::clone(&streams),
            load: Arc::clone(&load),
            clock: Arc::clone(&clock),
            observer: observer.clone(),
            standing: Mutex::default(),
        });
        let client = Client::new(Services {
            limits,
            settings: change_settings(Arc::new(self.limit_settings), &store, &bus),
            publish: Publish {
                store: Arc::clone(&store),
                bus: Arc::clone(&bus),
                rights: Arc::clone(&rights),
                sanitizer: Arc::new(AsItIs),
                encoder: encoder.clone(),
                clock: Arc::clone(&clock),
                ids: Arc::new(CountingIds::default()),
                observer: observer.clone(),
                notification_bytes_max: 32_768,
            },
            retract: retract(&store, &bus, &rights),
            inbox: Arc::new(inbox(&store, &bus, &rights)),
            replay: replay((&store, &load), &rights, &entropy),
            subscribe: Arc::new(Subscribe {
                streams: Arc::clone(&streams),
                store: Arc::clone(&store),
                room: Arc::new(Room {
                    registry: Arc::clone(&registry),
                    store: Arc::clone(&store),
                    bus: Arc::clone(&bus),
                    observer: observer.clone(),
                    streams_per_user_max: 5,
                }),
                admission: Arc::new(Admission::new(
                    Arc::clone(&load),
                    (Arc::clone(&clock), Arc::clone(&entropy)),
                    observer.clone(),
                    AdmissionBounds {
                        at_once: 64,
                        waiting: 1_000,
                        spread: domain::stream::ReconnectSpread::default(),
                    },
                )),
                rights: Arc::clone(&rights),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                node: NodeId(1),
            }),
            heartbeat: Arc::new(heartbeat(&streams, &registry, &bus)),
            renew: Arc::new(renew(&streams, &registry, &store, &bus)),
            tickets: Tickets {
                seal: Arc::new(Hex),
                registry: Arc::clone(&registry),
                revocations: Arc::clone(&revocations),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
            },
            audit: self.audit,
            publishes: PublishRecords::Beside,
            recorder,
            blocks,
            watch: Arc::new(watch),
            revocations: RevokeTokens {
                change: change_settings(self.revocation_settings, &store, &bus),
                format: Arc::new(NoRevocations),
                in_force: revocations,
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                observer: observer.clone(),
                kept: Duration::from_secs(3_600),
                outside: None,
            },
            ably_tokens,
            explain: Explain {
                select: Arc::clone(&transport),
            },
            transport,
            deliveries: AdministerDeliveries { outbox },
            ably: None,
            rollout: AdministerRollout {
                change: change_settings(self.settings.clone(), &store, &bus),
                format: self.shelf,
                in_force: Arc::default(),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
            },
            sockets: self.sockets,
            tokens: Arc::new(FakeTokens),
            mint: self.config.dev.then(|| Arc::new(FakeMint) as _),
            rights,
            streams,
            store,
            probes: self.probes,
            degrade: Arc::clone(&degrade),
            availability: Arc::new(Availability::new(self.settings.clone(), Arc::clone(&clock))),
            breakers: self.breakers,
            encoder,
            clock,
            entropy,
            observer,
            metrics: Arc::new(|| "arauto_up 1\n".to_owned()),
            config: self.config,
        });
        (client, degrade)
    }
}

/// A transport behind a breaker that stands like this.
fn behind(breaker: BreakerState) -> Arc<dyn Transport> {
    let mut transport = MockTransport::new();
    transport.expect_breaker().return_const(breaker);
    Arc::new(transport)
}

fn limits(limiter: Option<Arc<dyn Limiter>>, rules: Option<Rules>) -> Arc<Limits> {
    let limits = Limits::new(limiter, Arc::new(Unobserved));
    if let Some(rules) = rules {
        limits.replace(rules);
    }
    Arc::new(limits)
}

fn change_settings(
    settings: Arc<dyn Settings>,
    store: &Arc<dyn Store>,
    bus: &Arc<dyn Bus>,
) -> ChangeSettings {
    ChangeSettings {
        settings,
        store: Arc::clone(store),
        bus: Arc::clone(bus),
    }
}

fn heartbeat(
    streams: &Arc<dyn Streams>,
    registry: &Arc<dyn application::ports::Registry>,
    bus: &Arc<dyn Bus>,
) -> Heartbeat {
    Heartbeat {
        streams: Arc::clone(streams),
        registry: Arc::clone(registry),
        bus: Arc::clone(bus),
    }
}

fn inbox(store: &Arc<dyn Store>, bus: &Arc<dyn Bus>, rights: &Arc<Rights>) -> Inbox {
    Inbox {
        store: Arc::clone(store),
        bus: Arc::clone(bus),
        rights: Arc::clone(rights),
    }
}

fn replay(
    (store, load): (&Arc<dyn Store>, &Arc<Load>),
    rights: &Arc<Rights>,
    entropy: &Arc<dyn application::ports::Entropy>,
) -> Replay {
    Replay {
        load: Arc::clone(load),
        store: Arc::clone(store),
        rights: Arc::clone(rights),
        entropy: Arc::clone(entropy),
    }
}

fn retract(store: &Arc<dyn Store>, bus: &Arc<dyn Bus>, rights: &Arc<Rights>) -> Retract {
    Retract {
        store: Arc::clone(store),
        bus: Arc::clone(bus),
        rights: Arc::clone(rights),
    }
}

fn renew(
    streams: &Arc<dyn Streams>,
    registry: &Arc<dyn application::ports::Registry>,
    store: &Arc<dyn Store>,
    bus: &Arc<dyn Bus>,
) -> Renew {
    Renew {
        streams: Arc::clone(streams),
        registry: Arc::clone(registry),
        store: Arc::clone(store),
        bus: Arc::clone(bus),
    }
}

/// Tokens that name their person: `u-42:CIDADAO`, or what is wrong with them.
struct FakeTokens;

#[async_trait]
impl Tokens for FakeTokens {
    async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        let Some((user, role)) = token.split_once(':') else {
            return Err(match token {
                "malformed" => TokenError::Malformed("three parts are expected"),
                "algorithm" => TokenError::AlgorithmNotAccepted,
                "foreign" => TokenError::UnknownKey,
                "forged" => TokenError::BadSignature,
                "expired" => TokenError::Expired,
                "revoked" => TokenError::Revoked,
                "early" => TokenError::NotYetValid,
                "issuer" => TokenError::WrongIssuer,
                "audience" => TokenError::WrongAudience,
                "subject" => TokenError::SubjectNotAddressable,
                "memberships" => TokenError::TooManyMemberships,
                "keys" => TokenError::KeysUnavailable,
                other => panic!("{other}: use user:ROLE"),
            });
        };
        let mut principal = Principal::new(user.parse().unwrap(), [Role::new(role)]);
        principal.expires_at = SimClock::START.plus(Duration::from_secs(3_600));
        Ok(principal)
    }
}

/// Revocations that are counted as written, and never read back.
struct NoRevocations;

impl RevocationsFormat for NoRevocations {
    fn read(&self, _: &str) -> Result<Revocations, UnreadableRevocations> {
        Ok(Revocations::default())
    }

    fn write(&self, revocations: &Revocations) -> String {
        revocations.all().len().to_string()
    }
}

impl BlocksFormat for NoRevocations {
    fn read(&self, _: &str) -> Result<Blocks, UnreadableBlocks> {
        Ok(Blocks::default())
    }

    fn write(&self, blocks: &Blocks) -> String {
        blocks.all().len().to_string()
    }
}

/// Administrators who sleep.
struct Unalarmed;

#[async_trait]
impl Alarm for Unalarmed {
    async fn raise(&self, _: &[Block]) {}
}

struct FakeMint;

impl application::ports::Mint for FakeMint {
    fn mint(&self, principal: &Principal, ttl: Duration) -> Result<String, TokenError> {
        Ok(format!("{}:{}s", principal.user, ttl.as_secs()))
    }
}

struct AsItIs;

impl Sanitizer for AsItIs {
    fn clean(&self, html: &str) -> String {
        html.to_owned()
    }
}

/// Seals that anybody can open.
struct Hex;

impl Seal for Hex {
    fn seal(&self, purpose: &str, plain: &[u8]) -> String {
        let hex: Vec<String> = plain.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{purpose}_{}", hex.concat())
    }

    fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let hex = sealed.strip_prefix(purpose)?.strip_prefix('_')?;
        let digits: Vec<&[u8]> = hex.as_bytes().chunks(2).collect();
        let byte = |pair: &&[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.iter().map(byte).collect()
    }
}

/// A process that feels what a test wants.
struct Feels(Signals);

impl Vitals for Feels {
    fn measure(&self) -> Signals {
        self.0
    }
}

/// One breaker, `postgres`.
pub(super) struct FakeBreakers(Mutex<BreakerState>);

impl Default for FakeBreakers {
    fn default() -> Self {
        Self(Mutex::new(BreakerState::Closed))
    }
}

impl FakeBreakers {
    pub(super) fn set(&self, state: BreakerState) -> BreakerReport {
        *self.0.lock().unwrap() = state;
        self.list().remove(0)
    }
}

impl Breakers for FakeBreakers {
    fn list(&self) -> Vec<BreakerReport> {
        vec![BreakerReport {
            name: "postgres",
            state: *self.0.lock().unwrap(),
            since: SimClock::START,
            opened: 1,
            refused: 2,
            latency: Some(Duration::from_millis(3)),
            last_failure: None,
        }]
    }

    fn force_open(&self, name: &str) -> Option<BreakerReport> {
        (name == "postgres").then(|| self.set(BreakerState::ForcedOpen))
    }

    fn reset(&self, name: &str) -> Option<BreakerReport> {
        (name == "postgres").then(|| self.set(BreakerState::Closed))
    }
}

/// Streams that say what a test wants.
pub(super) struct FakeStreams {
    pub(super) opened: Mutex<Vec<OpenStream>>,
    pub(super) frames: Mutex<Vec<Outgoing>>,
    pub(super) refusal: Mutex<Option<OpenError>>,
    pub(super) owner: Mutex<Option<(UserId, ConnectionId)>>,
    pub(super) report: Mutex<StreamsReport>,
    pub(super) replies: AtomicUsize,
}

impl Default for FakeStreams {
    fn default() -> Self {
        Self {
            opened: Mutex::default(),
            frames: Mutex::default(),
            refusal: Mutex::default(),
            owner: Mutex::default(),
            report: Mutex::new(StreamsReport {
                tailing: true,
                ..StreamsReport::default()
            }),
            replies: AtomicUsize::default(),
        }
    }
}

#[async_trait]
impl Streams for FakeStreams {
    async fn open(&self, request: OpenStream) -> Result<Box<dyn Subscription>, OpenError> {
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        let (connection, format) = (request.connection, request.format);
        self.opened.lock().unwrap().push(request);
        let in_format = |outgoing| match (format, outgoing) {
            (Format::SseGzip, Outgoing::Frame(frame)) => Outgoing::Frame(piece(&frame)),
            (_, outgoing) => outgoing,
        };
        let frames: Vec<_> = self
            .frames
            .lock()
            .unwrap()
            .iter()
            .cloned()
            .map(in_format)
            .collect();
        Ok(Box::new(Scripted {
            connection,
            frames: frames.into_iter(),
        }))
    }

    fn replied(&self, user: &UserId, connection: ConnectionId, _sequence: u64) -> Result<(), Unsubscribed> {
        if !self.owns(user, connection) {
            return Err(Unsubscribed);
        }
        self.replies.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn owns(&self, user: &UserId, connection: ConnectionId) -> bool {
        let owner = self.owner.lock().unwrap();
        owner
            .as_ref()
            .is_some_and(|(owner, owned)| owner == user && *owned == connection)
    }

    fn report(&self) -> StreamsReport {
        self.report.lock().unwrap().clone()
    }
}

struct Scripted {
    connection: ConnectionId,
    frames: std::vec::IntoIter<Outgoing>,
}

impl Subscription for Scripted {
    fn connection(&self) -> ConnectionId {
        self.connection
    }

    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        Poll::Ready(self.frames.next())
    }

    fn closed(&self) -> Option<CloseReason> {
        None
    }
}

/// A frame of a stream.
pub(super) fn frame(text: &'static str) -> Outgoing {
    Outgoing::Frame(Bytes::from_static(text.as_bytes()))
}

/// Sockets that only note who came.
#[derive(Default)]
pub(super) struct FakeSockets {
    pub(super) openings: Mutex<Vec<SocketOpening>>,
}

impl Sockets for FakeSockets {
    fn accept(&self, _: &Request, opening: SocketOpening) -> Response {
        self.openings.lock().unwrap().push(opening);
        StatusCode::SWITCHING_PROTOCOLS.into()
    }
}
