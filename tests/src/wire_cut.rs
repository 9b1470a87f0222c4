//! A TCP forwarder that can lose an answer: what a cut network does at the worst moment.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Forwards connections to a server until it is told to lose the answer to the next request that holds some bytes.
pub struct WireCut {
    address: SocketAddr,
    armed: Arc<AtomicBool>,
}

impl WireCut {
    /// Listens on a free port. `mark` is what the request in question holds.
    pub fn before(server: SocketAddr, mark: &'static [u8]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let armed = Arc::new(AtomicBool::new(false));
        let cut = Arc::clone(&armed);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else {
                    continue;
                };
                let cut = Arc::clone(&cut);
                thread::spawn(move || forward(&client, &server, &cut, mark));
            }
        });
        Ok(Self { address, armed })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the next request with the mark through, and cuts the connection once it has been answered, without the
    /// answer.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Tells whether the answer has still to be lost.
    pub fn armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }
}

fn forward(client: &TcpStream, server: &TcpStream, armed: &Arc<AtomicBool>, mark: &'static [u8]) {
    let losing = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            copy(client, server, |bytes| {
                let marked = bytes.windows(mark.len()).any(|window| window == mark);
                if marked && armed.swap(false, Ordering::SeqCst) {
                    losing.store(true, Ordering::SeqCst);
                }
                true
            });
        });
        copy(server, client, |_| !losing.load(Ordering::SeqCst));
    });
}

/// Copies until either side ends, or until `passes` says no: then both are cut.
fn copy(mut from: &TcpStream, mut to: &TcpStream, mut passes: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !passes(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
