//! Who is calling: a bearer token in the header, never in the address.

use std::sync::Arc;

use application::ports::{Observation, TokenError};
use domain::capability::Principal;
use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::http::edge::ClientAddress;
use crate::http::edge::limit::admit;
use crate::http::edge::trace::Trace;
use crate::http::problem::{Form, Kind, Problem, token_missing, token_refusal};
use crate::http::services_of;

const SCHEME: &str = "bearer";

/// Someone whose token counts.
pub(crate) struct Caller(pub(crate) Arc<Principal>);

/// Someone whose token counts, or nobody. A token that does not count is refused all the same.
pub(crate) struct MaybeCaller(pub(crate) Option<Arc<Principal>>);

impl<'a> ApiExtractor<'a> for Caller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        if let Some(principal) = verify(request).await? {
            return Ok(Self(principal));
        }
        admit(request, None).await?;
        Err(token_missing().into())
    }
}

impl<'a> ApiExtractor<'a> for MaybeCaller {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        vec![SCHEME]
    }

    fn has_security_fallback() -> bool {
        true
    }

    async fn from_request(
        request: &'a Request,
        _body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        Ok(Self(verify(request).await?))
    }
}

fn register(registry: &mut Registry) {
    let description = "A JSON Web Token (HS256/384/512, RS256, ES256 or EdDSA, as the service's keys say) with \
                       `sub` (1 to 64 of `A-Z a-z 0-9 _ -`) and `exp`; `roles`, `units` and `benefits` are arrays \
                       of texts.";
    registry.create_security_scheme(
        SCHEME,
        MetaSecurityScheme {
            ty: "http",
            description: Some(description),
            name: None,
            key_in: None,
            scheme: Some("bearer"),
            bearer_format: Some("JWT"),
            flows: None,
            openid_connect_url: None,
        },
    );
}

async fn verify(request: &Request) -> Result<Option<Arc<Principal>>> {
    let Some(token) = bearer(request.headers()) else {
        return Ok(None);
    };
    let services = services_of(request)?;
    match services.tokens.verify(token).await {
        Ok(principal) => {
            Trace::is(request, services, &principal.user);
            admit(request, Some(&principal)).await?;
            Ok(Some(Arc::new(principal)))
        }
        Err(error) => {
            services
                .observer
                .saw(&Observation::TokenRefused(token_refusal(&error)));
            if forged(&error) {
                services.watch.failed(ClientAddress::of(request, services).0);
            }
            // Keys that cannot be fetched are no fault of whoever shows a token.
            if error != TokenError::KeysUnavailable {
                admit(request, None).await?;
            }
            Err(refusal(request, error).into())
        }
    }
}

/// `ably-js` asks for ever after a 401, and 403 ends that: nobody who was shut out is to knock every fifteen seconds.
fn refusal(request: &Request, error: TokenError) -> Problem {
    let for_ably = Form::at(request.uri().path()) == Form::Ably;
    if for_ably && error == TokenError::Revoked {
        return Problem::new(Kind::Forbidden, error.to_string());
    }
    error.into()
}

/// Tells whether a token was made up, or somebody else's: one that is merely over is no attempt at anything.
pub(crate) const fn forged(error: &TokenError) -> bool {
    match error {
        TokenError::Malformed(_)
        | TokenError::AlgorithmNotAccepted
        | TokenError::UnknownKey
        | TokenError::BadSignature
        | TokenError::WrongIssuer
        | TokenError::WrongAudience => true,
        TokenError::Expired
        | TokenError::Revoked
        | TokenError::NotYetValid
        | TokenError::SubjectNotAddressable
        | TokenError::TooManyMemberships
        | TokenError::KeysUnavailable => false,
    }
}

/// Finds the token; its scheme is compared without regard to case (RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        bearer(&headers).map(ToOwned::to_owned)
    }

    #[test]
    fn only_a_bearer_token_is_one() {
        assert_eq!(found("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(found("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(found("Basic abc"), None);
        assert_eq!(found("Bearer"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
