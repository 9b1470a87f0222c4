-- How publishes over a pushed transport went lately, on all nodes together.

-- What a node told under one number: accepted, failed, and how many within each bound of time.
CREATE TABLE publish_tally (
    node bigint NOT NULL,
    number bigint NOT NULL,
    told_at timestamptz NOT NULL DEFAULT store_now(),
    counts bigint[] NOT NULL,
    PRIMARY KEY (node, number)
);

CREATE INDEX publish_tally_by_told_at ON publish_tally (told_at);

-- Which node does what only one does at a time, and until when.
CREATE TABLE leads (
    task text PRIMARY KEY,
    node bigint NOT NULL,
    until timestamptz NOT NULL
);
