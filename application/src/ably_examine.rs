//! How Ably is, for whoever asks: what probes, publishes, the breaker and the outbox know of it.

use std::sync::Arc;
use std::time::Duration;

use domain::breaker::BreakerState;
use domain::policy::Health;
use domain::time::Timestamp;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::ably_health::{AblyHealth, LastProbe, LastPublish};
use crate::ably_use::{AblyReport, AblyUse};
use crate::ports::{Backlog, Clock, Echo, Host, Observation, Observer, Outbox, StoreError, Transport};

/// Whoever asks for health does not wait longer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Anybody may ask; Ably is asked no more often than this.
const ASKED_EVERY: Duration = Duration::from_secs(10);

/// How Ably is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AblyExamined {
    /// The verdict.
    pub health: Health,
    /// How long `GET /time` took, within the last ten seconds; `None` where it was not answered, or nobody may ask.
    pub time: Option<Duration>,
    /// Which host this node asks first.
    pub host: Host,
    /// What becomes of the next publish.
    pub breaker: BreakerState,
    /// The last probe of this node.
    pub probe: Option<LastProbe>,
    /// The last publish of this node.
    pub publish: Option<LastPublish>,
    /// What waits, of all nodes; `None` where the store does not say.
    pub backlog: Option<Backlog>,
    /// What is used.
    pub used: AblyReport,
    /// When this was so.
    pub now: Timestamp,
}

/// An answer to `GET /time`, and the uptime at which it was asked for.
pub type Asked = Option<(Duration, Option<Duration>)>;

/// Examines Ably.
pub struct ExamineAbly {
    /// What probes know.
    pub health: Arc<AblyHealth>,
    /// What can ask for the time.
    pub echo: Option<Arc<dyn Echo>>,
    /// What publishes, behind its breaker.
    pub transport: Arc<dyn Transport>,
    /// What waits.
    pub outbox: Arc<dyn Outbox>,
    /// What is used.
    pub used: Arc<AblyUse>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// The last answer. Held while it is asked for, so that many who ask at once ask once.
    pub asked: Mutex<Asked>,
}

impl ExamineAbly {
    /// Says how Ably stands by what is known, without asking anybody.
    pub fn standing(&self) -> Health {
        self.health.health().behind(self.transport.breaker())
    }

    /// Asks, and says everything.
    pub async fn run(&self) -> AblyExamined {
        let (time, backlog) = tokio::join!(self.time(), timeout(ANSWERS_WITHIN, self.outbox.backlog()));
        let standing = self.standing();
        let health = match (&self.echo, time, self.health.last_probe()) {
            // Nothing else is known of it.
            (Some(_), None, None) => Health::Down,
            (Some(_), None, Some(_)) => standing.max(Health::Degraded),
            _ => standing,
        };
        AblyExamined {
            health,
            time,
            host: self.transport.host(),
            breaker: self.transport.breaker(),
            probe: self.health.last_probe(),
            publish: self.health.last_publish(),
            backlog: backlog.ok().and_then(Result::ok),
            used: self.used.report(),
            now: self.clock.now(),
        }
    }

    /// Counts what has passed and shows it to whoever counts. `streams` are the open streams of this node.
    pub async fn show(&self, streams: usize) -> Result<(), StoreError> {
        self.used.pass(streams);
        let report = self.used.report();
        for (class, count) in report.channels {
            self.observer.saw(&Observation::AblyChannels {
                class: class.as_str(),
                count,
            });
        }
        self.observer.saw(&Observation::AblyHolders(report.holders));
        self.observer
            .saw(&Observation::AblyHost(self.transport.host().as_str()));
        let month = report.cost.per_month(report.within);
        for (of, micros) in [
            ("messages", month.messages),
            ("connections", month.connections),
            ("channels", month.channels),
        ] {
            self.observer.saw(&Observation::AblyCost { of, micros });
        }
        let backlog = self.outbox.backlog().await?;
        let now = self.clock.now();
        self.observer.saw(&Observation::AblyBacklog {
            open: backlog.open,
            age: backlog.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest)),
            dead: backlog.dead,
        });
        Ok(())
    }

    async fn time(&self) -> Option<Duration> {
        let echo = self.echo.as_ref()?;
        let mut asked = self.asked.lock().await;
        let uptime = self.clock.uptime();
        let fresh = asked.filter(|(at, _)| uptime.saturating_sub(*at) < ASKED_EVERY);
        if let Some((_, answer)) = fresh {
            return answer;
        }
        let answer = timeout(ANSWERS_WITHIN, echo.time())
            .await
            .ok()
            .and_then(Result::ok);
        *asked = Some((uptime, answer));
        answer
    }
}
