//! What it costs to write a notification once: `cargo bench -p bench --bench encode`.
//!
//! An event is encoded once for each wire format that has a reader, not once for each reader.

use std::sync::Arc;

use api::wire::WireEncoder;
use application::ports::{Encoder, Format, Message};
use divan::{Bencher, black_box, counter::BytesCount};
use domain::channel::Channel;
use domain::cursor::{Epoch, Position};
use domain::event::{Change, Event};
use domain::notification::{Content, Notification, NotificationType, Priority};
use domain::time::Timestamp;

fn main() {
    divan::main();
}

const EPOCH: Epoch = Epoch(414_982);
const NOON: Timestamp = Timestamp::from_millis(1_767_268_800_007);
const FORMATS: [Format; 3] = [Format::Sse, Format::SseGzip, Format::WebSocket];

/// What the bench is about: how long the texts are.
#[derive(Clone, Copy)]
struct Size {
    body_bytes: usize,
    data_bytes: usize,
}

/// Two sentences and a number.
const TYPICAL: Size = Size {
    body_bytes: 160,
    data_bytes: 40,
};
/// As large as a notification may be: 32 KiB as sent.
const LARGEST: Size = Size {
    body_bytes: 6_000,
    data_bytes: 25_000,
};

/// Portuguese with the markup that bodies may hold: a few accents and a few escapes, as in life.
fn prose(bytes: usize) -> String {
    let sentence = "Seu pedido <b>2024/17</b> foi aprovado pela coordenação; veja os próximos passos. ";
    let mut text = sentence.repeat(bytes / sentence.len() + 1);
    while text.len() > bytes {
        text.pop();
    }
    text
}

fn event(size: Size) -> Event {
    let content = Content {
        kind: NotificationType::parse("solicitacao.aprovada").unwrap_or_else(|| unreachable!()),
        priority: Priority::High,
        title: "Solicitação aprovada".into(),
        body: prose(size.body_bytes).into(),
        link: Some("/solicitacoes/17".into()),
        data: format!(
            "{{\"protocolo\":\"2024/17\",\"nota\":\"{}\"}}",
            prose(size.data_bytes)
        )
        .into(),
        requires_ack: false,
        expires_at: None,
    };
    let id = "018f6a3e-7d1c-7c2b-9a51-0123456789ab".parse();
    let notification = Arc::new(Notification {
        id: id.unwrap_or_else(|_| unreachable!()),
        content,
        published_at: NOON,
    });
    Event {
        position: Position(1_042),
        at: NOON,
        change: Change::Published {
            channel: Channel::System,
            notification,
        },
    }
}

fn encode(bencher: Bencher<'_, '_>, size: Size, format: Format) {
    let event = event(size);
    let bytes = WireEncoder.encode(format, &Message::Event(EPOCH, &event)).len();
    bencher
        .counter(BytesCount::new(bytes))
        .bench(|| WireEncoder.encode(format, black_box(&Message::Event(EPOCH, &event))));
}

#[divan::bench(args = FORMATS)]
fn typical(bencher: Bencher<'_, '_>, format: Format) {
    encode(bencher, TYPICAL, format);
}

#[divan::bench(args = FORMATS)]
fn largest(bencher: Bencher<'_, '_>, format: Format) {
    encode(bencher, LARGEST, format);
}

/// What admission costs: a notification is measured before it is accepted.
#[divan::bench]
fn measure_typical(bencher: Bencher<'_, '_>) {
    let event = event(TYPICAL);
    let Change::Published { notification, .. } = &event.change else {
        unreachable!()
    };
    bencher.bench(|| WireEncoder.notification_bytes(black_box(notification)));
}
