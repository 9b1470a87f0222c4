-- The log, what it carries, and what people do with it.

-- The one clock of leases, schedules, expiry and key lifetimes. A statement reads one moment.
CREATE FUNCTION store_now()
RETURNS timestamptz
LANGUAGE sql
STABLE
AS $$ SELECT date_trunc('milliseconds', statement_timestamp()) $$;

-- Histories of the log; the greatest is in force. What identifies the database when it began tells a failover or a
-- restore from a restart.
CREATE TABLE epochs (
    epoch bigint PRIMARY KEY,
    -- The epoch as it stands in cursors.
    name text NOT NULL,
    system_identifier bigint NOT NULL,
    timeline bigint NOT NULL,
    -- Where the log stood.
    began_after bigint NOT NULL,
    began_at timestamptz NOT NULL DEFAULT store_now()
);

-- One row: where history and inbox begin. It moves before rows go.
CREATE TABLE bounds (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- The first event that can be resumed from.
    oldest bigint NOT NULL DEFAULT 1,
    -- Notifications up to here have left the inbox.
    inbox_after bigint NOT NULL DEFAULT 0
);

INSERT INTO bounds DEFAULT VALUES;

-- What is published or scheduled, once however many events carry it. Opaque JSON is text: it comes back unchanged.
CREATE TABLE notifications (
    id uuid PRIMARY KEY,
    kind text NOT NULL,
    priority smallint NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    link text,
    data text NOT NULL,
    requires_ack boolean NOT NULL,
    expires_at timestamptz,
    accepted_at timestamptz NOT NULL,
    published_at timestamptz NOT NULL,
    -- What it takes, in bytes.
    bytes integer NOT NULL,
    -- Its events are at contiguous positions from here; absent while it is scheduled.
    first_position bigint,
    events integer NOT NULL,
    -- While it is scheduled: when, and where it goes.
    due_at timestamptz,
    channels text[]
);

CREATE INDEX notifications_by_due_at ON notifications (due_at, id) WHERE due_at IS NOT NULL;

-- The log. Positions are contiguous; the newest row always stays, because the next position follows from it.
-- Kinds: 1 published, 2 retracted, 3 marked, 4 erased, 5 control.
CREATE TABLE events (
    position bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    kind smallint NOT NULL,
    channel text,
    notification uuid,
    -- Marks and control as JSON.
    detail text,
    -- The notification's own, so that an index answers whether it still counts.
    expires_at timestamptz,
    -- What it takes, and what the log took up to and with it, in bytes.
    bytes integer NOT NULL,
    bytes_through bigint NOT NULL
);

CREATE INDEX events_by_channel ON events (channel, position) INCLUDE (kind, expires_at) WHERE channel IS NOT NULL;

-- Serials are in the order of acceptance, which is the order in which keys are forgotten.
CREATE TABLE idempotency_keys (
    publisher text NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    serial bigint GENERATED ALWAYS AS IDENTITY,
    until timestamptz NOT NULL,
    -- The first receipt.
    notification uuid NOT NULL,
    events integer NOT NULL,
    -- Absent when it was scheduled.
    cursor text,
    accepted_at timestamptz NOT NULL,
    PRIMARY KEY (publisher, key)
);

CREATE UNIQUE INDEX idempotency_keys_by_serial ON idempotency_keys (serial);

-- Since when a person is known, and each time they read everything: positions ascending, with their moments.
CREATE TABLE people (
    user_id text PRIMARY KEY,
    first_seen bigint NOT NULL,
    first_seen_at timestamptz NOT NULL,
    read_positions bigint[] NOT NULL DEFAULT '{}',
    read_moments timestamptz[] NOT NULL DEFAULT '{}'
);

-- What a person did with one notification by itself.
CREATE TABLE marks (
    user_id text NOT NULL,
    channel text NOT NULL,
    position bigint NOT NULL,
    read_at timestamptz,
    archived_at timestamptz,
    acknowledged_at timestamptz,
    unarchived_at timestamptz,
    expires_at timestamptz,
    PRIMARY KEY (user_id, channel, position)
);

CREATE INDEX marks_by_position ON marks (position);
