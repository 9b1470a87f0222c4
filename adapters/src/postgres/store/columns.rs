//! Notifications as columns, one array for each: how both ways of publishing hand them to the database.

use std::time::SystemTime;

use domain::notification::Notification;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::rows::{self, moment};

/// The rows of some notifications.
#[derive(Debug, Default)]
pub(super) struct Notifications<'a> {
    pub(super) ids: Vec<Uuid>,
    kinds: Vec<&'a str>,
    priorities: Vec<i16>,
    titles: Vec<&'a str>,
    bodies: Vec<&'a str>,
    links: Vec<Option<&'a str>>,
    data: Vec<&'a str>,
    acks: Vec<bool>,
    expiries: Vec<Option<SystemTime>>,
    published: Vec<SystemTime>,
    bytes: Vec<i32>,
}

impl<'a> Notifications<'a> {
    pub(super) fn push(&mut self, notification: &'a Notification) {
        let content = &notification.content;
        self.ids.push(rows::uuid(notification.id));
        self.kinds.push(content.kind.as_str());
        self.priorities.push(rows::priority_rank(content.priority));
        self.titles.push(&content.title);
        self.bodies.push(&content.body);
        self.links.push(content.link.as_deref());
        self.data.push(&content.data);
        self.acks.push(content.requires_ack);
        self.expiries.push(content.expires_at.map(moment));
        self.published.push(moment(notification.published_at));
        self.bytes.push(rows::notification_bytes(notification));
    }

    /// Returns the statements' parameters $1 to $11.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        vec![
            &self.ids,
            &self.kinds,
            &self.priorities,
            &self.titles,
            &self.bodies,
            &self.links,
            &self.data,
            &self.acks,
            &self.expiries,
            &self.published,
            &self.bytes,
        ]
    }
}
