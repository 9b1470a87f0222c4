//! Where a request comes from, when proxies stand in between.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use poem::http::{HeaderMap, header};
use poem::{FromRequest, Request, RequestBody, Result};

use crate::http::{Services, services_of};

/// The address that a request comes from; `None` when it cannot be told. Whoever is unknown has no privilege.
pub(crate) struct ClientAddress(pub(crate) Option<IpAddr>);

impl<'a> FromRequest<'a> for ClientAddress {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Ok(Self::of(request, services_of(request)?))
    }
}

impl ClientAddress {
    /// Finds out where a request comes from.
    pub(crate) fn of(request: &Request, services: &Services) -> Self {
        let peer = request.remote_addr().as_socket_addr().map(SocketAddr::ip);
        Self(peer.and_then(|peer| client_address(peer, request.headers(), &services.config.trusted_proxies)))
    }
}

/// Finds the client: the right-most hop that is no trusted proxy.
///
/// Each trusted proxy appends the address that it saw; whatever stands to the left of what trusted proxies wrote, the
/// client may have written itself. `Forwarded` (RFC 7239) and `X-Forwarded-For` are both read. A proxy that writes
/// one of them usually passes the other one through as the client sent it, so where both name a client they must
/// agree.
fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let trusts = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let peer = peer.to_canonical();
    if !trusts(peer) {
        return Some(peer);
    }
    let found = [
        nearest_stranger(hops(headers, header::FORWARDED.as_str(), forwarded_for), trusts),
        nearest_stranger(hops(headers, "x-forwarded-for", |hop| Some(hop)), trusts),
    ];
    match found {
        // The proxy itself is asking.
        [Found::Nothing, Found::Nothing] => Some(peer),
        [Found::Client(client), Found::Nothing] | [Found::Nothing, Found::Client(client)] => Some(client),
        [Found::Client(one), Found::Client(other)] if one == other => Some(one),
        _ => None,
    }
}

#[derive(PartialEq, Eq)]
enum Found {
    /// The header names no hop.
    Nothing,
    /// The header names the client.
    Client(IpAddr),
    /// The header names a hop that is no address.
    Unreadable,
}

fn nearest_stranger(hops: Vec<Option<IpAddr>>, trusts: impl Fn(IpAddr) -> bool) -> Found {
    let mut nearest = Found::Nothing;
    for hop in hops.into_iter().rev() {
        nearest = match hop {
            Some(address) if trusts(address) => Found::Client(address),
            Some(address) => return Found::Client(address),
            None => return Found::Unreadable,
        };
    }
    nearest
}

fn hops(headers: &HeaderMap, name: &str, address: impl Fn(&str) -> Option<&str>) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(|hop| address(hop.trim()).and_then(parse_hop))
        .collect()
}

/// Takes the `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(name, value)| (name.trim(), value.trim()))
        .find(|(name, _)| name.eq_ignore_ascii_case("for"))
        .map(|(_, value)| value.trim_matches('"'))
}

/// Takes an address with or without a port; IPv6 with brackets or without.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let plain = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    plain
        .or_else(with_port)
        .or_else(bracketed)
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, given: &[(&'static str, &str)]) -> Option<String> {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"]
            .map(|network| network.parse().unwrap())
            .into();
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, value.parse().unwrap());
        }
        client_address(peer.parse().unwrap(), &headers, &trusted).map(|address| address.to_string())
    }

    const XFF: &str = "x-forwarded-for";

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(
            client("203.0.113.9", &[(XFF, "127.0.0.1")]).as_deref(),
            Some("203.0.113.9")
        );
        assert_eq!(
            client("203.0.113.9", &[("forwarded", "for=127.0.0.1")]).as_deref(),
            Some("203.0.113.9")
        );
    }

    #[test]
    fn the_right_most_hop_that_is_no_proxy_is_the_client() {
        type Given<'a> = &'a [(&'static str, &'a str)];
        let cases: [(Given<'_>, Option<&str>); 13] = [
            (&[], Some("10.0.0.1")),
            (&[(XFF, "198.51.100.7")], Some("198.51.100.7")),
            (
                &[(XFF, "127.0.0.1, 198.51.100.7, 10.0.0.2")],
                Some("198.51.100.7"),
            ),
            (&[(XFF, "127.0.0.1"), (XFF, "198.51.100.7")], Some("198.51.100.7")),
            (&[(XFF, "10.0.0.3, 10.0.0.2")], Some("10.0.0.3")),
            (&[(XFF, "198.51.100.7:4711")], Some("198.51.100.7")),
            (&[(XFF, "127.0.0.1, unknown")], None),
            (&[(XFF, "")], None),
            (
                &[(
                    "forwarded",
                    "for=127.0.0.1, for=\"[2001:db8::7]:4711\";proto=https;by=10.0.0.1",
                )],
                Some("2001:db8::7"),
            ),
            (&[("forwarded", "For=198.51.100.7")], Some("198.51.100.7")),
            (&[("forwarded", "for=_hidden")], None),
            (&[("forwarded", "for=127.0.0.1"), (XFF, "198.51.100.7")], None),
            (
                &[("forwarded", "for=198.51.100.7"), (XFF, "198.51.100.7")],
                Some("198.51.100.7"),
            ),
        ];
        for (headers, expected) in cases {
            assert_eq!(client("10.0.0.1", headers).as_deref(), expected, "{headers:?}");
        }
    }

    #[test]
    fn an_ipv4_address_inside_an_ipv6_one_is_the_same_address() {
        assert_eq!(
            client("::ffff:10.0.0.1", &[(XFF, "::ffff:198.51.100.7")]).as_deref(),
            Some("198.51.100.7")
        );
    }
}
