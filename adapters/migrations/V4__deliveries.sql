-- What became of events over transports that are pushed to.

-- One row for each event that was planned for one.
CREATE TABLE deliveries (
    position bigint PRIMARY KEY,
    -- The history in which it was planned.
    epoch bigint NOT NULL,
    channel text COLLATE "C" NOT NULL,
    -- 1 open, 2 ended, 3 dead.
    standing smallint NOT NULL,
    -- When it became due for the first time.
    since timestamptz NOT NULL,
    -- Where it stands, as a record.
    record text NOT NULL,
    -- How often the row was written.
    version integer NOT NULL
);

CREATE INDEX deliveries_open ON deliveries (channel, position) WHERE standing = 1;
CREATE INDEX deliveries_dead ON deliveries (position) WHERE standing = 3;

-- One row: up to where the log has been planned; none before the first time.
CREATE TABLE deliveries_planned (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch bigint NOT NULL,
    position bigint NOT NULL
);

-- Who holds a token of a pushed transport, as whom, and until when.
CREATE TABLE token_holders (
    user_id text PRIMARY KEY,
    units text[] NOT NULL,
    roles text[] NOT NULL,
    until timestamptz NOT NULL
);

CREATE INDEX token_holders_by_until ON token_holders (until);
