//! How the service starts and goes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tests::server::{Server, now};

pub(super) struct Api {
    url: String,
    client: reqwest::Client,
}

impl Api {
    pub(super) fn of(server: &Server) -> Self {
        Self {
            url: server.url(),
            client: reqwest::Client::new(),
        }
    }

    /// Posts what is to be accepted, and returns the answer.
    pub(super) async fn call(&self, path: &str, token: &str, body: &Value) -> Value {
        let call = self.client.post(format!("{}{path}", self.url)).bearer_auth(token);
        let answer = call.json(body).send().await.unwrap();
        answer.error_for_status().unwrap().json().await.unwrap()
    }

    pub(super) async fn text(&self, path: &str) -> String {
        let answer = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        answer.error_for_status().unwrap().text().await.unwrap()
    }

    pub(super) async fn token(&self, user: &str, role: &str) -> String {
        let body = json!({ "sub": user, "roles": [role] });
        let answer = self
            .client
            .post(format!("{}/dev/token", self.url))
            .json(&body)
            .send()
            .await
            .unwrap();
        let value: Value = answer.error_for_status().unwrap().json().await.unwrap();
        value["token"].as_str().unwrap().to_owned()
    }

    async fn ready(&self) -> u16 {
        let answer = self.client.get(format!("{}/health/ready", self.url)).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }
}

fn open_stream(server: &Server, token: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let request = format!("GET /v1/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut head = [0; 4096];
    let mut seen = String::new();
    while !seen.contains("event: ready") {
        let read = socket.read(&mut head).unwrap();
        assert!(read > 0, "the stream ended early: {seen}");
        seen.push_str(&String::from_utf8_lossy(&head[..read]));
    }
    socket
}

#[tokio::test]
async fn sigterm_turns_readiness_off_closes_streams_with_closing_and_exits_0_in_its_bound() {
    let server =
        Server::start_with(&[("ARAUTO_DRAIN_WINDOW", "2s"), ("ARAUTO_SHUTDOWN_TIMEOUT", "10s")]).unwrap();
    let api = Api::of(&server);
    assert_eq!(api.ready().await, 200);
    let token = api.token("u-1", "CIDADAO").await;
    let mut streams: Vec<TcpStream> = (0..3).map(|_| open_stream(&server, &token)).collect();
    // A client that has sent half a request and waits must not hold the exit up.
    let mut idle = TcpStream::connect(server.address()).unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n")
        .unwrap();
    let started = now();
    server.terminate().unwrap();
    for stream in &mut streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("event: closing"), "{rest}");
        assert!(
            rest.contains("\"reason\":\"shutting_down\"") && rest.contains("\"reconnect\":true"),
            "{rest}"
        );
        assert!(rest.contains("retry: "), "{rest}");
    }
    let status = server.wait(Duration::from_secs(12)).unwrap();
    assert!(status.success(), "{status}");
    assert!(
        started.elapsed() < Duration::from_secs(11),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_connection_that_is_open_when_sigterm_comes_is_told_that_the_node_is_not_ready() {
    let server =
        Server::start_with(&[("ARAUTO_DRAIN_WINDOW", "3s"), ("ARAUTO_SHUTDOWN_TIMEOUT", "10s")]).unwrap();
    let api = Api::of(&server);
    let token = api.token("u-1", "CIDADAO").await;
    let stream = open_stream(&server, &token);
    // Half a request is on its way when the node begins to go.
    let mut probe = TcpStream::connect(server.address()).unwrap();
    probe
        .write_all(b"GET /health/ready HTTP/1.1\r\nhost: x\r\n")
        .unwrap();
    // The server has the first half once it answers a later request on another connection.
    assert_eq!(api.ready().await, 200);
    server.terminate().unwrap();
    // Draining has begun once a new connection is refused.
    let deadline = now() + Duration::from_secs(5);
    while TcpStream::connect(server.address()).is_ok() {
        assert!(now() < deadline, "it still accepts");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    probe.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    probe.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let _ = probe.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer:?}");
    drop(stream);
    assert!(server.wait(Duration::from_secs(12)).unwrap().success());
}

#[test]
fn a_secret_that_is_missing_stops_the_start_with_one_line() {
    let output = std::process::Command::new(tests::server::binary().unwrap())
        .arg("serve")
        .env_clear()
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    assert!(said.contains("ARAUTO_JWT_SECRET"), "{said}");
}
