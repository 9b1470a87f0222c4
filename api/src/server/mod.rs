//! The accept loop: sockets in, requests to the endpoint, and an orderly end.
//!
//! It is ours, on hyper's HTTP/1 connections, for three reasons. A client that vanishes from an idle event stream must
//! be noticed and its memory given back at once. Thousands of clients that come back in one second must all be
//! accepted, and running out of descriptors must hurt nobody who is already connected. And what an idle stream holds
//! is a budget, so everything that is only needed for the handshake is given back after it.

mod capacity;
mod connection;
mod event_stream;
mod front;
mod handover;
mod listener;
mod progress;
mod refusal;
mod shutdown;
mod socket;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use application::ports::{Observation, Observer};
use futures_util::FutureExt;
use poem::{Endpoint, IntoEndpoint};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use connection::Shared;

pub use capacity::Capacity;
pub use shutdown::{Shutdown, SignalWatch};

/// After `accept` failed for want of something, it is tried again this much later.
const BACK_OFF: Duration = Duration::from_millis(50);
/// What goes wrong again and again is logged once in this time.
const LOG_PERIOD: Duration = Duration::from_secs(10);
/// This many clients are turned away in peace at a time; those beyond are turned away without waiting for them.
const REFUSALS_MAX: usize = 64;
/// What was told to end at once gets this long to do so.
const ABORT_GRACE: Duration = Duration::from_millis(200);

/// How connections are treated.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a connection may rest between two requests.
    pub keep_alive_timeout: Duration,
    /// How many connections are served at a time; those beyond are answered 503.
    pub max_connections: usize,
    /// How long connections may take to finish when the server is told to stop.
    pub shutdown_timeout: Duration,
}

/// A server that has its address.
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    options: Options,
    connections: Connections,
}

/// How many connections are open; upgraded ones count until their socket is closed.
#[derive(Debug, Clone, Default)]
pub struct Connections(TaskTracker);

impl Connections {
    /// Returns how many.
    pub fn open(&self) -> usize {
        self.0.len()
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every connection finished.
    Drained,
    /// The time was over, and these many connections were cut off.
    CutOff {
        /// How many.
        connections: usize,
    },
    /// It was told not to wait.
    Forced,
}

impl Server {
    /// Binds and listens; clients can connect from here on. Must be called within a runtime.
    pub fn bind(address: SocketAddr, options: Options) -> io::Result<Self> {
        let listener = listener::listen(address)?;
        let local = listener.local_addr()?;
        Ok(Self {
            listener,
            local,
            options,
            connections: Connections::default(),
        })
    }

    /// Returns the address, with the port that was picked.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Returns a view of how many connections are open.
    pub fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// Serves until the shutdown has begun and every connection has finished, or was cut off.
    ///
    /// On shutdown nothing more is accepted, idle connections are closed, requests are finished, and event streams
    /// are left to whoever feeds them to end.
    pub async fn run<E>(
        self,
        endpoint: E,
        shutdown: Shutdown,
        observer: Arc<dyn Observer>,
    ) -> io::Result<Ending>
    where
        E: IntoEndpoint,
        E::Endpoint: 'static,
    {
        let shared = Shared::new(
            endpoint.into_endpoint(),
            self.local,
            &self.options,
            shutdown.clone(),
        );
        let shared = Arc::new(shared);
        let tasks = TaskTracker::new();
        let door = Door {
            listener: self.listener,
            shared: Arc::clone(&shared),
            connections: self.connections.clone(),
            connections_max: self.options.max_connections,
            tasks: tasks.clone(),
            refusals: TaskTracker::new(),
            refused: 0,
            observer,
            spare: spare(),
            log_again: None,
        };
        tracing::info!(address = %self.local, "listening");
        // On a worker of the runtime rather than on the caller's thread: tasks that a worker spawns are near it.
        let mut door = tasks.spawn(door.keep());
        tokio::select! {
            biased;
            () = shutdown.begun().cancelled() => {}
            _ = &mut door => if !shutdown.has_begun() {
                return Err(io::Error::other("the accept loop ended by itself"));
            },
        }

        let sockets = self.connections.0;
        tracing::info!(connections = sockets.len(), "draining");
        let gone = async {
            // First the door and the connections that are served, then those that were upgraded.
            tasks.close();
            tasks.wait().await;
            sockets.close();
            sockets.wait().await;
        };
        let ending = tokio::select! {
            biased;
            () = shutdown.forced().cancelled() => Ending::Forced,
            drained = timeout(self.options.shutdown_timeout, gone) => match drained {
                Ok(()) => Ending::Drained,
                Err(_) => Ending::CutOff { connections: sockets.len() },
            },
        };
        if ending != Ending::Drained {
            shared.abort.cancel();
            tasks.close();
            let _ = timeout(ABORT_GRACE, tasks.wait()).await;
        }
        tracing::info!(?ending, "drained");
        Ok(ending)
    }
}

/// A descriptor to give up when there are none left, so that one client at a time can be turned away.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Where clients come in.
struct Door<E> {
    listener: TcpListener,
    shared: Arc<Shared<E>>,
    connections: Connections,
    connections_max: usize,
    tasks: TaskTracker,
    refusals: TaskTracker,
    refused: usize,
    observer: Arc<dyn Observer>,
    spare: Option<File>,
    log_again: Option<Instant>,
}

impl<E: Endpoint + 'static> Door<E> {
    /// Lets clients in until the shutdown begins.
    async fn keep(mut self) {
        let shutdown = self.shared.shutdown.clone();
        let mut begun = std::pin::pin!(shutdown.begun().cancelled());
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut begun => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => self.admit(stream, remote),
                Err(error) => self.after(&error).await,
            }
        }
        // Closing the socket would reset the clients that the system has accepted already.
        while let Ok((stream, remote)) = listener::accept_now(&self.listener) {
            self.admit(stream, remote);
        }
    }

    fn admit(&mut self, stream: TcpStream, remote: SocketAddr) {
        if self.connections.open() >= self.connections_max {
            return self.turn_away(stream);
        }
        if let Err(error) = listener::tune(&stream) {
            // The peer has left already.
            tracing::debug!(%error, "cannot set socket options");
            return;
        }
        // A socket that takes both families shows IPv4 peers in IPv6 notation; networks are compared in their own.
        let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
        let counted = self.connections.0.token();
        let observer = Arc::clone(&self.observer);
        let serve = connection::serve(&self.shared, stream, remote, counted);
        // Without a block of its own, which would hold the task twice.
        let serve = AssertUnwindSafe(serve).catch_unwind().map(move |ended| {
            if ended.is_err() {
                observer.saw(&Observation::Panicked("connection"));
            }
        });
        self.tasks.spawn(serve);
    }

    fn turn_away(&mut self, stream: TcpStream) {
        self.refused = self.refused.wrapping_add(1);
        self.observer.saw(&Observation::Full("connections"));
        if self.is_time_to_log() {
            tracing::warn!(max = self.connections_max, "full: turning connections away");
        }
        if self.refusals.len() < REFUSALS_MAX {
            let refusal = refusal::refuse(stream, self.refused);
            self.tasks.spawn(self.refusals.track_future(refusal));
        } else {
            refusal::refuse_at_once(&stream, self.refused);
        }
    }

    /// Goes on after `accept` failed.
    async fn after(&mut self, error: &io::Error) {
        let is_of_one_client = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        );
        if is_of_one_client {
            return;
        }
        if let Some(Errno::MFILE | Errno::NFILE) = Errno::from_io_error(error) {
            self.observer.saw(&Observation::Full("descriptors"));
        }
        if self.is_time_to_log() {
            tracing::error!(%error, connections = self.connections.open(), "cannot accept");
        }
        // Trying again at once would fail again at once, and take a whole core to do so.
        if !self.shed() {
            sleep(BACK_OFF).await;
        }
    }

    /// Gives the spare descriptor to the next client in line, to turn it away, and tells whether there was one.
    fn shed(&mut self) -> bool {
        drop(self.spare.take());
        let next = self.listener.accept().now_or_never();
        let shed = if let Some(Ok((stream, _))) = next {
            self.refused = self.refused.wrapping_add(1);
            refusal::refuse_at_once(&stream, self.refused);
            true
        } else {
            false
        };
        self.spare = spare();
        shed
    }

    fn is_time_to_log(&mut self) -> bool {
        let now = Instant::now();
        let is_time = self.log_again.is_none_or(|moment| moment <= now);
        if is_time {
            self.log_again = Some(now + LOG_PERIOD);
        }
        is_time
    }
}
