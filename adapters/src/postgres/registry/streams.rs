//! Questions about streams. Those of nodes without a lease do not count.

use application::ports::Presence;
use deadpool_postgres::ClientWrapper;
use domain::ids::{ConnectionId, UserId};

use super::super::connect::Failure;
use super::super::moment::timestamp;
use crate::record::Unreadable;

const COUNT: &str = "
SELECT count(*)
FROM registry_streams
JOIN registry_leases USING (node)
WHERE until > store_now()";

const LIST: &str = "
SELECT connection, user_id, opened_at
FROM registry_streams
JOIN registry_leases USING (node)
WHERE connection > $1 AND until > store_now()
ORDER BY connection
LIMIT $2";

const OWNER: &str = "
SELECT user_id
FROM registry_streams
JOIN registry_leases USING (node)
WHERE connection = $1 AND until > store_now()";

pub(super) async fn count(client: &ClientWrapper) -> Result<usize, Failure> {
    let count = client.prepare_cached(COUNT).await?;
    let counted: i64 = client.query_one(&count, &[]).await?.try_get(0)?;
    Ok(usize::try_from(counted).unwrap_or_default())
}

pub(super) async fn list(
    client: &ClientWrapper,
    after: Option<ConnectionId>,
    limit: usize,
) -> Result<Vec<Presence>, Failure> {
    let list = client.prepare_cached(LIST).await?;
    // Nothing sorts before the empty text.
    let after = after.map_or_else(String::new, |after| after.to_string());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = client.query(&list, &[&after, &limit]).await?;
    let presence = |row: &tokio_postgres::Row| {
        Ok(Presence {
            connection: read(row.try_get(0)?)?,
            user: read(row.try_get(1)?)?,
            opened_at: timestamp(row.try_get(2)?),
        })
    };
    rows.iter().map(presence).collect()
}

pub(super) async fn owner(
    client: &ClientWrapper,
    connection: ConnectionId,
) -> Result<Option<UserId>, Failure> {
    let owner = client.prepare_cached(OWNER).await?;
    let row = client.query_opt(&owner, &[&connection.to_string()]).await?;
    row.map(|row| read(row.try_get(0)?)).transpose()
}

/// Reads an id.
pub(super) fn read<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    text.parse()
        .map_err(|_| Failure::Unreadable(Unreadable::new("an id of the registry")))
}
