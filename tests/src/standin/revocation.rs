//! Tokens that were taken back.

use serde_json::{Value, json};

use super::ErrorInfo;
use super::grant::{Grant, Life};

/// What one call may name (Ably, token revocation).
const TARGETS_MAX: usize = 100;
/// A revocation can reach back an hour, which is as long as any token of such a key lives.
const REACH_MS: i64 = 60 * 60 * 1_000;
/// What a connection is given to come back with another token, where that is asked for.
const MARGIN_MS: i64 = 30_000;
/// An hour of revocations; the oldest give way.
const KEPT_MAX: usize = 10_000;

/// One revocation.
#[derive(Debug, Clone)]
pub(super) struct Revocation {
    key_name: String,
    kind: String,
    value: String,
    issued_before_ms: i64,
    applies_at_ms: i64,
}

/// All that still can concern a token.
#[derive(Debug, Default)]
pub(super) struct Revocations(Vec<Revocation>);

/// What is asked for.
pub(super) struct Wish {
    targets: Vec<String>,
    issued_before_ms: i64,
    margin_ms: i64,
}

impl Wish {
    pub(super) fn read(body: &Value, now_ms: i64) -> Result<Self, ErrorInfo> {
        let bad = |why: &str| ErrorInfo::new(40000, 400, format!("invalid revocation: {why}"));
        let targets = body["targets"].as_array().ok_or_else(|| bad("no targets"))?;
        let targets: Option<Vec<String>> = targets.iter().map(|t| t.as_str().map(str::to_owned)).collect();
        let targets = targets.ok_or_else(|| bad("a target is no text"))?;
        if targets.is_empty() || targets.len() > TARGETS_MAX {
            return Err(bad("1 to 100 targets"));
        }
        let issued_before_ms = match &body["issuedBefore"] {
            Value::Null => now_ms,
            value => value.as_i64().ok_or_else(|| bad("issuedBefore is no number"))?,
        };
        if issued_before_ms > now_ms || issued_before_ms < now_ms - REACH_MS {
            return Err(bad(
                "issuedBefore lies in the future, or further back than an hour",
            ));
        }
        let margin_ms = if body["allowReauthMargin"] == true {
            MARGIN_MS
        } else {
            0
        };
        Ok(Self {
            targets,
            issued_before_ms,
            margin_ms,
        })
    }
}

impl Revocations {
    /// Takes note, and answers as Ably does since version 3 of its protocol.
    pub(super) fn add(&mut self, key_name: &str, wish: &Wish, now_ms: i64) -> Value {
        let applies_at_ms = now_ms + wish.margin_ms;
        let (mut taken, mut results) = (0, Vec::new());
        for target in &wish.targets {
            let Some((kind @ ("clientId" | "revocationKey" | "channel"), value)) = target.split_once(':')
            else {
                let error = ErrorInfo::new(
                    40000,
                    400,
                    "a target is clientId:, revocationKey: or channel: and a value",
                );
                results.push(json!({ "target": target, "error": error.to_value() }));
                continue;
            };
            taken += 1;
            self.0.push(Revocation {
                key_name: key_name.to_owned(),
                kind: kind.to_owned(),
                value: value.to_owned(),
                issued_before_ms: wish.issued_before_ms,
                applies_at_ms,
            });
            results.push(json!({
                "target": target, "issuedBefore": wish.issued_before_ms, "appliesAt": applies_at_ms,
            }));
        }
        let beyond = self.0.len().saturating_sub(KEPT_MAX);
        self.0.drain(..beyond);
        self.0
            .retain(|revocation| revocation.applies_at_ms > now_ms - REACH_MS);
        json!({ "successCount": taken, "failureCount": results.len() - taken, "results": results })
    }

    /// Tells whether a grant was taken back by now.
    pub(super) fn concern(&self, grant: &Grant, now_ms: i64) -> bool {
        self.0
            .iter()
            .any(|revocation| revocation.applies_at_ms <= now_ms && revocation.names(grant))
    }

    /// Tells whether a grant is taken back, now or soon.
    pub(super) fn announce(&self, grant: &Grant) -> bool {
        self.0.iter().any(|revocation| revocation.names(grant))
    }
}

impl Revocation {
    fn names(&self, grant: &Grant) -> bool {
        let Life::Token { issued_ms, .. } = grant.life else {
            return false;
        };
        self.key_name == grant.key_name
            && issued_ms < self.issued_before_ms
            && match self.kind.as_str() {
                "clientId" => grant.client.name() == Some(&self.value),
                "revocationKey" => grant.revocation_key.as_deref() == Some(&self.value),
                _ => grant.rights.names(&self.value),
            }
    }
}
