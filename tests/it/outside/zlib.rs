//! zlib, a decoder that knows nothing of ours, on what the encoder writes.

use std::sync::Arc;

use api::wire::{Member, WireEncoder};
use application::ports::{Encoder, Format, Message};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::channel::Channel;
use domain::cursor::{Cursor, Epoch, Position};
use domain::event::{Change, Event};
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::time::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tests::script::run_alone;

const EPOCH: Epoch = Epoch(7);
const NOON: Timestamp = Timestamp::from_millis(1_767_268_800_007);

/// What a stream may hold, in both formats.
#[derive(Debug, Clone)]
enum Sent {
    Event(String),
    Heartbeat(u64),
    Comment,
}

fn sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        3 => (".{0,30}", 0..60_usize).prop_map(|(text, times)| Sent::Event(text.repeat(times))),
        1 => any::<u64>().prop_map(Sent::Heartbeat),
        1 => Just(Sent::Comment),
    ]
}

fn event(body: &str) -> Event {
    let content = Content {
        kind: NotificationType::parse("x").unwrap(),
        priority: Priority::High,
        title: "Aviso".into(),
        body: body.into(),
        link: None,
        data: "{}".into(),
        requires_ack: false,
        expires_at: None,
    };
    Event {
        position: Position(42),
        at: NOON,
        change: Change::Published {
            channel: Channel::System,
            notification: Arc::new(Notification {
                id: "018f6a3e-7d1c-7c2b-9a51-0123456789ab".parse().unwrap(),
                content,
                published_at: NOON,
            }),
        },
    }
}

fn case(frames: &[Sent]) -> Value {
    let mut member = Member::default();
    let (mut pieces, mut plain) = (vec![member.begin().unwrap()], vec![Bytes::new()]);
    for frame in frames {
        let encode = |message: &Message<'_>| {
            [Format::Sse, Format::SseGzip].map(|format| WireEncoder.encode(format, message))
        };
        let [text, piece] = match frame {
            Sent::Event(body) => encode(&Message::Event(EPOCH, &event(body))),
            Sent::Heartbeat(sequence) => encode(&Message::Heartbeat {
                cursor: Cursor {
                    epoch: EPOCH,
                    position: Position(43),
                },
                sequence: *sequence,
                sent_at: NOON,
            }),
            Sent::Comment => {
                pieces.push(member.comment());
                plain.push(Bytes::from_static(b":\n\n"));
                continue;
            }
        };
        pieces.push(member.add(piece));
        plain.push(text);
    }
    let base64 = |all: &[Bytes]| -> Vec<String> { all.iter().map(|one| STANDARD.encode(one)).collect() };
    let end = STANDARD.encode(member.end().unwrap());
    json!({ "pieces": base64(&pieces), "plain": base64(&plain), "end": end })
}

#[test]
fn zlib_reads_each_frame_as_soon_as_it_is_there_and_the_whole_with_its_end() {
    let mut runner = TestRunner::deterministic();
    let frames = prop::collection::vec(sent(), 1..12);
    let cases: Vec<Value> = (0..64)
        .map(|_| case(&frames.new_tree(&mut runner).unwrap().current()))
        .collect();
    assert_eq!(
        run_alone("gunzip.mjs", &Value::from(cases).to_string()).unwrap(),
        1
    );
}
