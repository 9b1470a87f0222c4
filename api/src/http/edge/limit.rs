//! Limits at the edge: which budget a request takes a turn of, and what its answer says about that.

use std::sync::{Arc, OnceLock};

use application::limits::{Asking, Left, Limited};
use domain::capability::Principal;
use domain::limit::Action;
use poem::Request;
use poem::http::{HeaderMap, Method};

use super::ClientAddress;
use crate::http::problem::{Problem, limit_headers};
use crate::http::{Services, services_of};

/// How the caller's budget stands, for the headers of the answer. Written once for each request.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<OnceLock<Left>>);

impl Told {
    /// Writes the headers, unless the answer has them already: one that refuses says them itself.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let Some(left) = self.0.get() else { return };
        for (name, value) in limit_headers(left.limit, left.remaining, left.reset) {
            headers.entry(name).or_insert(value);
        }
    }
}

/// Says what a request is, for the limits; `None` for what is not limited: health, metrics, documents and pages, which
/// load balancers and browsers ask for without saying who they are.
fn action(method: &Method, path: &str) -> Option<Action> {
    let mut parts = path.strip_prefix("/v1/")?.split('/');
    let parts = [parts.next(), parts.next(), parts.next()];
    Some(match parts {
        [Some("stream" | "ws"), None, _] => Action::Stream,
        [Some("stream"), Some("tickets"), None]
        | [Some("ably"), Some("token"), None]
        | [Some("connections"), Some(_), Some("renew")] => Action::Token,
        [Some("connections"), Some(_), Some("heartbeat")] => Action::Heartbeat,
        [Some("notifications"), None | Some("batch"), None] if method == Method::POST => Action::Publish,
        [Some("notifications"), Some(_), None] if method == Method::DELETE => Action::Publish,
        _ => Action::Api,
    })
}

/// Takes a turn for a request, as soon as it is known who asks; `None` for whoever could not say.
///
/// Streams of people who are known take theirs by [`stream_turn`], because they are told in-band. Bad credentials on a
/// stream count, and are still answered by their own status: an `EventSource` is to end then.
pub(crate) async fn admit(request: &Request, person: Option<&Principal>) -> Result<(), Problem> {
    let Some(action) = action(request.method(), request.uri().path()) else {
        return Ok(());
    };
    let services = services_of(request)?;
    match (action, person) {
        (Action::Stream, Some(_)) => Ok(()),
        (Action::Stream, None) => {
            let _counted = turn(services, request, None, action).await;
            Ok(())
        }
        _ => Ok(turn(services, request, person, action).await?),
    }
}

/// Takes a turn for an event stream.
pub(crate) async fn stream_turn(
    services: &Services,
    request: &Request,
    person: Option<&Principal>,
) -> Result<(), Limited> {
    turn(services, request, person, Action::Stream).await
}

async fn turn(
    services: &Services,
    request: &Request,
    person: Option<&Principal>,
    action: Action,
) -> Result<(), Limited> {
    let asking = Asking {
        client: ClientAddress::of(request, services).0,
        person,
        action,
    };
    let left = services.limits.admit(asking).await?;
    if let (Some(left), Some(told)) = (left, request.data::<Told>()) {
        // One request takes one turn.
        let _ = told.0.set(left);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_action() {
        let table = [
            ("GET", "/v1/stream", Some(Action::Stream)),
            ("GET", "/v1/ws", Some(Action::Stream)),
            ("POST", "/v1/stream/tickets", Some(Action::Token)),
            ("GET", "/v1/ably/token", Some(Action::Token)),
            ("POST", "/v1/ably/token", Some(Action::Token)),
            ("POST", "/v1/connections/1-2/renew", Some(Action::Token)),
            ("POST", "/v1/connections/1-2/heartbeat", Some(Action::Heartbeat)),
            ("POST", "/v1/notifications", Some(Action::Publish)),
            ("POST", "/v1/notifications/batch", Some(Action::Publish)),
            ("DELETE", "/v1/notifications/1", Some(Action::Publish)),
            ("GET", "/v1/notifications", Some(Action::Api)),
            ("GET", "/v1/notifications/1", Some(Action::Api)),
            ("POST", "/v1/notifications/1/read", Some(Action::Api)),
            ("POST", "/v1/notifications/read-all", Some(Action::Api)),
            ("GET", "/v1/events/replay", Some(Action::Api)),
            ("GET", "/v1/transport", Some(Action::Api)),
            ("GET", "/v1/admin/limits", Some(Action::Api)),
            ("GET", "/health/ready", None),
            ("GET", "/metrics", None),
            ("GET", "/docs", None),
            ("GET", "/", None),
        ];
        for (method, path, expected) in table {
            let method = method.parse::<Method>().unwrap();
            assert_eq!(action(&method, path), expected, "{method} {path}");
        }
    }
}
