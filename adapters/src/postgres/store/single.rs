//! The fast path of one notification for one channel, as nearly every publish is that meets no other.
//!
//! It is the [fast path](super::fast) without arrays: for a publisher who waits for each answer, what the database does
//! in between is most of the wait.

use application::ports::Acceptance;
use deadpool_postgres::ClientWrapper;
use domain::channel::Channel;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};

use super::PgStoreConfig;
use super::append::LOG_LOCK;
use super::batch::{clamp, millis, publishing};
use super::rows::{self, EVENT_BYTES, moment};

const ACCEPT_ONE: &str = "
SELECT in_epoch, after_position, accepted
FROM accept_one(
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
    $20::int8 * interval '1 millisecond'
)";

/// One notification and its one event.
#[derive(Clone, Copy)]
pub(super) struct Single<'a> {
    item: &'a Acceptance,
    channel: &'a Channel,
}

impl<'a> Single<'a> {
    /// Takes a batch that is no more than that.
    pub(super) fn of(part: &[&'a Acceptance]) -> Option<Self> {
        let [item] = part else { return None };
        let [channel] = &*item.plan.channels else {
            return None;
        };
        Some(Self { item, channel })
    }

    /// Sends it and waits until it is committed. Of an error in the data nothing remains.
    pub(super) async fn flush(
        self,
        client: &ClientWrapper,
        config: &PgStoreConfig,
        sent: &mut bool,
    ) -> Result<Row, Error> {
        let accept = client.prepare_cached(ACCEPT_ONE).await?;
        let notification = &self.item.notification;
        let content = &notification.content;
        let key = self.item.idempotency.as_ref();
        let bytes = rows::notification_bytes(notification);
        let parameters: [&(dyn ToSql + Sync); 20] = [
            &LOG_LOCK,
            &rows::uuid(notification.id),
            &content.kind.as_str(),
            &rows::priority_rank(content.priority),
            &&*content.title,
            &&*content.body,
            &content.link.as_deref(),
            &&*content.data,
            &content.requires_ack,
            &content.expires_at.map(moment),
            &moment(notification.published_at),
            &bytes,
            &self.channel.to_string(),
            &EVENT_BYTES.saturating_add(bytes),
            &publishing(self.item),
            &key.map(|key| key.publisher.as_str()),
            &key.map(|key| &*key.key),
            &key.map(|key| &key.digest[..]),
            &clamp(config.keys_max),
            &millis(config.key_ttl),
        ];
        *sent = true;
        client.query_one(&accept, &parameters).await
    }
}
