//! What settings owe their callers. The same cases run for each adapter.

use std::sync::Arc;

use adapters::memory::MemorySettings;
use application::ports::{Document, Settings, SettingsError};
use async_trait::async_trait;

/// Opens settings of one adapter.
#[async_trait]
pub(crate) trait SettingsFactory: Send + Sync {
    /// Opens empty settings as two nodes see them.
    async fn open(&self) -> [Arc<dyn Settings>; 2];
}

/// Runs every case against an adapter, in a module of its name. `$make` returns a future of its factory.
macro_rules! settings_suite {
    ($adapter:ident, $make:path) => {
        mod $adapter {
            settings_suite! { @cases $make;
                a_document_that_was_never_written_is_absent
                every_node_reads_what_one_wrote
                versions_count_the_writes
                a_write_at_another_version_changes_nothing_and_names_the_present_one
                of_two_writers_at_one_version_exactly_one_succeeds
                documents_do_not_touch_one_another
                a_text_comes_back_unchanged
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

settings_suite!(memory, super::in_memory);
settings_suite!(postgres, crate::contract::over_postgres::over_postgres);
settings_suite!(redis, crate::contract::over_redis::over_redis);

struct InMemory;

async fn in_memory() -> InMemory {
    InMemory
}

#[async_trait]
impl SettingsFactory for InMemory {
    async fn open(&self) -> [Arc<dyn Settings>; 2] {
        let settings = Arc::new(MemorySettings::default());
        [settings.clone(), settings]
    }
}

fn document(version: u64, text: &str) -> Document {
    let text = text.to_owned();
    Document { version, text }
}

async fn a_document_that_was_never_written_is_absent(factory: &dyn SettingsFactory) {
    let [settings, _] = factory.open().await;
    assert_eq!(settings.get("rollout").await, Ok(None));
}

async fn every_node_reads_what_one_wrote(factory: &dyn SettingsFactory) {
    let [one, other] = factory.open().await;
    assert_eq!(one.put("rollout", 0, "5".into()).await, Ok(1));
    assert_eq!(one.get("rollout").await, Ok(Some(document(1, "5"))));
    assert_eq!(other.get("rollout").await, Ok(Some(document(1, "5"))));
}

async fn versions_count_the_writes(factory: &dyn SettingsFactory) {
    let [one, other] = factory.open().await;
    for expected in 0..10 {
        let writer = if expected % 2 == 0 { &one } else { &other };
        let text = expected.to_string();
        assert_eq!(writer.put("rollout", expected, text).await, Ok(expected + 1));
    }
    assert_eq!(one.get("rollout").await, Ok(Some(document(10, "9"))));
}

async fn a_write_at_another_version_changes_nothing_and_names_the_present_one(factory: &dyn SettingsFactory) {
    let [one, other] = factory.open().await;
    let conflict = |current| Err(SettingsError::Conflict { current });
    assert_eq!(one.put("rollout", 1, "x".into()).await, conflict(0));
    assert_eq!(one.get("rollout").await, Ok(None));
    one.put("rollout", 0, "5".into()).await.unwrap();
    one.put("rollout", 1, "25".into()).await.unwrap();
    for wrong in [0, 1, 3, 1 << 40] {
        assert_eq!(
            other.put("rollout", wrong, "x".into()).await,
            conflict(2),
            "{wrong}"
        );
    }
    assert_eq!(one.get("rollout").await, Ok(Some(document(2, "25"))));
}

async fn of_two_writers_at_one_version_exactly_one_succeeds(factory: &dyn SettingsFactory) {
    let [one, other] = factory.open().await;
    for round in 0..50 {
        let write = |settings: &Arc<dyn Settings>, text: &str| {
            let (settings, text) = (settings.clone(), text.to_owned());
            async move { settings.put("rollout", round, text).await }
        };
        let mut writers = tokio::task::JoinSet::new();
        writers.spawn(write(&one, "one"));
        writers.spawn(write(&other, "other"));
        let mut outcomes = writers.join_all().await;
        outcomes.sort_by_key(Result::is_err);
        let conflict = Err(SettingsError::Conflict { current: round + 1 });
        assert_eq!(outcomes, [Ok(round + 1), conflict], "round {round}");
    }
}

async fn documents_do_not_touch_one_another(factory: &dyn SettingsFactory) {
    let [settings, _] = factory.open().await;
    settings.put("rollout", 0, "5".into()).await.unwrap();
    assert_eq!(settings.put("limits", 0, "10".into()).await, Ok(1));
    assert_eq!(settings.get("rollout").await, Ok(Some(document(1, "5"))));
    assert_eq!(settings.get("limits").await, Ok(Some(document(1, "10"))));
    assert_eq!(settings.get("rollou").await, Ok(None));
}

async fn a_text_comes_back_unchanged(factory: &dyn SettingsFactory) {
    let [settings, other] = factory.open().await;
    let long = "ação\n".repeat(20_000);
    for (version, text) in (0..).zip(["", " x ", "{\"a\": 1.0}", "'; --", "\u{2028}\t🎉", &long]) {
        settings.put("rollout", version, text.into()).await.unwrap();
        assert_eq!(other.get("rollout").await, Ok(Some(document(version + 1, text))));
    }
}
