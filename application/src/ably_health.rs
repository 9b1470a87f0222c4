//! How Ably is, found out by doing what people do: a message goes out as theirs do and is listened for as they listen.
//!
//! Every node probes by itself. What it finds is true of its own way to Ably, needs no store, and costs four messages a
//! minute; a leader's word would be late by the lease when the leader goes, and wrong where only some nodes are cut off.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::channel::Channel;
use domain::health::{HealthPolicy, HealthWatch, Probed};
use domain::ids::NodeId;
use domain::outbox::Outcome;
use domain::policy::Health;
use domain::time::Timestamp;
use tokio::time::timeout;

use crate::ports::{Clock, Echo, EchoError, Entropy, Heard, Observation, Observer, Parcel, Transport};

/// What did not come back by then did not come back: people would call it lost.
const COMES_BACK_WITHIN: Duration = Duration::from_secs(3);

/// What is known of Ably on this node.
#[derive(Debug, Default)]
pub struct AblyHealth(
    /// Never held across an await.
    Mutex<Known>,
);

#[derive(Debug, Default)]
struct Known {
    watch: HealthWatch,
    last: Option<LastProbe>,
    published: Option<LastPublish>,
}

/// The last probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastProbe {
    /// What became of it.
    pub probed: Probed,
    /// When.
    pub at: Timestamp,
}

/// The last publish of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastPublish {
    /// The name of its outcome.
    pub outcome: &'static str,
    /// When.
    pub at: Timestamp,
}

impl AblyHealth {
    /// Returns the health.
    pub fn health(&self) -> Health {
        self.known().watch.health()
    }

    /// Whether the last probe failed.
    pub fn doubts(&self) -> bool {
        self.known().watch.doubts()
    }

    /// Returns the last probe; `None` before the first.
    pub fn last_probe(&self) -> Option<LastProbe> {
        self.known().last
    }

    /// Returns the last publish of an event; `None` before the first.
    pub fn last_publish(&self) -> Option<LastPublish> {
        self.known().published
    }

    /// Takes note of a publish.
    pub fn published(&self, outcome: &'static str, at: Timestamp) {
        self.known().published = Some(LastPublish { outcome, at });
    }

    /// Takes a probe and returns the health before and after it.
    fn probed(&self, probed: Probed, at: Timestamp) -> (Health, Health) {
        let mut known = self.known();
        let before = known.watch.health();
        known.watch = known.watch.after(probed, &HealthPolicy::default());
        known.last = Some(LastProbe { probed, at });
        (before, known.watch.health())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Probes Ably.
pub struct ProbeAbly {
    /// What carries events there, with no breaker before it: a probe finds out whether Ably is back.
    pub transport: Arc<dyn Transport>,
    /// What listens there; `None` without a key that may.
    pub echo: Option<Arc<dyn Echo>>,
    /// Chance, for ids that nobody guesses.
    pub entropy: Arc<dyn Entropy>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
    /// What is known.
    pub health: Arc<AblyHealth>,
    /// The channel of this node's probes; nobody is sent anything else there.
    pub channel: Channel,
    /// What is listened to, once it is.
    pub heard: tokio::sync::Mutex<Option<Box<dyn Heard>>>,
}

/// Returns the channel of a node's probes: of a person who is none, so that it passes wherever channels do.
pub fn probe_channel(node: NodeId) -> Option<Channel> {
    let user = format!("arauto-probe-{:08x}", node.0);
    user.parse().ok().map(Channel::User)
}

impl ProbeAbly {
    /// Probes once.
    pub async fn probe(&self) -> Probed {
        let probed = self.run().await;
        let (before, health) = self.health.probed(probed, self.clock.now());
        self.observer.saw(&Observation::Probed {
            outcome: probed.as_str(),
            took: probed.took(),
        });
        self.observer.saw(&Observation::AblyHealth(health.as_str()));
        if before != health {
            tracing::warn!(
                before = before.as_str(),
                health = health.as_str(),
                probe = probed.as_str(),
                "the health of Ably"
            );
        }
        probed
    }

    async fn run(&self) -> Probed {
        let mut heard = self.heard.lock().await;
        let listens = match (&self.echo, heard.is_some()) {
            (Some(echo), false) => match echo.listen(&self.channel).await {
                Ok(stream) => {
                    *heard = Some(stream);
                    true
                }
                Err(EchoError::Forbidden) => false,
                Err(EchoError::Unreachable) => return Probed::Deaf,
            },
            (Some(_), true) => true,
            (None, _) => false,
        };
        let id = format!("probe-{:016x}{:016x}", self.entropy.bits(), self.entropy.bits());
        let parcel = Parcel {
            data: format!(r#"{{"probe":"{id}"}}"#).into(),
            id: id.clone(),
            channel: self.channel.clone(),
            event: "probe",
        };
        let started = self.clock.uptime();
        let sent = self.transport.deliver(&[parcel]).await;
        let took = || self.clock.uptime().saturating_sub(started);
        match sent.first() {
            Some(Outcome::Accepted) if !listens => return Probed::Accepted { took: took() },
            Some(Outcome::Accepted) => {}
            Some(Outcome::Held { .. }) => return Probed::Held,
            _ => return Probed::NotAccepted,
        }
        let Some(stream) = heard.as_mut() else {
            return Probed::Deaf;
        };
        let back = timeout(COMES_BACK_WITHIN, comes_back(&mut **stream, &id)).await;
        if back == Ok(true) {
            return Probed::Delivered { took: took() };
        }
        // Whether the stream or Ably has gone silent, a fresh one tells.
        *heard = None;
        Probed::Silent
    }
}

async fn comes_back(stream: &mut dyn Heard, id: &str) -> bool {
    while let Some(message) = stream.next().await {
        if message.contains(id) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use domain::transport::Reason;
    use tokio::sync::mpsc;

    use super::*;
    use crate::ports::MockTransport;
    use crate::testing::{SeededEntropy, SimClock, Unobserved};

    /// What a transport does with what it is given.
    #[derive(Clone, Copy, PartialEq)]
    enum Ably {
        Delivers,
        Swallows,
        Answers(Outcome),
    }

    struct Ear(mpsc::UnboundedReceiver<String>);

    #[async_trait]
    impl Heard for Ear {
        async fn next(&mut self) -> Option<String> {
            self.0.recv().await
        }
    }

    struct Ears {
        opens: Mutex<Vec<Result<Ear, EchoError>>>,
        opened: Arc<AtomicUsize>,
    }

    #[async_trait]
    impl Echo for Ears {
        async fn listen(&self, _: &Channel) -> Result<Box<dyn Heard>, EchoError> {
            self.opened.fetch_add(1, Ordering::SeqCst);
            let mut opens = self.opens.lock().unwrap();
            opens.remove(0).map(|ear| Box::new(ear) as Box<dyn Heard>)
        }

        async fn time(&self) -> Result<Duration, EchoError> {
            Err(EchoError::Unreachable)
        }
    }

    /// A probe of an Ably that does this, one after the other, heard over a stream unless `deaf`.
    fn probing(ably: Vec<Ably>, deaf: Option<EchoError>) -> (ProbeAbly, Arc<AtomicUsize>) {
        let (mut transport, opened) = (MockTransport::new(), Arc::new(AtomicUsize::new(0)));
        let mut opens: Vec<Result<Ear, EchoError>> = Vec::new();
        let mut senders = Vec::new();
        for _ in 0..=ably.len() {
            let (sender, ear) = mpsc::unbounded_channel();
            senders.push(sender);
            opens.push(deaf.map_or(Ok(Ear(ear)), Err));
        }
        let (mut does, counter) = (ably.into_iter(), Arc::clone(&opened));
        transport.expect_deliver().returning(move |batch| {
            let done = does.next().unwrap();
            if done == Ably::Delivers {
                // Something else comes first.
                let open = &senders[counter.load(Ordering::SeqCst).saturating_sub(1)];
                let _ = open.send("a probe of long ago".to_owned());
                let _ = open.send(batch[0].data.to_string());
            }
            vec![match done {
                Ably::Delivers | Ably::Swallows => Outcome::Accepted,
                Ably::Answers(outcome) => outcome,
            }]
        });
        let ears = Ears {
            opens: Mutex::new(opens),
            opened: Arc::clone(&opened),
        };
        let probe = ProbeAbly {
            transport: Arc::new(transport),
            echo: Some(Arc::new(ears)),
            entropy: Arc::new(SeededEntropy::new(1)),
            clock: Arc::new(SimClock::new()),
            observer: Arc::new(Unobserved),
            health: Arc::default(),
            channel: probe_channel(NodeId(7)).unwrap(),
            heard: tokio::sync::Mutex::new(None),
        };
        (probe, opened)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_swallowed_is_silent_and_heard_anew_over_another_stream() {
        let does = vec![Ably::Delivers, Ably::Delivers, Ably::Swallows, Ably::Delivers];
        let (probe, opened) = probing(does, None);
        assert!(matches!(probe.probe().await, Probed::Delivered { .. }));
        assert!(matches!(probe.probe().await, Probed::Delivered { .. }));
        assert_eq!(opened.load(Ordering::SeqCst), 1);
        assert_eq!(probe.probe().await, Probed::Silent);
        assert!(matches!(probe.probe().await, Probed::Delivered { .. }));
        assert_eq!(opened.load(Ordering::SeqCst), 2);
        assert_eq!(probe.health.health(), Health::Degraded);
    }

    #[tokio::test(start_paused = true)]
    async fn three_that_are_swallowed_say_that_it_is_down_whatever_it_answers() {
        let (probe, _) = probing(vec![Ably::Swallows; 3], None);
        for _ in 0..3 {
            assert_eq!(probe.probe().await, Probed::Silent);
        }
        assert_eq!(probe.health.health(), Health::Down);
    }

    #[tokio::test]
    async fn without_the_right_to_listen_only_the_answer_counts_and_nothing_is_called_delivered() {
        let lost = Ably::Answers(Outcome::Lost);
        let (probe, _) = probing(vec![Ably::Swallows, lost], Some(EchoError::Forbidden));
        assert!(matches!(probe.probe().await, Probed::Accepted { .. }));
        assert_eq!(probe.probe().await, Probed::NotAccepted);
        let (probe, _) = probing(Vec::new(), Some(EchoError::Unreachable));
        assert_eq!(probe.probe().await, Probed::Deaf);
    }

    #[tokio::test]
    async fn what_waits_for_room_says_nothing() {
        let held = Outcome::Held {
            retry_after: Duration::ZERO,
            by: Reason::RateLimited,
        };
        let (probe, _) = probing(vec![Ably::Answers(held); 4], None);
        for _ in 0..4 {
            assert_eq!(probe.probe().await, Probed::Held);
        }
        assert_eq!(probe.health.health(), Health::Up);
    }
}
