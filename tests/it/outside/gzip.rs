//! Compressed streams of a service as it runs, read from the socket by a decoder that knows nothing of ours.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::json;
use tests::server::Server;

use super::lifecycle::Api;

/// A stream as it comes in.
struct Wire {
    socket: TcpStream,
    received: Vec<u8>,
}

/// Whether a body is there to its end.
#[derive(Debug, PartialEq, Eq)]
enum Body {
    Whole(String),
    SoFar(String),
}

impl Wire {
    fn open(server: &Server, token: &str, version: &str, last_event_id: &str) -> Self {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!(
            "GET /v1/stream HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {token}\r\naccept-encoding: gzip\r\n\
             last-event-id: {last_event_id}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        Self {
            socket,
            received: Vec::new(),
        }
    }

    /// Reads until something can be read in the body that is there.
    fn until(&mut self, text: &str) -> String {
        loop {
            let body = match self.body() {
                Body::Whole(body) | Body::SoFar(body) => body,
            };
            if body.contains(text) {
                return body;
            }
            let mut space = [0; 4_096];
            let read = self.socket.read(&mut space).unwrap();
            assert!(read > 0, "the stream ended before {text}: {body}");
            self.received.extend_from_slice(&space[..read]);
        }
    }

    fn whole(mut self) -> String {
        self.socket.read_to_end(&mut self.received).unwrap();
        match self.body() {
            Body::Whole(body) => body,
            Body::SoFar(body) => panic!("the stream is cut: {body}"),
        }
    }

    /// Decodes what has come in of the body.
    fn body(&self) -> Body {
        let ends = self.received.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(ends) = ends else {
            return Body::SoFar(String::new());
        };
        let (head, body) = self.received.split_at(ends + 4);
        let head = String::from_utf8(head.to_ascii_lowercase()).unwrap();
        assert!(head.contains("content-encoding: gzip"), "{head}");
        let body = if head.contains("transfer-encoding: chunked") {
            unchunked(body)
        } else {
            body.to_vec()
        };
        let (mut plain, mut decoder) = (Vec::new(), GzDecoder::new(body.as_slice()));
        let mut space = [0; 4_096];
        loop {
            match decoder.read(&mut space) {
                Ok(0) => return Body::Whole(String::from_utf8(plain).unwrap()),
                Ok(read) => plain.extend_from_slice(&space[..read]),
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
                    return Body::SoFar(String::from_utf8(plain).unwrap());
                }
            }
        }
    }
}

/// Returns what the chunks hold that are there.
fn unchunked(mut text: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(line) = text.windows(2).position(|pair| pair == b"\r\n") {
        let length = std::str::from_utf8(&text[..line]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        let chunk = &text[line + 2..];
        if length == 0 || chunk.len() < length + 2 {
            break;
        }
        body.extend_from_slice(&chunk[..length]);
        text = &chunk[length + 2..];
    }
    body
}

async fn publish(api: &Api, token: &str, title: &str) -> String {
    let draft = json!({
        "audience": { "users": ["u-1"] },
        "type": "sistema.comunicado",
        "title": title,
        "body": "Seu pedido foi aprovado e aguarda retirada na unidade. ".repeat(20),
    });
    let receipt = api.call("/v1/notifications", token, &draft).await;
    receipt["cursor"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_event_is_readable_when_it_comes_and_a_stream_that_is_drained_is_whole() {
    let server =
        Server::start_with(&[("ARAUTO_DRAIN_WINDOW", "1s"), ("ARAUTO_SHUTDOWN_TIMEOUT", "10s")]).unwrap();
    let api = Api::of(&server);
    let token = api.token("u-1", "CIDADAO").await;
    let publisher = api.token("svc", "SERVICE").await;
    let mut wires: Vec<Wire> = ["1.1", "1.0"]
        .map(|version| Wire::open(&server, &token, version, ""))
        .into();
    for wire in &mut wires {
        wire.until("event: ready");
    }
    for title in ["Primeiro", "Segundo"] {
        publish(&api, &publisher, title).await;
        for wire in &mut wires {
            let body = wire.until(title);
            assert!(body.ends_with("\n\n"), "{body}");
        }
    }
    server.terminate().unwrap();
    let bodies: Vec<String> = wires.into_iter().map(Wire::whole).collect();
    for body in &bodies {
        assert!(
            body.starts_with("retry: ") && body.contains("event: closing"),
            "{body}"
        );
        assert_eq!(body.matches("event: notification").count(), 2);
    }
    assert!(server.wait(Duration::from_secs(12)).unwrap().success());
}

#[tokio::test]
async fn what_is_read_from_the_store_again_is_compressed_as_well() {
    // The ring holds one event: whoever comes back is served by the store.
    let server = Server::start_with(&[("ARAUTO_RING_MAX_BYTES", "4KiB")]).unwrap();
    let api = Api::of(&server);
    let token = api.token("u-1", "CIDADAO").await;
    let publisher = api.token("svc", "SERVICE").await;
    let first = publish(&api, &publisher, "Aviso 0").await;
    for n in 1..20 {
        publish(&api, &publisher, &format!("Aviso {n}")).await;
    }
    let mut wire = Wire::open(&server, &token, "1.1", &first);
    let body = wire.until("Aviso 19");
    assert_eq!(body.matches("event: notification").count(), 19);
    assert!(!body.contains("event: reset"), "{body}");
    assert!(
        wire.received.len() * 2 < body.len(),
        "{} of {}",
        wire.received.len(),
        body.len()
    );
    let metrics = api.text("/metrics").await;
    assert!(metrics.contains("arauto_store_replays_total 1"), "{metrics}");
    let counted = |name: &str| -> usize {
        let line = format!("arauto_compressed_{name}_bytes_total{{what=\"stream\"}} ");
        let found = metrics.lines().find_map(|text| text.strip_prefix(&line));
        found.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
    };
    assert_eq!(counted("plain"), body.len());
    assert!(counted("sent") < wire.received.len());
}
