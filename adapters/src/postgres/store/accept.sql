-- Stores a batch and gives its events their positions: one statement, under the log's lock, in a snapshot taken
-- after the lock was granted.
--
-- One row for each item, in order: `outcome` is fresh, repeat, other (the key stands for another draft),
-- keys_full or schedule_full.
WITH item AS (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::text[], $3::int2[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bool[],
        $9::timestamptz[], $10::timestamptz[], $11::int4[], $12::timestamptz[], $13::text[], $14::text[],
        $15::bytea[], $23::text[]
    ) WITH ORDINALITY AS t (
        id, kind, priority, title, body, link, data, requires_ack,
        expires_at, published_at, bytes, due_at, publisher, key, digest, detail, n
    )
),
target AS (
    SELECT *, row_number() OVER (PARTITION BY n ORDER BY nth) = 1 AS leads
    FROM unnest($16::int8[], $17::text[]) WITH ORDINALITY AS t (n, channel, nth)
),
-- What is known already, by key or by id: one look-up for each item. A join might be planned as a walk through all
-- that is stored, and stay so, because the plan is made when nothing is stored yet.
by_key AS (
    SELECT item.n, k.digest = item.digest AS same, k.notification, k.events, k.cursor, k.accepted_at
    FROM item
    CROSS JOIN LATERAL (
        SELECT digest, notification, events, cursor, accepted_at
        FROM idempotency_keys
        WHERE publisher = item.publisher
          AND key = item.key
          AND until > store_now()
        LIMIT 1
    ) AS k
),
by_id AS (
    SELECT
        item.n, s.id AS notification, s.accepted_at,
        CASE WHEN s.due_at IS NULL THEN s.events ELSE 0 END AS events,
        epoch.name || '-' || (s.first_position + s.events - 1) AS cursor
    FROM item
    CROSS JOIN LATERAL (
        SELECT id, accepted_at, due_at, events, first_position
        FROM notifications
        WHERE id = item.id
        LIMIT 1
    ) AS s
    CROSS JOIN (SELECT name FROM epochs ORDER BY epoch DESC LIMIT 1) AS epoch
    WHERE item.n NOT IN (SELECT n FROM by_key)
),
unknown AS (
    SELECT
        item.*,
        count(item.key) OVER sofar AS nth_key,
        count(item.due_at) OVER sofar AS nth_due,
        sum(CASE WHEN item.due_at IS NULL THEN 0 ELSE item.bytes END) OVER sofar AS due_bytes
    FROM item
    WHERE item.n NOT IN (SELECT n FROM by_key)
      AND item.n NOT IN (SELECT n FROM by_id)
    WINDOW sofar AS (ORDER BY item.n)
),
-- Keys are forgotten in the order of their serials, so that the ends of the range count them.
key_room AS (
    SELECT
        $18::int8 - coalesce(newest.serial - oldest.serial + 1, 0) AS room,
        oldest.until AS again_at
    FROM (VALUES (1)) AS one
    LEFT JOIN LATERAL (
        SELECT serial, until
        FROM idempotency_keys
        WHERE until > store_now()
        ORDER BY serial
        LIMIT 1
    ) AS oldest ON EXISTS (SELECT FROM item WHERE key IS NOT NULL)
    LEFT JOIN LATERAL (
        SELECT serial
        FROM idempotency_keys
        ORDER BY serial DESC
        LIMIT 1
    ) AS newest ON oldest.serial IS NOT NULL
),
-- Counted only where something is to be scheduled.
schedule_room AS (
    SELECT
        $19::int8 - count(s.id) AS room,
        $20::int8 - coalesce(sum(s.bytes), 0) AS bytes,
        min(s.due_at) AS again_at
    FROM (VALUES (1)) AS one
    LEFT JOIN notifications s
      ON s.due_at IS NOT NULL AND EXISTS (SELECT FROM item WHERE due_at IS NOT NULL)
),
judged AS (
    SELECT
        unknown.*,
        CASE
            WHEN unknown.key IS NOT NULL AND unknown.nth_key > key_room.room THEN 'keys_full'
            WHEN unknown.due_at IS NOT NULL
             AND (unknown.nth_due > schedule_room.room OR unknown.due_bytes > schedule_room.bytes)
            THEN 'schedule_full'
            ELSE 'fresh'
        END AS outcome,
        key_room.again_at AS keys_again_at,
        schedule_room.again_at AS schedule_again_at
    FROM unknown
    CROSS JOIN key_room
    CROSS JOIN schedule_room
),
fresh AS (
    SELECT * FROM judged WHERE outcome = 'fresh'
),
log_end AS (
    SELECT
        epoch.epoch,
        epoch.name,
        coalesce(last.position, 0) AS position,
        coalesce(last.bytes_through, 0) AS bytes_through
    FROM (SELECT epoch, name FROM epochs ORDER BY epoch DESC LIMIT 1) AS epoch
    LEFT JOIN LATERAL (
        SELECT position, bytes_through
        FROM events
        ORDER BY position DESC
        LIMIT 1
    ) AS last ON true
),
placed AS (
    SELECT
        fresh.n, fresh.id, fresh.expires_at, target.channel, weight.bytes,
        CASE WHEN target.leads THEN fresh.detail END AS detail,
        log_end.position + row_number() OVER sofar AS position,
        log_end.bytes_through + sum(weight.bytes) OVER sofar AS bytes_through
    FROM fresh
    JOIN target ON target.n = fresh.n
    CROSS JOIN log_end
    -- A payload that many events share counts once, with its first event.
    CROSS JOIN LATERAL (
        SELECT $21::int4 + CASE WHEN target.leads THEN fresh.bytes ELSE 0 END AS bytes
    ) AS weight
    WHERE fresh.due_at IS NULL
    WINDOW sofar AS (ORDER BY target.nth)
),
span AS (
    SELECT n, min(position) AS first_position, count(*)::int4 AS events
    FROM placed
    GROUP BY n
),
stored AS (
    INSERT INTO notifications (
        id, kind, priority, title, body, link, data, requires_ack, expires_at,
        accepted_at, published_at, bytes, first_position, events, due_at, channels
    )
    SELECT
        fresh.id, fresh.kind, fresh.priority, fresh.title, fresh.body, fresh.link, fresh.data,
        fresh.requires_ack, fresh.expires_at, store_now(), fresh.published_at, fresh.bytes,
        span.first_position, coalesce(span.events, 0), fresh.due_at,
        CASE
            WHEN fresh.due_at IS NOT NULL
            THEN (SELECT array_agg(t.channel ORDER BY t.nth) FROM target t WHERE t.n = fresh.n)
        END
    FROM fresh
    LEFT JOIN span ON span.n = fresh.n
),
logged AS (
    INSERT INTO events (position, at, kind, channel, notification, detail, expires_at, bytes, bytes_through)
    SELECT position, store_now(), 1, channel, id, detail, expires_at, bytes, bytes_through
    FROM placed
),
keyed AS (
    INSERT INTO idempotency_keys (
        publisher, key, digest, until, notification, events, cursor, accepted_at
    )
    SELECT
        fresh.publisher, fresh.key, fresh.digest,
        store_now() + $22::int8 * interval '1 millisecond',
        fresh.id, coalesce(span.events, 0),
        log_end.name || '-' || (span.first_position + span.events - 1), store_now()
    FROM fresh
    CROSS JOIN log_end
    LEFT JOIN span ON span.n = fresh.n
    WHERE fresh.key IS NOT NULL
    ORDER BY fresh.n
    -- One whose day is over.
    ON CONFLICT (publisher, key) DO UPDATE SET
        digest = excluded.digest,
        serial = DEFAULT,
        until = excluded.until,
        notification = excluded.notification,
        events = excluded.events,
        cursor = excluded.cursor,
        accepted_at = excluded.accepted_at
)
SELECT
    item.n,
    CASE
        WHEN by_key.n IS NOT NULL AND by_key.same THEN 'repeat'
        WHEN by_key.n IS NOT NULL THEN 'other'
        WHEN by_id.n IS NOT NULL THEN 'repeat'
        ELSE judged.outcome
    END AS outcome,
    coalesce(by_key.notification, by_id.notification, item.id) AS notification,
    coalesce(by_key.events, by_id.events, span.events, 0) AS events,
    coalesce(by_key.cursor, by_id.cursor) AS cursor,
    coalesce(by_key.accepted_at, by_id.accepted_at, store_now()) AS accepted_at,
    span.first_position,
    CASE judged.outcome
        WHEN 'keys_full' THEN judged.keys_again_at
        WHEN 'schedule_full' THEN judged.schedule_again_at
    END AS again_at,
    log_end.epoch,
    store_now() AS now
FROM item
CROSS JOIN log_end
LEFT JOIN by_key ON by_key.n = item.n
LEFT JOIN by_id ON by_id.n = item.n
LEFT JOIN judged ON judged.n = item.n
LEFT JOIN span ON span.n = item.n
ORDER BY item.n
