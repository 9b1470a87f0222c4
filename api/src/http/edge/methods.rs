//! One address and its methods.

use std::collections::HashMap;

use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderValue, Method};
use poem::{Endpoint, Request, Response, Result};

use crate::http::problem::Problem;

/// The pattern of the address that was called, such as `/v1/notifications/:param0`. Fit for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RoutePattern(pub(crate) &'static str);

/// One address and its methods. HEAD is answered as GET is, except where GET opens a stream.
pub(crate) struct Methods {
    pattern: RoutePattern,
    endpoints: HashMap<Method, BoxEndpoint<'static>>,
    allow: HeaderValue,
    heads: bool,
}

impl Methods {
    /// Takes the methods of an address.
    pub(crate) fn new(pattern: &str, endpoints: HashMap<Method, BoxEndpoint<'static>>) -> Self {
        let opens_stream = matches!(pattern, "/v1/stream" | "/v1/ws");
        let heads = endpoints.contains_key(&Method::GET) && !opens_stream;
        let mut names: Vec<&str> = endpoints.keys().map(Method::as_str).collect();
        if heads {
            names.push("HEAD");
        }
        names.sort_unstable();
        let allow = HeaderValue::try_from(names.join(", ")).unwrap_or(HeaderValue::from_static("GET"));
        Self {
            // One for each address of the service, for as long as it runs.
            pattern: RoutePattern(pattern.to_owned().leak()),
            endpoints,
            allow,
            heads,
        }
    }

    fn endpoint(&self, method: &Method) -> Option<&BoxEndpoint<'static>> {
        let method = if self.heads && method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        self.endpoints.get(method)
    }
}

impl Endpoint for Methods {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let answer = match self.endpoint(request.method()) {
            // The body of an answer to HEAD is left out by the connection, which keeps its length.
            Some(endpoint) => endpoint.call(request).await,
            None => Err(Problem::method_not_allowed(self.allow.clone()).into()),
        };
        match answer {
            Ok(mut response) => {
                response.set_data(self.pattern);
                Ok(response)
            }
            Err(mut error) => {
                error.set_data(self.pattern);
                Err(error)
            }
        }
    }
}
