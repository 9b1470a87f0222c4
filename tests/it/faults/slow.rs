//! A way to a server that takes as long as a test wants.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tests::server::now;

/// Between two looks at whether the way is still slow.
const LOOK: Duration = Duration::from_millis(20);

/// Passes connections on to a server, and holds its answers back.
pub(super) struct SlowLane {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
}

impl SlowLane {
    pub(super) fn to(server: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let delay_ms = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&delay_ms);
        // Ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(server) {
                    pass_on(&client, &server, &shared);
                }
            }
        });
        Ok(Self { address, delay_ms })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds each answer back for so long, from now on; also those that are held back already.
    pub(super) fn delay(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.delay_ms.store(millis, Ordering::SeqCst);
    }
}

fn pass_on(client: &TcpStream, server: &TcpStream, delay_ms: &Arc<AtomicU64>) {
    let at_once = Arc::new(AtomicU64::new(0));
    copy(client.try_clone().unwrap(), server.try_clone().unwrap(), at_once);
    copy(
        server.try_clone().unwrap(),
        client.try_clone().unwrap(),
        Arc::clone(delay_ms),
    );
}

fn copy(mut from: TcpStream, mut to: TcpStream, delay_ms: Arc<AtomicU64>) {
    thread::spawn(move || {
        let _ = to.set_nodelay(true);
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let came = now();
            while came.elapsed() < Duration::from_millis(delay_ms.load(Ordering::SeqCst)) {
                thread::sleep(LOOK);
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}
