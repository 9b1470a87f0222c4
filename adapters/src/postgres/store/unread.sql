-- Counts what is unread: what stands behind the last place read on each channel, corrected by the person's own
-- marks. $1 user, $2 channels, $3 the last place that counts as read on each, without marks. `until` is when time
-- alone changes the count; `position` and `inbox_after` are where the log stood.
SELECT
    sum(part.unread)::int8 AS unread,
    min(part.until) AS until,
    coalesce((SELECT max(position) FROM events), 0) AS position,
    (SELECT inbox_after FROM bounds) AS inbox_after
FROM (
    SELECT count(*) AS unread, min(e.expires_at) AS until
    FROM unnest($2::text[], $3::int8[]) AS c (channel, read_through)
    CROSS JOIN bounds
    JOIN events e
      ON e.channel = c.channel
     AND e.position > greatest(c.read_through, bounds.inbox_after)
    WHERE e.kind = 1
      AND (e.expires_at IS NULL OR e.expires_at > store_now())
    UNION ALL
    SELECT
        coalesce(sum(
            (m.read_at IS NULL AND m.archived_at IS NULL)::int
            - (m.position > c.read_through)::int
        ), 0),
        min(m.expires_at)
    FROM unnest($2::text[], $3::int8[]) AS c (channel, read_through)
    CROSS JOIN bounds
    JOIN marks m
      ON m.user_id = $1
     AND m.channel = c.channel
     AND m.position > bounds.inbox_after
    WHERE m.expires_at IS NULL OR m.expires_at > store_now()
) AS part
