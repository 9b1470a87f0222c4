-- Up to where the log's publishes stand in the audit trail. Those of before this were recorded by whoever answered them.
CREATE TABLE audit_published (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    through bigint NOT NULL
);

INSERT INTO audit_published (through)
SELECT coalesce(max(position), 0)
FROM events;
