//! Which pages may call the service from a browser (CORS), and open a WebSocket.

use std::collections::HashSet;

use poem::Response;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::http::HttpConfig;
use crate::http::problem::{Kind, Problem};

const ALLOW_METHODS: &str = "GET, HEAD, POST, PUT, DELETE";
const ALLOW_HEADERS: &str = "Authorization, Content-Type, Last-Event-ID, Idempotency-Key, traceparent";
const EXPOSE_HEADERS: &str = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-Id, \
                              Idempotent-Replayed, x-ably-errorcode";
/// Browsers ask again after this many seconds; Chromium caps it at two hours.
const MAX_AGE: &str = "7200";

/// The origins that may call the service, exactly as browsers write them. There is no wildcard.
#[derive(Debug)]
pub(crate) struct Origins {
    listed: HashSet<String>,
    /// The service's own, as browsers see it.
    own: Option<String>,
    /// In development every page of this machine may call.
    loopback: bool,
}

impl Origins {
    pub(crate) fn new(config: &HttpConfig) -> Self {
        let normal = |origin: &String| origin.trim_end_matches('/').to_ascii_lowercase();
        Self {
            listed: config.cors_origins.iter().map(normal).collect(),
            own: config
                .public_url
                .as_ref()
                .map(|public| public.origin().to_owned()),
            loopback: config.dev,
        }
    }

    fn allows(&self, origin: &str) -> bool {
        self.listed.contains(origin) || (self.loopback && authority(origin).is_some_and(is_loopback_host))
    }

    /// Tells whether a page of this origin may open a WebSocket on the host that was asked for. Browsers apply no
    /// CORS to a WebSocket, so the service itself has to look. Clients that are no browsers send no origin.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let same_host =
            authority(origin).is_some_and(|own| host.is_some_and(|host| own.eq_ignore_ascii_case(host)));
        same_host || self.own.as_deref() == Some(origin) || self.allows(origin)
    }

    /// Keeps what [`Origins::share`] needs of a request.
    pub(crate) fn relevant(headers: &HeaderMap) -> HeaderMap {
        let mut kept = HeaderMap::new();
        if let Some(origin) = headers.get(header::ORIGIN) {
            kept.insert(header::ORIGIN, origin.clone());
        }
        kept
    }

    /// Answers a preflight request; `None` when it is none.
    pub(crate) fn preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Result<Response, Problem>> {
        if method != Method::OPTIONS || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or("?");
        if !self.allows(origin) {
            let detail = "pages of this origin may not call the service";
            return Some(Err(Problem::new(Kind::OriginNotAllowed, detail)));
        }
        let answer = Response::builder()
            .status(StatusCode::NO_CONTENT)
            .header(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOW_METHODS)
            .header(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS)
            .header(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE)
            .finish();
        Some(Ok(answer))
    }

    /// Lets the page of a listed origin read the answer. Every answer depends on who asks, so caches are told.
    pub(crate) fn share(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = request.get(header::ORIGIN) else {
            return;
        };
        if !origin.to_str().is_ok_and(|origin| self.allows(origin)) {
            return;
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(
            header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
        answer.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSE_HEADERS),
        );
    }
}

fn authority(origin: &str) -> Option<&str> {
    let (scheme, authority) = origin.split_once("://")?;
    matches!(scheme, "http" | "https").then_some(authority)
}

/// Tells whether a host, with or without a port, is the machine itself.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(dev: bool, listed: &[&str], public_url: Option<&str>) -> Origins {
        Origins::new(&HttpConfig {
            dev,
            cors_origins: listed.iter().map(|origin| (*origin).to_owned()).collect(),
            public_url: public_url.map(|url| url.parse().unwrap()),
            ..HttpConfig::default()
        })
    }

    fn admits(origins: &Origins, origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, origin.parse().unwrap());
        headers.insert(header::HOST, host.parse().unwrap());
        origins.admits(&headers)
    }

    #[test]
    fn a_socket_is_opened_for_listed_origins_and_for_the_service_s_own() {
        let origins = origins(
            false,
            &["https://app.example/"],
            Some("https://gov.example/avisos"),
        );
        assert!(origins.admits(&HeaderMap::new()), "no browser");
        for (origin, host) in [
            ("https://app.example", "arauto:8080"),
            ("https://gov.example", "arauto:8080"),
            ("https://arauto:8080", "arauto:8080"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            assert!(admits(&origins, origin, host), "{origin}");
        }
        for origin in [
            "https://app.example.evil",
            "https://evil-app.example",
            "http://app.example",
            "https://app.example:444",
            "http://localhost:3000",
            "null",
            "file://",
            "chrome-extension://arauto:8080",
        ] {
            assert!(!admits(&origins, origin, "arauto:8080"), "{origin}");
        }
    }

    #[test]
    fn in_development_every_page_of_this_machine_may_call() {
        let origins = origins(true, &[], None);
        for origin in ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:5173"] {
            assert!(admits(&origins, origin, "127.0.0.1:8080"), "{origin}");
        }
        for origin in ["http://localhost.evil.example", "http://192.168.0.2:3000", "null"] {
            assert!(!admits(&origins, origin, "127.0.0.1:8080"), "{origin}");
        }
    }
}
