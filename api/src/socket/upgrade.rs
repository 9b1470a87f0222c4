//! From a request to a WebSocket: the server's half of RFC 6455, section 4.2.

use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, Method, StatusCode, Version};
use poem::{OnUpgrade, Request, Response};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The only subprotocol that is spoken. It must be offered, so that another one can follow it some day.
pub const SUBPROTOCOL: &str = "arauto.v1";

/// Why a request is not upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotUpgraded {
    /// It asks for no WebSocket.
    #[error("a WebSocket begins with GET over HTTP/1.1, Connection: Upgrade and Upgrade: websocket")]
    NoWebSocket,
    /// It asks for another version; the answer names the one that is spoken (RFC 6455, section 4.4).
    #[error("Sec-WebSocket-Version must be 13")]
    Version,
    /// Its key is not 16 bytes in base 64.
    #[error("Sec-WebSocket-Key must be 16 bytes in base 64")]
    Key,
    /// It does not offer the subprotocol.
    #[error("Sec-WebSocket-Protocol must offer {SUBPROTOCOL}")]
    Subprotocol,
    /// The connection under it cannot be taken over.
    #[error("this connection cannot be upgraded")]
    Connection,
}

/// A request that may become a WebSocket, checked and not yet answered. The Origin is the route's to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    accept: String,
    subprotocol: Option<&'static str>,
}

/// An accepted handshake.
pub struct Upgrade {
    /// `101 Switching Protocols`; returning it is what completes the upgrade.
    pub response: Response,
    /// The connection, once the response has been sent. Await it in a task of its own.
    pub io: OnUpgrade,
}

impl Handshake {
    /// Checks a request, which must offer the subprotocol where there is one.
    pub fn check(
        method: &Method,
        version: Version,
        headers: &HeaderMap,
        subprotocol: Option<&'static str>,
    ) -> Result<Self, NotUpgraded> {
        let asks = *method == Method::GET
            && version == Version::HTTP_11
            && lists(headers, &CONNECTION, |option| {
                option.eq_ignore_ascii_case("upgrade")
            })
            && lists(headers, &UPGRADE, |name| name.eq_ignore_ascii_case("websocket"));
        if !asks {
            return Err(NotUpgraded::NoWebSocket);
        }
        if only(headers, &SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err(NotUpgraded::Version);
        }
        let key = only(headers, &SEC_WEBSOCKET_KEY)
            .filter(|key| is_key(key))
            .ok_or(NotUpgraded::Key)?;
        let offers = |name| lists(headers, &SEC_WEBSOCKET_PROTOCOL, |offered| offered == name);
        if !subprotocol.is_none_or(offers) {
            return Err(NotUpgraded::Subprotocol);
        }
        let accept = derive_accept_key(key.as_bytes());
        Ok(Self { accept, subprotocol })
    }

    /// Answers the request that was checked and takes its connection over.
    pub fn accept(self, request: &Request) -> Result<Upgrade, NotUpgraded> {
        let io = request.take_upgrade().map_err(|_| NotUpgraded::Connection)?;
        let mut response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(subprotocol) = self.subprotocol {
            response = response.header(SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        let response = response.finish();
        Ok(Upgrade { response, io })
    }
}

/// Tells whether a header that is a list, in one line or several, has an item.
fn lists(headers: &HeaderMap, name: &HeaderName, wanted: impl Fn(&str) -> bool) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|item| wanted(item.trim_matches([' ', '\t'])))
}

/// Returns a header that may stand only once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?.to_str().ok()?;
    lines.next().is_none().then_some(line)
}

/// 16 bytes are 21 digits, one digit whose last four bits are unused and zero, and two signs of padding.
fn is_key(text: &str) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let Some(([digits @ .., last], [])) = text
        .strip_suffix("==")
        .and_then(|text| text.as_bytes().split_at_checked(22))
    else {
        return false;
    };
    digits.iter().all(digit) && matches!(last, b'A' | b'Q' | b'g' | b'w')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The handshake of RFC 6455, section 1.2, with our subprotocol.
    const GOOD: [(&str, &str); 5] = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "arauto.v1"),
        ("sec-websocket-version", "13"),
    ];

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, http::HeaderValue::from_static(value));
        }
        headers
    }

    /// Checks the good handshake with the lines of one header replaced.
    fn with(name: &str, values: &[&'static str]) -> Result<Handshake, NotUpgraded> {
        let mut lines: Vec<_> = GOOD.into_iter().filter(|(other, _)| *other != name).collect();
        let name = GOOD.iter().find(|(good, _)| *good == name).unwrap().0;
        lines.extend(values.iter().map(|value| (name, *value)));
        Handshake::check(
            &Method::GET,
            Version::HTTP_11,
            &headers(&lines),
            Some(SUBPROTOCOL),
        )
    }

    #[test]
    fn the_handshake_of_the_rfc_is_accepted_with_its_answer() {
        let checked =
            Handshake::check(&Method::GET, Version::HTTP_11, &headers(&GOOD), Some(SUBPROTOCOL)).unwrap();
        assert_eq!(checked.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn what_browsers_and_proxies_make_of_it_is_accepted() {
        assert!(with("connection", &["keep-alive, Upgrade"]).is_ok());
        assert!(with("connection", &["keep-alive", "upgrade"]).is_ok());
        assert!(with("upgrade", &["WebSocket"]).is_ok());
        assert!(with("sec-websocket-protocol", &["arauto.v2,\tarauto.v1"]).is_ok());
        assert!(with("sec-websocket-protocol", &["arauto.v2", "arauto.v1"]).is_ok());
    }

    #[test]
    fn a_request_for_something_else_is_refused() {
        let check = |method, version| Handshake::check(&method, version, &headers(&GOOD), Some(SUBPROTOCOL));
        assert_eq!(
            check(Method::POST, Version::HTTP_11),
            Err(NotUpgraded::NoWebSocket)
        );
        assert_eq!(
            check(Method::GET, Version::HTTP_10),
            Err(NotUpgraded::NoWebSocket)
        );
        for values in [&[][..], &["close"], &["Upgraded"]] {
            assert_eq!(with("connection", values), Err(NotUpgraded::NoWebSocket));
        }
        for values in [&[][..], &["h2c"], &["websocket/13"]] {
            assert_eq!(with("upgrade", values), Err(NotUpgraded::NoWebSocket));
        }
    }

    #[test]
    fn another_version_is_refused() {
        for values in [&[][..], &["8"], &["13, 8"], &["13", "13"], &["013"]] {
            assert_eq!(with("sec-websocket-version", values), Err(NotUpgraded::Version));
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes() {
        for values in [
            &[][..],
            &[""],
            &["=="],
            &["dGhlIHNhbXBsZSBub25jZQ"],
            &["dGhlIHNhbXBsZSBub25jZR=="],
            &["dGhlIHNhbXBsZSBub25jZQA="],
            &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="],
            &["dGhlIHNhbXBsZSBub25jZSE="],
            &["dGhl-HNhbXBsZSBub25jZQ=="],
        ] {
            assert_eq!(
                with("sec-websocket-key", values),
                Err(NotUpgraded::Key),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_route_without_a_subprotocol_takes_any_offer() {
        let lines = GOOD.map(|(name, value)| (name, if value == SUBPROTOCOL { "x" } else { value }));
        let checked = Handshake::check(&Method::GET, Version::HTTP_11, &headers(&lines), None);
        assert_eq!(checked.unwrap().subprotocol, None);
    }

    #[test]
    fn the_subprotocol_must_be_offered_as_it_is_spelled() {
        for values in [&[][..], &[""], &["arauto.v2"], &["ARAUTO.V1"], &["arauto.v1x"]] {
            assert_eq!(
                with("sec-websocket-protocol", values),
                Err(NotUpgraded::Subprotocol)
            );
        }
    }
}
