//! What holds for every registry across a network while what it stands on is away.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Presence, Registry, RegistryError, Spent};
use domain::capability::{Principal, Role};
use domain::ids::ConnectionId;
use domain::time::Timestamp;
use tests::server::now;

use super::in_time;

/// Scheduling on a busy machine.
const SLACK: Duration = Duration::from_millis(200);

pub(super) const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn connection(serial: u64) -> ConnectionId {
    format!("00000001-{serial:016x}").parse().unwrap()
}

pub(super) fn presence(serial: u64) -> Presence {
    Presence {
        connection: connection(serial),
        user: "u-1".parse().unwrap(),
        opened_at: Timestamp::from_millis(1_767_225_600_000).plus(Duration::from_millis(serial)),
    }
}

pub(super) fn leave(registry: &dyn Registry, serial: u64) {
    registry.leave(&"u-1".parse().unwrap(), connection(serial));
}

pub(super) fn person(expires_at: Timestamp) -> Arc<Principal> {
    let mut person = Principal::new("u-1".parse().unwrap(), [Role::new("CIDADAO")]);
    person.expires_at = expires_at;
    Arc::new(person)
}

/// The stream that [`refuses_everything_within`] enters.
const NEW: u64 = 99_999;

/// Asks everything that can be asked: each question is answered by "unavailable" within `bound`.
pub(super) async fn refuses_everything_within(registry: &dyn Registry, bound: Duration) {
    let started = now();
    let entered = registry.enter(presence(NEW), 5).await.err();
    let entering = started.elapsed();
    assert!(entering < bound + SLACK, "entering took {entering:?}");
    assert_eq!(entered, Some(RegistryError::Unavailable));
    let questions: [(&str, _); 5] = [
        (
            "count",
            Box::pin(async { registry.count().await.err() }) as std::pin::Pin<Box<dyn Future<Output = _>>>,
        ),
        ("list", Box::pin(async { registry.list(None, 10).await.err() })),
        (
            "owner",
            Box::pin(async { registry.owner(connection(1)).await.err() }),
        ),
        ("spend", Box::pin(async { registry.spend(9, HOUR).await.err() })),
        ("renewed", Box::pin(async { registry.renewed(9).await.err() })),
    ];
    for (name, question) in questions {
        let started = now();
        let refused = question.await;
        let asking = started.elapsed();
        assert!(asking < bound + SLACK, "{name} took {asking:?}");
        assert_eq!(refused, Some(RegistryError::Unavailable), "{name}");
    }
}

/// Asks until it counts so many.
pub(super) async fn counts(registry: &dyn Registry, streams: usize) {
    in_time("the count", async {
        while registry.count().await != Ok(streams) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// Enters a stream as soon as that is possible.
pub(super) async fn enters(registry: &dyn Registry, presence: Presence, limit: usize) -> Vec<ConnectionId> {
    in_time("entering", async {
        loop {
            if let Ok(beyond) = registry.enter(presence.clone(), limit).await {
                return beyond;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// Asks until the ticket counts as ended; it must never have been new.
pub(super) async fn ended(registry: &dyn Registry, ticket: u128) {
    in_time("the ended ticket", async {
        loop {
            match registry.spend(ticket, HOUR).await {
                Ok(Spent::Ended) => return,
                Ok(Spent::First | Spent::Again) | Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    })
    .await;
}
