//! What the HTTP edge is told by its configuration.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use domain::stream::ReconnectSpread;
use ipnet::IpNet;
use poem::http::Uri;

use super::request::BodyBudget;

/// What the HTTP edge is told by its configuration.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Development mode: tokens for everybody, the demo page. Only ever on a loopback address.
    pub dev: bool,
    /// Origins whose pages may call the service, as browsers write them: `https://app.example`.
    pub cors_origins: Vec<String>,
    /// The service's address as browsers see it.
    pub public_url: Option<PublicUrl>,
    /// Networks whose `Forwarded` and `X-Forwarded-For` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Networks that may read metrics, beside the machine itself.
    pub metrics_networks: Vec<IpNet>,
    /// How large bodies may be.
    pub body_limits: BodyLimits,
    /// How long a request may take to be answered; streams are answered when they are open.
    pub request_timeout: Duration,
    /// Whether the node takes new work; false from the moment it begins to go.
    pub ready: Arc<AtomicBool>,
    /// This node's id, as connection ids begin with it.
    pub node: String,
    /// How clients are spread when they come back.
    pub spread: ReconnectSpread,
    /// Whether streams and pages are compressed where clients ask for it.
    pub compression: bool,
    /// The memory of all bodies that are being read.
    pub bodies: BodyBudget,
    /// The version of the program.
    pub version: &'static str,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            dev: false,
            cors_origins: Vec::new(),
            public_url: None,
            trusted_proxies: Vec::new(),
            metrics_networks: Vec::new(),
            body_limits: BodyLimits::default(),
            request_timeout: Duration::from_secs(15),
            ready: Arc::new(AtomicBool::new(true)),
            node: String::new(),
            spread: ReconnectSpread::default(),
            compression: true,
            bodies: BodyBudget::default(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// How large bodies may be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// One notification.
    pub publish: usize,
    /// A batch.
    pub batch: usize,
    /// Settings.
    pub settings: usize,
    /// Anything else.
    pub other: usize,
}

impl Default for BodyLimits {
    /// A notification's text takes at most 64 KiB even where every character is an escape, and a thousand ids of
    /// 64 characters nearly 70 KiB more. A thousand overrides of a rollout take 80 KiB, indented a little more.
    fn default() -> Self {
        Self {
            publish: 136 * 1024,
            batch: 4 * 1024 * 1024,
            settings: 128 * 1024,
            other: 16 * 1024,
        }
    }
}

/// The service's address as browsers see it: `https://gov.example` or `https://gov.example/avisos`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    origin: String,
    /// Without a slash at the end; empty at the root.
    path: String,
}

/// A text that is no public address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a public address is http:// or https://, a host and perhaps a path, such as https://gov.example/avisos"
)]
pub struct InvalidPublicUrl;

impl FromStr for PublicUrl {
    type Err = InvalidPublicUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPublicUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidPublicUrl)?;
        let scheme = uri
            .scheme_str()
            .filter(|scheme| matches!(*scheme, "http" | "https"));
        let authority = uri
            .authority()
            .filter(|authority| !authority.as_str().contains('@'));
        let (Some(scheme), Some(authority), None) = (scheme, authority, uri.query()) else {
            return Err(InvalidPublicUrl);
        };
        let path = uri.path().trim_end_matches('/');
        // The path goes into a cookie's attributes.
        if path.contains([';', ',', '"']) {
            return Err(InvalidPublicUrl);
        }
        Ok(Self {
            origin: format!("{scheme}://{authority}").to_ascii_lowercase(),
            path: path.to_owned(),
        })
    }
}

impl PublicUrl {
    /// Returns the origin as browsers write it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the host, with its port where it has one.
    pub fn host(&self) -> &str {
        self.origin.split_once("://").map_or("", |(_, host)| host)
    }

    /// Tells whether browsers reach it by TLS.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https://")
    }

    /// Returns the path that cookies are for.
    pub fn cookie_path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }

    /// Returns the whole address without a slash at the end.
    pub fn address(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_address_is_taken_apart() {
        let url: PublicUrl = "https://Gov.Example:8443/avisos/".parse().unwrap();
        assert_eq!(
            (url.origin(), url.host(), url.cookie_path()),
            ("https://gov.example:8443", "gov.example:8443", "/avisos")
        );
        assert_eq!(url.address(), "https://gov.example:8443/avisos");
        let root: PublicUrl = "http://localhost".parse().unwrap();
        assert_eq!((root.cookie_path(), root.is_https()), ("/", false));
    }

    #[test]
    fn what_is_no_public_address_is_refused() {
        for text in [
            "",
            "gov.example",
            "/avisos",
            "ftp://x",
            "https://a@b",
            "https://a?b=c",
            "https://a/b;c",
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(InvalidPublicUrl), "{text}");
        }
    }
}
