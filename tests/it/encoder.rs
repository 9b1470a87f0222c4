//! Whatever a notification holds, a receiver built to the WHATWG rules gets back exactly what was sent.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail the test, as tests do"
)]

use std::sync::Arc;
use std::time::Duration;

use api::wire::{WireEncoder, render_event};
use application::ports::{Encoder, Format, Message, Ready, Rendered};
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::{Change, Event};
use domain::ids::{ConnectionId, NodeId, NotificationId};
use domain::notification::{AudienceFields, Draft, DraftFields, Notification, Priority};
use domain::stream::{CloseReason, Reset, ResetReason};
use domain::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use tests::whatwg::{self, EventStream};

const EPOCH: Epoch = Epoch(414_982);
/// 2026-01-01T12:00:00.007Z
const NOON: Timestamp = Timestamp::from_millis(1_767_268_800_007);

/// What people write to break out of a stream or a page.
const HOSTILE: [&str; 20] = [
    "\n\ndata: {}\n\n",
    "\r\revent: closing\rdata: {}\r\r",
    "\r\n",
    "\nid: 0-0\n",
    "retry: 0",
    "\u{2028}",
    "\u{2029}",
    "\u{85}",
    "\u{feff}",
    "\0",
    "</script><script>",
    "<!--",
    "]]>",
    "&amp;",
    "\\",
    "\\u000a",
    "\"",
    ":",
    "\u{10ffff}",
    "e\u{301}",
];

fn hostile_text(parts: usize) -> impl Strategy<Value = String> {
    let part = prop_oneof![
        select(HOSTILE.as_slice()).prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[a-zçãé ]{1,8}",
    ];
    prop::collection::vec(part, 0..parts).prop_map(|parts| parts.concat())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(vec!["1.50", "-0", "1e400", "123456789012345678901234567890"])
            .prop_map(|number| serde_json::from_str(number).unwrap()),
        hostile_text(6).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((hostile_text(3), inner), 0..5)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

/// One value as people format it: on one line, indented, with any line ends, in the escapes of other writers.
fn json_text() -> impl Strategy<Value = String> {
    (json_value(), 0..4).prop_map(|(value, style)| match style {
        0 => value.to_string(),
        1 => serde_json::to_string_pretty(&value).unwrap(),
        2 => serde_json::to_string_pretty(&value)
            .unwrap()
            .replace('\n', "\r\n\t"),
        _ => format!("\n\r {value}\r\n\n"),
    })
}

prop_compose! {
    fn notifications()(
        title in hostile_text(8),
        body in hostile_text(20),
        data in json_text(),
        link in prop::option::of("/[a-z&'=?#é]{0,20}"),
        kind in "[a-z0-9_.-]{1,64}",
        priority in select(Priority::ALL.as_slice()),
        requires_ack: bool,
        expires in prop::option::of(any::<i64>().prop_map(Timestamp::from_millis)),
        published_at in any::<i64>().prop_map(Timestamp::from_millis),
        id: u128,
    ) -> Notification {
        let one_line = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
        let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
        let fields = DraftFields {
            audience: AudienceFields { everyone: Some(true), ..AudienceFields::default() },
            kind,
            priority: Some(priority.as_str().to_owned()),
            title: std::iter::once('t').chain(title.chars().filter(|c| one_line(*c))).take(200).collect(),
            body: body.chars().filter(|c| printable(*c)).take(5_000).collect(),
            link,
            data: Some(data),
            deliver_at: None,
            expires_at: expires,
            requires_ack,
        };
        let content = Draft::check(fields).expect("everything that the domain lets through, and nothing else").content;
        let id: NotificationId = uuid_text(id).parse().unwrap();
        Notification { id, content, published_at }
    }
}

fn uuid_text(bits: u128) -> String {
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn published(position: u64, notification: &Notification) -> Event {
    Event {
        position: Position(position),
        at: NOON,
        change: Change::Published {
            channel: Channel::System,
            notification: Arc::new(notification.clone()),
        },
    }
}

/// What the contract says, put together without the product's shapes.
fn expected(cursor: &str, notification: &Notification) -> Value {
    let content = &notification.content;
    let moment = |at: Timestamp| api::wire::Moment(at).to_string();
    json!({
        "cursor": cursor,
        "channel": "system:notifications",
        "notification": {
            "id": notification.id.to_string(),
            "type": content.kind.as_str(),
            "priority": content.priority.as_str(),
            "title": &*content.title,
            "body": &*content.body,
            "link": content.link.as_deref(),
            "data": serde_json::from_str::<Value>(&content.data).unwrap(),
            "requires_ack": content.requires_ack,
            "published_at": moment(notification.published_at),
            "expires_at": content.expires_at.map(moment),
        },
    })
}

/// Parses a stream whole, byte by byte and cut at these places; all three must agree.
fn received(stream: &[u8], cuts: &[Index]) -> Result<Vec<whatwg::Message>, String> {
    let whole = EventStream::new().push(stream);
    let mut by_byte = EventStream::new();
    let bytes: Vec<_> = stream.chunks(1).flat_map(|byte| by_byte.push(byte)).collect();
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    let mut cut = EventStream::new();
    let chunks: Vec<_> = places
        .windows(2)
        .flat_map(|ends| cut.push(&stream[ends[0]..ends[1]]))
        .collect();
    if bytes == whole && chunks == whole {
        Ok(whole)
    } else {
        Err(format!(
            "cut differently it reads {whole:?}, {bytes:?} and {chunks:?}"
        ))
    }
}

/// The promise: one event, with its name, its id and exactly the value that was sent.
fn arrives_whole(encoder: &dyn Encoder, notification: &Notification, cuts: &[Index]) -> Result<(), String> {
    let event = published(1_042, notification);
    let cursor = Cursor {
        epoch: EPOCH,
        position: event.position,
    }
    .to_string();
    let frame = encoder.encode(Format::Sse, &Message::Event(EPOCH, &event));
    let messages = received(&frame, cuts)?;
    let [message] = messages.as_slice() else {
        return Err(format!("{} events instead of one", messages.len()));
    };
    let value: Value = serde_json::from_str(&message.data).map_err(|error| error.to_string())?;
    let wanted = expected(&cursor, notification);
    match (message.event.as_str(), message.last_event_id == cursor) {
        ("notification", true) if value == wanted => Ok(()),
        _ => Err(format!("{message:?} instead of {wanted}")),
    }
}

/// Encoders with one fault each, so that it is known what the promise notices.
struct Faulty(Fault);

type Fault = fn(Vec<u8>) -> Vec<u8>;

impl Encoder for Faulty {
    fn encode(&self, format: Format, message: &Message<'_>) -> bytes::Bytes {
        self.0(WireEncoder.encode(format, message).to_vec()).into()
    }

    fn render(&self, epoch: Epoch, event: &Event) -> Option<Rendered> {
        WireEncoder.render(epoch, event)
    }

    fn notification_bytes(&self, notification: &Notification) -> usize {
        WireEncoder.notification_bytes(notification)
    }
}

fn replaced(frame: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(frame).unwrap().replace(from, to).into_bytes()
}

#[test]
fn an_encoder_with_a_fault_is_found_out() {
    let faults: [(&str, Fault); 6] = [
        ("a line feed", |frame| replaced(frame, "\\n", "\n")),
        ("a carriage return", |frame| replaced(frame, "\\r", "\r")),
        ("no id", |frame| replaced(frame, "id: 8w7a-", "x: ")),
        ("a lost character", |frame| replaced(frame, "ç", "c")),
        ("an empty line too few", |frame| frame[..frame.len() - 1].to_vec()),
        ("a blank in front", |frame| {
            replaced(frame, "data: ", "data:  \n ")
        }),
    ];
    let fields = DraftFields {
        audience: AudienceFields {
            everyone: Some(true),
            ..AudienceFields::default()
        },
        kind: "t".to_owned(),
        title: "aprovação".to_owned(),
        body: "one\r\ntwo".to_owned(),
        ..DraftFields::default()
    };
    let notification = Notification {
        id: uuid_text(1).parse().unwrap(),
        content: Draft::check(fields).unwrap().content,
        published_at: NOON,
    };
    assert_eq!(arrives_whole(&WireEncoder, &notification, &[]), Ok(()));
    for (name, fault) in faults {
        let found = arrives_whole(&Faulty(fault), &notification, &[]);
        assert!(found.is_err(), "{name} went unnoticed");
    }
}

/// What a node sends on one stream, in any mixture.
#[derive(Debug, Clone)]
pub(crate) enum Sent {
    Notification(Notification),
    Heartbeat,
    KeepAlive,
    Retry,
    Ready,
    Reset,
    Session,
    Closing,
}

pub(crate) fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        4 => notifications().prop_map(Sent::Notification),
        1 => select(vec![
            Sent::Heartbeat, Sent::KeepAlive, Sent::Retry, Sent::Ready, Sent::Reset, Sent::Session, Sent::Closing,
        ]),
    ]
}

/// A frame, and the event's name and id when it is one.
type Written = (Vec<u8>, Option<(&'static str, Option<String>)>);

/// Writes it.
pub(crate) fn frame(format: Format, position: u64, sent: &Sent) -> Written {
    let cursor = Cursor {
        epoch: EPOCH,
        position: Position(position),
    };
    let id = Some(cursor.to_string());
    let encode = |message: &Message<'_>| WireEncoder.encode(format, message).to_vec();
    match sent {
        Sent::Notification(notification) => {
            let event = published(position, notification);
            (encode(&Message::Event(EPOCH, &event)), Some(("notification", id)))
        }
        Sent::Heartbeat => {
            let message = Message::Heartbeat {
                cursor,
                sequence: position,
                sent_at: NOON,
            };
            (encode(&message), Some(("heartbeat", id)))
        }
        Sent::KeepAlive => (b":\n\n".to_vec(), None),
        Sent::Retry => (encode(&Message::Retry(Duration::from_millis(3_417))), None),
        Sent::Ready => {
            let ready = Ready {
                connection: ConnectionId {
                    node: NodeId(1),
                    serial: 2,
                },
                cursor,
                resumed: false,
                heartbeat_interval: Duration::from_secs(30),
                channels: vec![Channel::System],
                expires_at: NOON,
            };
            (encode(&Message::Ready(&ready)), Some(("ready", id)))
        }
        Sent::Reset => {
            let reset = Reset {
                reason: ResetReason::Unknown,
                from: None,
                to: cursor,
                reload_after: Duration::ZERO,
            };
            (encode(&Message::Reset(&reset)), Some(("reset", id)))
        }
        Sent::Session => {
            let message = Message::Session {
                expires_at: NOON,
                renew_before: NOON,
            };
            (encode(&message), Some(("session", None)))
        }
        Sent::Closing => {
            let message = Message::Closing {
                reason: CloseReason::Overloaded,
                after: Duration::ZERO,
            };
            (encode(&message), Some(("closing", None)))
        }
    }
}

fn one_harmless_line(text: &str) -> bool {
    !text.contains(['<', '>', '&', '\r', '\n', '\u{2028}', '\u{2029}'])
}

proptest! {
    #[test]
    fn every_notification_arrives_as_it_was_sent(
        notification in notifications(),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let arrived = arrives_whole(&WireEncoder, &notification, &cuts);
        prop_assert!(arrived.is_ok(), "{}", arrived.unwrap_err());
    }

    #[test]
    fn every_notification_arrives_over_the_websocket_and_by_replay_as_it_was_sent(
        notification in notifications(),
    ) {
        let event = published(7, &notification);
        let cursor = Cursor { epoch: EPOCH, position: Position(7) }.to_string();
        let data = expected(&cursor, &notification);
        let frame = WireEncoder.encode(Format::WebSocket, &Message::Event(EPOCH, &event));
        let text = std::str::from_utf8(&frame).unwrap();
        prop_assert!(one_harmless_line(text));
        let value: Value = serde_json::from_str(text).unwrap();
        prop_assert_eq!(value, json!({ "event": "notification", "id": cursor, "data": data.clone() }));

        let rendered = render_event(EPOCH, &event).unwrap();
        prop_assert_eq!(rendered.event, "notification");
        let ending = ["\"data\":", &rendered.data, "}"].concat();
        prop_assert!(text.ends_with(&ending));

        let measured = WireEncoder.notification_bytes(&notification);
        let around = json!({ "cursor": cursor, "channel": "system:notifications", "notification": 0 }).to_string();
        prop_assert_eq!(rendered.data.len(), around.len() - 1 + measured);
    }

    #[test]
    fn a_stream_neither_gains_nor_loses_events(
        all in prop::collection::vec(sent(), 0..12),
        cuts in prop::collection::vec(any::<Index>(), 0..40),
    ) {
        let mut stream = Vec::new();
        let mut wanted = Vec::new();
        let mut last_id = String::new();
        for (position, sent) in (1..).zip(&all) {
            let (bytes, event) = frame(Format::Sse, position, sent);
            stream.extend(bytes);
            if let Some((name, id)) = event {
                last_id = id.unwrap_or(last_id);
                let value = match sent {
                    Sent::Notification(notification) => Some(expected(&last_id, notification)),
                    _ => None,
                };
                wanted.push((name.to_owned(), last_id.clone(), value));
            }
        }
        let messages = received(&stream, &cuts).map_err(TestCaseError::fail)?;
        let got: Vec<_> = messages.into_iter().map(|message| {
            let value: Value = serde_json::from_str(&message.data).expect("every event's data is JSON");
            let value = (message.event == "notification").then_some(value);
            (message.event, message.last_event_id, value)
        }).collect();
        prop_assert_eq!(got, wanted);
    }
}
