//! The cookie of stream tickets.

use std::time::Duration;

use poem::http::{HeaderMap, HeaderValue, header};
use poem::{FromRequest, Request, RequestBody, Result};

use crate::http::HttpConfig;
use crate::http::edge::is_loopback_host;

const NAME: &str = "arauto_stream";

/// The stream cookie that came along.
pub(crate) struct StreamCookie(pub(crate) Option<String>);

impl<'a> FromRequest<'a> for StreamCookie {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> Result<Self> {
        Ok(Self(find(request.headers()).map(ToOwned::to_owned)))
    }
}

fn find(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == NAME)
        .map(|(_, value)| value)
}

/// Writes the cookie. Scripts never see it, other sites never send it, and it goes over plain HTTP only where the
/// service is reached on the machine itself.
pub(crate) fn stream_cookie(
    config: &HttpConfig,
    host: Option<&str>,
    value: &str,
    lives: Duration,
) -> Option<HeaderValue> {
    let plain = match &config.public_url {
        Some(public) => !public.is_https() && is_loopback_host(public.host()),
        None => host.is_some_and(is_loopback_host),
    };
    let path = config
        .public_url
        .as_ref()
        .map_or("/", |public| public.cookie_path());
    let secure = if plain { "" } else { "; Secure" };
    let text = format!(
        "{NAME}={value}; Path={path}; Max-Age={}; HttpOnly; SameSite=Strict{secure}",
        lives.as_secs()
    );
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        assert_eq!(find(&headers), None);
        headers.append(header::COOKIE, "theme=dark; xarauto_stream=no".parse().unwrap());
        assert_eq!(find(&headers), None);
        headers.append(header::COOKIE, "a=b;arauto_stream=AbC-_9; c=d".parse().unwrap());
        assert_eq!(find(&headers), Some("AbC-_9"));
    }

    fn written(public_url: Option<&str>, host: &str) -> String {
        let config = HttpConfig {
            public_url: public_url.map(|url| url.parse().unwrap()),
            ..HttpConfig::default()
        };
        let cookie = stream_cookie(&config, Some(host), "v", Duration::from_secs(60)).unwrap();
        cookie.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_cookie_is_secure_except_on_loopback() {
        let rest = "Max-Age=60; HttpOnly; SameSite=Strict";
        let cases = [
            (None, "127.0.0.1:8080", format!("arauto_stream=v; Path=/; {rest}")),
            (None, "localhost", format!("arauto_stream=v; Path=/; {rest}")),
            (None, "[::1]:80", format!("arauto_stream=v; Path=/; {rest}")),
            (
                None,
                "arauto.example",
                format!("arauto_stream=v; Path=/; {rest}; Secure"),
            ),
            (
                None,
                "localhost.evil.example",
                format!("arauto_stream=v; Path=/; {rest}; Secure"),
            ),
            (
                Some("https://gov.example/avisos/"),
                "127.0.0.1",
                format!("arauto_stream=v; Path=/avisos; {rest}; Secure"),
            ),
            (
                Some("http://gov.example"),
                "x",
                format!("arauto_stream=v; Path=/; {rest}; Secure"),
            ),
            (
                Some("http://localhost:8080"),
                "x",
                format!("arauto_stream=v; Path=/; {rest}"),
            ),
            (
                Some("https://localhost"),
                "x",
                format!("arauto_stream=v; Path=/; {rest}; Secure"),
            ),
        ];
        for (public_url, host, expected) in cases {
            assert_eq!(written(public_url, host), expected, "{public_url:?} {host}");
        }
    }
}
