//! The floor: the least that any process can do to bring the same bytes to the same readers.
//!
//! One thread. A publish is a loop of bare `write(2)` calls, one per reader, of a frame that was recorded from the
//! server under test, framing included, with nothing changed but the mark. The sockets have the options that the
//! service sets on its own. It stores nothing, checks nobody's rights, encodes nothing, keeps no positions and
//! cannot resume: whatever a real service takes beyond this is its own cost, and what it takes less (by writing on
//! two cores, say) is its own merit.
//!
//! Two figures come from it:
//! - **CPU per delivery**: its user and system time over a round of broadcasts, divided by the frames received.
//!   Nearly all of it is the kernel's send path, loopback receive included, which the service pays as well.
//! - **publish to receipt**: the publisher is the same, with the same requests over the same number of kept
//!   connections; the floor reads a request, writes the frames and only then answers. So its latency is one
//!   request's way in, the writes, and the reader's wake-up. Being one thread, it makes unicasts that arrive during
//!   a broadcast wait; that is a property of the loop and is left as it is.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use crate::wire::http::Request;
use crate::wire::mark::{Kind, Mark};

const LISTENER: Token = Token(usize::MAX);
const BACKLOG: i32 = 4096;
/// The head of a stream and the event that tells a reader it is open.
const OPENING: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
    1f\r\nid: 0-0\nevent: ready\ndata: {}\n\n\r\n";
const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
const REFUSED: &[u8] = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";

/// Serves until it is killed.
pub(crate) fn run(listen: SocketAddr) -> Result<()> {
    let floor = Floor::bind(listen)?;
    // The run that starts the floor waits for this line, as it does for the server's.
    writeln!(
        io::stdout(),
        r#"{{"message":"listening","address":"{}"}}"#,
        floor.address()?
    )?;
    floor.serve()
}

pub(crate) struct Floor {
    poll: Poll,
    listener: TcpListener,
    /// Connections that may still send requests, by token.
    asking: Vec<Option<Asking>>,
    /// Readers, by the number they asked for. Nothing polls them: a dead one is found by its next write.
    streams: Vec<Option<TcpStream>>,
    /// The recorded frames.
    broadcast: Vec<u8>,
    unicast: Vec<u8>,
}

struct Asking {
    socket: TcpStream,
    bytes: Vec<u8>,
}

/// What a request asks for.
enum Order {
    Open(usize),
    Record(Kind),
    Broadcast,
    Unicast(usize),
}

impl Floor {
    pub(crate) fn bind(listen: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(listen), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket
            .bind(&listen.into())
            .with_context(|| format!("cannot listen on {listen}"))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(socket.into());
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        let (asking, streams) = (Vec::new(), Vec::new());
        Ok(Self {
            poll,
            listener,
            asking,
            streams,
            broadcast: Vec::new(),
            unicast: Vec::new(),
        })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(crate) fn serve(mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            if let Err(error) = self.poll.poll(&mut events, None)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error.into());
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(at) => self.listen_to(at),
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            tune(&socket)?;
            let at = self.asking.iter().rposition(Option::is_none).unwrap_or_else(|| {
                self.asking.push(None);
                self.asking.len() - 1
            });
            self.poll
                .registry()
                .register(&mut socket, Token(at), Interest::READABLE)?;
            self.asking[at] = Some(Asking {
                socket,
                bytes: Vec::new(),
            });
        }
    }

    /// Reads one connection; a broken one is dropped, which closes it.
    fn listen_to(&mut self, at: usize) {
        let Some(mut asking) = self.asking.get_mut(at).and_then(Option::take) else {
            return;
        };
        match self.answer(&mut asking) {
            Ok(Some(number)) => {
                // Fails only for a socket that is not registered.
                let _ = self.poll.registry().deregister(&mut asking.socket);
                if self.streams.len() <= number {
                    self.streams.resize_with(number + 1, || None);
                }
                self.streams[number] = Some(asking.socket);
            }
            Ok(None) => self.asking[at] = Some(asking),
            Err(_) => {}
        }
    }

    /// Answers all requests that are whole; the number of the stream when the connection has become one.
    fn answer(&mut self, asking: &mut Asking) -> Result<Option<usize>> {
        let mut buffer = [0_u8; 16 * 1024];
        loop {
            match asking.socket.read(&mut buffer) {
                Ok(0) => anyhow::bail!("closed"),
                Ok(read) => asking.bytes.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            while let Some(request) = Request::parse(&asking.bytes)? {
                let length = request.length;
                match order(&request) {
                    Some(Order::Open(number)) => {
                        asking.socket.write_all(OPENING)?;
                        return Ok(Some(number));
                    }
                    Some(order) => {
                        self.obey(&order, request.body);
                        asking.socket.write_all(CREATED)?;
                    }
                    None => asking.socket.write_all(REFUSED)?,
                }
                asking.bytes.drain(..length);
            }
        }
    }

    fn obey(&mut self, order: &Order, body: &[u8]) {
        match order {
            Order::Open(_) => {}
            Order::Record(Kind::Broadcast) => self.broadcast = body.to_vec(),
            Order::Record(Kind::Unicast) => self.unicast = body.to_vec(),
            Order::Broadcast => {
                stamp(&mut self.broadcast, body);
                for stream in &mut self.streams {
                    deliver(stream, &self.broadcast);
                }
            }
            Order::Unicast(number) => {
                stamp(&mut self.unicast, body);
                if let Some(stream) = self.streams.get_mut(*number) {
                    deliver(stream, &self.unicast);
                }
            }
        }
    }
}

fn order(request: &Request<'_>) -> Option<Order> {
    match (request.method, request.path) {
        ("PUT", "/frame/broadcast") => Some(Order::Record(Kind::Broadcast)),
        ("PUT", "/frame/unicast") => Some(Order::Record(Kind::Unicast)),
        ("POST", "/broadcast") => Some(Order::Broadcast),
        ("POST", path) => path.strip_prefix("/unicast/")?.parse().ok().map(Order::Unicast),
        ("GET", path) => path.strip_prefix("/stream/")?.parse().ok().map(Order::Open),
        _ => None,
    }
}

/// Gives the frame the mark of the request.
fn stamp(frame: &mut [u8], body: &[u8]) {
    if let Some(mark) = Mark::find(body) {
        mark.stamp(frame);
    }
}

fn deliver(stream: &mut Option<TcpStream>, frame: &[u8]) {
    let Some(socket) = stream else { return };
    // A reader that is gone or whose buffer is full would break the stream's framing: it is closed, and the fleet
    // that reads it fails the run.
    if socket.write(frame).ok() != Some(frame.len()) {
        *stream = None;
    }
}

/// What the service sets on every accepted socket.
fn tune(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
    socket.set_tcp_notsent_lowat(16 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::chunked::Chunked;
    use crate::wire::http::Head;
    use crate::wire::sse::Scanner;

    #[test]
    fn the_opening_is_a_head_and_one_ready_event() {
        let (head, length) = Head::parse(OPENING).unwrap().unwrap();
        assert!(head.chunked && head.status == 200);
        let mut rest = &OPENING[length..];
        let (mut decoder, mut names) = (Chunked::default(), Vec::new());
        while let Some(body) = decoder.next(&mut rest).unwrap() {
            Scanner::default()
                .feed(body, |event| names.push(event.name.to_vec()))
                .unwrap();
        }
        assert_eq!(names, [b"ready"]);
    }
}
