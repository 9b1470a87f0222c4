//! What nobody waits for: importing what another system sent, publishing what is due, dropping what is over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::memory::{MemoryBus, MemoryOutbox, MemoryStore, MemoryStoreConfig};
use adapters::sanitize::HtmlSanitizer;
use api::wire::WireEncoder;
use application::error::Error;
use application::housekeeping::Housekeeping;
use application::import::{Earlier, Import, Imported};
use application::ports::{
    Acceptance, Bus as _, Clock as _, InboxQuery, Listener, Observation, Observer, Reader, Rung, Store,
};
use application::testing::{CountingIds, SeededEntropy, SimClock};
use domain::channel::Channel;
use domain::delivery::{DeliveryPlan, Due};
use domain::notification::{AudienceFields, Draft, DraftFields, Notification};
use domain::state::{Mark, StateFilter};
use domain::time::Timestamp;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A store with its clock, a bus, and who listens to it.
struct Desk {
    clock: Arc<SimClock>,
    store: Arc<MemoryStore>,
    bus: Arc<MemoryBus>,
    ear: Box<dyn Listener>,
}

impl Desk {
    fn new(config: MemoryStoreConfig) -> Self {
        let clock = Arc::new(SimClock::new());
        let entropy = Arc::new(SeededEntropy::new(1));
        let bus = Arc::new(MemoryBus::new());
        Self {
            store: Arc::new(MemoryStore::new(config, clock.clone(), entropy)),
            ear: bus.listen(),
            clock,
            bus,
        }
    }

    fn import(&self) -> Import {
        Import {
            store: self.store.clone(),
            bus: self.bus.clone(),
            sanitizer: Arc::new(HtmlSanitizer::new()),
            encoder: Arc::new(WireEncoder),
            notification_bytes_max: 1_000,
        }
    }

    /// How many events were announced next.
    async fn hears(&mut self) -> usize {
        match self.ear.next().await {
            Rung::Doorbell(doorbell) => doorbell.events.len(),
            other => panic!("{other:?}"),
        }
    }
}

fn draft(users: &[&str], body: &str) -> Draft {
    let audience = match users {
        [] => AudienceFields {
            everyone: Some(true),
            ..AudienceFields::default()
        },
        users => AudienceFields {
            users: Some(users.iter().map(|user| (*user).to_owned()).collect()),
            ..AudienceFields::default()
        },
    };
    Draft::check(DraftFields {
        audience,
        kind: "sistema.comunicado".into(),
        title: "Olá".into(),
        body: body.into(),
        ..DraftFields::default()
    })
    .unwrap()
}

fn earlier(key: &str, draft: Draft, marks: &[Mark]) -> Earlier {
    Earlier {
        key: key.to_owned(),
        draft,
        published_at: SimClock::START.minus(HOUR),
        marks: marks.to_vec(),
    }
}

fn reader(user: &str) -> Reader {
    let user: domain::ids::UserId = user.parse().unwrap();
    Reader {
        channels: vec![Channel::User(user.clone()), Channel::System],
        user,
    }
}

#[tokio::test]
async fn what_is_imported_is_in_inboxes_as_it_was_and_is_taken_once() {
    let mut desk = Desk::new(MemoryStoreConfig::default());
    let import = desk.import();
    let batch = vec![
        earlier(
            "a",
            draft(&["ana", "bia"], "<b>Um</b><script>x</script>"),
            &[Mark::Read],
        ),
        earlier("b", draft(&["ana"], ""), &[]),
    ];
    let outcomes = import.run(batch.clone()).await.unwrap();
    assert!(matches!(outcomes[..], [Ok(Imported::Taken), Ok(Imported::Taken)]));
    assert_eq!(desk.hears().await, 3);
    // Two people had read the first.
    assert_eq!((desk.hears().await, desk.hears().await), (1, 1));

    let query = InboxQuery {
        limit: 10,
        filter: StateFilter::All,
        ..InboxQuery::default()
    };
    let ana = reader("ana");
    let page = desk.store.inbox(&ana, &query).await.unwrap();
    let [second, first] = &page.items[..] else {
        panic!("{page:?}")
    };
    assert_eq!(&*first.notification.content.body, "<b>Um</b>");
    assert_eq!(first.notification.published_at, SimClock::START.minus(HOUR));
    assert!(first.state.read_at.is_some() && second.state.read_at.is_none());

    // A second run leaves alone what people have done meanwhile.
    let id = first.notification.id;
    desk.store.mark(&ana, id, Mark::Unread).await.unwrap();
    let again = import.run(batch).await.unwrap();
    assert!(matches!(again[..], [Ok(Imported::Known), Ok(Imported::Known)]));
    assert_eq!(desk.store.unread(&ana).await.unwrap().unread, 2);
}

#[tokio::test]
async fn what_cannot_be_imported_is_told_alone() {
    let desk = Desk::new(MemoryStoreConfig::default());
    let outcomes = desk
        .import()
        .run(vec![
            earlier("group", draft(&[], ""), &[Mark::Read]),
            earlier("large", draft(&["ana"], &"x".repeat(2_000)), &[]),
            earlier("fits", draft(&[], ""), &[]),
        ])
        .await
        .unwrap();
    assert!(
        matches!(&outcomes[0], Err(Error::Invalid(errors)) if errors[0].field == "read"),
        "{outcomes:?}"
    );
    assert!(
        matches!(outcomes[1], Err(Error::TooLarge { limit: 1_000, actual }) if actual > 2_000),
        "{outcomes:?}"
    );
    assert!(matches!(outcomes[2], Ok(Imported::Taken)), "{outcomes:?}");
    assert_eq!(desk.store.head().await.unwrap().cursor.position.0, 1);
}

/// Counts what was pruned.
#[derive(Default)]
struct Pruned(Mutex<usize>);

impl Observer for Pruned {
    fn saw(&self, observation: &Observation) {
        if let Observation::Pruned { events } = observation {
            *self.0.lock().unwrap() += events;
        }
    }
}

async fn schedule(desk: &Desk, count: usize, due: Timestamp) {
    let ids = CountingIds::default();
    let content = draft(&["ana"], "").content;
    for _ in 0..count {
        let acceptance = Acceptance {
            notification: Notification {
                id: application::ports::Ids::notification(&ids),
                content: content.clone(),
                published_at: desk.clock.now(),
            },
            plan: DeliveryPlan {
                channels: vec![Channel::User("ana".parse().unwrap())],
                due: Due::At(due),
            },
            idempotency: None,
            publisher: None,
        };
        desk.store.accept(vec![acceptance]).await.unwrap();
    }
}

#[tokio::test]
async fn all_that_is_due_is_published_and_all_that_is_over_is_dropped() {
    let mut desk = Desk::new(MemoryStoreConfig::default());
    let observer = Arc::new(Pruned::default());
    let housekeeping = Housekeeping {
        outbox: Arc::new(MemoryOutbox::new(desk.clock.clone())),
        store: desk.store.clone(),
        bus: desk.bus.clone(),
        observer: observer.clone(),
    };
    let due = desk.clock.now().plus(HOUR);
    schedule(&desk, 250, due).await;
    assert_eq!(housekeeping.promote().await.unwrap(), Some(due));
    assert_eq!(desk.store.head().await.unwrap().cursor.position.0, 0);

    desk.clock.advance(HOUR);
    assert_eq!(housekeeping.promote().await.unwrap(), None);
    // A step holds the log, so it is bounded; each is announced.
    let mut steps = Vec::new();
    while steps.iter().sum::<usize>() < 250 {
        steps.push(desk.hears().await);
    }
    assert!(
        steps.len() > 1 && steps.iter().all(|step| *step <= 100),
        "{steps:?}"
    );

    housekeeping.prune().await.unwrap();
    assert_eq!(*observer.0.lock().unwrap(), 0);
    desk.clock.advance(HOUR * 24 * 8);
    housekeeping.prune().await.unwrap();
    assert_eq!(*observer.0.lock().unwrap(), 250);
    let head = desk.store.head().await.unwrap();
    assert_eq!(head.oldest, head.cursor.position.next());
}
