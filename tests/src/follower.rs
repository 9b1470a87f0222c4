//! A client that goes by `GET /v1/transport`: on Ably while it is told so, on its event stream otherwise, with one cursor
//! over both. It keeps a [`Safe`](domain::safe::Safe), shows each event once, and writes down what it showed and when.
//!
//! It is what `clients/reference` is for browsers, small enough that hundreds run in one process: a task, one connection
//! (two while it changes over), no thread.
//!
//! ```no_run
//! # async fn example(ably: &tests::standin::StandIn, node: &tests::node::Node, token: String) -> anyhow::Result<()> {
//! use std::time::Duration;
//! use tests::follower::{Follower, Site};
//!
//! let site = Site::new([node.url()], ably.address())?;
//! // Whatever is published from here on is to be shown.
//! let follower = Follower::open(&site, token).await?;
//! follower.until("on Ably", Duration::from_secs(10), |story| story.on_ably()).await?;
//! // … publish, kill the stand-in, publish …
//! follower.until("all shown", Duration::from_secs(30), |story| story.shown.len() == 2).await?;
//! let story = follower.stop().await;
//! assert_eq!(story.faults(), Vec::<String>::new());
//! # Ok(())
//! # }
//! ```
//!
//! How it behaves, in short: it asks when it was told to, and at once when it loses Ably; it goes to the stream as soon as
//! it is told, and back to Ably when it was told so twice in a row; it opens the new connection before it closes the old
//! one; while Ably cannot be reached for [`FALL_BACK_AFTER`] it listens to the stream meanwhile. It never resumes a
//! connection to Ably: each new one is a gap, and the replay closes it before anything that came since is shown.

mod ably;
mod calls;
mod run;
mod story;
mod stream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::run::Client;
pub use self::run::FALL_BACK_AFTER;
pub use self::story::{Shown, Story, Switch, Way};

/// A connection attempt, an answer or an attachment that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A stream on which nothing came for this long is dead: comments come every 25 s.
const SILENCE: Duration = Duration::from_secs(60);

/// Where followers find the nodes and Ably. One for all of a test.
#[derive(Debug)]
pub struct Site {
    nodes: Vec<String>,
    ably: SocketAddr,
    client: reqwest::Client,
}

impl Site {
    /// Nodes by their URLs, without a slash at the end. A follower begins with one by chance, and goes on to the next
    /// when one fails it.
    pub fn new(nodes: impl IntoIterator<Item = String>, ably: SocketAddr) -> anyhow::Result<Arc<Self>> {
        let nodes: Vec<String> = nodes.into_iter().collect();
        ensure!(!nodes.is_empty(), "a follower needs a node");
        let client = reqwest::Client::builder()
            .connect_timeout(PATIENCE)
            .read_timeout(SILENCE)
            .build()?;
        Ok(Arc::new(Self { nodes, ably, client }))
    }
}

/// What a follower tells, and who waits for it.
#[derive(Debug, Default)]
struct Told {
    story: Mutex<Story>,
    changed: Notify,
}

impl Told {
    fn story(&self) -> MutexGuard<'_, Story> {
        self.story.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell<T>(&self, change: impl FnOnce(&mut Story) -> T) -> T {
        let told = change(&mut self.story());
        self.changed.notify_waiters();
        told
    }
}

/// A client that is following.
#[derive(Debug)]
pub struct Follower {
    told: Arc<Told>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Follower {
    /// Asks where the log stands and begins to follow from there. `token` is a bearer token of the service.
    pub async fn open(site: &Arc<Site>, token: String) -> anyhow::Result<Self> {
        let told = Arc::new(Told::default());
        let client = Client::begin(Arc::clone(site), token, Arc::clone(&told)).await?;
        let stop = CancellationToken::new();
        let task = TaskTracker::new().spawn({
            let stop = stop.clone();
            async move {
                let _stopped = stop.run_until_cancelled_owned(Box::pin(client.run())).await;
            }
        });
        Ok(Self { told, stop, task })
    }

    /// What has happened so far. Held for a moment only: the follower waits meanwhile.
    pub fn story(&self) -> MutexGuard<'_, Story> {
        self.told.story()
    }

    /// Waits until the story is as wanted; an error with the story where that takes too long.
    pub async fn until(
        &self,
        what: &str,
        at_most: Duration,
        mut wanted: impl FnMut(&Story) -> bool,
    ) -> anyhow::Result<()> {
        let look = async {
            loop {
                let changed = self.told.changed.notified();
                tokio::pin!(changed);
                // From here on no change is missed.
                changed.as_mut().enable();
                if wanted(&self.story()) {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(at_most, look).await.is_err() {
            anyhow::bail!("{what}: not within {at_most:?}: {}", self.story().summary());
        }
        Ok(())
    }

    /// Ends it, and returns its story.
    pub async fn stop(self) -> Story {
        self.stop.cancel();
        let _ended = self.task.await;
        std::mem::take(&mut *self.told.story())
    }
}
