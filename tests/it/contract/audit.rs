//! What an audit trail owes its callers. The same cases run for each adapter, through two nodes over one trail.

mod published;

use std::sync::Arc;

use adapters::memory::MemoryAudit;
use application::audit::{Chain, VerifyAudit, VerifyError};
use application::ports::{Audit, AuditError, AuditQuery, Batch};
use async_trait::async_trait;
use domain::audit::{ChainId, Entry, Kind, Note};
use domain::time::Timestamp;

/// Opens trails of one adapter.
#[async_trait]
pub(crate) trait AuditFactory: Send + Sync {
    /// Opens an empty trail as two nodes see it.
    async fn open(&self) -> [Arc<dyn Audit>; 2];
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory.
macro_rules! audit_suite {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            audit_suite! { @cases $make;
                an_empty_trail_is_verified
                records_come_back_as_they_were_sealed
                places_follow_without_a_gap_over_nodes_that_write_at_once
                a_batch_that_does_not_follow_is_refused_and_the_same_once_more_is_not
                records_are_found_by_kind_and_by_person
                what_is_forgotten_leaves_the_rest_verifiable
                only_what_is_older_is_forgotten
            }
        }
    };
    (@cases $make:path; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(&$make().await).await;
            }
        )*
    };
}

audit_suite!(memory, super::in_memory);
audit_suite!(postgres, crate::contract::over_postgres::over_postgres);
audit_suite!(redis, crate::contract::over_redis::over_redis);

struct InMemory;

async fn in_memory() -> InMemory {
    InMemory
}

#[async_trait]
impl AuditFactory for InMemory {
    async fn open(&self) -> [Arc<dyn Audit>; 2] {
        let audit = Arc::new(MemoryAudit::default());
        [audit.clone(), audit]
    }
}

pub(crate) fn entry(n: i64) -> Entry {
    Entry {
        at: Timestamp::from_millis(n),
        kind: if n % 3 == 0 { Kind::Change } else { Kind::Publish },
        who: (n % 2 == 0).then(|| format!("u-{}", n % 4).parse().unwrap()),
        target: Note::new(&format!("POST /v1/ação/{n} \"'\\|:")),
        outcome: Note::new("201"),
        request: Note::default(),
    }
}

fn entries(numbers: std::ops::Range<i64>) -> Vec<Entry> {
    numbers.map(entry).collect()
}

async fn verifies(audit: &Arc<dyn Audit>) -> u64 {
    let verify = VerifyAudit {
        audit: Arc::clone(audit),
    };
    verify.run().await.unwrap().records
}

fn all() -> AuditQuery {
    AuditQuery {
        limit: 1_000,
        ..AuditQuery::default()
    }
}

async fn an_empty_trail_is_verified(factory: &dyn AuditFactory) {
    let [audit, _] = factory.open().await;
    assert_eq!(verifies(&audit).await, 0);
    assert_eq!(audit.read(&all()).await.unwrap().records, []);
    assert_eq!(audit.forget(Timestamp::MAX, 10).await, Ok(0));
}

async fn records_come_back_as_they_were_sealed(factory: &dyn AuditFactory) {
    let [one, other] = factory.open().await;
    let mut chain = Chain::begin(ChainId(u64::MAX));
    let batch = chain.seal(entries(0..20));
    one.append(&batch).await.unwrap();
    let page = other.read(&all()).await.unwrap();
    let sealed: Vec<_> = page.records.iter().map(|kept| kept.sealed.clone()).collect();
    assert_eq!(sealed, batch.records);
    assert_eq!(page.looked_to, 20);
    let trail = other.trail().await.unwrap();
    assert_eq!((trail.forgotten, trail.head), (0, 20));
    assert_eq!(trail.ends, [chain.end()]);
    assert_eq!(verifies(&other).await, 20);
}

async fn places_follow_without_a_gap_over_nodes_that_write_at_once(factory: &dyn AuditFactory) {
    let nodes = factory.open().await;
    let mut writing = tokio::task::JoinSet::new();
    for (audit, id) in nodes.iter().cloned().zip(1..) {
        writing.spawn(async move {
            let mut chain = Chain::begin(ChainId(id));
            for n in 0..30 {
                let batch = chain.seal(entries(n..n + 4));
                audit.append(&batch).await.unwrap();
            }
        });
    }
    writing.join_all().await;
    let mut after = 0;
    let mut places = Vec::new();
    loop {
        let query = AuditQuery {
            after,
            limit: 7,
            ..AuditQuery::default()
        };
        let page = nodes[0].read(&query).await.unwrap();
        if page.records.is_empty() {
            break;
        }
        places.extend(page.records.iter().map(|kept| kept.place));
        after = page.looked_to;
    }
    assert!(places.iter().copied().eq(1..=240), "{places:?}");
    assert_eq!(verifies(&nodes[1]).await, 240);
}

async fn a_batch_that_does_not_follow_is_refused_and_the_same_once_more_is_not(factory: &dyn AuditFactory) {
    let [one, other] = factory.open().await;
    let mut chain = Chain::begin(ChainId(1));
    let first = chain.seal(entries(0..3));
    let second = chain.seal(entries(3..5));
    assert_eq!(
        one.append(&second).await,
        Err(AuditError::Elsewhere),
        "the first is missing"
    );
    one.append(&first).await.unwrap();
    assert_eq!(
        other.append(&first).await,
        Ok(()),
        "its answer may have been lost"
    );
    let forged = Batch {
        after: first.after,
        ..second.clone()
    };
    assert_eq!(one.append(&forged).await, Err(AuditError::Elsewhere));
    one.append(&second).await.unwrap();
    assert_eq!(one.append(&first).await, Err(AuditError::Elsewhere));
    assert_eq!(one.trail().await.unwrap().head, 5);
    assert_eq!(verifies(&one).await, 5);
}

async fn records_are_found_by_kind_and_by_person(factory: &dyn AuditFactory) {
    let [audit, _] = factory.open().await;
    audit
        .append(&Chain::begin(ChainId(1)).seal(entries(0..24)))
        .await
        .unwrap();
    let found = async |query: AuditQuery| {
        let page = audit.read(&query).await.unwrap();
        let places: Vec<u64> = page.records.iter().map(|kept| kept.place).collect();
        (places, page.looked_to)
    };
    let kind = Some(Kind::Change);
    let changes = found(AuditQuery { kind, ..all() }).await;
    assert_eq!(changes, (vec![1, 4, 7, 10, 13, 16, 19, 22], 24));
    let who = Some("u-2".parse().unwrap());
    let theirs = found(AuditQuery {
        who: who.clone(),
        ..all()
    })
    .await;
    assert_eq!(theirs, (vec![3, 7, 11, 15, 19, 23], 24));
    let both = AuditQuery {
        kind,
        who,
        after: 7,
        limit: 1,
    };
    assert_eq!(found(both).await, (vec![19], 19));
    let nobody = Some("nobody".parse().unwrap());
    assert_eq!(found(AuditQuery { who: nobody, ..all() }).await, (vec![], 24));
}

async fn what_is_forgotten_leaves_the_rest_verifiable(factory: &dyn AuditFactory) {
    let [one, other] = factory.open().await;
    let mut chains = [Chain::begin(ChainId(1)), Chain::begin(ChainId(2))];
    for n in 0..10 {
        let chain = &mut chains[usize::try_from(n % 2).unwrap()];
        one.append(&chain.seal(entries(3 * n..3 * n + 3))).await.unwrap();
    }
    assert_eq!(other.forget(Timestamp::from_millis(14), 10).await, Ok(10));
    assert_eq!(one.forget(Timestamp::from_millis(14), 10).await, Ok(4));
    assert_eq!(one.forget(Timestamp::from_millis(14), 10).await, Ok(0));
    let trail = one.trail().await.unwrap();
    assert_eq!((trail.forgotten, trail.head), (14, 30));
    assert_eq!(verifies(&other).await, 16);
    assert_eq!(one.read(&all()).await.unwrap().records[0].place, 15);
    // And what comes afterwards follows.
    one.append(&chains[0].seal(entries(30..31))).await.unwrap();
    assert_eq!(verifies(&one).await, 17);
    assert_eq!(one.forget(Timestamp::MAX, 100).await, Ok(17));
    assert_eq!(verifies(&one).await, 0);
    one.append(&chains[1].seal(entries(31..33))).await.unwrap();
    assert_eq!(verifies(&one).await, 2);
}

async fn only_what_is_older_is_forgotten(factory: &dyn AuditFactory) {
    let [audit, _] = factory.open().await;
    let mut chains = [Chain::begin(ChainId(1)), Chain::begin(ChainId(2))];
    // The second node's clock is behind: its record is older and still stands behind a younger one.
    audit.append(&chains[0].seal(entries(50..51))).await.unwrap();
    audit.append(&chains[1].seal(entries(10..11))).await.unwrap();
    assert_eq!(audit.forget(Timestamp::from_millis(20), 10).await, Ok(0));
    assert_eq!(verifies(&audit).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_refuses_to_change_records_and_what_its_owner_forces_is_found() {
    let database = tests::postgres::database().await.unwrap();
    let place = database.url().parse().unwrap();
    let audit: Arc<dyn Audit> = Arc::new(adapters::postgres::PgAudit::open(&place).unwrap());
    let mut chain = Chain::begin(ChainId(1));
    audit.append(&chain.seal(entries(0..10))).await.unwrap();
    let client = database.connect().await.unwrap();
    for refused in [
        "UPDATE audit_records SET who = 'bia' WHERE place = 5",
        "DELETE FROM audit_records WHERE place = 10",
        "TRUNCATE audit_records",
    ] {
        let error = client.batch_execute(refused).await.unwrap_err();
        let said = error.as_db_error().unwrap().message().to_owned();
        assert_eq!(said, "the audit trail is append-only", "{refused}");
    }
    let verify = VerifyAudit {
        audit: Arc::clone(&audit),
    };
    let forced = async |change: &str, back: &str| {
        let force = |sql: &str| {
            format!(
                "ALTER TABLE audit_records DISABLE TRIGGER USER; {sql}; ALTER TABLE audit_records ENABLE TRIGGER USER"
            )
        };
        client.batch_execute(&force(change)).await.unwrap();
        let found = match verify.run().await {
            Err(VerifyError::Broken(broken)) => broken.to_string(),
            other => panic!("{change}: {other:?}"),
        };
        client.batch_execute(&force(back)).await.unwrap();
        assert_eq!(verify.run().await.unwrap().records, 10, "{back}");
        found
    };
    let changed = forced(
        "UPDATE audit_records SET outcome = '403' WHERE place = 5",
        "UPDATE audit_records SET outcome = '201' WHERE place = 5",
    );
    assert!(changed.await.contains("the record at place 5, number 5 of chain"));
    let moved = forced(
        "UPDATE audit_records SET place = CASE place WHEN 3 THEN -4 ELSE -3 END WHERE place IN (3, 4); \
         UPDATE audit_records SET place = -place WHERE place < 0",
        "UPDATE audit_records SET place = CASE place WHEN 3 THEN -4 ELSE -3 END WHERE place IN (3, 4); \
         UPDATE audit_records SET place = -place WHERE place < 0",
    );
    assert!(moved.await.contains("the record at place 3 is number 4"));
    let removed = forced(
        "CREATE TEMP TABLE gone AS SELECT * FROM audit_records WHERE place = 7; \
         DELETE FROM audit_records WHERE place = 7",
        "INSERT INTO audit_records SELECT * FROM gone; DROP TABLE gone",
    );
    assert_eq!(removed.await, "the record at place 7 is missing");
    let cut_off = forced(
        "CREATE TEMP TABLE gone AS SELECT * FROM audit_records WHERE place > 8; \
         DELETE FROM audit_records WHERE place > 8; UPDATE audit_trail SET head = 8",
        "INSERT INTO audit_records SELECT * FROM gone; DROP TABLE gone; UPDATE audit_trail SET head = 10",
    );
    assert!(
        cut_off
            .await
            .contains("ends at number 8 and was written up to number 10")
    );
}
