//! A host that stands in for Ably on loopback: it notes what it is asked and answers as it is told.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// What a host does with one request.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// It answers.
    Says(u16, &'static str, Value),
    /// It answers something that is no JSON.
    Text(u16, &'static str, &'static str),
    /// It takes the request and never answers.
    Hangs,
    /// It ends the connection.
    Ends,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) head: String,
    pub(super) body: Value,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Reply>,
    asked: Vec<Asked>,
}

/// A host.
pub(super) struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl StandIn {
    /// Starts one that answers in turn as told, and the last way from then on.
    pub(super) fn telling(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            replies: replies.into_iter().collect(),
            asked: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        // It ends with the process: tests are short, and the listener has nothing to lose.
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(socket, &state));
            }
        });
        Self { address, state }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }
}

/// An address where nobody listens.
pub(super) fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// One request a connection: the answer says `connection: close`.
fn serve(mut socket: TcpStream, state: &Mutex<State>) {
    let Some(asked) = read(&mut socket) else { return };
    let reply = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked);
        match state.replies.len() {
            0 | 1 => state.replies.front().cloned(),
            _ => state.replies.pop_front(),
        }
    };
    let (status, headers, body) = match reply {
        Some(Reply::Says(status, headers, body)) => (status, headers, body.to_string()),
        Some(Reply::Text(status, headers, body)) => (status, headers, body.to_owned()),
        Some(Reply::Hangs) => {
            // Until the client has gone.
            socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let _ = socket.read(&mut [0]);
            return;
        }
        Some(Reply::Ends) | None => return,
    };
    let answer = format!(
        "HTTP/1.1 {status} Said\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = socket.write_all(answer.as_bytes());
}

fn read(socket: &mut TcpStream) -> Option<Asked> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 8192]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
            if body.len() >= length {
                return Some(Asked {
                    line: text.lines().next()?.to_owned(),
                    head,
                    body: serde_json::from_str(body).ok()?,
                });
            }
        }
        match socket.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}
