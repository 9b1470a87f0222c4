//! Publishes, from the log into the trail: each once, whoever tries, and whatever became of them since.

use std::sync::Arc;

use adapters::postgres::{PgAudit, PgStore, PgStoreConfig};
use application::audit::{Chain, VerifyAudit};
use application::ports::{Acceptance, Audit, AuditQuery, Ids as _, PublishTrail, Store as _};
use application::testing::{CountingIds, SeededEntropy, Unobserved};
use domain::audit::{ChainId, Entry};
use domain::channel::Channel;
use domain::delivery::{DeliveryPlan, Due};
use domain::ids::NotificationId;
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::time::Timestamp;
use tests::postgres::{Database, database};
use tokio_util::task::TaskTracker;

struct Site {
    database: Database,
    store: PgStore,
    ids: CountingIds,
    nodes: [Arc<PgAudit>; 2],
}

impl Site {
    async fn open() -> Self {
        let database = database().await.unwrap();
        let place = database.url().parse().unwrap();
        let (config, tasks) = (PgStoreConfig::default(), TaskTracker::new());
        let (entropy, observer) = (Arc::new(SeededEntropy::new(7)), Arc::new(Unobserved));
        let store = PgStore::open(&place, config, entropy, observer, &tasks);
        Self {
            store: store.await.unwrap(),
            nodes: [0, 1].map(|_| Arc::new(PgAudit::open(&place).unwrap())),
            ids: CountingIds::default(),
            database,
        }
    }

    fn acceptance(&self, publisher: Option<&str>, people: &[&str]) -> Acceptance {
        let content = Content {
            kind: NotificationType::parse("t").unwrap(),
            priority: Priority::Normal,
            title: "a secret".into(),
            body: "a secret".into(),
            link: None,
            data: "{}".into(),
            requires_ack: false,
            expires_at: None,
        };
        let channel = |user: &&str| Channel::User(user.parse().unwrap());
        Acceptance {
            notification: Notification {
                id: self.ids.notification(),
                content,
                published_at: Timestamp::from_millis(1),
            },
            plan: DeliveryPlan {
                channels: people.iter().map(channel).collect(),
                due: Due::Now,
            },
            idempotency: None,
            publisher: publisher.map(|publisher| publisher.parse().unwrap()),
        }
    }

    async fn accept(&self, batch: Vec<Acceptance>) -> Vec<NotificationId> {
        let written = self.store.accept(batch).await.unwrap();
        let receipts = written.value.into_iter();
        receipts.map(|accepted| accepted.unwrap().receipt.id).collect()
    }

    async fn trail(&self) -> Vec<String> {
        let audit: Arc<dyn Audit> = self.nodes[0].clone();
        let verify = VerifyAudit {
            audit: Arc::clone(&audit),
        };
        verify.run().await.unwrap();
        let query = AuditQuery {
            limit: 1_000,
            ..AuditQuery::default()
        };
        let records = audit.read(&query).await.unwrap().records;
        records
            .iter()
            .map(|kept| said(&kept.sealed.record.entry))
            .collect()
    }
}

fn said(entry: &Entry) -> String {
    let who = entry.who.as_ref().map_or("-", |who| who.as_str());
    format!("{who} {} {}", entry.target.as_str(), entry.outcome.as_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_publish_of_the_log_is_recorded_once_by_whichever_node() {
    let site = Site::open().await;
    assert_eq!(site.nodes[0].unrecorded().await, Ok(None));
    let batch = vec![
        site.acceptance(Some("back-end"), &["ana", "bia", "eva"]),
        site.acceptance(None, &["ana"]),
        site.acceptance(Some("gestora"), &["bia"]),
    ];
    let ids = site.accept(batch).await;
    // What is shown twice is published once; what is taken back was published.
    let again = site.acceptance(Some("back-end"), &["ana"]);
    let repeated = site.accept(vec![again.clone()]).await;
    site.accept(vec![again, site.acceptance(Some("ouvidoria"), &["eva"])])
        .await;
    site.store.retract(ids[2]).await.unwrap();

    let found = site.nodes[0].unrecorded().await.unwrap().unwrap();
    let lines: Vec<String> = found.entries.iter().map(said).collect();
    assert_eq!(
        lines[0],
        format!("back-end notification {} events 3 published", ids[0])
    );
    assert_eq!(
        lines[1],
        format!("gestora notification {} events 1 published", ids[2])
    );
    assert_eq!(
        lines[2],
        format!("back-end notification {} events 1 published", repeated[0])
    );
    assert!(lines[3].starts_with("ouvidoria notification "), "{lines:?}");
    assert_eq!((lines.len(), found.gone), (4, 0));

    let mut chains = [1, 2].map(|id| Chain::begin(ChainId(id)));
    let batches = [0, 1].map(|node| chains[node].seal(found.entries.clone()));
    assert_eq!(site.nodes[0].record(&batches[0], found.stretch).await, Ok(true));
    // Another node that read the same, and the same node that did not hear the answer.
    assert_eq!(site.nodes[1].record(&batches[1], found.stretch).await, Ok(false));
    assert_eq!(site.nodes[0].record(&batches[0], found.stretch).await, Ok(true));
    assert_eq!(site.nodes[1].unrecorded().await, Ok(None));
    assert_eq!(site.trail().await, lines);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stretch_without_publishes_moves_the_mark_and_what_has_left_the_history_is_said() {
    let site = Site::open().await;
    site.accept(vec![site.acceptance(None, &["ana"])]).await;
    let nothing = site.nodes[0].unrecorded().await.unwrap().unwrap();
    assert_eq!(nothing.entries, []);
    let mut chain = Chain::begin(ChainId(1));
    let empty = chain.seal(Vec::new());
    assert_eq!(site.nodes[0].record(&empty, nothing.stretch).await, Ok(true));
    assert_eq!(site.nodes[0].unrecorded().await, Ok(None));

    for _ in 0..5 {
        site.accept(vec![site.acceptance(Some("back-end"), &["ana"])])
            .await;
    }
    let client = site.database.connect().await.unwrap();
    let prune = "DELETE FROM events WHERE position <= 4";
    client.batch_execute(prune).await.unwrap();
    let rest = site.nodes[0].unrecorded().await.unwrap().unwrap();
    assert_eq!((rest.gone, rest.entries.len()), (3, 2));
}
