//! Listening, and not listening.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::App;
use super::site::{Site, serve};

/// More than a laptop holds.
const SOCKETS_MAX: usize = 40_000;
const BACKLOG: u32 = 1_024;
/// A pause after descriptors ran out.
const BREATH: Duration = Duration::from_millis(50);

/// What is left of channels, tokens and connections after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Remembers {
    /// Everything: it was a short outage.
    Everything,
    /// Nothing: two minutes of state are gone, and native tokens are not recognised.
    Nothing,
}

/// What serves while it is on.
struct Listening {
    end: CancellationToken,
    /// Cuts the sockets that are open; a new one takes its place.
    cut: CancellationToken,
    tasks: TaskTracker,
}

/// The switch.
pub(super) struct Power {
    app: Arc<App>,
    address: SocketAddr,
    runtime: Handle,
    on: Mutex<Option<Listening>>,
}

impl Power {
    pub(super) fn off(app: Arc<App>, address: SocketAddr, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            app,
            address,
            runtime,
            on: Mutex::default(),
        })
    }

    /// Listens. Where it already does, nothing happens.
    pub(super) fn turn_on(self: &Arc<Self>) -> io::Result<()> {
        let mut on = self.lock();
        if on.is_some() {
            return Ok(());
        }
        let _inside = self.runtime.enter();
        let socket = TcpSocket::new_v4()?;
        // Connections that were cut linger on the port.
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        let listener = socket.listen(BACKLOG)?;
        let listening = Listening {
            end: CancellationToken::new(),
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let accepting = accept(
            Arc::clone(self),
            listener,
            listening.end.clone(),
            listening.tasks.clone(),
        );
        listening.tasks.spawn_on(accepting, &self.runtime);
        *on = Some(listening);
        Ok(())
    }

    /// Stops listening and cuts every connection. The tracker is empty once that is done.
    pub(super) fn turn_off(&self) -> Option<TaskTracker> {
        let listening = self.lock().take()?;
        listening.end.cancel();
        listening.cut.cancel();
        listening.tasks.close();
        Some(listening.tasks)
    }

    /// Cuts every connection and goes on listening.
    pub(super) fn cut(&self) {
        if let Some(listening) = &mut *self.lock() {
            std::mem::take(&mut listening.cut).cancel();
        }
    }

    /// Is away for a while, and comes back by itself.
    pub(super) fn interrupt(self: &Arc<Self>, within: Duration, away: Duration, remembers: Remembers) {
        let power = Arc::clone(self);
        self.runtime.spawn(async move {
            sleep(within).await;
            if let Some(tasks) = power.turn_off() {
                tasks.wait().await;
            }
            if remembers == Remembers::Nothing {
                power.app.forget();
            }
            sleep(away).await;
            while power.turn_on().is_err() {
                sleep(BREATH).await;
            }
        });
    }

    fn site(self: &Arc<Self>, tasks: &TaskTracker) -> Option<Site> {
        let cut = self.lock().as_ref()?.cut.clone();
        Some(Site {
            app: Arc::clone(&self.app),
            power: Arc::clone(self),
            cut,
            tasks: tasks.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Listening>> {
        self.on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(power: Arc<Power>, listener: TcpListener, end: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(_) if tasks.len() >= SOCKETS_MAX => {}
            Ok((tcp, _)) => {
                if let Some(site) = power.site(&tasks) {
                    tasks.spawn(serve(site, tcp));
                }
            }
            Err(_) => sleep(BREATH).await,
        }
    }
}
