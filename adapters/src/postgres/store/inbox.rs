//! What a person reads: pages, single items, counts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use application::ports::{InboxItem, InboxPage, InboxQuery, Reader, Unread};
use deadpool_postgres::ClientWrapper;
use domain::channel::Channel;
use domain::cursor::Position;
use domain::ids::NotificationId;
use domain::standing::OwnMark;
use domain::state::{ItemState, StateFilter};
use futures_util::future::{join, join3};
use tokio_postgres::Row;

use super::super::connect::Failure;
use super::log::{BEGIN_SNAPSHOT, END_SNAPSHOT, all, cursor};
use super::person::{MEET, Person, STANDING, met_or_read_only};
use super::rows::{self, NOTIFICATION, channel, moment, place, position, texts, timestamp};

const PAGE: &str = include_str!("page.sql");
pub(super) const UNREAD: &str = include_str!("unread.sql");

/// The head alone.
const AS_OF: &str = "
SELECT
    (SELECT max(epoch) FROM epochs) AS epoch,
    coalesce((SELECT max(position) FROM events), 0) AS position";

/// One item of a person's channels, with the person's mark if there is one.
pub(super) fn item_query() -> String {
    format!(
        "SELECT e.position AS place, e.channel, m.user_id IS NOT NULL AS marked,
                m.read_at, m.archived_at, m.acknowledged_at, m.unarchived_at, {NOTIFICATION}
         FROM notifications n
         CROSS JOIN bounds
         JOIN events e
           ON e.position BETWEEN n.first_position AND n.first_position + n.events - 1
          AND e.channel = ANY ($2::text[])
          AND e.kind = 1
         LEFT JOIN marks m ON m.user_id = $1 AND m.channel = e.channel AND m.position = e.position
         WHERE n.id = $3
           AND e.position > bounds.inbox_after
           AND (e.expires_at IS NULL OR e.expires_at > store_now())
         ORDER BY e.position
         LIMIT 1"
    )
}

/// Reads a person's mark beside an item, if there is one.
pub(super) fn own_mark(row: &Row) -> Result<Option<OwnMark>, Failure> {
    let at = |name: &str| -> Result<_, Failure> {
        let at: Option<SystemTime> = row.try_get(name)?;
        Ok(at.map(timestamp))
    };
    if !row.try_get::<_, bool>("marked")? {
        return Ok(None);
    }
    Ok(Some(OwnMark {
        state: ItemState {
            read_at: at("read_at")?,
            archived_at: at("archived_at")?,
            acknowledged_at: at("acknowledged_at")?,
        },
        unarchived_at: at("unarchived_at")?,
    }))
}

/// Reads an item as a person sees it.
pub(super) fn item(row: &Row, person: &Person) -> Result<InboxItem, Failure> {
    let channel = channel(row.try_get("channel")?)?;
    let position = position(row.try_get("place")?);
    let outlook = person.outlook(&channel);
    let state = match own_mark(row)? {
        Some(own) => outlook.by_mark(&own),
        None => outlook.by_place(position),
    };
    Ok(InboxItem {
        position,
        notification: Arc::new(rows::notification(row)?),
        state,
        channel,
    })
}

/// One person's questions, each answered from one snapshot.
pub(super) struct Desk<'a> {
    pub(super) client: &'a ClientWrapper,
    pub(super) reader: &'a Reader,
    pub(super) archive_read_after: Duration,
}

impl Desk<'_> {
    /// Meets the person, where the database takes that, and begins the snapshot.
    async fn begin(&self) -> Result<Person, Failure> {
        let meet = self.client.prepare_cached(MEET).await?;
        let standing = self.client.prepare_cached(STANDING).await?;
        let user = self.reader.user.as_str();
        let (known, begun, row) = join3(
            self.client.execute(&meet, &[&user]),
            self.client.batch_execute(BEGIN_SNAPSHOT),
            self.client.query_one(&standing, &[&user]),
        )
        .await;
        met_or_read_only(known)?;
        begun?;
        Person::read(&row?, self.reader, self.archive_read_after)
    }

    pub(super) async fn page(&self, query: &InboxQuery) -> Result<InboxPage, Failure> {
        let person = self.begin().await?;
        let shown = |channel: &&Channel| query.channel.as_ref().is_none_or(|only| only == *channel);
        let channels: Vec<&Channel> = person.channels.iter().filter(shown).collect();
        let stretches = channels
            .iter()
            .map(|channel| person.outlook(channel).stretch(query.filter));
        let (lows, highs): (Vec<i64>, Vec<i64>) =
            stretches.map(|(low, high)| (place(low), place(high))).unzip();
        let top = place(query.before.map_or(Position(u64::MAX), Position::prior));
        let archived_before = moment(person.now.minus(self.archive_read_after));
        let kind = query
            .kind
            .as_ref()
            .map(domain::notification::NotificationType::as_str);
        let priority = query.priority.map(rows::priority_rank);
        // One more tells whether others follow.
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
        let page = self.client.prepare_cached(PAGE).await?;
        let as_of = self.client.prepare_cached(AS_OF).await?;
        let names = texts(channels.iter().copied());
        let user = self.reader.user.as_str();
        let filter = filter_name(query.filter);
        let (found, head, ended) = join3(
            self.client.query(
                &page,
                &[
                    &user,
                    &names,
                    &lows,
                    &highs,
                    &top,
                    &filter,
                    &archived_before,
                    &kind,
                    &priority,
                    &limit,
                ],
            ),
            self.client.query_one(&as_of, &[]),
            self.client.batch_execute(END_SNAPSHOT),
        )
        .await;
        all([ended])?;
        let mut found = found?;
        let has_more = found.len() > query.limit;
        found.truncate(query.limit);
        let items = found.iter().map(|row| item(row, &person));
        Ok(InboxPage {
            items: items.collect::<Result<_, _>>()?,
            has_more,
            as_of: cursor(&head?)?,
        })
    }

    pub(super) async fn item(&self, id: NotificationId) -> Result<Option<InboxItem>, Failure> {
        let person = self.begin().await?;
        let query = self.client.prepare_cached(&item_query()).await?;
        let names = texts(&person.channels);
        let user = self.reader.user.as_str();
        let (found, ended) = join(
            self.client.query_opt(&query, &[&user, &names, &rows::uuid(id)]),
            self.client.batch_execute(END_SNAPSHOT),
        )
        .await;
        all([ended])?;
        found?.map(|row| item(&row, &person)).transpose()
    }

    pub(super) async fn unread(&self) -> Result<Unread, Failure> {
        let person = self.begin().await?;
        let count = self.client.prepare_cached(UNREAD).await?;
        let as_of = self.client.prepare_cached(AS_OF).await?;
        let (names, read_throughs) = person.read_throughs();
        let user = self.reader.user.as_str();
        let (unread, head, ended) = join3(
            self.client.query_one(&count, &[&user, &names, &read_throughs]),
            self.client.query_one(&as_of, &[]),
            self.client.batch_execute(END_SNAPSHOT),
        )
        .await;
        all([ended])?;
        Ok(Unread {
            unread: number(&unread?)?,
            as_of: cursor(&head?)?,
        })
    }
}

/// Reads the column `unread`.
pub(super) fn number(row: &Row) -> Result<u64, Failure> {
    Ok(u64::try_from(row.try_get::<_, i64>("unread")?).unwrap_or_default())
}

const fn filter_name(filter: StateFilter) -> &'static str {
    match filter {
        StateFilter::Unarchived => "unarchived",
        StateFilter::All => "all",
        StateFilter::Unread => "unread",
        StateFilter::Read => "read",
        StateFilter::Archived => "archived",
    }
}
