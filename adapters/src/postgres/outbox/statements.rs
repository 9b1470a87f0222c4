//! The statements. Standings: 1 open, 2 ended, 3 dead.

pub(super) const PLANNED: &str = "
SELECT epoch, position
FROM deliveries_planned
WHERE only_row";

/// The first time; of two that plan it, the second writes nothing.
pub(super) const BEGIN_AT: &str = "
INSERT INTO deliveries_planned (epoch, position)
VALUES ($1, $2)
ON CONFLICT DO NOTHING";

/// The row is locked from the comparison to the commit.
pub(super) const MOVE_ON: &str = "
UPDATE deliveries_planned
SET epoch = $1, position = $2
WHERE only_row AND epoch = $3 AND position = $4";

/// What another history left at a position gives way.
pub(super) const ADD: &str = "
INSERT INTO deliveries (position, epoch, channel, standing, since, record, version)
SELECT *, 0
FROM unnest($1::int8[], $2::int8[], $3::text[], $4::int2[], $5::timestamptz[], $6::text[])
ON CONFLICT (position) DO UPDATE
SET
    epoch = excluded.epoch, channel = excluded.channel, standing = excluded.standing, since = excluded.since,
    record = excluded.record, version = 0";

/// From channel to channel by the index: what waits behind a channel's oldest is not looked at.
pub(super) const HEADS: &str = "
WITH RECURSIVE head AS (
    (
        SELECT position, epoch, channel, record, version, 1 AS nth
        FROM deliveries
        WHERE standing = 1 AND channel > $1
        ORDER BY channel, position
        LIMIT 1
    )
    UNION ALL
    (
        SELECT next.position, next.epoch, next.channel, next.record, next.version, head.nth + 1
        FROM head
        CROSS JOIN LATERAL (
            SELECT position, epoch, channel, record, version
            FROM deliveries
            WHERE standing = 1 AND channel > head.channel
            ORDER BY channel, position
            LIMIT 1
        ) AS next
        WHERE head.nth < $2
    )
)
SELECT position, epoch, channel, record, version
FROM head
WHERE nth <= $2
ORDER BY nth";

pub(super) const NOW: &str = "SELECT store_now() AS now";

/// Says which of the rows it wrote, counted from 1: an event may be named twice. Rows are locked in one order, so that of
/// two who update the same ones neither waits for the other for ever.
pub(super) const UPDATE: &str = "
WITH held AS MATERIALIZED (
    SELECT position
    FROM deliveries
    WHERE position = ANY ($1::int8[])
    ORDER BY position
    FOR UPDATE
)
UPDATE deliveries d
SET standing = u.standing, record = u.record, since = u.since, version = d.version + 1
FROM held
JOIN unnest($1::int8[], $2::int8[], $3::int4[], $4::int2[], $5::timestamptz[], $6::text[]) WITH ORDINALITY
    AS u (position, epoch, version, standing, since, record, nth) ON u.position = held.position
WHERE d.position = held.position AND d.epoch = u.epoch AND d.version = u.version
RETURNING u.nth";

pub(super) const FIND: &str = "
SELECT position, epoch, channel, record, version
FROM deliveries
WHERE position = ANY ($1::int8[])
ORDER BY position";

pub(super) const DEAD_ONES: &str = "
SELECT position, epoch, channel, record, version
FROM deliveries
WHERE standing = 3 AND position > $1
ORDER BY position
LIMIT $2";

pub(super) const BACKLOG: &str = "
SELECT waiting.open, waiting.oldest, given_up.dead
FROM (SELECT count(*) AS open, min(since) AS oldest FROM deliveries WHERE standing = 1) AS waiting
CROSS JOIN (SELECT count(*) AS dead FROM deliveries WHERE standing = 3) AS given_up";

/// Locked before they go, so that none goes that a hand has just revived.
pub(super) const FORGET: &str = "
DELETE FROM deliveries
WHERE position IN (
    SELECT position
    FROM deliveries
    WHERE position < $1 AND standing <> 1
    ORDER BY position
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)";

/// People in one order, so that of two who remember the same ones neither waits for the other for ever. Of a person who is
/// named twice the later end counts.
pub(super) const HOLD: &str = "
INSERT INTO token_holders (user_id, units, roles, until)
SELECT DISTINCT ON (user_id)
    user_id, ARRAY(SELECT json_array_elements_text(units::json)), ARRAY(SELECT json_array_elements_text(roles::json)),
    until
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) WITH ORDINALITY
    AS h (user_id, units, roles, until, nth)
ORDER BY user_id, until DESC, nth DESC
ON CONFLICT (user_id) DO UPDATE
SET units = excluded.units, roles = excluded.roles, until = excluded.until
WHERE token_holders.until <= excluded.until";

pub(super) const SWEEP_HOLDERS: &str = "
DELETE FROM token_holders
WHERE user_id IN (
    SELECT user_id
    FROM token_holders
    WHERE until <= store_now()
    ORDER BY until
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)";

pub(super) const HOLDERS: &str = "
SELECT user_id, units, roles, until
FROM token_holders
WHERE user_id = ANY ($1::text[]) AND until > store_now()";
