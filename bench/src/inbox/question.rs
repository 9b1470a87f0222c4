//! What is asked, over one kept connection, and the floor beside each answer.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio_postgres::Statement;

use super::people::Person;
use crate::clock;
use crate::publisher::{Endpoint, Publisher};
use crate::scenario::pick;
use crate::sql::Sql;

/// What a page holds.
pub(super) const PAGE: usize = 50;

/// One of the requests of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    UnreadCount,
    FirstPage,
    /// The page before a cursor.
    DeepPage(String),
    ReadAll,
}

impl Question {
    fn request(&self) -> (&'static str, String, &'static [u8]) {
        let get = |path| ("GET", path, &b""[..]);
        match self {
            Self::UnreadCount => get("/v1/notifications/unread-count".to_owned()),
            Self::FirstPage => get(format!("/v1/notifications?limit={PAGE}")),
            Self::DeepPage(before) => get(format!("/v1/notifications?limit={PAGE}&before={before}")),
            Self::ReadAll => ("POST", "/v1/notifications/read-all".to_owned(), b"{}"),
        }
    }
}

/// Asks the service, and the floor: a node that answers without looking anything up, and one row by its key.
pub(super) struct Asker {
    connection: Publisher,
    floor: Sql,
    point: Statement,
    people: i64,
    asked: usize,
}

impl Asker {
    pub(super) fn new(endpoint: &Endpoint, floor: Sql, people: i64) -> Result<Self> {
        let point = floor.prepare("SELECT 1 FROM people WHERE user_id = $1")?;
        Ok(Self {
            connection: Publisher::connect(endpoint)?,
            floor,
            point,
            people,
            asked: 0,
        })
    }

    /// Asks for a person. Returns the nanoseconds to the answer and the answer.
    pub(super) fn ask(&mut self, person: &Person, question: &Question) -> Result<(u64, Value)> {
        let (method, path, body) = question.request();
        let asked = clock::now();
        let answer = self.connection.request_as(&person.token, method, &path, body)?;
        let took = clock::now() - asked;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status != 200 {
            bail!(
                "{method} {path} was answered {} to {}: {text}",
                answer.status,
                person.user
            );
        }
        let value = serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))?;
        Ok((took, value))
    }

    /// Returns the nanoseconds that a request to a node takes which looks nothing up, and an indexed point query.
    pub(super) fn floor(&mut self) -> Result<(u64, u64)> {
        let asked = clock::now();
        let answer = self.connection.request("GET", "/health/live", b"")?;
        let live = clock::now() - asked;
        if answer.status != 200 {
            bail!("/health/live was answered {}", answer.status);
        }
        self.asked += 1;
        let user = format!("p-{}", pick(self.asked, usize::try_from(self.people)?));
        let asked = clock::now();
        let found = self.floor.ask(&self.point, &[&user])?;
        let point = clock::now() - asked;
        if found.len() != 1 {
            bail!("{user} is unknown");
        }
        Ok((live, point))
    }
}
