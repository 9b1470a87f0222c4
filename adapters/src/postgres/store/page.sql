-- A page of a person's inbox, newest first: of each channel the items without a mark within the stretch that the
-- filter shows, and those whose mark it shows. No part reads more than a page.
-- $1 user, $2 channels, $3 and $4 the stretch of each (the first place excluded), $5 the last place,
-- $6 filter, $7 what was read before this moment is archived, $8 type, $9 priority, $10 limit.
SELECT
    i.position AS place, i.channel,
    i.marked, i.read_at, i.archived_at, i.acknowledged_at, i.unarchived_at,
    n.id, n.kind AS type, n.priority, n.title, n.body, n.link, n.data, n.requires_ack, n.expires_at, n.published_at
FROM (
    SELECT part.*
    FROM unnest($2::text[], $3::int8[], $4::int8[]) AS c (channel, low, high)
    CROSS JOIN bounds
    CROSS JOIN LATERAL (
        (
            SELECT
                e.position, e.channel, e.notification, false AS marked,
                NULL::timestamptz AS read_at, NULL::timestamptz AS archived_at,
                NULL::timestamptz AS acknowledged_at, NULL::timestamptz AS unarchived_at
            FROM events e
            WHERE e.channel = c.channel
              AND e.position > greatest(c.low, bounds.inbox_after)
              AND e.position <= least(c.high, $5::int8)
              AND e.kind = 1
              AND (e.expires_at IS NULL OR e.expires_at > store_now())
              AND NOT EXISTS (
                  SELECT
                  FROM marks m
                  WHERE m.user_id = $1 AND m.channel = e.channel AND m.position = e.position
              )
              AND ($8::text IS NULL AND $9::int2 IS NULL OR EXISTS (
                  SELECT
                  FROM notifications n
                  WHERE n.id = e.notification
                    AND ($8 IS NULL OR n.kind = $8)
                    AND ($9 IS NULL OR n.priority = $9)
              ))
            ORDER BY e.position DESC
            LIMIT $10
        )
        UNION ALL
        (
            SELECT
                e.position, e.channel, e.notification, true,
                m.read_at, m.archived_at, m.acknowledged_at, m.unarchived_at
            FROM marks m
            JOIN events e ON e.position = m.position AND e.kind = 1
            CROSS JOIN LATERAL (
                SELECT coalesce(
                    m.archived_at IS NOT NULL OR greatest(m.read_at, m.unarchived_at) <= $7::timestamptz
                        AND m.read_at IS NOT NULL,
                    false
                ) AS archived
            ) AS state
            WHERE m.user_id = $1
              AND m.channel = c.channel
              AND m.position > bounds.inbox_after
              AND m.position <= $5
              AND (e.expires_at IS NULL OR e.expires_at > store_now())
              AND CASE $6::text
                  WHEN 'all' THEN true
                  WHEN 'unarchived' THEN NOT state.archived
                  WHEN 'unread' THEN NOT state.archived AND m.read_at IS NULL
                  WHEN 'read' THEN NOT state.archived AND m.read_at IS NOT NULL
                  WHEN 'archived' THEN state.archived
              END
              AND ($8 IS NULL AND $9 IS NULL OR EXISTS (
                  SELECT
                  FROM notifications n
                  WHERE n.id = e.notification
                    AND ($8 IS NULL OR n.kind = $8)
                    AND ($9 IS NULL OR n.priority = $9)
              ))
            ORDER BY m.position DESC
            LIMIT $10
        )
    ) AS part
    ORDER BY part.position DESC
    LIMIT $10
) AS i
JOIN notifications n ON n.id = i.notification
ORDER BY i.position DESC
