//! Tokens for Ably.

use std::sync::Arc;

use application::ports::{AblyFormat, AblyToken, AblyTokenRequest};
use poem::web::Data;
use poem::{Body, IntoResponse, Response};
use poem_openapi::registry::{
    MetaMediaType, MetaResponse, MetaResponses, MetaSchema, MetaSchemaRef, Registry,
};
use poem_openapi::types::{Example, Type};
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::Serialize;

use super::problem::{CALLER, Causes, Fails, Form, Kind, Outcome, Problem};
use super::request::{Asked, Caller, Faults, FromTexts, once};
use super::{Group, Services, schema};
use crate::wire::to_json;

const JWT: &str = "application/jwt";
const JSON: &str = "application/json";

/// Why there is no token for Ably.
pub(crate) struct Issuing;

impl Causes for Issuing {
    const KINDS: &'static [&'static [Kind]] = &[
        CALLER,
        &[
            Kind::InvalidRequest,
            Kind::Forbidden,
            Kind::NotFound,
            Kind::RateLimited,
        ],
    ];
    const FORM: Form = Form::Ably;
}

/// Tokens for Ably.
pub(crate) struct AblyApi;

#[OpenApi(tag = "Group::Streams")]
impl AblyApi {
    /// Get a token for Ably
    ///
    /// Made to be the `authUrl` of `ably-js`. The token lets the caller subscribe to the channels that their stream
    /// would carry, and read the history where the matrix gives that; never publish. It ends with the caller's own
    /// token, and after an hour at most.
    ///
    /// Only the bearer token says who is calling: what `ably-js` adds (`clientId`, `capability`, `ttl`, `timestamp`,
    /// `rnd`) is ignored. 403 means stop: `ably-js` gives up. On any other error it asks again by itself, on 401 too,
    /// which means that the person has to log in again. 404 where Ably is not configured.
    #[oai(path = "/v1/ably/token", method = "get", operation_id = "ablyToken")]
    async fn get(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// `jwt` (the default) for a JSON Web Token, `request` for a signed request that Ably exchanges once. Rights
        /// that would make a JWT too long for clients are answered as a request.
        format: Asked<AblyFormat>,
    ) -> Outcome<Issued, Issuing> {
        issue(&services, &caller, format).await
    }

    /// Get a token for Ably by POST
    ///
    /// The same for clients with `authMethod: 'POST'`. The body is ignored.
    #[oai(path = "/v1/ably/token", method = "post", operation_id = "ablyTokenByPost")]
    async fn post(
        &self,
        services: Data<&Arc<Services>>,
        caller: Caller,
        /// As with GET.
        format: Asked<AblyFormat>,
    ) -> Outcome<Issued, Issuing> {
        issue(&services, &caller, format).await
    }
}

async fn issue(
    services: &Services,
    caller: &Caller,
    format: Asked<AblyFormat>,
) -> Result<Issued, Fails<Issuing>> {
    let tokens = services.ably_tokens.as_ref();
    let tokens = tokens.ok_or_else(|| Problem::not_found("address"))?;
    let mut faults = Faults::default();
    let format = faults.take(format).unwrap_or(AblyFormat::Jwt);
    faults.check()?;
    Ok(Issued(tokens.give(&caller.0, format).await?))
}

impl FromTexts for AblyFormat {
    fn schema() -> MetaSchema {
        schema::one_of_texts(["jwt", "request"])
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| match text {
            "jwt" => Ok(Self::Jwt),
            "request" => Ok(Self::Request),
            _ => Err("must be jwt or request"),
        })
    }
}

/// A request for a token, signed, as Ably takes it from clients.
#[derive(Debug, Serialize, Object)]
#[serde(rename_all = "camelCase")]
#[oai(rename = "AblyTokenRequest", rename_all = "camelCase", example)]
struct TokenRequestBody {
    /// The key that it is signed with.
    key_name: String,
    /// How long the token will count, in milliseconds.
    ttl: u64,
    /// The rights as text: channels, each with `subscribe` or with `history` and `subscribe`.
    capability: String,
    /// The caller's id.
    client_id: String,
    /// When it was signed, in milliseconds. Ably takes it within two minutes of that.
    timestamp: i64,
    /// Random: Ably takes it once.
    nonce: String,
    /// The signature.
    mac: String,
}

impl From<AblyTokenRequest> for TokenRequestBody {
    fn from(request: AblyTokenRequest) -> Self {
        Self {
            key_name: request.key_name,
            ttl: u64::try_from(request.ttl.as_millis()).unwrap_or(u64::MAX),
            capability: request.capability,
            client_id: request.client_id,
            timestamp: request.timestamp.as_millis(),
            nonce: request.nonce,
            mac: request.mac,
        }
    }
}

impl Example for TokenRequestBody {
    fn example() -> Self {
        Self {
            key_name: "xVLyHw.AbCdEf".to_owned(),
            ttl: 3_600_000,
            capability: r#"{"private:user:u-42:notifications":["history","subscribe"]}"#.to_owned(),
            client_id: "u-42".to_owned(),
            timestamp: 1_767_225_600_000,
            nonce: "3f2b8c0d9e7a4165b1c2d3e4f5a69788".to_owned(),
            mac: "m1fLzX7ZQ8kS0d4c2b6yq3Wv5t9uPnRj1aE7hGoKxYs=".to_owned(),
        }
    }
}

/// 200 with a token.
pub(crate) struct Issued(AblyToken);

impl IntoResponse for Issued {
    /// A JWT stands bare: `ably-js` would take a line feed behind it for a part of it.
    fn into_response(self) -> Response {
        let (content_type, body) = match self.0 {
            AblyToken::Jwt(token) | AblyToken::CachedJwt(token) => (JWT, token),
            AblyToken::Request(request) => (JSON, to_json(&TokenRequestBody::from(request))),
        };
        Response::builder()
            .content_type(content_type)
            .body(Body::from_string(body))
    }
}

impl ApiResponse for Issued {
    fn meta() -> MetaResponses {
        let jwt = MetaMediaType {
            content_type: JWT,
            schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))),
        };
        let request = MetaMediaType {
            content_type: JSON,
            schema: TokenRequestBody::schema_ref(),
        };
        MetaResponses {
            responses: vec![MetaResponse {
                description: "A token, or a signed request for one.",
                status: Some(200),
                status_range: None,
                content: vec![jwt, request],
                headers: Vec::new(),
            }],
        }
    }

    fn register(registry: &mut Registry) {
        TokenRequestBody::register(registry);
    }
}
