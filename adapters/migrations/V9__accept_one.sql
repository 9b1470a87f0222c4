-- How many idempotency keys are remembered, as far as their numbers tell: those in between may have ended.
CREATE FUNCTION remembered_keys(moment timestamptz)
RETURNS bigint
LANGUAGE plpgsql
STABLE
AS $$
BEGIN
    RETURN (
        SELECT coalesce(
            (SELECT k.serial FROM idempotency_keys AS k ORDER BY k.serial DESC LIMIT 1)
            - (SELECT k.serial FROM idempotency_keys AS k WHERE k.until > moment ORDER BY k.serial LIMIT 1)
            + 1,
            0
        )
    );
END
$$;

-- Stores one notification of which nothing is known yet, with its one event, after the end of the log: what accept_fresh
-- does for a batch, in fewer statements and without arrays. A publisher who waits for each answer publishes this way, and
-- the function's own time is a third less.
--
-- The lock is taken alone and first. A volatile function looks at the tables anew with each of its statements, so those
-- that come after see what the lock's last holder wrote. What the tables' constraints refuse fails the whole of it.
CREATE FUNCTION accept_one(
    log_lock bigint,
    new_id uuid,
    new_kind text,
    new_priority smallint,
    new_title text,
    new_body text,
    new_link text,
    new_data text,
    new_requires_ack boolean,
    new_expires_at timestamptz,
    new_published_at timestamptz,
    new_bytes integer,
    event_channel text,
    event_bytes integer,
    -- Who published it.
    event_detail text,
    -- The idempotency key, if there is one, how many are remembered at most, and for how long.
    key_publisher text,
    key_name text,
    key_digest bytea,
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
BEGIN
    PERFORM pg_advisory_xact_lock(log_lock);
    accepted := store_now();

    SELECT e.epoch, e.name, coalesce(l.position, 0), coalesce(l.bytes_through, 0)
    INTO STRICT in_epoch, epoch_name, after_position, through
    FROM (SELECT p.epoch, p.name FROM epochs AS p ORDER BY p.epoch DESC LIMIT 1) AS e
    LEFT JOIN (SELECT v.position, v.bytes_through FROM events AS v ORDER BY v.position DESC LIMIT 1) AS l ON true;

    WITH stored AS (
        INSERT INTO notifications (
            id, kind, priority, title, body, link, data, requires_ack, expires_at,
            accepted_at, published_at, bytes, first_position, events
        )
        VALUES (
            new_id, new_kind, new_priority, new_title, new_body, new_link, new_data, new_requires_ack, new_expires_at,
            accepted, new_published_at, new_bytes, after_position + 1, 1
        )
    )
    INSERT INTO events (position, at, kind, channel, notification, detail, expires_at, bytes, bytes_through)
    VALUES (
        after_position + 1, accepted, 1, event_channel, new_id, event_detail, new_expires_at, event_bytes,
        through + event_bytes
    );

    IF key_name IS NULL THEN
        RETURN;
    END IF;

    -- One too many has no end of its day, which the table does not take.
    INSERT INTO idempotency_keys (publisher, key, digest, until, notification, events, cursor, accepted_at)
    VALUES (
        key_publisher, key_name, key_digest,
        CASE WHEN remembered_keys(accepted) < keys_max THEN accepted + key_ttl END,
        new_id, 1, epoch_name || '-' || (after_position + 1), accepted
    );
END
$$;
