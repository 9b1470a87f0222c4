//! Taking tokens back at Ably.

use std::collections::HashMap;
use std::time::Duration;

use application::ports::{AblyRevoker, AblyTarget};
use async_trait::async_trait;
use domain::outbox::Outcome;
use domain::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, ErrorInfo, outcome};
use super::{Key, Publisher, Shaped};

/// What one call may name (Ably, token revocation).
const TARGETS_MAX: usize = 100;

/// Takes tokens back with the key that they were signed with: Ably takes no other.
pub struct Revoker {
    /// What asks Ably's hosts, with that key.
    rest: Publisher,
    path: String,
}

impl Revoker {
    /// Asks with `rest`, which MUST have been made with the key of the tokens.
    pub fn new(key: &Key, rest: Publisher) -> Self {
        let path = format!("/keys/{}/revokeTokens", key.name());
        Self { rest, path }
    }

    async fn ask(&self, targets: &[AblyTarget], issued_before: Timestamp) -> Vec<Outcome> {
        let again = Outcome::Transient {
            retry_after: Duration::ZERO,
        };
        let names: Vec<String> = targets.iter().map(name).collect();
        let body = json!({ "targets": names, "issuedBefore": issued_before.as_millis() });
        let shaped = Shaped {
            path: self.path.clone(),
            body: body.to_string(),
        };
        let Some(answer) = self.rest.ask(&shaped).await else {
            return vec![again; targets.len()];
        };
        match by_target(&answer) {
            Some(told) => {
                // A call that was taken and does not name a target has not said that it took that one.
                let found = |name: &String| told.get(name).copied().unwrap_or(again);
                names.iter().map(found).collect()
            }
            None if answer.is_success() => vec![again; targets.len()],
            None => vec![answer.outcome(); targets.len()],
        }
    }
}

#[async_trait]
impl AblyRevoker for Revoker {
    async fn revoke(&self, targets: &[AblyTarget], issued_before: Timestamp) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(targets.len());
        for targets in targets.chunks(TARGETS_MAX) {
            outcomes.extend(self.ask(targets, issued_before).await);
        }
        outcomes
    }
}

fn name(target: &AblyTarget) -> String {
    match target {
        AblyTarget::Client(user) => format!("clientId:{user}"),
        AblyTarget::Session(session) => format!("revocationKey:{session}"),
    }
}

#[derive(Deserialize)]
struct TargetResult {
    target: String,
    error: Option<ErrorInfo>,
}

/// The two shapes of the answer, as with batches: since version 3 an object, before that a flat list, which also
/// stands in a 400 with code 40020 when some targets failed.
#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Results {
        results: Vec<TargetResult>,
    },
    Flat(Vec<TargetResult>),
    #[serde(rename_all = "camelCase")]
    Partial {
        batch_response: Vec<TargetResult>,
    },
}

/// Says what became of each target. `None` where the answer holds no results.
fn by_target(answer: &Answer) -> Option<HashMap<String, Outcome>> {
    let results = match serde_json::from_slice(&answer.body).ok()? {
        Body::Results { results } => results,
        Body::Flat(results) if answer.is_success() => results,
        Body::Partial { batch_response } => batch_response,
        Body::Flat(_) => return None,
    };
    let read = |item: TargetResult| {
        let told = item
            .error
            .map_or(Outcome::Accepted, |error| outcome(&error, Duration::ZERO, false));
        (item.target, told)
    };
    Some(results.into_iter().map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: None,
            error_code: None,
            from_edge: false,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn both_shapes_are_read_and_each_target_has_its_own_outcome() {
        let list = r#"[{"target":"clientId:a","issuedBefore":1,"appliesAt":1},
            {"target":"clientId:b","error":{"code":40000,"statusCode":400,"message":"no"}},
            {"target":"clientId:c","error":{"code":50000,"statusCode":500,"message":"no"}}]"#;
        let since_3 = format!(r#"{{"successCount":1,"failureCount":2,"results":{list}}}"#);
        let partial = format!(r#"{{"error":{{"code":40020,"statusCode":400}},"batchResponse":{list}}}"#);
        for (status, body) in [
            (201, since_3.as_str()),
            (400, &since_3),
            (201, list),
            (400, &partial),
        ] {
            let told = by_target(&answer(status, body)).unwrap();
            assert_eq!(told["clientId:a"], Outcome::Accepted, "{body}");
            assert_eq!(told["clientId:b"], Outcome::Refused { code: 40_000 }, "{body}");
            assert!(matches!(told["clientId:c"], Outcome::Transient { .. }), "{body}");
        }
        for (status, body) in [
            (201, ""),
            (201, "{}"),
            (400, list),
            (403, r#"{"error":{"code":40160}}"#),
        ] {
            assert!(by_target(&answer(status, body)).is_none(), "{status} {body}");
        }
    }
}
