//! What the audit trail is told of a request: who asked for what, and what came of it.
//!
//! It is decided here for every address at once, by method and path, so that one which is added later is recorded
//! without knowing of it. Bodies and query strings are never looked at.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use application::audit::PublishRecords;
use application::ports::{Accepted, ReceiptStatus};
use domain::abuse::Suspicion;
use domain::audit::{Entry, Kind as Recorded, Note};
use domain::ids::{NotificationId, UserId};
use domain::stream::CloseReason;
use domain::time::Timestamp;
use poem::http::{Method, StatusCode};
use poem::{Request, Response};

use super::ClientAddress;
use crate::http::Services;
use crate::http::problem::Kind;

/// What handlers say of a request while they answer it. Each is said once.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Known>);

#[derive(Default)]
struct Known {
    who: OnceLock<(UserId, Option<IpAddr>)>,
    note: OnceLock<String>,
    settling: OnceLock<Settling>,
}

/// How what a request published comes into the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settling {
    /// The log has it, with who published it.
    FromLog,
    /// It is recorded before it is answered; each of these by itself as well.
    First(Vec<NotificationId>),
}

impl Settling {
    /// What is scheduled is in no log yet.
    fn of(records: PublishRecords, outcomes: &[Option<&Accepted>]) -> Option<Self> {
        let accepted: Vec<&Accepted> = outcomes.iter().copied().flatten().collect();
        let scheduled = |accepted: &&Accepted| accepted.receipt.status == ReceiptStatus::Scheduled;
        let fresh = outcomes.iter().all(|one| one.is_some_and(|one| !one.replayed));
        let first = |of: &mut dyn Iterator<Item = &Accepted>| {
            let named = of.filter(|_| outcomes.len() > 1);
            Some(Self::First(named.map(|one| one.receipt.id).collect()))
        };
        match records {
            PublishRecords::Beside => None,
            PublishRecords::First => first(&mut accepted.into_iter()),
            PublishRecords::FromLog if accepted.iter().any(scheduled) => {
                first(&mut accepted.into_iter().filter(scheduled))
            }
            PublishRecords::FromLog => fresh.then_some(Self::FromLog),
        }
    }
}

impl Trace {
    /// Says who asks, as soon as their credentials count.
    pub(crate) fn is(request: &Request, services: &Services, user: &UserId) {
        if let Some(trace) = request.data::<Self>() {
            let client = ClientAddress::of(request, services).0;
            let _ = trace.0.who.set((user.clone(), client));
        }
    }

    /// Lets the watch see a person who was refused what their roles do not give.
    pub(super) fn watch(&self, services: &Services, response: &Response) {
        let forbidden = response.data::<Kind>() == Some(&Kind::Forbidden);
        if let Some((user, client)) = self.0.who.get().filter(|_| forbidden) {
            services.watch.tried(*client, user, Suspicion::ForeignChannel);
        }
    }

    /// Adds what the path does not say, without any content.
    pub(crate) fn note(request: &Request, note: impl FnOnce() -> String) {
        if let Some(trace) = request.data::<Self>() {
            let _ = trace.0.note.set(note());
        }
    }

    /// Says what was published; `None` for what was refused.
    pub(crate) fn published(request: &Request, services: &Services, outcomes: &[Option<&Accepted>]) {
        if let (Some(trace), Some(settling)) =
            (request.data::<Self>(), Settling::of(services.publishes, outcomes))
        {
            let _ = trace.0.settling.set(settling);
        }
    }

    /// Returns how what was published comes into the trail; `None` where that is no matter.
    pub(super) fn settling(&self) -> Option<&Settling> {
        self.0.settling.get()
    }

    /// Returns who asked.
    pub(super) fn who(&self) -> Option<&UserId> {
        self.0.who.get().map(|(user, _)| user)
    }

    /// Writes what is recorded of an answered request; `None` for what is not.
    pub(super) fn entry(&self, asked: &Asked, response: &Response, at: Timestamp) -> Option<Entry> {
        let status = response.status();
        let kind = kind(&asked.method, &asked.path, status)?;
        let note = self
            .0
            .note
            .get()
            .map_or_else(String::new, |note| format!(" {note}"));
        let closing = response.data::<CloseReason>().map(|reason| reason.as_str());
        let problem = response.data::<Kind>().map(|kind| kind.facts().name);
        let outcome = match closing.or(problem) {
            Some(name) => format!("{} {name}", status.as_u16()),
            None => status.as_u16().to_string(),
        };
        Some(Entry {
            at,
            kind,
            who: self.who().cloned(),
            target: Note::new(&format!("{} {}{note}", asked.method, asked.path)),
            outcome: Note::new(&outcome),
            request: Note::new(&asked.request_id),
        })
    }
}

/// What was asked for, kept while the request itself is consumed.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) request_id: String,
}

/// Says what a request is for the trail. Who asks too often is counted elsewhere, and would fill it.
fn kind(method: &Method, path: &str, status: StatusCode) -> Option<Recorded> {
    if status == StatusCode::TOO_MANY_REQUESTS || method == Method::OPTIONS {
        return None;
    }
    let mut parts = path.strip_prefix("/v1/").unwrap_or_default().split('/');
    let parts = [parts.next(), parts.next(), parts.next()];
    let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    match parts {
        // A socket says afterwards who it is, and is recorded then.
        [Some("ws"), None, _] if status == StatusCode::SWITCHING_PROTOCOLS => None,
        [Some("stream" | "ws"), None, _] => Some(Recorded::Subscribe),
        [Some("stream"), Some("tickets"), None]
        | [Some("ably"), Some("token"), None]
        | [Some("connections"), Some(_), Some("renew")] => Some(Recorded::Token),
        [Some("notifications"), None | Some("batch"), None] if method == Method::POST => {
            Some(Recorded::Publish)
        }
        [Some("notifications"), Some(_), None] if method == Method::DELETE => Some(Recorded::Retract),
        [Some("admin"), Some(_), _] if method != Method::GET && method != Method::HEAD => {
            Some(Recorded::Change)
        }
        _ => refused.then_some(Recorded::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_recorded_and_reading_is_not() {
        let table = [
            ("POST", "/v1/notifications", 201, Some(Recorded::Publish)),
            ("POST", "/v1/notifications", 403, Some(Recorded::Publish)),
            ("POST", "/v1/notifications/batch", 200, Some(Recorded::Publish)),
            ("GET", "/v1/notifications", 200, None),
            ("GET", "/v1/notifications", 401, Some(Recorded::Refused)),
            ("POST", "/v1/notifications/1/read", 200, None),
            ("DELETE", "/v1/notifications/1", 204, Some(Recorded::Retract)),
            ("GET", "/v1/stream", 200, Some(Recorded::Subscribe)),
            ("GET", "/v1/stream", 401, Some(Recorded::Subscribe)),
            ("GET", "/v1/ws", 101, None),
            ("GET", "/v1/ws", 403, Some(Recorded::Subscribe)),
            ("POST", "/v1/stream/tickets", 200, Some(Recorded::Token)),
            ("GET", "/v1/ably/token", 403, Some(Recorded::Token)),
            ("POST", "/v1/connections/1-2/renew", 200, Some(Recorded::Token)),
            ("POST", "/v1/connections/1-2/heartbeat", 204, None),
            ("PUT", "/v1/admin/rollout", 200, Some(Recorded::Change)),
            ("POST", "/v1/admin/revocations", 400, Some(Recorded::Change)),
            ("DELETE", "/v1/admin/blocks/x", 204, Some(Recorded::Change)),
            ("POST", "/v1/admin/what/comes/later", 200, Some(Recorded::Change)),
            ("GET", "/v1/admin/rollout", 200, None),
            ("GET", "/v1/admin/rollout", 403, Some(Recorded::Refused)),
            ("POST", "/v1/notifications", 429, None),
            ("GET", "/metrics", 403, Some(Recorded::Refused)),
            ("GET", "/health/live", 200, None),
        ];
        for (method, path, status, expected) in table {
            let method = method.parse::<Method>().unwrap();
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(kind(&method, path, status), expected, "{method} {path} {status}");
        }
    }
}
