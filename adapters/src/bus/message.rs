//! What nodes say to each other, as text: a letter, a space and the rest.
//!
//! `h 8f3a-1042 000000ab`: the log has grown up to there, through that node if one is named. `c 8f3a-1042 000000ab {…}`:
//! the same with copies. `d {…}`: copies alone. `r […]`: replies to heartbeats.
//! Whatever else is said means that something may have been missed: a newer node says it.

use std::sync::Arc;

use application::ports::{Doorbell, Reply, Rung};
use domain::cursor::Cursor;
use domain::ids::NodeId;

use crate::record::{DoorbellRecord, ReplyRecord, Unreadable, from_text, to_text};

/// Says how far the log has grown, and through which node.
pub(crate) fn head(cursor: Cursor, node: Option<NodeId>) -> String {
    match node {
        Some(node) => format!("h {cursor} {:08x}", node.0),
        None => format!("h {cursor}"),
    }
}

/// Says how far the log has grown, through which node, and by what.
pub(crate) fn copies(end: Cursor, node: NodeId, doorbell: &Doorbell) -> String {
    let record = to_text(&DoorbellRecord::from(doorbell));
    format!("c {end} {:08x} {record}", node.0)
}

/// Says what the log has grown by.
pub(crate) fn doorbell(doorbell: &Doorbell) -> String {
    format!("d {}", to_text(&DoorbellRecord::from(doorbell)))
}

/// Passes replies on.
pub(crate) fn replies<'a>(replies: impl IntoIterator<Item = &'a Reply>) -> String {
    let records: Vec<_> = replies.into_iter().map(ReplyRecord::from).collect();
    format!("r {}", to_text(&records))
}

/// Understands what was said.
pub(crate) fn hear(said: &str) -> Rung {
    let understood = match said.split_once(' ') {
        Some(("h", head)) => (head.split_once(' ').map_or(head, |(cursor, _)| cursor).parse())
            .map(Rung::Head)
            .map_err(|_| Unreadable::new("cursor")),
        Some(("c", said)) => said
            .splitn(3, ' ')
            .nth(2)
            .ok_or_else(|| Unreadable::new("copies"))
            .and_then(heard_copies),
        Some(("d", record)) => heard_copies(record),
        Some(("r", records)) => heard_replies(records).map(Rung::Replies),
        _ => Err(Unreadable::new("of a kind that is not known")),
    };
    understood.unwrap_or_else(|error| {
        tracing::debug!(%error, "another node was not understood");
        Rung::Missed
    })
}

/// Understands what was said, on behalf of a node: what it committed itself has been, or is just being, announced to it
/// with copies.
pub(crate) fn hear_as(node: Option<NodeId>, said: &str) -> Rung {
    match author(said) {
        Some((end, author)) if node == Some(author) => Rung::Ours(end),
        _ => hear(said),
    }
}

/// Says how far the log has grown and through which node, where that is said.
fn author(said: &str) -> Option<(Cursor, NodeId)> {
    let said = said.strip_prefix("h ").or_else(|| said.strip_prefix("c "))?;
    let mut parts = said.splitn(3, ' ');
    let end = parts.next()?.parse().ok()?;
    let node = u32::from_str_radix(parts.next()?, 16).ok()?;
    Some((end, NodeId(node)))
}

fn heard_copies(record: &str) -> Result<Rung, Unreadable> {
    let doorbell = from_text::<DoorbellRecord>(record)?.try_into()?;
    Ok(Rung::Doorbell(doorbell))
}

fn heard_replies(records: &str) -> Result<Arc<[Reply]>, Unreadable> {
    let records: Vec<ReplyRecord> = from_text(records)?;
    records.into_iter().map(Reply::try_from).collect()
}

#[cfg(test)]
mod tests {
    use domain::channel::Channel;
    use domain::cursor::{Epoch, Position};
    use domain::event::{Change, Event};
    use domain::notification::{Content, Notification, NotificationType, Priority};
    use domain::time::Timestamp;

    use super::*;

    fn published(position: u64, channel: Channel) -> Arc<Event> {
        let content = Content {
            kind: NotificationType::parse("t").unwrap(),
            priority: Priority::Low,
            title: "Título".into(),
            body: "corpo \u{2028}".into(),
            link: None,
            data: "{\"a\":1.0}".into(),
            requires_ack: false,
            expires_at: None,
        };
        let at = Timestamp::from_millis(7);
        let id = "018f6a3e-7d1c-7c2b-9a51-0123456789ab".parse().unwrap();
        let notification = Arc::new(Notification {
            id,
            content,
            published_at: at,
        });
        Arc::new(Event {
            position: Position(position),
            at,
            change: Change::Published {
                channel,
                notification,
            },
        })
    }

    fn rung() -> Doorbell {
        let person = |n: u64| Channel::User(format!("u-{n}").parse().unwrap());
        Doorbell {
            epoch: Epoch(7),
            events: (1..=1_000).map(|n| published(n, person(n))).collect(),
        }
    }

    #[test]
    fn what_is_said_is_heard() {
        assert_eq!(hear(&doorbell(&rung())), Rung::Doorbell(rung()));
        let cursor = "8f3a-1042".parse().unwrap();
        let node = NodeId(0xab);
        assert_eq!(hear(&head(cursor, None)), Rung::Head(cursor));
        for (said, rung) in [
            (head(cursor, Some(node)), Rung::Head(cursor)),
            (copies(cursor, node, &rung()), Rung::Doorbell(rung())),
        ] {
            assert_eq!(hear(&said), rung);
            assert_eq!(hear_as(Some(NodeId(0xac)), &said), rung);
            assert_eq!(hear_as(None, &said), rung);
            assert_eq!(hear_as(Some(node), &said), Rung::Ours(cursor));
        }
        let reply = Reply {
            connection: "000000ab-00000000000000cd".parse().unwrap(),
            user: "u-1".parse().unwrap(),
            sequence: u64::MAX,
        };
        assert_eq!(hear(&replies([&reply])), Rung::Replies([reply].into()));
    }

    #[test]
    fn one_content_is_carried_once() {
        assert_eq!(doorbell(&rung()).matches("corpo").count(), 1);
    }

    #[test]
    fn what_is_not_understood_counts_as_missed() {
        let alone = doorbell(&Doorbell {
            epoch: Epoch(7),
            events: [published(1, Channel::System)].into(),
        });
        let without_content = alone.replace("0123456789ab\",\"kind", "0123456789ac\",\"kind");
        assert_ne!(alone, without_content);
        for said in [
            "",
            "h",
            "h ",
            "h x",
            "d",
            "d {}",
            "d {",
            "c 8f3a-1042 000000ab",
            "c 8f3a-1042 000000ab {",
            "r {}",
            "q 1",
            "hh 8f3a-1",
            &without_content,
        ] {
            assert_eq!(hear(said), Rung::Missed, "{said}");
        }
    }

    #[test]
    fn a_change_of_a_newer_node_keeps_its_place() {
        let said = r#"d {"epoch":"7","notifications":[],"events":[{"position":5,"at":1,"change":"folded"}],"more":1}"#;
        let Rung::Doorbell(rung) = hear(said) else {
            panic!("not understood")
        };
        assert_eq!(
            (rung.events[0].position, &rung.events[0].change),
            (Position(5), &Change::Erased)
        );
    }
}
