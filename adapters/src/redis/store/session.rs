//! A connection that is verified to lead to the history in force, and the questions that are put to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use application::ports::StoreError;
use domain::cursor::{Cursor, Epoch};
use domain::ids::UserId;
use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Script, ScriptInvocation, Value};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::super::connect::Server;
use super::super::link::Link;
use super::super::script::call;
use super::failure::{Failure, Kind};
use super::fitness;
use super::history::History;
use super::reply::Reply;
use super::scripts::Scripts;
use crate::record::Unreadable;

/// The largest batch takes a tenth of this; a Redis that takes longer is away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// One question, with the connection that it may need. What it waits for in between comes out of this, too.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is cleared away at once before a question is answered: some milliseconds.
const SWEEP: usize = 2_048;

/// What a script said: its answer, or that it was asked from something that is no longer so.
#[derive(Debug)]
pub(super) enum Answer {
    Ok(Reply),
    Again(Reply),
}

impl Answer {
    /// Returns the answer of a script that is never asked from something else.
    pub(super) fn only(self) -> Result<Reply, Failure> {
        match self {
            Self::Ok(reply) => Ok(reply),
            Self::Again(_) => Err(Unreadable::new("an answer").into()),
        }
    }
}

/// A connection, opened again when it breaks, and verified each time before anything else is asked.
pub(super) struct Session {
    link: Link,
    prefix: String,
    scripts: Arc<Scripts>,
    history: Arc<History>,
    /// The number of the connection that was verified; 0 for none.
    verified: AtomicU64,
    /// Held while a connection is verified, which is bounded.
    verifying: Mutex<()>,
}

impl Session {
    pub(super) fn new(server: &Server, scripts: &Arc<Scripts>, history: &Arc<History>) -> Self {
        Self {
            link: Link::patient(server.clone(), ANSWER_TIMEOUT),
            prefix: server.key("store:"),
            scripts: Arc::clone(scripts),
            history: Arc::clone(history),
            verified: AtomicU64::new(0),
            verifying: Mutex::default(),
        }
    }

    /// Begins a call of a script.
    pub(super) fn call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        call(script, &self.prefix)
    }

    /// Asks, and does what has to be done before there is an answer: a person is met, what has expired is cleared away, a
    /// history is begun. `sent` says whether the question itself went out last, so that it may have been answered.
    pub(super) async fn ask(
        &self,
        question: &ScriptInvocation<'_>,
        user: Option<&UserId>,
        sent: &mut bool,
    ) -> Result<Answer, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut reply = self.invoke(question, sent, deadline).await?;
            // It was answered, so that whatever goes wrong from here on is known to have written nothing.
            *sent = false;
            match (reply.text()?.as_str(), user) {
                ("ok", _) => return Ok(Answer::Ok(reply)),
                ("again", _) => return Ok(Answer::Again(reply)),
                ("lost", _) => self.verified.store(0, Ordering::Release),
                ("stale", _) => {
                    let mut sweep = self.call(&self.scripts.sweep);
                    sweep.arg(SWEEP);
                    self.invoke(&sweep, &mut false, deadline).await?;
                }
                ("who", Some(user)) => {
                    let mut meet = self.call(&self.scripts.meet);
                    meet.arg(user.as_str());
                    self.invoke(&meet, &mut false, deadline).await?;
                }
                (other, _) => return Err(Unreadable::new(format!("the status {other}")).into()),
            }
        }
    }

    /// Asks for somebody who is told no more than whether it can be done.
    pub(super) async fn ask_plainly(
        &self,
        question: &ScriptInvocation<'_>,
        user: Option<&UserId>,
        kind: Kind,
    ) -> Result<Answer, StoreError> {
        let mut sent = false;
        let answer = self.ask(question, user, &mut sent).await;
        answer.map_err(|failure| failure.said(kind, sent))
    }

    /// Begins a new epoch whatever the present one says.
    pub(super) async fn begin_epoch(&self) -> Result<Epoch, Failure> {
        let watched = self.link.server().is_watched();
        let begun = self.link.run(async |mut redis| {
            let identity = match fitness::look(&mut redis, watched).await? {
                Ok(identity) => identity,
                Err(unfit) => return Ok(Err(unfit.into())),
            };
            let scripts = (&*self.scripts, &*self.prefix);
            split(self.history.renew(&mut redis, scripts, &identity).await)
        });
        timeout(PATIENCE, begun).await.map_err(|_| Failure::Late)??
    }

    /// Forgets that the connection was verified, because the log says that something is missing.
    pub(super) fn doubt(&self) {
        self.verified.store(0, Ordering::Release);
    }

    async fn invoke(
        &self,
        question: &ScriptInvocation<'_>,
        sent: &mut bool,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let asked = self.link.run_on(async |mut redis, serial| {
            if let Err(failure) = self.verify(&mut redis, serial).await {
                return split(Err(failure));
            }
            *sent = true;
            question.invoke_async::<Value>(&mut redis).await.map(Ok)
        });
        let answer = tokio::time::timeout_at(deadline, asked).await;
        Ok(Reply::of(answer.map_err(|_| Failure::Late)???)?)
    }

    /// Verifies a connection that is new.
    async fn verify(&self, redis: &mut MultiplexedConnection, serial: u64) -> Result<(), Failure> {
        if self.verified.load(Ordering::Acquire) == serial {
            return Ok(());
        }
        let _one = self.verifying.lock().await;
        if self.verified.load(Ordering::Acquire) == serial {
            return Ok(());
        }
        // Noted before the log is looked at: what is seen meanwhile is no sign of loss.
        let seen: Option<Cursor> = self.history.seen();
        let identity = fitness::look(redis, self.link.server().is_watched()).await??;
        let scripts = (&*self.scripts, &*self.prefix);
        self.history.verify(redis, scripts, &identity, seen).await?;
        self.verified.store(serial, Ordering::Release);
        Ok(())
    }
}

/// Parts what the link has to know, because the connection may be of no use any more, from what it has not.
fn split<T>(outcome: Result<T, Failure>) -> RedisResult<Result<T, Failure>> {
    match outcome {
        Err(Failure::Redis(error)) => Err(error),
        outcome => Ok(outcome),
    }
}
