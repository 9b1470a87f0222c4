//! Who may administer the service.

use std::sync::Arc;

use domain::capability::Principal;
use poem::{Request, RequestBody, Result};
use poem_openapi::registry::Registry;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::http::problem::{Kind, Problem};
use crate::http::request::Caller;
use crate::http::services_of;

/// What every operation for administrators can answer, beside what it answers everybody with a token.
pub(crate) const ADMINISTRATOR: &[Kind] = &[Kind::Forbidden];

/// Someone whose token counts and whose roles administer the service. Taken before the body, so that nobody else
/// learns what a good one is.
pub(crate) struct Administrator(pub(crate) Arc<Principal>);

impl<'a> ApiExtractor<'a> for Administrator {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        <Caller as ApiExtractor>::register(registry);
    }

    fn security_schemes() -> Vec<&'static str> {
        <Caller as ApiExtractor>::security_schemes()
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        options: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let Caller(person) = Caller::from_request(request, body, options).await?;
        if services_of(request)?.rights.matrix().administers(&person) {
            return Ok(Self(person));
        }
        let detail = "none of your roles may administer the service";
        Err(Problem::new(Kind::Forbidden, detail).into())
    }
}
