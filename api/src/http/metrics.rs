//! Metrics.

use std::net::IpAddr;
use std::sync::Arc;

use poem::web::Data;
use poem::{IntoResponse, Response};
use poem_openapi::registry::{MetaResponses, Registry};
use poem_openapi::{ApiResponse, OpenApi};

use super::answer::{text, text_response};
use super::edge::ClientAddress;
use super::problem::{Kind, Outcome, Problem, causes};
use super::{Group, HttpConfig, Services};

/// Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

causes! {
    Measuring = [&[Kind::NotFound]];
}

/// Metrics.
pub(crate) struct MetricsApi;

#[OpenApi(tag = "Group::Operations")]
#[expect(clippy::unused_async, reason = "handlers are async, whether they wait or not")]
impl MetricsApi {
    /// Read the metrics
    ///
    /// Prometheus text; names begin with `arauto_`. Only for the machine itself and for networks that the
    /// configuration lists; to anybody else the address is unknown.
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(
        &self,
        services: Data<&Arc<Services>>,
        client: ClientAddress,
    ) -> Outcome<Exposition, Measuring> {
        if !client
            .0
            .is_some_and(|address| may_read(&services.config, address))
        {
            return Err(Problem::not_found("address").into());
        }
        Ok(Exposition((services.metrics)()))
    }
}

fn may_read(config: &HttpConfig, address: IpAddr) -> bool {
    address.is_loopback()
        || config
            .metrics_networks
            .iter()
            .any(|network| network.contains(&address))
}

/// Metrics as Prometheus reads them.
pub(crate) struct Exposition(String);

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        text(PROMETHEUS, self.0)
    }
}

impl ApiResponse for Exposition {
    fn meta() -> MetaResponses {
        MetaResponses {
            responses: vec![text_response(PROMETHEUS, "The metrics.")],
        }
    }

    fn register(_: &mut Registry) {}
}
