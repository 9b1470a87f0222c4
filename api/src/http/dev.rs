//! Development mode: tokens for everybody.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Mint, TokenError};
use domain::capability::{Principal, Role};
use domain::ids::{ID_MAX_CHARS, InvalidId};
use domain::notification::FieldError;
use domain::time::Timestamp;
use poem::web::Data;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::problem::{JSON_BODY, Kind, Outcome, Problem, causes};
use super::request::{JsonBody, RequestBody};
use super::schema::{IdText, MomentText};
use super::{Group, Services};

const TTL_DEFAULT_S: u64 = 3_600;
/// A working day and a night.
const TTL_MAX_S: u64 = 86_400;

causes! {
    Minting = [JSON_BODY, &[Kind::NotFound]];
}

/// Development mode.
pub(crate) struct DevApi;

#[OpenApi(tag = "Group::Development")]
#[expect(clippy::unused_async, reason = "handlers are async, whether they wait or not")]
impl DevApi {
    /// Get a token for anybody
    ///
    /// Only in development mode, which runs on the machine itself alone; otherwise the address is unknown.
    #[oai(path = "/dev/token", method = "post", operation_id = "devToken")]
    async fn token(
        &self,
        services: Data<&Arc<Services>>,
        body: JsonBody<IdentityBody>,
    ) -> Outcome<Answer<TokenBody>, Minting> {
        let mint = services.mint.as_deref().filter(|_| services.config.dev);
        let mint = mint.ok_or_else(|| Problem::not_found("address"))?;
        let token = mint_token(mint, body.0, services.clock.now())?;
        Ok(Answer::new(&token))
    }
}

fn mint_token(mint: &dyn Mint, identity: IdentityBody, now: Timestamp) -> Result<TokenBody, Problem> {
    let ttl = Duration::from_secs(identity.ttl_seconds);
    let principal = identity.principal().map_err(Problem::fields)?;
    let token = mint.mint(&principal, ttl).map_err(|error| match error {
        TokenError::TooManyMemberships => Problem::field("units", error.to_string()),
        other => Problem::field("sub", other.to_string()),
    })?;
    Ok(TokenBody {
        token,
        expires_at: now.plus(ttl).into(),
    })
}

/// Who a token is for.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields, default)]
#[oai(rename = "Identity", example)]
pub(crate) struct IdentityBody {
    /// The person's id.
    sub: IdText,
    /// Role codes, such as `CIDADAO`, `TECNICO`, `GESTOR`, `ADMIN` or `SERVICE`.
    #[oai(default)]
    roles: Vec<String>,
    /// The units that they belong to.
    #[oai(default)]
    units: Vec<IdText>,
    /// The benefit types that they work on.
    #[oai(default)]
    benefits: Vec<IdText>,
    /// How long the token counts.
    #[serde(default = "ttl_default")]
    #[oai(
        default = "ttl_default",
        validator(minimum(value = "1"), maximum(value = "86400"))
    )]
    ttl_seconds: u64,
}

const fn ttl_default() -> u64 {
    TTL_DEFAULT_S
}

impl IdentityBody {
    fn principal(self) -> Result<Principal, Vec<FieldError>> {
        let mut errors = Vec::new();
        let id_detail = format!("must be 1 to {ID_MAX_CHARS} of A-Z a-z 0-9 _ -");
        let user = self.sub.0.parse().map_err(|_: InvalidId| {
            errors.push(FieldError::new("sub", id_detail.clone()));
        });
        let units = ids("units", self.units, &id_detail, &mut errors);
        let benefits = ids("benefits", self.benefits, &id_detail, &mut errors);
        if !(1..=TTL_MAX_S).contains(&self.ttl_seconds) {
            errors.push(FieldError::new(
                "ttl_seconds",
                format!("must be 1 to {TTL_MAX_S}"),
            ));
        }
        let (Ok(user), true) = (user, errors.is_empty()) else {
            return Err(errors);
        };
        let roles = self.roles.iter().map(|code| Role::new(code));
        Principal::new(user, roles)
            .with_memberships(units, benefits)
            .map_err(|error| vec![FieldError::new("units", error.to_string())])
    }
}

fn ids<T: std::str::FromStr<Err = InvalidId>>(
    field: &str,
    texts: Vec<IdText>,
    detail: &str,
    errors: &mut Vec<FieldError>,
) -> Vec<T> {
    let mut ids = Vec::with_capacity(texts.len());
    for (index, IdText(text)) in texts.into_iter().enumerate() {
        match text.parse() {
            Ok(id) => ids.push(id),
            Err(InvalidId) => errors.push(FieldError::new(format!("{field}[{index}]"), detail)),
        }
    }
    ids
}

impl RequestBody for IdentityBody {}

impl Example for IdentityBody {
    fn example() -> Self {
        Self {
            sub: IdText("u-42".to_owned()),
            roles: vec!["TECNICO".to_owned()],
            units: vec![IdText("cras-1".to_owned())],
            benefits: Vec::new(),
            ttl_seconds: TTL_DEFAULT_S,
        }
    }
}

/// A token.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Token", example)]
pub(crate) struct TokenBody {
    /// Goes into `Authorization: Bearer`.
    token: String,
    /// When it stops counting.
    expires_at: MomentText,
}

impl Example for TokenBody {
    fn example() -> Self {
        Self {
            token: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1LTQyIn0.c2lnbmF0dXJl".to_owned(),
            expires_at: MomentText("2026-01-01T13:00:00.000Z".to_owned()),
        }
    }
}
