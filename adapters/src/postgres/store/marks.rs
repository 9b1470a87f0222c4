//! What a person does: marks, and reading everything.
//!
//! Order of locks: the person's row, then the log, then marks. So two devices of one person follow one another, the
//! count that goes out is exact at its event's place, and nobody waits in a circle. `tally` keeps the log's short.

use std::time::{Duration, SystemTime};

use application::ports::{Marking, Reader, Unread, Written};
use deadpool_postgres::{ClientWrapper, Transaction};
use domain::channel::Channel;
use domain::cursor::{Cursor, Position};
use domain::event::{Change, Marked, MarkedWhat};
use domain::ids::NotificationId;
use domain::standing::OwnMark;
use domain::state::{ItemState, Mark};
use domain::time::Timestamp;
use futures_util::future::join;

use super::super::connect::Failure;
use super::append::{Entry, LogEnd, append, hold, written};
use super::inbox::{item, item_query, own_mark};
use super::person::{MEET, Person, STANDING_HELD, save};
use super::rows::{self, moment, place, texts};
use super::tally::Tally;

const UPSERT: &str = "
INSERT INTO marks (
    user_id, channel, position, read_at, archived_at, acknowledged_at, unarchived_at, expires_at
)
SELECT $1, $2, $3, $4, $5, $6, $7, e.expires_at
FROM events e
WHERE e.position = $3
ON CONFLICT (user_id, channel, position) DO UPDATE SET
    read_at = excluded.read_at,
    archived_at = excluded.archived_at,
    acknowledged_at = excluded.acknowledged_at,
    unarchived_at = excluded.unarchived_at";

/// Tells whether an item is still there.
const STILL_THERE: &str = "SELECT FROM events WHERE position = $1 AND kind = 1";

/// What was marked by itself and not read is read with the rest.
const READ_MARKS: &str = "
UPDATE marks
SET read_at = $4
WHERE user_id = $1
  AND channel = ANY ($2::text[])
  AND position <= $3
  AND read_at IS NULL";

/// One person's writing.
pub(super) struct Pen<'a> {
    pub(super) client: &'a mut ClientWrapper,
    pub(super) reader: &'a Reader,
    pub(super) archive_read_after: Duration,
}

impl Pen<'_> {
    pub(super) async fn mark(
        self,
        id: NotificationId,
        mark: Mark,
    ) -> Result<Option<Written<Marking>>, Failure> {
        let transaction = self.client.transaction().await?;
        let person = meet_and_hold(&transaction, self.reader, self.archive_read_after).await?;
        let query = transaction.prepare_cached(&item_query()).await?;
        let user = self.reader.user.as_str();
        let names = texts(&person.channels);
        let found = transaction
            .query_opt(&query, &[&user, &names, &rows::uuid(id)])
            .await?;
        let Some(row) = found else {
            // The first visit counts, whatever it was for.
            transaction.commit().await?;
            return Ok(None);
        };
        let (known, item) = (own_mark(&row)?, item(&row, &person)?);
        let state = item.state.after(mark, person.now);
        let tally = Tally::count(&transaction, self.reader, &person).await?;
        let end = hold(&transaction).await?;
        let still_there = transaction.prepare_cached(STILL_THERE).await?;
        if transaction
            .query_opt(&still_there, &[&place(item.position)])
            .await?
            .is_none()
        {
            return Ok(None);
        }
        let unread = tally.at_the_end(&transaction, self.reader, &person).await?;
        if state == item.state {
            let as_of = end.cursor;
            transaction.commit().await?;
            let unread = Unread { unread, as_of };
            return Ok(Some(written(&end, Marking { state, unread }, Vec::new())));
        }
        let own = OwnMark::after(known, state, mark, person.now);
        upsert(&transaction, user, &item.channel, item.position, &own).await?;
        let unread = Unread {
            unread: recounted(unread, item.state, state),
            as_of: told_at(&end),
        };
        let told = tell(self.reader, MarkedWhat::One(id, mark.into()), unread);
        let events = append(&transaction, end, vec![told]).await?;
        transaction.commit().await?;
        Ok(Some(written(&end, Marking { state, unread }, events)))
    }

    pub(super) async fn read_all(self, up_to: Option<Position>) -> Result<Written<Unread>, Failure> {
        let transaction = self.client.transaction().await?;
        let mut person = meet_and_hold(&transaction, self.reader, self.archive_read_after).await?;
        let end = hold(&transaction).await?;
        let head = end.cursor.position;
        let up_to = up_to.map_or(head, |up_to| up_to.min(head));
        let moved = person.standing.read_through(up_to, person.now);
        let marked = read_marks(&transaction, self.reader, &person, up_to).await?;
        if !moved && !marked {
            let unread = count(&transaction, self.reader, &person, end.cursor).await?;
            transaction.commit().await?;
            return Ok(written(&end, unread, Vec::new()));
        }
        save(&transaction, &self.reader.user, &person.standing).await?;
        let unread = count(&transaction, self.reader, &person, told_at(&end)).await?;
        let up_to = Cursor {
            position: up_to,
            ..end.cursor
        };
        let told = tell(self.reader, MarkedWhat::ReadAll { up_to }, unread);
        let events = append(&transaction, end, vec![told]).await?;
        transaction.commit().await?;
        Ok(written(&end, unread, events))
    }
}

async fn meet_and_hold(
    transaction: &Transaction<'_>,
    reader: &Reader,
    archive_read_after: Duration,
) -> Result<Person, Failure> {
    let meet = transaction.prepare_cached(MEET).await?;
    let standing = transaction.prepare_cached(STANDING_HELD).await?;
    let user = reader.user.as_str();
    let (known, row) = join(
        transaction.execute(&meet, &[&user]),
        transaction.query_one(&standing, &[&user]),
    )
    .await;
    known?;
    Person::read(&row?, reader, archive_read_after)
}

async fn upsert(
    transaction: &Transaction<'_>,
    user: &str,
    channel: &Channel,
    position: Position,
    own: &OwnMark,
) -> Result<(), Failure> {
    let at = |at: Option<Timestamp>| -> Option<SystemTime> { at.map(moment) };
    let upsert = transaction.prepare_cached(UPSERT).await?;
    transaction
        .execute(
            &upsert,
            &[
                &user,
                &channel.to_string(),
                &place(position),
                &at(own.state.read_at),
                &at(own.state.archived_at),
                &at(own.state.acknowledged_at),
                &at(own.unarchived_at),
            ],
        )
        .await?;
    Ok(())
}

/// Tells whether any mark was read by this.
async fn read_marks(
    transaction: &Transaction<'_>,
    reader: &Reader,
    person: &Person,
    up_to: Position,
) -> Result<bool, Failure> {
    let read = transaction.prepare_cached(READ_MARKS).await?;
    let parameters = (texts(&person.channels), place(up_to), moment(person.now));
    let changed = transaction
        .execute(
            &read,
            &[&reader.user.as_str(), &parameters.0, &parameters.1, &parameters.2],
        )
        .await?;
    Ok(changed > 0)
}

async fn count(
    transaction: &Transaction<'_>,
    reader: &Reader,
    person: &Person,
    as_of: Cursor,
) -> Result<Unread, Failure> {
    let unread = Tally::count(transaction, reader, person).await?.unread;
    Ok(Unread { unread, as_of })
}

/// The count after one item has gone from one state to another.
const fn recounted(unread: u64, from: ItemState, to: ItemState) -> u64 {
    match (from.unread(), to.unread()) {
        (true, false) => unread.saturating_sub(1),
        (false, true) => unread + 1,
        _ => unread,
    }
}

/// The place of the event that tells of a mark.
const fn told_at(end: &LogEnd) -> Cursor {
    Cursor {
        position: end.place(0),
        ..end.cursor
    }
}

/// What a person did, on their own channel, with the count that it left.
fn tell(reader: &Reader, what: MarkedWhat, unread: Unread) -> Entry {
    Entry::new(Change::Marked {
        channel: Channel::User(reader.user.clone()),
        marks: Marked {
            what,
            unread: unread.unread,
            unread_as_of: unread.as_of,
        },
    })
}
