//! A stand-in for what leads clients to the server that is in charge: a virtual address, a name that moves, a pooler.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context as _;

use crate::port::Port;

/// Passes connections on to one server at a time.
#[derive(Debug)]
pub struct Forwarder {
    state: Arc<Mutex<State>>,
    port: Port,
}

#[derive(Debug)]
struct State {
    target: Option<SocketAddr>,
    open: Vec<TcpStream>,
    /// Whether what is open passes nothing on.
    silent: Arc<AtomicBool>,
}

impl Forwarder {
    /// Listens on a port of its own and passes on to `target`.
    pub fn to(target: SocketAddr) -> anyhow::Result<Self> {
        let port = Port::free()?;
        let listener = TcpListener::bind(port.address()).context("the forwarder cannot listen")?;
        let state = Arc::new(Mutex::new(State {
            target: Some(target),
            open: Vec::new(),
            silent: Arc::default(),
        }));
        let shared = Arc::clone(&state);
        // Ends with the process; a closed state passes nothing on.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Nobody behind it: the client finds the connection closed.
                let _ = pass_on(client, &shared);
            }
        });
        Ok(Self { state, port })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Cuts all connections and passes new ones on to another server.
    pub fn switch(&self, target: SocketAddr) {
        self.cut();
        lock(&self.state).target = Some(target);
    }

    /// Passes nothing on any more over what is open, and lets neither side know: as where something in between has
    /// forgotten the connections. New ones are served.
    pub fn silence(&self) {
        let silent = std::mem::take(&mut lock(&self.state).silent);
        silent.store(true, Ordering::SeqCst);
    }

    /// Cuts all connections and passes nothing on.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        state.target = None;
        for socket in state.open.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.cut();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass_on(client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let (server, silent) = {
        let mut state = lock(state);
        let Some(target) = state.target else { return Ok(()) };
        let server = TcpStream::connect(target)?;
        state.open.extend([client.try_clone()?, server.try_clone()?]);
        (server, Arc::clone(&state.silent))
    };
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    for (from, to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        let silent = Arc::clone(&silent);
        thread::spawn(move || copy(&from, &to, &silent));
    }
    Ok(())
}

/// Copies until either side ends; then both do. Where it is to be silent both stay open.
fn copy(mut from: &TcpStream, mut to: &TcpStream, silent: &AtomicBool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if silent.load(Ordering::SeqCst) {
            return;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// A server that takes connections and never says a word.
#[derive(Debug)]
pub struct Mute {
    // The kernel completes the handshakes; nobody ever takes them from its queue.
    listener: TcpListener,
}

impl Mute {
    /// Listens on a free port.
    pub fn start() -> anyhow::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }
}
