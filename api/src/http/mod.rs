//! HTTP: every address of the service.
//!
//! One file for each group of addresses, the handlers on top. [`edge`] is what happens to every request and answer,
//! [`request`] what requests carry, [`problem`] every answer that is not what was asked for, and [`answer`] the rest.

mod ably;
mod ably_health;
mod admin;
mod answer;
mod coding;
mod config;
mod connections;
mod demo;
mod dev;
mod docs;
mod edge;
mod frames;
mod health;
mod inbox;
mod limits;
mod metrics;
mod notification;
mod problem;
mod publish;
mod replay;
mod request;
mod schema;
mod socket;
mod socket_calls;
mod stream;
#[cfg(test)]
mod tests;
mod tickets;
mod transport;

use std::collections::HashMap;
use std::sync::Arc;

use application::ably_examine::ExamineAbly;
use application::ably_tokens::AblyTokens;
use application::abuse::{AdministerBlocks, Watch};
use application::audit::{PublishRecords, Recorder};
use application::availability::Availability;
use application::degrade::Degrade;
use application::deliveries::AdministerDeliveries;
use application::explain::Explain;
use application::inbox::Inbox;
use application::limits::Limits;
use application::ports::{
    Audit, Breakers, Clock, Encoder, Entropy, Mint, Observer, Probe, Store, Streams, Tokens,
};
use application::publish::Publish;
use application::replay::Replay;
use application::retract::Retract;
use application::revocations::RevokeTokens;
use application::rights::Rights;
use application::rollout::AdministerRollout;
use application::select_transport::SelectTransport;
use application::settings::ChangeSettings;
use application::subscribe::{Heartbeat, Renew, Subscribe};
use application::tickets::Tickets;
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem::{Endpoint, Request, Response, Route};
use poem_openapi::registry::{self, MetaApi, MetaPath};
use poem_openapi::{OpenApi, Tags};

pub use self::config::{BodyLimits, HttpConfig, InvalidPublicUrl, PublicUrl};
pub(crate) use self::docs::Documents;
use self::edge::{Edge, Methods};
use self::problem::Problem;
pub(crate) use self::publish::parse_moment;
pub use self::publish::read_draft;
pub use self::request::BodyBudget;
pub use self::socket::{SocketOpening, Sockets};
pub use self::socket_calls::SocketCalls;

/// Writes the metrics as Prometheus text.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Everything that the handlers call.
pub struct Services {
    /// Publishes.
    pub publish: Publish,
    /// Retracts.
    pub retract: Retract,
    /// Reads and marks a person's notifications.
    pub inbox: Arc<Inbox>,
    /// Reads what a person missed.
    pub replay: Replay,
    /// Opens streams.
    pub subscribe: Arc<Subscribe>,
    /// Takes replies to heartbeats.
    pub heartbeat: Arc<Heartbeat>,
    /// Lets streams live on.
    pub renew: Arc<Renew>,
    /// Issues and redeems tickets.
    pub tickets: Tickets,
    /// Holds everybody to the limits in force.
    pub limits: Arc<Limits>,
    /// Changes what is in force for the cluster.
    pub settings: ChangeSettings,
    /// Issues tokens for Ably, where that is configured.
    pub ably_tokens: Option<AblyTokens>,
    /// Says which transport a client is to listen on.
    pub transport: Arc<SelectTransport>,
    /// Explains that, and what became of a notification.
    pub explain: Explain,
    /// Lists dead deliveries and begins them anew.
    pub deliveries: AdministerDeliveries,
    /// Lists, adds and lifts blocks.
    pub blocks: Arc<AdministerBlocks>,
    /// Sees attempts at what somebody has no right to.
    pub watch: Arc<Watch>,
    /// The audit trail.
    pub audit: Arc<dyn Audit>,
    /// How accepted publishes come into it.
    pub publishes: PublishRecords,
    /// What writes it.
    pub recorder: Recorder,
    /// Takes tokens back.
    pub revocations: RevokeTokens,
    /// Says how Ably is and what is used of it, where there is a key to publish with.
    pub ably: Option<Arc<ExamineAbly>>,
    /// Shows and changes the rollout of Ably.
    pub rollout: AdministerRollout,
    /// Takes each WebSocket over.
    pub sockets: Arc<dyn Sockets>,
    /// Verifies tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Makes tokens, in development.
    pub mint: Option<Arc<dyn Mint>>,
    /// Who may do what.
    pub rights: Arc<Rights>,
    /// The open streams, for health.
    pub streams: Arc<dyn Streams>,
    /// The store, for health.
    pub store: Arc<dyn Store>,
    /// The circuit breakers of this node.
    pub breakers: Arc<dyn Breakers>,
    /// The level of this node, for health.
    pub degrade: Arc<Degrade>,
    /// Of each minute, whether the service was there.
    pub availability: Arc<Availability>,
    /// What is connected beside the store, for health.
    pub probes: Vec<Arc<dyn Probe>>,
    /// Writes what goes to streams.
    pub encoder: Arc<dyn Encoder>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// Writes the metrics.
    pub metrics: RenderMetrics,
    /// What the configuration says.
    pub config: HttpConfig,
}

/// The groups of the document.
#[derive(Tags)]
pub(crate) enum Group {
    /// Publishing, alone and in batches, and taking back.
    #[oai(rename = "publish")]
    Publish,
    /// A person's own notifications: reading, counting, marking.
    #[oai(rename = "inbox")]
    Inbox,
    /// Live delivery: event streams, the WebSocket, tickets, and catching up; tokens for Ably.
    #[oai(rename = "streams")]
    Streams,
    /// For administrators alone: the rollout of Ably and its kill switch, deliveries, circuit breakers, availability,
    /// tokens that are taken back, blocks, and the audit trail.
    #[oai(rename = "administration")]
    Administration,
    /// How the service is.
    #[oai(rename = "operations")]
    Operations,
    /// Only in development mode.
    #[oai(rename = "development")]
    Development,
}

type Groups = (
    publish::PublishApi,
    inbox::InboxApi,
    stream::StreamApi,
    socket::SocketApi,
    tickets::TicketsApi,
    ably::AblyApi,
    transport::TransportApi,
    connections::ConnectionsApi,
    replay::ReplayApi,
    admin::AdminApi,
    (health::HealthApi, ably_health::AblyHealthApi),
    metrics::MetricsApi,
    limits::LimitsApi,
    docs::DocsApi,
    dev::DevApi,
);

/// Every group of addresses that the document describes.
pub(crate) struct Api(Groups);

impl Api {
    pub(crate) const fn new(documents: Documents) -> Self {
        Self((
            publish::PublishApi,
            inbox::InboxApi,
            stream::StreamApi,
            socket::SocketApi,
            tickets::TicketsApi,
            ably::AblyApi,
            transport::TransportApi,
            connections::ConnectionsApi,
            replay::ReplayApi,
            admin::ADMIN_API,
            (health::HealthApi, ably_health::AblyHealthApi),
            metrics::MetricsApi,
            limits::LimitsApi,
            docs::DocsApi(documents),
            dev::DevApi,
        ))
    }
}

impl OpenApi for Api {
    /// Groups share addresses, and a document names each address once.
    fn meta() -> Vec<MetaApi> {
        let mut paths: Vec<MetaPath> = Vec::new();
        for path in Groups::meta().into_iter().flat_map(|group| group.paths) {
            match paths.iter_mut().find(|known| known.path == path.path) {
                Some(known) => known.operations.extend(path.operations),
                None => paths.push(path),
            }
        }
        let operations = paths.iter_mut().flat_map(|path| &mut path.operations);
        operations.for_each(|operation| answer::merge_statuses(&mut operation.responses));
        vec![MetaApi { paths }]
    }

    fn register(registry: &mut registry::Registry) {
        Groups::register(registry);
    }

    fn add_routes(self, addresses: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        self.0.add_routes(addresses);
    }
}

/// Builds the endpoint that answers every request.
pub fn routes(services: Services) -> impl Endpoint<Output = Response> + 'static {
    let services = Arc::new(services);
    let mut addresses = HashMap::new();
    Api::new(Documents::of(&services.config)).add_routes(&mut addresses);
    docs::add_pages(&mut addresses);
    if services.config.dev {
        demo::add_pages(&mut addresses);
    }
    let route = addresses
        .into_iter()
        .fold(Route::new(), |route, (pattern, methods)| {
            route.at(&pattern, Methods::new(&pattern, methods))
        });
    Edge::new(route, services)
}

/// Returns what the handlers call.
pub(crate) fn services_of(request: &Request) -> Result<&Arc<Services>, Problem> {
    let services = request.data::<Arc<Services>>();
    services.ok_or_else(|| Problem::internal(&"the services are not attached to the request"))
}
