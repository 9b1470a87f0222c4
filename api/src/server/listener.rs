//! The listening socket, and the options that every connection has from it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// Clients that may wait to be accepted: a whole node's clients come back in the same second. The system may hold it
/// down (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;
/// A peer that acknowledges nothing for this long is gone. Without it the kernel retries for a quarter of an hour.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that is silent for this long is probed, so that routers on the way do not forget it.
const KEEP_ALIVE_IDLE: Duration = Duration::from_mins(1);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_PROBES: u32 = 3;
/// What has not been sent waits in the log, not in the kernel: this much is enough to keep a slow line busy.
const NOT_SENT_LOW_WATER_BYTES: u32 = 16 << 10;
/// On Linux an accepted socket has the options of the socket that it was accepted from, which saves seven system
/// calls for each connection.
const OPTIONS_ARE_INHERITED: bool = cfg!(target_os = "linux");

/// Binds and listens. Must be called within a runtime.
pub(super) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait until the last connection of the process before it is forgotten.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if OPTIONS_ARE_INHERITED {
        set_options(SockRef::from(&socket))?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts a client that the system has accepted already, without waiting for one. Unlike tokio's `accept` it does
/// not depend on what the runtime has been told so far.
pub(super) fn accept_now(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, address) = SockRef::from(listener).accept()?;
    socket.set_nonblocking(true)?;
    let address = address
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    Ok((TcpStream::from_std(socket.into())?, address))
}

/// Sets the options of an accepted socket where it does not have them yet.
pub(super) fn tune<'s>(socket: impl Into<SockRef<'s>>) -> io::Result<()> {
    if OPTIONS_ARE_INHERITED {
        Ok(())
    } else {
        set_options(socket.into())
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a SockRef is a borrowed descriptor, passed by value like a reference"
)]
fn set_options(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keep_alive = TcpKeepalive::new()
        .with_time(KEEP_ALIVE_IDLE)
        .with_interval(KEEP_ALIVE_INTERVAL)
        .with_retries(KEEP_ALIVE_PROBES);
    socket.set_tcp_keepalive(&keep_alive)?;
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER_BYTES)?;
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_accepted_socket_has_the_options() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();

        let (accepted, _) = listener.accept().await.unwrap();

        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEP_ALIVE_IDLE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEP_ALIVE_PROBES);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), NOT_SENT_LOW_WATER_BYTES);
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_refused() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let second = listen(first.local_addr().unwrap());
        assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
