//! What addresses look like: sockets, services, networks, origins.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use super::key::{Shape, Takes};
use super::{AblyEndpoint, Origin};

/// An address to listen on.
pub(super) struct Address;

impl Takes<SocketAddr> for Address {
    fn describe(&self) -> String {
        "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned()
    }

    fn parse(&self, text: &str) -> Option<SocketAddr> {
        match text.strip_prefix("localhost:") {
            Some(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?))),
            None => text.parse().ok(),
        }
    }
}

/// Tells whether a host can only be this machine.
fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Which addresses of services may go without encryption.
pub(super) enum Web {
    /// `https`, and `http` on this machine.
    Encrypted,
    /// `https` and `http`.
    Any,
}

impl Takes<Url> for Web {
    fn describe(&self) -> String {
        match self {
            Self::Encrypted => "an https address (http on loopback), without user, password or fragment",
            Self::Any => "an http or https address, without user, password, query or fragment",
        }
        .to_owned()
    }

    fn parse(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let host = url.host()?;
        let fits = match (self, url.scheme()) {
            (Self::Encrypted, "https") => true,
            (Self::Encrypted, "http") => is_loopback(&host),
            (Self::Any, "http" | "https") => url.query().is_none(),
            _ => false,
        };
        (bare && fits).then_some(url)
    }
}

/// Items separated by commas.
fn items<T>(text: &str, item: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let trimmed = text.split(',').map(str::trim);
    trimmed.filter(|part| !part.is_empty()).map(item).collect()
}

/// A list of networks.
pub(super) struct Networks;

impl Takes<Vec<IpNet>> for Networks {
    fn describe(&self) -> String {
        "networks such as 10.0.0.0/8, fd00::/8 or 192.0.2.7, separated by commas".to_owned()
    }

    fn parse(&self, text: &str) -> Option<Vec<IpNet>> {
        items(text, |item| {
            let network = item.parse::<IpNet>();
            network
                .map(|network| network.trunc())
                .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
                .ok()
        })
    }

    fn shape(&self) -> Shape {
        Shape::List
    }
}

/// A list of origins.
pub(super) struct Origins;

impl Takes<Vec<Origin>> for Origins {
    fn describe(&self) -> String {
        "origins such as https://app.example or https://app.example:8443 (http on loopback), without a path, \
         separated by commas"
            .to_owned()
    }

    fn parse(&self, text: &str) -> Option<Vec<Origin>> {
        items(text, Origin::parse)
    }

    fn shape(&self) -> Shape {
        Shape::List
    }
}

impl Origin {
    /// Reads an origin and writes it as browsers do: in lower case, without the default port.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let (_, authority) = text.split_once("://")?;
        if authority.contains(['/', '?', '#', '@', '\\']) {
            return None;
        }
        let host = url.host()?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&host) => {}
            _ => return None,
        }
        Some(Self(url.origin().ascii_serialization()))
    }
}

/// Where Ably is.
pub(super) struct AblyPlace;

impl Takes<AblyEndpoint> for AblyPlace {
    fn describe(&self) -> String {
        "main, the id of a routing policy, or http://127.0.0.1:PORT".to_owned()
    }

    fn parse(&self, text: &str) -> Option<AblyEndpoint> {
        let is_policy = |id: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':');
            (1..=64).contains(&id.len()) && id.bytes().all(fits)
        };
        match text {
            "main" => Some(AblyEndpoint::Main),
            policy if is_policy(policy) => Some(AblyEndpoint::Policy(policy.to_owned())),
            address => {
                let url = Web::Encrypted.parse(address)?;
                (url.scheme() == "http" && url.path() == "/" && url.query().is_none())
                    .then_some(AblyEndpoint::StandIn(url))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_upsets_a_parser(text in ".*") {
            let _ = Origins.parse(&text);
            let _ = Networks.parse(&text);
            let _ = Web::Any.parse(&text);
            let _ = AblyPlace.parse(&text);
        }
    }

    #[test]
    fn networks_may_be_single_addresses_and_lose_their_host_part() {
        let networks = Networks.parse("10.1.2.3/8, fd00::/8,192.0.2.7,").unwrap();
        let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.0/8", "fd00::/8", "192.0.2.7/32"]);
        assert_eq!(Networks.parse(""), Some(Vec::new()));
        for text in ["10.0.0.0/33", "ten", "10.0.0.0/8;11.0.0.0/8"] {
            assert_eq!(Networks.parse(text), None, "{text}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_write_them() {
        for (text, expected) in [
            ("https://App.Example", "https://app.example"),
            ("https://app.example:443", "https://app.example"),
            ("https://app.example:8443", "https://app.example:8443"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("https://órgão.example", "https://xn--rgo-nla1f.example"),
        ] {
            let origin = Origin::parse(text).map(|origin| origin.as_str().to_owned());
            assert_eq!(origin.as_deref(), Some(expected), "{text}");
        }
        for text in [
            "*",
            "null",
            "app.example",
            "http://app.example",
            "https://app.example/",
            "https://app.example/path",
            "https://u@app.example",
            "https://",
            "ftp://app.example",
        ] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_of_services_are_encrypted_or_local() {
        for text in [
            "https://id.example/keys",
            "http://127.0.0.1:9/keys",
            "http://localhost/keys",
        ] {
            assert!(Web::Encrypted.parse(text).is_some(), "{text}");
        }
        for text in [
            "http://id.example/keys",
            "https://u:p@id.example",
            "file:///keys",
            "keys",
        ] {
            assert!(Web::Encrypted.parse(text).is_none(), "{text}");
        }
        assert!(Web::Any.parse("http://intranet/avisos").is_some());
        assert!(Web::Any.parse("https://a.example/?q").is_none());
    }

    #[test]
    fn an_address_to_listen_on_has_a_port() {
        assert_eq!(
            Address.parse("localhost:80"),
            Some(SocketAddr::from(([127, 0, 0, 1], 80)))
        );
        assert!(Address.parse("[::1]:0").is_some());
        for text in ["8080", "127.0.0.1", ":8080", "example:80", "localhost:x"] {
            assert_eq!(Address.parse(text), None, "{text}");
        }
    }

    #[test]
    fn ably_is_main_a_policy_or_a_stand_in_on_this_machine() {
        assert_eq!(AblyPlace.parse("main"), Some(AblyEndpoint::Main));
        assert_eq!(
            AblyPlace.parse("eu-1"),
            Some(AblyEndpoint::Policy("eu-1".to_owned()))
        );
        assert!(matches!(
            AblyPlace.parse("http://127.0.0.1:9000"),
            Some(AblyEndpoint::StandIn(_))
        ));
        for text in [
            "",
            "http://ably.example",
            "https://127.0.0.1:9000",
            "http://127.0.0.1:9/x",
            "a/b",
        ] {
            assert_eq!(AblyPlace.parse(text), None, "{text}");
        }
    }
}
