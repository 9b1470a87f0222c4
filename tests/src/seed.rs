//! A full inbox: many notifications and people, written straight into the tables.

use anyhow::Context as _;
use tokio_postgres::Client;

/// How much there is.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Notifications, one event each: 1 % to everyone, 10 % to one of [`Scale::units`], the rest to one person each.
    pub notifications: i64,
    /// People, who have read everything but the last tenth.
    pub people: i64,
    /// Units.
    pub units: i64,
}

impl Scale {
    /// A million notifications for 50,000 people: 10,000 of them to everyone, 2,000 to each unit.
    pub const FULL: Self = Self {
        notifications: 1_000_000,
        people: 50_000,
        units: 50,
    };
}

/// Somebody who is a member of unit `u-1` and has never read anything, from the first notification on.
pub const NEVER_READ: &str = "p-1";

/// Fills the tables of a migrated database in which an epoch has begun.
pub async fn seed(client: &Client, scale: Scale) -> anyhow::Result<()> {
    let Scale {
        notifications,
        people,
        units,
    } = scale;
    let statements = [
        format!(
            "INSERT INTO notifications (
                 id, kind, priority, title, body, data, requires_ack,
                 accepted_at, published_at, bytes, first_position, events
             )
             SELECT
                 lpad(to_hex(n), 32, '0')::uuid, 'solicitacao.aprovada', 3, 'Solicitação aprovada',
                 'Seu pedido <b>2024/' || n || '</b> foi aprovado.', '{{\"protocolo\":' || n || '}}', false,
                 at, at, 300, n, 1
             FROM generate_series(1::bigint, {notifications}) AS n
             CROSS JOIN LATERAL (
                 SELECT store_now() - ({notifications} - n) * interval '5 seconds' AS at
             ) AS moment"
        ),
        format!(
            "INSERT INTO events (position, at, kind, channel, notification, bytes, bytes_through)
             SELECT
                 n, store_now() - ({notifications} - n) * interval '5 seconds', 1,
                 CASE
                     WHEN n % 100 = 0 THEN 'system:notifications'
                     WHEN n % 10 = 1 THEN 'private:unit:u-' || n / 10 % {units} || ':notifications'
                     ELSE 'private:user:p-' || (n * 7919) % {people} || ':notifications'
                 END,
                 lpad(to_hex(n), 32, '0')::uuid, 500, n * 500
             FROM generate_series(1::bigint, {notifications}) AS n"
        ),
        format!(
            "INSERT INTO people (user_id, first_seen, first_seen_at, read_positions, read_moments)
             SELECT
                 'p-' || n, 0, store_now() - interval '80 days',
                 CASE WHEN n = 1 THEN '{{}}' ELSE ARRAY[{notifications} * 9 / 10]::bigint[] END,
                 CASE WHEN n = 1 THEN '{{}}' ELSE ARRAY[store_now() - interval '5 days'] END
             FROM generate_series(0, {people} - 1) AS n"
        ),
        // Now and then somebody has read one by itself.
        "INSERT INTO marks (user_id, channel, position, read_at)
         SELECT split_part(channel, ':', 3), channel, position, at
         FROM events
         WHERE channel LIKE 'private:user:%' AND position % 20 = 3"
            .to_owned(),
        "VACUUM ANALYZE".to_owned(),
    ];
    for statement in &statements {
        client
            .batch_execute(statement)
            .await
            .with_context(|| statement.clone())?;
    }
    Ok(())
}
