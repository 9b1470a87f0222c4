//! As much of HTTP/1.1 as the bench speaks: heads of answers, whole answers, and the floor's requests.

use memchr::memmem;

use super::{Malformed, chunked::Chunked};

/// A head above this is not one that the service sends.
const MAX_HEAD: usize = 64 * 1024;

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) chunked: bool,
    pub(crate) content_length: Option<usize>,
    /// `Sec-WebSocket-Accept`.
    pub(crate) accept: Option<String>,
    /// `Sec-WebSocket-Protocol`.
    pub(crate) protocol: Option<String>,
}

impl Head {
    /// The head at the front of `bytes` and its length, `None` while it is incomplete.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > MAX_HEAD {
                Err(Malformed("no end of head in 64 KiB"))
            } else {
                Ok(None)
            };
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed("head that is not text"))?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1.1 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or(Malformed("status line"))?;
        let mut head = Self {
            status,
            ..Self::default()
        };
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Malformed("header line"))?;
            head.take(name, value.trim())?;
        }
        Ok(Some((head, end + 4)))
    }

    fn take(&mut self, name: &str, value: &str) -> Result<(), Malformed> {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                self.content_length = Some(value.parse().map_err(|_| Malformed("content-length"))?);
            }
            "transfer-encoding" => self.chunked = value.eq_ignore_ascii_case("chunked"),
            "sec-websocket-accept" => self.accept = Some(value.to_owned()),
            "sec-websocket-protocol" => self.protocol = Some(value.to_owned()),
            _ => {}
        }
        Ok(())
    }
}

/// A whole answer to one request of a kept connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The answer in `bytes`, `None` while it is incomplete. There is never more than one: nothing is pipelined.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let Some((head, length)) = Head::parse(bytes)? else {
            return Ok(None);
        };
        let mut rest = &bytes[length..];
        if head.chunked {
            let mut decoder = Chunked::default();
            let mut body = Vec::new();
            while let Some(bytes) = decoder.next(&mut rest)? {
                body.extend_from_slice(bytes);
            }
            return Ok(decoder.is_done().then_some(Self {
                status: head.status,
                body,
            }));
        }
        let length = match head.content_length {
            Some(length) => length,
            None if matches!(head.status, 204 | 304) => 0,
            None => return Err(Malformed("answer without a length")),
        };
        Ok(rest.get(..length).map(|body| Self {
            status: head.status,
            body: body.to_vec(),
        }))
    }
}

/// A request as the floor reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) body: &'a [u8],
    /// Bytes that head and body took together.
    pub(crate) length: usize,
}

impl<'a> Request<'a> {
    /// The request at the front of `bytes`, `None` while it is incomplete.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > MAX_HEAD {
                Err(Malformed("no end of head in 64 KiB"))
            } else {
                Ok(None)
            };
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed("head that is not text"))?;
        let (line, headers) = text.split_once("\r\n").unwrap_or((text, ""));
        let mut words = line.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(Malformed("request line"));
        };
        let mut body = 0;
        for (name, value) in headers.split("\r\n").filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body = value.trim().parse().map_err(|_| Malformed("content-length"))?;
            }
        }
        let start = end + 4;
        Ok(bytes.get(start..start + body).map(|body| Self {
            method,
            path,
            body,
            length: start + body.len(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_incomplete_until_its_last_byte() {
        let wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSec-WebSocket-Accept: abc\r\n\r\nrest";
        let end = wire.len() - 4;
        for cut in 0..end {
            assert_eq!(Head::parse(&wire[..cut]), Ok(None), "cut at {cut}");
        }
        let head = Head {
            status: 200,
            chunked: true,
            accept: Some("abc".to_owned()),
            ..Head::default()
        };
        assert_eq!(Head::parse(wire), Ok(Some((head, end))));
    }

    #[test]
    fn an_answer_is_incomplete_until_its_last_byte() {
        for wire in [
            &b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}"[..],
            b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        ] {
            for cut in 0..wire.len() {
                assert_eq!(Answer::parse(&wire[..cut]), Ok(None), "cut at {cut}");
            }
            assert_eq!(
                Answer::parse(wire),
                Ok(Some(Answer {
                    status: 201,
                    body: b"{}".to_vec()
                }))
            );
        }
        assert!(Answer::parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(Answer::parse(b"SSH-2.0\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_is_incomplete_until_its_last_byte() {
        let wire = b"POST /unicast/7 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
        for cut in 0..wire.len() {
            assert_eq!(Request::parse(&wire[..cut]), Ok(None), "cut at {cut}");
        }
        let request = Request {
            method: "POST",
            path: "/unicast/7",
            body: b"body",
            length: wire.len(),
        };
        assert_eq!(Request::parse(wire), Ok(Some(request)));
    }
}
