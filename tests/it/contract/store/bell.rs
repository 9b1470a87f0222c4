//! The bell of the Postgres store: whatever is appended is told to every node when it has been committed.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Bus as _, Listener, Observer, Rung, Store, Written};
use application::testing::Unobserved;
use domain::cursor::Cursor;
use domain::event::Control;
use domain::state::Mark;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::durable::node;
use super::on_postgres::PgStores;
use super::scene::{Scene, reader, to, user};

/// Far more than a bell takes; there is no poll behind this listener.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens until a head is told that is at least as far.
async fn hears<T>(listener: &mut Box<dyn Listener>, what: &str, written: &Written<T>) {
    let end = Cursor {
        epoch: written.epoch,
        position: written.events.last().unwrap().position,
    };
    let told = async {
        loop {
            if let Rung::Head(head) | Rung::Ours(head) = listener.next().await
                && head >= end
            {
                return;
            }
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, told).await.is_ok(),
        "nobody was told of {what}"
    );
}

#[tokio::test]
async fn every_commit_rings() {
    let database = tests::postgres::database().await.unwrap();
    let store = node(&database.url()).await;
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let _end = cancel.clone().drop_guard();
    let observer: Arc<dyn Observer> = Arc::new(Unobserved);
    let place = database.url().parse().unwrap();
    let bus = adapters::postgres::PgBus::start(&place, &observer, (&tasks, &cancel));
    let mut listener = bus.listen();
    // The first ring says that it listens from here on.
    listener.next().await;

    let made = PgStores::begin().await;
    let scene = Scene::open(&made).await;
    let reader = reader("u-1", &[]);
    store.meet(&reader.user).await.unwrap();
    let first = scene.acceptance(to(&[user("u-1")])).await;
    let id = first.notification.id;
    let published = store.accept(vec![first]).await.unwrap();
    hears(&mut listener, "a publish", &published).await;
    let marked = store.mark(&reader, id, Mark::Read).await.unwrap().unwrap();
    hears(&mut listener, "a mark", &marked).await;
    let later = to(&[user("u-1")]).due_in(Duration::from_millis(1));
    store.accept(vec![scene.acceptance(later).await]).await.unwrap();
    let promoted = loop {
        let promoted = store.promote(10).await.unwrap();
        if !promoted.events.is_empty() {
            break promoted;
        }
    };
    hears(&mut listener, "what was scheduled", &promoted).await;
    let read = store.read_all(&reader, None).await.unwrap();
    hears(&mut listener, "reading all", &read).await;
    let retracted = store.retract(id).await.unwrap();
    hears(&mut listener, "a retraction", &retracted).await;
    let changed = Control::Changed {
        document: "limits".into(),
        version: 1,
    };
    let told = store.control(changed).await.unwrap();
    hears(&mut listener, "control", &told).await;
}
