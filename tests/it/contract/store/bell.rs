//! The bell of the Postgres store: whatever is appended is told to every node when it has been committed.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use adapters::postgres::{Database, PgBus, PgStore, PgStoreConfig};
use application::ports::{Accepted, Bus as _, Listener, Observer, Refusal, Rung, Store, Written};
use application::testing::{SeededEntropy, Unobserved};
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::Control;
use domain::ids::NodeId;
use domain::state::Mark;
use tokio::sync::{mpsc, watch};
use tokio_postgres::{AsyncMessage, NoTls};
use tokio_util::sync::{CancellationToken, DropGuard};
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
    let bus = PgBus::start(&place, &observer, (&tasks, &cancel));
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

/// One node with its store and what it hears.
struct Node {
    store: PgStore,
    listener: Box<dyn Listener>,
    _end: DropGuard,
}

impl Node {
    /// Starts it, and has it listen.
    async fn start(database: Database) -> Self {
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let observer: Arc<dyn Observer> = Arc::new(Unobserved);
        let entropy = Arc::new(SeededEntropy::new(7));
        let config = PgStoreConfig::default();
        let store = PgStore::open(&database, config, entropy, Arc::clone(&observer), &tasks)
            .await
            .unwrap();
        let mut listener = PgBus::start(&database, &observer, (&tasks, &cancel)).listen();
        // The first ring says that it listens from here on.
        listener.next().await;
        Self {
            store,
            listener,
            _end: cancel.drop_guard(),
        }
    }

    async fn publish(&self, scene: &Scene<'_>) -> Written<Vec<Result<Accepted, Refusal>>> {
        let item = scene.acceptance(to(&[user("u-1")])).await;
        self.store.accept(vec![item]).await.unwrap()
    }
}

/// Publishes until it is told of: a bell finds out within a second that somebody needs it.
async fn published_until_told(node: &Node, scene: &Scene<'_>, listener: &mut Box<dyn Listener>) -> Rung {
    let told = async {
        loop {
            node.publish(scene).await;
            if let Ok(rung) = tokio::time::timeout(Duration::from_millis(50), listener.next()).await {
                return rung;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("nobody was told")
}

#[tokio::test]
async fn other_nodes_are_told_with_copies_and_ones_own_without() {
    let database = tests::postgres::database().await.unwrap();
    let place: Database = database.url().parse().unwrap();
    let mut one = Node::start(place.clone().on_behalf_of(NodeId(1))).await;
    let mut other = Node::start(place.on_behalf_of(NodeId(u32::MAX))).await;
    let made = PgStores::begin().await;
    let scene = Scene::open(&made).await;
    let rung = published_until_told(&one, &scene, &mut other.listener).await;
    let Rung::Doorbell(doorbell) = rung else {
        panic!("{rung:?}")
    };
    let last = doorbell.events.last().unwrap().position;
    let logged = one.store.read(first_of(doorbell.epoch), 100).await.unwrap();
    let told: Vec<_> = logged
        .events
        .iter()
        .filter(|event| event.position <= last)
        .collect();
    assert!(
        told.ends_with(&doorbell.events.iter().collect::<Vec<_>>()),
        "copies are what is logged"
    );
    assert!(matches!(one.listener.next().await, Rung::Ours(_)));

    // What does not fit into one notification comes in several.
    let written = to_a_crowd(&one, &scene, 200).await;
    let pieces = heard_up_to(&mut other.listener, &written).await;
    let events = |piece: &Rung| match piece {
        Rung::Doorbell(copies) => copies.events.to_vec(),
        _ => Vec::new(),
    };
    let copies: Vec<_> = pieces.iter().flat_map(events).collect();
    assert!(copies.ends_with(&written.events), "copies are what is logged");
    assert!(pieces.len() > 1, "{pieces:?}");

    // Of more than is copied the end is told alone.
    let written = to_a_crowd(&one, &scene, 300).await;
    let pieces = heard_up_to(&mut other.listener, &written).await;
    assert!(matches!(pieces.last(), Some(Rung::Head(_))), "{pieces:?}");
}

async fn to_a_crowd(node: &Node, scene: &Scene<'_>, size: usize) -> Written<Vec<Result<Accepted, Refusal>>> {
    let crowd: Vec<_> = (0..size).map(|n| user(&format!("u-{n}"))).collect();
    let item = scene.acceptance(to(&crowd)).await;
    node.store.accept(vec![item]).await.unwrap()
}

/// What is heard until the end of what was written is told.
async fn heard_up_to<T>(listener: &mut Box<dyn Listener>, written: &Written<T>) -> Vec<Rung> {
    let end = written.events.last().unwrap().position;
    let mut rungs = Vec::new();
    let told = async {
        loop {
            let rung = listener.next().await;
            let reached = match &rung {
                Rung::Head(head) => head.position,
                Rung::Doorbell(copies) => copies.events.last().unwrap().position,
                _ => continue,
            };
            rungs.push(rung);
            if reached >= end {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("nobody was told of a crowd");
    rungs
}

const fn first_of(epoch: Epoch) -> Cursor {
    Cursor {
        epoch,
        position: Position(0),
    }
}

/// Hears the database's bell without being a node that needs it.
async fn overhear(url: &str) -> (tokio_postgres::Client, mpsc::UnboundedReceiver<String>) {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let (heard, said) = mpsc::unbounded_channel();
    TaskTracker::new().spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(note) = message {
                let _ = heard.send(note.payload().to_owned());
            }
        }
    });
    client.batch_execute("LISTEN arauto").await.unwrap();
    (client, said)
}

#[tokio::test]
async fn a_bell_that_nobody_needs_is_left_alone_until_somebody_does() {
    let database = tests::postgres::database().await.unwrap();
    let place: Database = database.url().parse().unwrap();
    let (copying, copies) = watch::channel(true);
    let beside = |node| place.clone().on_behalf_of(NodeId(node)).beside(copies.clone());
    let (one, mut other) = (Node::start(beside(1)).await, Node::start(beside(2)).await);
    let (client, mut said) = overhear(&database.url()).await;
    let made = PgStores::begin().await;
    let scene = Scene::open(&made).await;

    // Another bus carries copies: nobody needs this one.
    for _ in 0..20 {
        one.publish(&scene).await;
    }
    client.batch_execute("NOTIFY arauto, 'end'").await.unwrap();
    assert_eq!(said.recv().await.unwrap(), "end");
    // What is no word of a node's counts as missed.
    assert_eq!(other.listener.next().await, Rung::Missed);

    // It does not any more.
    copying.send(false).unwrap();
    let rung = published_until_told(&one, &scene, &mut other.listener).await;
    assert!(matches!(rung, Rung::Doorbell(_)), "{rung:?}");
}
