//! Nodes as processes, with people who publish and people who listen, and the account of what each of them must have got.

pub(crate) mod cast;
pub(crate) mod ledger;
pub(crate) mod publisher;
pub(crate) mod reader;
mod rehearsal;
mod roll;

use std::net::SocketAddr;
use std::time::Duration;

use tests::nginx::{Nginx, certificate, deployed};
use tests::node::Node;
use tests::port::Port;
use tests::token::Issuer;

pub(crate) use roll::{Dice, Person, people};

/// What all nodes of a test are told alike.
pub(crate) struct Setup {
    pub(crate) issuer: Issuer,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// Nodes that keep everything in memory, unless told otherwise.
    pub(crate) fn new() -> Self {
        let issuer = Issuer::new();
        let secret = issuer.secret().to_owned();
        let setup = Self {
            issuer,
            environment: Vec::new(),
        };
        setup
            .with("ARAUTO_JWT_SECRET", &secret)
            // Limits have tests of their own; here a hundred clients come from one address.
            .with("ARAUTO_RATE_LIMIT_ENABLED", "false")
            // A client knows after seconds that a node has gone silent.
            .with("ARAUTO_HEARTBEAT_BASE", "1s")
            .with("ARAUTO_HEARTBEAT_MIN", "1s")
            .with("ARAUTO_HEARTBEAT_MAX", "2s")
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Nodes that share a database.
    pub(crate) fn on_postgres(self, url: &str) -> Self {
        self.with("ARAUTO_STORE", "postgres")
            .with("ARAUTO_DATABASE_URL", url)
    }

    pub(crate) fn environment(&self) -> Vec<(&str, &str)> {
        let borrowed = self.environment.iter();
        borrowed
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    pub(crate) fn node(&self) -> Node {
        Node::start(&self.environment()).unwrap()
    }
}

/// The nginx that is shipped, before nodes.
pub(crate) struct Front {
    pub(crate) nginx: Nginx,
}

impl Front {
    pub(crate) fn before(nodes: &[SocketAddr]) -> Self {
        Self::at(Port::free().unwrap(), &Port::free().unwrap(), nodes)
    }

    /// On ports that are known before it is there; `redirect` sends browsers on to `port`.
    pub(crate) fn at(port: Port, redirect: &Port, nodes: &[SocketAddr]) -> Self {
        let site = deployed(&port, redirect, nodes).unwrap();
        let files = certificate().unwrap();
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        Self {
            nginx: Nginx::start(port, &site, &files).unwrap(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.nginx.address())
    }
}

/// A client that tolerates our self-made certificate. What is silent for longer than `silence` is given up.
pub(crate) fn http(silence: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(3))
        .read_timeout(silence)
        .danger_accept_invalid_certs(true)
        .build()
        .unwrap()
}

pub(crate) fn plain(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// Waits for a condition, with a deadline.
pub(crate) async fn until(what: &str, at_most: Duration, mut look: impl FnMut() -> Result<(), String>) {
    let deadline = tests::server::now() + at_most;
    loop {
        let Err(missing) = look() else { return };
        assert!(
            tests::server::now() < deadline,
            "{what}: not within {at_most:?}: {missing}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
