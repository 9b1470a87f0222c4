-- Stores a batch of which nothing is known yet after the end of the log, in one call: a transaction of its own, held open
-- for no client. A frozen node cannot keep the log's lock, because it never holds it between two messages.
--
-- The lock is taken alone and first. A volatile function looks at the tables anew with each of its statements, so those
-- that come after see what the lock's last holder wrote. What the tables' constraints refuse fails the whole batch.
CREATE FUNCTION accept_fresh(
    log_lock bigint,
    -- Notifications, one place in each array.
    ids uuid[],
    kinds text[],
    priorities smallint[],
    titles text[],
    bodies text[],
    links text[],
    datas text[],
    acks boolean[],
    expiries timestamptz[],
    published timestamptz[],
    sizes integer[],
    -- Where the events of each begin, counted from 1, and how many there are.
    firsts bigint[],
    counts integer[],
    -- Events, one place in each array: what the batch takes up to and with each, and who published it, with the first of
    -- a notification.
    event_channels text[],
    event_ids uuid[],
    event_expiries timestamptz[],
    event_sizes integer[],
    event_through bigint[],
    event_details text[],
    -- Idempotency keys of some of the notifications, how many are remembered at most, and for how long.
    key_publishers text[],
    key_names text[],
    key_digests bytea[],
    key_ids uuid[],
    keys_max bigint,
    key_ttl interval,
    OUT in_epoch bigint,
    OUT after_position bigint,
    OUT accepted timestamptz
)
LANGUAGE plpgsql
VOLATILE
AS $$
DECLARE
    epoch_name text;
    through bigint;
    known_keys bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(log_lock);
    accepted := store_now();

    SELECT e.epoch, e.name
    INTO STRICT in_epoch, epoch_name
    FROM epochs AS e
    ORDER BY e.epoch DESC
    LIMIT 1;

    SELECT e.position, e.bytes_through
    INTO after_position, through
    FROM events AS e
    ORDER BY e.position DESC
    LIMIT 1;
    after_position := coalesce(after_position, 0);
    through := coalesce(through, 0);

    INSERT INTO notifications (
        id, kind, priority, title, body, link, data, requires_ack, expires_at,
        accepted_at, published_at, bytes, first_position, events
    )
    SELECT
        n.id, n.kind, n.priority, n.title, n.body, n.link, n.data, n.requires_ack, n.expires_at,
        accepted, n.published_at, n.bytes, after_position + n.nth, n.events
    FROM unnest(
        ids, kinds, priorities, titles, bodies, links, datas, acks, expiries, published, sizes, firsts, counts
    ) AS n (
        id, kind, priority, title, body, link, data, requires_ack, expires_at, published_at, bytes, nth, events
    );

    INSERT INTO events (position, at, kind, channel, notification, detail, expires_at, bytes, bytes_through)
    SELECT
        after_position + e.nth, accepted, 1, e.channel, e.notification, e.detail, e.expires_at, e.bytes,
        through + e.bytes_through
    FROM unnest(event_channels, event_ids, event_expiries, event_sizes, event_through, event_details)
        WITH ORDINALITY AS e (channel, notification, expires_at, bytes, bytes_through, detail, nth);

    IF cardinality(key_ids) = 0 THEN
        RETURN;
    END IF;

    SELECT coalesce(newest.serial - oldest.serial + 1, 0)
    INTO known_keys
    FROM (VALUES (1)) AS one
    LEFT JOIN LATERAL (
        SELECT k.serial
        FROM idempotency_keys AS k
        WHERE k.until > accepted
        ORDER BY k.serial
        LIMIT 1
    ) AS oldest ON true
    LEFT JOIN LATERAL (
        SELECT k.serial
        FROM idempotency_keys AS k
        ORDER BY k.serial DESC
        LIMIT 1
    ) AS newest ON true;

    -- One too many has no end of its day, which the table does not take.
    INSERT INTO idempotency_keys (publisher, key, digest, until, notification, events, cursor, accepted_at)
    SELECT
        k.publisher, k.key, k.digest,
        CASE WHEN known_keys + k.nth <= keys_max THEN accepted + key_ttl END,
        n.id, n.events, epoch_name || '-' || (n.first_position + n.events - 1), accepted
    FROM unnest(key_publishers, key_names, key_digests, key_ids)
        WITH ORDINALITY AS k (publisher, key, digest, notification, nth)
    CROSS JOIN LATERAL (
        SELECT s.id, s.first_position, s.events
        FROM notifications AS s
        WHERE s.id = k.notification
        LIMIT 1
    ) AS n
    ORDER BY k.nth;
END
$$;
