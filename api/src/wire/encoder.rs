//! Frames of `text/event-stream` and `arauto.v1`.

use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

use application::ports::{Encoder, Format, Message, Rendered};
use bytes::Bytes;
use domain::cursor::{Cursor, Epoch};
use domain::event::Event;
use domain::notification::Notification;

use super::gzip::{Effort, press};
use super::json::{json_len, to_json, write_json};
use super::shapes::{NotificationShape, Parts};

/// A frame is put together here and then copied, so that each frame is one allocation of exactly its size: rings
/// hold frames for days. Threads keep this much of it, a notification of the largest size with room.
const SCRATCH_KEPT_BYTES: usize = 128 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Writes frames of `text/event-stream` and `arauto.v1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct WireEncoder;

impl Encoder for WireEncoder {
    fn encode(&self, format: Format, message: &Message<'_>) -> Bytes {
        in_scratch(|frame| match format {
            Format::Sse => write_sse(frame, message),
            Format::SseGzip => {
                write_sse(frame, message);
                press(frame, effort(message));
            }
            Format::WebSocket => write_websocket(frame, message),
        })
    }

    fn render(&self, epoch: Epoch, event: &Event) -> Option<Rendered> {
        render_event(epoch, event)
    }

    fn notification_bytes(&self, notification: &Notification) -> usize {
        json_len(&NotificationShape::from(notification))
    }
}

/// Renders an event of the log; `None` for what no client ever gets.
pub fn render_event(epoch: Epoch, event: &Event) -> Option<Rendered> {
    let position = event.position;
    Parts::of_event(epoch, event).map(|parts| Rendered {
        event: parts.event,
        id: Cursor { epoch, position },
        data: to_json(&parts.data),
    })
}

fn in_scratch(write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        write(scratch);
        let frame = Bytes::copy_from_slice(scratch);
        scratch.shrink_to(SCRATCH_KEPT_BYTES);
        frame
    })
}

/// Events go to many streams, or are read again by those that come back. Whatever else there is goes to one stream, and
/// may say what only that one is to know, or is as short as it is soon forgotten.
fn effort(message: &Message<'_>) -> Effort {
    match message {
        Message::Event(..) => Effort::Shared,
        _ => Effort::Passing,
    }
}

fn write_sse(frame: &mut Vec<u8>, message: &Message<'_>) {
    match *message {
        Message::Retry(after) => {
            write_retry(frame, after);
            frame.push(b'\n');
        }
        Message::Closing { after, .. } => write_retry(frame, after),
        _ => {}
    }
    let Some(parts) = Parts::of(message) else { return };
    if let Some(id) = parts.id {
        write_text(frame, format_args!("id: {id}\n"));
    }
    write_text(frame, format_args!("event: {}\ndata: ", parts.event));
    write_json(frame, &parts.data);
    frame.extend_from_slice(b"\n\n");
}

fn write_retry(frame: &mut Vec<u8>, after: Duration) {
    write_text(frame, format_args!("retry: {}\n", after.as_millis()));
}

fn write_websocket(frame: &mut Vec<u8>, message: &Message<'_>) {
    let Some(parts) = Parts::of(message) else { return };
    write_text(frame, format_args!("{{\"event\":\"{}\",", parts.event));
    if let Some(id) = parts.id {
        write_text(frame, format_args!("\"id\":\"{id}\","));
    }
    frame.extend_from_slice(b"\"data\":");
    write_json(frame, &parts.data);
    frame.push(b'}');
}

fn write_text(frame: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    if let Err(error) = frame.write_fmt(text) {
        unreachable!("memory takes every byte: {error}");
    }
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
