-- The audit trail: who did what. It grows at its end and is forgotten at its beginning; nothing in it is changed.

CREATE TABLE audit_records (
    -- From 1 on without a gap, over all nodes.
    place bigint PRIMARY KEY,
    -- One life of one node, and the how manieth of its records this is.
    chain text NOT NULL,
    sequence bigint NOT NULL,
    -- Milliseconds since 1970, as they were sealed.
    at_ms bigint NOT NULL,
    kind text NOT NULL,
    who text,
    target text NOT NULL,
    outcome text NOT NULL,
    request text NOT NULL,
    -- SHA-256 over the hash of the record before it in its chain, and this one.
    hash bytea NOT NULL,
    UNIQUE (chain, sequence)
);

CREATE INDEX audit_records_by_who ON audit_records (who, place) WHERE who IS NOT NULL;
CREATE INDEX audit_records_by_kind ON audit_records (kind, place);

-- Where each chain stands, and where it stood when the last of its records was forgotten.
CREATE TABLE audit_chains (
    chain text PRIMARY KEY,
    sequence bigint NOT NULL,
    hash bytea NOT NULL,
    forgotten_sequence bigint,
    forgotten_hash bytea
);

-- One row: where the trail ends, and up to where it was forgotten.
CREATE TABLE audit_trail (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    head bigint NOT NULL,
    forgotten bigint NOT NULL
);

INSERT INTO audit_trail (head, forgotten) VALUES (0, 0);

-- Records are added, and forgotten by whoever says that this is what they do. Whoever owns the tables can take this
-- away; what they do then shows in the chains.
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('arauto.audit_retention', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER audit_records_append_only BEFORE UPDATE OR DELETE ON audit_records
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_records_not_emptied BEFORE TRUNCATE ON audit_records
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
