//! The edge over use cases whose ports are stood in for.

mod ably;
mod admin;
mod coding;
mod conformance;
mod degrade;
mod deliveries;
mod explain;
mod headers;
mod health;
mod inbox;
mod limits;
mod pages;
mod publish;
mod streams;
mod transport;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;

use flate2::read::GzDecoder;
use futures_util::future::BoxFuture;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Body, Endpoint, Request, RequestParts, Response};
use serde_json::Value;

use self::conformance::Conformance;
pub(super) use self::world::World;
use super::edge::RoutePattern;
use super::{Services, routes};

/// Calls the service, and holds every answer against the document.
struct Client {
    call: Box<dyn Fn(Request) -> BoxFuture<'static, Response>>,
    conformance: Conformance,
}

impl Client {
    fn new(services: Services) -> Self {
        let endpoint = Arc::new(routes(services));
        Self {
            call: Box::new(move |request| {
                let endpoint = Arc::clone(&endpoint);
                Box::pin(async move { endpoint.get_response(request).await })
            }),
            conformance: Conformance::new(),
        }
    }

    fn request(&self, method: Method, address: &str) -> Call<'_> {
        Call {
            client: self,
            method,
            address: address.to_owned(),
            headers: HeaderMap::new(),
            body: Body::empty(),
            peer: RemoteAddr::default(),
        }
    }

    fn get(&self, address: &str) -> Call<'_> {
        self.request(Method::GET, address)
    }

    fn post(&self, address: &str) -> Call<'_> {
        self.request(Method::POST, address)
    }
}

/// A request in the making.
struct Call<'a> {
    client: &'a Client,
    method: Method,
    address: String,
    headers: HeaderMap,
    body: Body,
    peer: RemoteAddr,
}

impl Call<'_> {
    fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = RemoteAddr(peer.into());
        self
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        self.headers
            .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    /// Replaces a header.
    fn set(mut self, name: &str, value: &str) -> Self {
        self.headers.remove(name);
        self.header(name, value)
    }

    fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn json(mut self, text: impl Into<String>) -> Self {
        self.body = Body::from_string(text.into());
        self.header("content-type", "application/json")
    }

    fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    async fn send(self) -> Reply {
        let (client, method) = (self.client, self.method.clone());
        let (pattern, reply) = self.send_unchecked().await;
        client.conformance.check(pattern, &method, &reply);
        reply
    }

    /// For answers that are not in the document because they must never happen.
    async fn send_unchecked(self) -> (Option<RoutePattern>, Reply) {
        let request = http::Request::builder().method(self.method).uri(&self.address);
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.headers = self.headers;
        let parts = RequestParts::from((parts, LocalAddr::default(), self.peer, Scheme::HTTP));
        let response = (self.client.call)(Request::from_parts(parts, self.body)).await;
        let pattern = response.data::<RoutePattern>().copied();
        let (parts, body) = response.into_parts();
        let sent = body.into_vec().await.unwrap();
        let text = if parts.headers.contains_key(header::CONTENT_ENCODING) {
            std::io::read_to_string(GzDecoder::new(sent.as_slice())).unwrap()
        } else {
            String::from_utf8(sent.clone()).unwrap()
        };
        let reply = Reply {
            status: parts.status,
            headers: parts.headers,
            text,
            sent_bytes: sent.len(),
        };
        (pattern, reply)
    }
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
    /// How many bytes it took.
    sent_bytes: usize,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Asserts that it is a problem, and returns the last part of its type.
    fn problem(&self) -> String {
        assert_eq!(
            self.header(header::CONTENT_TYPE.as_str()),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        problem["type"]
            .as_str()
            .unwrap()
            .strip_prefix("/problems/")
            .unwrap()
            .to_owned()
    }

    /// Asserts that it is a problem of this status and kind.
    fn refuses(&self, status: u16, kind: &str) {
        assert_eq!(
            (self.status.as_u16(), self.problem().as_str()),
            (status, kind),
            "{}",
            self.text
        );
    }

    fn fields(&self) -> Vec<String> {
        let errors = self.json()["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    }
}
