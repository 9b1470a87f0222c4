-- Who is connected. Nothing of it outlives a crash of the server, and nothing has to: a node that finds its lease gone
-- enters its streams again.
CREATE UNLOGGED TABLE registry_leases (
    node bigint PRIMARY KEY,
    -- From then on the node counts as dead.
    until timestamptz NOT NULL
);

CREATE UNLOGGED TABLE registry_streams (
    -- As it is written: eight digits of the node, a hyphen, sixteen of the serial. Sorted as its bytes.
    connection text COLLATE "C" PRIMARY KEY,
    node bigint NOT NULL,
    user_id text NOT NULL,
    opened_at timestamptz NOT NULL
);

CREATE INDEX registry_streams_by_user ON registry_streams (user_id, opened_at, connection);
CREATE INDEX registry_streams_by_node ON registry_streams (node, connection);

-- What tickets have been through.
CREATE TABLE registry_tickets (
    ticket uuid PRIMARY KEY,
    -- How often it was used.
    uses bigint NOT NULL,
    -- Its stream was closed for good.
    ended boolean NOT NULL,
    -- As whom its session goes on, as a record.
    renewed text,
    -- From then on it counts as unknown.
    until timestamptz NOT NULL
);

CREATE INDEX registry_tickets_by_until ON registry_tickets (until);
