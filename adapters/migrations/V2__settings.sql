-- Small versioned documents.
CREATE TABLE settings (
    name text PRIMARY KEY,
    -- How often it has been written.
    version bigint NOT NULL,
    document text NOT NULL,
    written_at timestamptz NOT NULL
);
