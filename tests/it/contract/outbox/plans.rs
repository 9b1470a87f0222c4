//! How the database finds deliveries: by its indexes, however much waits or has ended. The plans are those of the very
//! statements that the outbox sends, as the server logs them.

use std::sync::Arc;

use adapters::postgres::{PgOutbox, migrate};
use application::ports::{DeliveryRow, Outbox};
use domain::cursor::Position;
use tests::postgres::{Postgres, Settings, connect};

use super::done;
use super::updates::crowd;

const CHANNELS: usize = 100;

/// Of each channel many wait, and many more have ended.
const SEED: &str = "
INSERT INTO deliveries (position, epoch, channel, standing, since, record, version)
SELECT
    n, 1, 'private:user:u-' || n % 100 || ':notifications',
    CASE
        WHEN n % 1000 = 500 THEN 3
        WHEN n > 40000 THEN 1
        ELSE 2
    END,
    store_now(), '{\"since\":1,\"attempts\":0,\"leases\":0,\"renewals\":0,\"status\":\"pending\"}', 0
FROM generate_series(1, 60000) AS n";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deliveries_are_found_by_their_indexes() {
    let settings = Settings::default()
        .set("session_preload_libraries", "auto_explain")
        .set("auto_explain.log_min_duration", "0")
        .set("auto_explain.log_analyze", "on")
        .set("auto_explain.log_timing", "off")
        .set("autovacuum", "off");
    let server = Postgres::start(settings).unwrap();
    let place = server.url().parse().unwrap();
    migrate(&place).await.unwrap();
    let outbox: Arc<dyn Outbox> = Arc::new(PgOutbox::open(&place).unwrap());
    let client = connect(&server.url()).await.unwrap();
    // A plan that was made when there was nothing has to be good when there is much, too.
    for _ in 0..8 {
        ask_everything(&outbox, 0).await;
    }
    client.batch_execute(SEED).await.unwrap();
    for statistics in ["SELECT", "ANALYZE deliveries"] {
        client.batch_execute(statistics).await.unwrap();
        let before = server.log().unwrap().len();
        for round in 0..8 {
            ask_everything(&outbox, round + 1).await;
        }
        let log = server.log().unwrap().split_off(before);
        let plans: Vec<_> = log
            .split("duration:")
            .filter(|entry| entry.contains("Query Text:"))
            .collect();
        assert!(plans.len() >= 8 * 6, "plans are logged");
        for plan in &plans {
            assert!(!plan.contains("Seq Scan on deliveries "), "{statistics}: {plan}");
        }
        let heads: Vec<_> = plans
            .iter()
            .filter(|plan| plan.contains("WITH RECURSIVE head"))
            .collect();
        assert_eq!(heads.len(), 8);
        for plan in heads {
            nothing_behind_the_oldest_is_read(plan);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crowds_are_answered_where_there_is_much_else() {
    let server = Postgres::start(Settings::default()).unwrap();
    let place = server.url().parse().unwrap();
    migrate(&place).await.unwrap();
    let client = connect(&server.url()).await.unwrap();
    client.batch_execute(SEED).await.unwrap();
    client.batch_execute("ANALYZE deliveries").await.unwrap();
    let nodes = [0, 1].map(|_| Arc::new(PgOutbox::open(&place).unwrap()) as Arc<dyn Outbox>);
    let places: Vec<_> = (41_001..41_100).map(Position).collect();
    crowd(&nodes, &places).await;
}

/// Each look at the index is for one row, and there is one look for each channel.
fn nothing_behind_the_oldest_is_read(plan: &str) {
    let looks: Vec<_> = plan
        .lines()
        .filter(|line| line.contains("Scan using") || line.contains("Scan on deliveries"))
        .collect();
    assert_eq!(looks.len(), 2, "{plan}");
    for look in looks {
        assert!(look.contains("using deliveries_open "), "{plan}");
        let actual = look.split_once("actual rows=").expect("it was analyzed").1;
        let rows: f64 = actual.split(' ').next().unwrap().parse().unwrap();
        assert!(rows <= 1.0, "{plan}");
        let times = actual.split_once("loops=").unwrap().1.trim_end_matches(')');
        assert!(times.parse::<usize>().unwrap() <= CHANNELS, "{plan}");
    }
}

async fn ask_everything(outbox: &Arc<dyn Outbox>, round: u64) {
    let heads = outbox.heads(None, 1_000).await.unwrap().rows;
    assert_eq!(heads.len(), if round == 0 { 0 } else { CHANNELS });
    let ended = heads.first().map(|head| DeliveryRow {
        delivery: done(),
        ..head.clone()
    });
    if let Some(ended) = ended {
        assert_eq!(outbox.update(vec![ended]).await, Ok(vec![true]));
    }
    let places: Vec<_> = (39_990..40_010).map(Position).collect();
    outbox.find(&places).await.unwrap();
    outbox.dead(Some(Position(round * 5_000)), 10).await.unwrap();
    outbox.backlog().await.unwrap();
    outbox.forget(Position(39_000), 100).await.unwrap();
}
