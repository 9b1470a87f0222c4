use std::sync::Arc;

use application::ports::Ready;
use domain::channel::Channel;
use domain::cursor::Position;
use domain::event::{Change, Control, MarkName, Marked, MarkedWhat};
use domain::ids::{ConnectionId, NodeId, NotificationId};
use domain::notification::{Content, NotificationType, Priority};
use domain::stream::{CloseReason, Reset, ResetReason};
use domain::time::Timestamp;

use super::*;

const ID: &str = "018f6a3e-7d1c-7c2b-9a51-0123456789ab";
const NOON: Timestamp = Timestamp::from_millis(1_767_268_800_007);

fn cursor(text: &str) -> Cursor {
    text.parse().unwrap()
}

fn id() -> NotificationId {
    ID.parse().unwrap()
}

fn channel() -> Channel {
    "private:user:u-42:notifications".parse().unwrap()
}

fn notification() -> Notification {
    Notification {
        id: id(),
        content: Content {
            kind: NotificationType::parse("solicitacao.aprovada").unwrap(),
            priority: Priority::High,
            title: "Solicitação aprovada".into(),
            body: "Seu pedido <b>2024/17</b>\r\nfoi aprovado.".into(),
            link: Some("/solicitacoes/17?a=1&b=2".into()),
            data: "{\n  \"protocolo\": 1.50\n}".into(),
            requires_ack: true,
            expires_at: None,
        },
        published_at: NOON,
    }
}

fn event(position: u64, change: Change) -> Event {
    Event {
        position: Position(position),
        at: NOON,
        change,
    }
}

fn published() -> Event {
    let change = Change::Published {
        channel: channel(),
        notification: Arc::new(notification()),
    };
    event(42, change)
}

fn marked(what: MarkedWhat) -> Event {
    let marks = Marked {
        what,
        unread: 3,
        unread_as_of: cursor("8f3a-43"),
    };
    let channel = channel();
    event(44, Change::Marked { channel, marks })
}

fn epoch() -> Epoch {
    "8f3a".parse().unwrap()
}

fn written(message: &Message<'_>) -> [String; 2] {
    [Format::Sse, Format::WebSocket].map(|format| {
        let frame = WireEncoder.encode(format, message);
        String::from_utf8(frame.to_vec()).unwrap()
    })
}

/// Asserts both frames of an event from its parts.
fn assert_frames(message: &Message<'_>, event: &str, id: Option<&str>, data: &str) {
    let (sse_id, ws_id) = id.map_or((String::new(), String::new()), |id| {
        (format!("id: {id}\n"), format!("\"id\":\"{id}\","))
    });
    let [sse, websocket] = written(message);
    assert_eq!(sse, format!("{sse_id}event: {event}\ndata: {data}\n\n"));
    assert_eq!(
        websocket,
        format!("{{\"event\":\"{event}\",{ws_id}\"data\":{data}}}")
    );
}

const NOTIFICATION: &str = concat!(
    r#"{"id":"018f6a3e-7d1c-7c2b-9a51-0123456789ab","type":"solicitacao.aprovada","priority":"high","#,
    r#""title":"Solicitação aprovada","body":"Seu pedido \u003cb\u003e2024/17\u003c/b\u003e\r\nfoi aprovado.","#,
    r#""link":"/solicitacoes/17?a=1\u0026b=2","data":{  "protocolo": 1.50},"requires_ack":true,"#,
    r#""published_at":"2026-01-01T12:00:00.007Z","expires_at":null}"#,
);

#[test]
fn a_notification_is_written_as_the_contract_shows_it() {
    let event = published();
    let data = format!(
        r#"{{"cursor":"8f3a-42","channel":"private:user:u-42:notifications","notification":{NOTIFICATION}}}"#
    );
    assert_frames(
        &Message::Event(epoch(), &event),
        "notification",
        Some("8f3a-42"),
        &data,
    );
}

#[test]
fn a_notification_is_measured_as_it_is_sent() {
    assert_eq!(
        WireEncoder.notification_bytes(&notification()),
        NOTIFICATION.len()
    );
}

#[test]
fn a_retraction_names_what_is_gone() {
    let change = Change::Retracted {
        channel: channel(),
        id: id(),
    };
    let data = format!(
        r#"{{"cursor":"8f3a-7","channel":"private:user:u-42:notifications","notification_id":"{ID}"}}"#
    );
    assert_frames(
        &Message::Event(epoch(), &event(7, change)),
        "retracted",
        Some("8f3a-7"),
        &data,
    );
}

#[test]
fn a_state_says_what_changed_and_what_is_left() {
    for (mark, change) in [
        (MarkName::Read, "read"),
        (MarkName::Unread, "unread"),
        (MarkName::Archived, "archived"),
        (MarkName::Unarchived, "unarchived"),
        (MarkName::Acknowledged, "acknowledged"),
    ] {
        let data = format!(
            r#"{{"cursor":"8f3a-44","channel":"private:user:u-42:notifications","notification_id":"{ID}","change":"{change}","up_to":null,"unread":3,"unread_as_of":"8f3a-43"}}"#
        );
        let event = marked(MarkedWhat::One(id(), mark));
        assert_frames(&Message::Event(epoch(), &event), "state", Some("8f3a-44"), &data);
    }
    let event = marked(MarkedWhat::ReadAll {
        up_to: cursor("8f3a-40"),
    });
    let data = r#"{"cursor":"8f3a-44","channel":"private:user:u-42:notifications","notification_id":null,"change":"read_all","up_to":"8f3a-40","unread":3,"unread_as_of":"8f3a-43"}"#;
    assert_frames(&Message::Event(epoch(), &event), "state", Some("8f3a-44"), data);
}

#[test]
fn ready_carries_where_the_stream_starts() {
    let ready = Ready {
        connection: ConnectionId {
            node: NodeId(0xab),
            serial: 0xcd,
        },
        cursor: cursor("8f3a-1041"),
        resumed: true,
        heartbeat_interval: Duration::from_secs(30),
        channels: vec![channel(), Channel::System],
        expires_at: NOON,
    };
    let data = r#"{"connection_id":"000000ab-00000000000000cd","cursor":"8f3a-1041","resumed":true,"heartbeat_interval_ms":30000,"channels":["private:user:u-42:notifications","system:notifications"],"expires_at":"2026-01-01T12:00:00.007Z"}"#;
    assert_frames(&Message::Ready(&ready), "ready", Some("8f3a-1041"), data);
}

#[test]
fn a_heartbeat_moves_the_cursor() {
    let message = Message::Heartbeat {
        cursor: cursor("8f3a-1102"),
        sequence: 7,
        sent_at: NOON,
    };
    let data = r#"{"sequence":7,"sent_at":"2026-01-01T12:00:00.007Z"}"#;
    assert_frames(&message, "heartbeat", Some("8f3a-1102"), data);
}

#[test]
fn a_reset_goes_on_from_its_end() {
    let mut reset = Reset {
        reason: ResetReason::Expired,
        from: Some(cursor("8f3a-1")),
        to: cursor("8f3b-9"),
        reload_after: Duration::from_millis(1_234),
    };
    let data = r#"{"reason":"expired","from":"8f3a-1","to":"8f3b-9","reload_after_ms":1234}"#;
    assert_frames(&Message::Reset(&reset), "reset", Some("8f3b-9"), data);
    reset.from = None;
    reset.reason = ResetReason::Unknown;
    let data = r#"{"reason":"unknown","from":null,"to":"8f3b-9","reload_after_ms":1234}"#;
    assert_frames(&Message::Reset(&reset), "reset", Some("8f3b-9"), data);
}

#[test]
fn a_session_has_no_id() {
    let message = Message::Session {
        expires_at: NOON,
        renew_before: Timestamp::from_millis(0),
    };
    let data = r#"{"expires_at":"2026-01-01T12:00:00.007Z","renew_before":"1970-01-01T00:00:00.000Z"}"#;
    assert_frames(&message, "session", None, data);
}

#[test]
fn closing_repeats_its_delay_as_a_retry_line_and_has_no_id() {
    let message = Message::Closing {
        reason: CloseReason::ShuttingDown,
        after: Duration::from_millis(3_417),
    };
    let data = r#"{"reason":"shutting_down","reconnect":true,"after_ms":3417}"#;
    let [sse, websocket] = written(&message);
    assert_eq!(sse, format!("retry: 3417\nevent: closing\ndata: {data}\n\n"));
    assert_eq!(websocket, format!(r#"{{"event":"closing","data":{data}}}"#));
}

#[test]
fn a_retry_is_for_event_streams_alone() {
    let written = written(&Message::Retry(Duration::from_millis(3_417)));
    assert_eq!(written, ["retry: 3417\n\n", ""]);
}

#[test]
fn in_gzip_only_events_of_the_log_are_deflated_and_what_is_one_streams_own_is_not() {
    let mut event = published();
    if let Change::Published { notification, .. } = &mut event.change {
        Arc::make_mut(notification).content.body = "Seu pedido foi aprovado. ".repeat(40).into();
    }
    let ready = Ready {
        connection: ConnectionId {
            node: NodeId(1),
            serial: 2,
        },
        cursor: cursor("8f3a-1"),
        resumed: false,
        heartbeat_interval: Duration::from_secs(30),
        channels: vec![channel(); 50],
        expires_at: NOON,
    };
    let bytes = |message: &Message<'_>| {
        [Format::Sse, Format::SseGzip].map(|format| WireEncoder.encode(format, message).len())
    };
    let [plain, piece] = bytes(&Message::Event(epoch(), &event));
    assert!(piece < plain / 2, "{piece} of {plain}");
    let [plain, piece] = bytes(&Message::Ready(&ready));
    assert!(piece > plain, "{piece} of {plain}");
}

#[test]
fn what_no_client_gets_has_no_frame() {
    let control = Change::Control(Control::Closed {
        connection: ConnectionId {
            node: NodeId(1),
            serial: 2,
        },
        reason: CloseReason::Replaced,
    });
    for change in [Change::Erased, control] {
        let event = event(1, change);
        assert_eq!(written(&Message::Event(epoch(), &event)), ["", ""]);
        let message = Message::Event(epoch(), &event);
        assert!(WireEncoder.encode(Format::SseGzip, &message).is_empty());
        assert_eq!(render_event(epoch(), &event), None);
    }
}

#[test]
fn rest_answers_give_an_event_exactly_as_the_stream_does() {
    for event in [published(), marked(MarkedWhat::One(id(), MarkName::Read))] {
        let rendered = render_event(epoch(), &event).unwrap();
        let [sse, _] = written(&Message::Event(epoch(), &event));
        let Rendered { event, id, data } = rendered;
        assert_eq!(sse, format!("id: {id}\nevent: {event}\ndata: {data}\n\n"));
    }
}
