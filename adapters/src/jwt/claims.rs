//! Claims, and the person they describe.

use std::str::FromStr;
use std::time::Duration;

use application::ports::TokenError;
use domain::capability::{Principal, Role};
use domain::ids::UserId;
use domain::time::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Expected;
use super::compact::read_object;

/// Clocks of issuers are off by seconds.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

/// The capability matrix knows ten; identity providers add some of their own.
pub(super) const ROLES_MAX: usize = 50;

/// Claims of any shape. A claim that stands twice is no claim (RFC 7519, 4).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Claims {
    #[serde(deserialize_with = "given")]
    sub: Option<Value>,
    #[serde(deserialize_with = "given")]
    exp: Option<Value>,
    #[serde(deserialize_with = "given")]
    nbf: Option<Value>,
    #[serde(deserialize_with = "given")]
    iat: Option<Value>,
    #[serde(deserialize_with = "given")]
    iss: Option<Value>,
    #[serde(deserialize_with = "given")]
    aud: Option<Value>,
    #[serde(deserialize_with = "given")]
    jti: Option<Value>,
    #[serde(deserialize_with = "given")]
    roles: Option<Value>,
    #[serde(deserialize_with = "given")]
    units: Option<Value>,
    #[serde(deserialize_with = "given")]
    benefits: Option<Value>,
    #[serde(deserialize_with = "given")]
    profile: Option<Value>,
}

/// Keeps `null` apart from what is absent.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What a token says, once it is believed.
pub(super) struct Claimed {
    pub(super) principal: Principal,
    times: Times,
}

impl Claimed {
    /// Checks once more what depends on the moment alone.
    pub(super) fn check_times(&self, now: Timestamp) -> Result<(), TokenError> {
        self.times.check(now)
    }
}

/// When a token counts.
#[derive(Debug, Clone, Copy)]
struct Times {
    issued_at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    expires_at: Timestamp,
}

impl Times {
    fn check(self, now: Timestamp) -> Result<(), TokenError> {
        if now >= self.expires_at.plus(LEEWAY) {
            return Err(TokenError::Expired);
        }
        let ahead = |at: Timestamp| at > now.plus(LEEWAY);
        if self.not_before.is_some_and(ahead) || self.issued_at.is_some_and(ahead) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

/// Checks verified claims and describes the person.
pub(super) fn believed(json: &[u8], expected: &Expected, now: Timestamp) -> Result<Claimed, TokenError> {
    let claims: Claims = read_object(json).ok_or(TokenError::Malformed(
        "its claims are not a JSON object in which each stands once",
    ))?;
    let times = claims.times()?;
    times.check(now)?;
    claims.check_origin(expected)?;
    let user: UserId = claims
        .sub
        .as_ref()
        .and_then(Value::as_str)
        .and_then(|sub| sub.parse().ok())
        .ok_or(TokenError::SubjectNotAddressable)?;
    let roles = texts(claims.roles.as_ref(), "`roles` must be an array of strings")?;
    if roles.len() > ROLES_MAX {
        return Err(TokenError::Malformed("`roles` names more than 50"));
    }
    let units = ids(
        claims.units.as_ref(),
        "`units` must be an array of ids of 1 to 64 of A-Z a-z 0-9 _ -",
    )?;
    let benefits = ids(
        claims.benefits.as_ref(),
        "`benefits` must be an array of ids of 1 to 64 of A-Z a-z 0-9 _ -",
    )?;
    let principal = Principal {
        profile: text(claims.profile, "`profile` must be a string")?,
        token_id: text(claims.jti, "`jti` must be a string")?,
        issued_at: times.issued_at,
        expires_at: times.expires_at,
        ..Principal::new(user, roles.into_iter().map(Role::new))
    };
    let principal = principal
        .with_memberships(units, benefits)
        .map_err(|_| TokenError::TooManyMemberships)?;
    Ok(Claimed { principal, times })
}

impl Claims {
    /// Reads when the token was issued, and when it begins and stops to count, leeway aside.
    fn times(&self) -> Result<Times, TokenError> {
        Ok(Times {
            expires_at: moment(self.exp.as_ref(), "`exp` must be a number of seconds")?
                .ok_or(TokenError::Malformed("`exp` is missing"))?,
            not_before: moment(self.nbf.as_ref(), "`nbf` must be a number of seconds")?,
            issued_at: moment(self.iat.as_ref(), "`iat` must be a number of seconds")?,
        })
    }

    fn check_origin(&self, expected: &Expected) -> Result<(), TokenError> {
        if let Some(issuer) = &expected.issuer
            && self.iss.as_ref().and_then(Value::as_str) != Some(issuer)
        {
            return Err(TokenError::WrongIssuer);
        }
        if let Some(audience) = &expected.audience {
            let names = match &self.aud {
                Some(Value::Array(names)) => names.as_slice(),
                Some(name) => std::slice::from_ref(name),
                None => &[],
            };
            if !names.iter().any(|name| name.as_str() == Some(audience)) {
                return Err(TokenError::WrongAudience);
            }
        }
        Ok(())
    }
}

/// Reads a `NumericDate` (RFC 7519, 2). Parts of a second are dropped.
fn moment(claim: Option<&Value>, shape: &'static str) -> Result<Option<Timestamp>, TokenError> {
    let Some(claim) = claim else { return Ok(None) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "seconds beyond i64 saturate, and moments end long before"
    )]
    let seconds = claim
        .as_i64()
        .or_else(|| claim.as_f64().map(|seconds| seconds.floor() as i64))
        .ok_or(TokenError::Malformed(shape))?;
    Ok(Some(Timestamp::from_millis(seconds.saturating_mul(1_000))))
}

fn text(claim: Option<Value>, shape: &'static str) -> Result<Option<String>, TokenError> {
    match claim {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenError::Malformed(shape)),
    }
}

fn texts<'a>(claim: Option<&'a Value>, shape: &'static str) -> Result<Vec<&'a str>, TokenError> {
    let malformed = TokenError::Malformed(shape);
    match claim {
        None => Ok(Vec::new()),
        Some(Value::Array(texts)) => {
            let texts: Option<Vec<&str>> = texts.iter().map(Value::as_str).collect();
            texts.ok_or(malformed)
        }
        Some(_) => Err(malformed),
    }
}

fn ids<T: FromStr>(claim: Option<&Value>, shape: &'static str) -> Result<Vec<T>, TokenError> {
    texts(claim, shape)?
        .into_iter()
        .map(|id| id.parse().map_err(|_| TokenError::Malformed(shape)))
        .collect()
}
