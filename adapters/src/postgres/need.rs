//! Who needs the bell: nodes that listen to it and are told by no faster bus.
//!
//! Such a node says so by a shared advisory lock, which its listening session holds. So it is true for as long as the
//! session lives: who crashes needs nothing any more, without a lease.

use deadpool_postgres::ClientWrapper;
use domain::ids::NodeId;
use tokio::sync::watch;
use tokio_postgres::Client;

use super::connect::{Database, Failure};

/// The first key of the lock; the second is the node. "bell" in ASCII.
const BELL: i32 = 0x6265_6c6c;

const TAKE: &str = "SELECT pg_advisory_lock_shared($1, $2)";
const GIVE_UP: &str = "SELECT pg_advisory_unlock_shared($1, $2)";

/// Two keys make what the view calls `objsubid` 2.
const OTHERS: &str = "
SELECT EXISTS (
    SELECT
    FROM pg_locks
    WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid = $1::int8::oid
        AND objid <> $2::int8::oid
        AND objsubid = 2
        AND granted
)";

/// Says whether any node but this one needs the bell. Whoever is no node rings for everybody.
pub(super) async fn others_need(client: &ClientWrapper, node: Option<NodeId>) -> Result<bool, Failure> {
    let Some(node) = node else {
        return Ok(true);
    };
    let others = client.prepare_cached(OTHERS).await?;
    let row = client
        .query_one(&others, &[&i64::from(BELL), &i64::from(node.0)])
        .await?;
    Ok(row.try_get(0)?)
}

/// What a listening session says of its node's need.
pub(super) struct Need {
    node: Option<NodeId>,
    copies: Option<watch::Receiver<bool>>,
    said: bool,
}

impl Need {
    /// Nothing is said yet.
    pub(super) fn of(database: &Database) -> Self {
        Self {
            node: database.node(),
            copies: database.copies().cloned(),
            said: false,
        }
    }

    /// Says what holds now.
    pub(super) async fn say(&mut self, client: &Client) -> Result<(), Failure> {
        let copied = self
            .copies
            .as_mut()
            .is_some_and(|copies| *copies.borrow_and_update());
        let Some(node) = self.node.filter(|_| self.said == copied) else {
            return Ok(());
        };
        let statement = if copied { GIVE_UP } else { TAKE };
        client.execute(statement, &[&BELL, &node.0.cast_signed()]).await?;
        self.said = !copied;
        Ok(())
    }

    /// Waits until there may be something else to say.
    pub(super) async fn changed(&mut self) {
        // A bus that is gone carries nothing any more, and has said so.
        let alive = match &mut self.copies {
            Some(copies) => copies.changed().await.is_ok(),
            None => false,
        };
        if !alive {
            std::future::pending::<()>().await;
        }
    }
}
