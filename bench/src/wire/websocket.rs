//! The receiving half of RFC 6455 and the one frame a quiet client has to send.

use memchr::memmem;

use super::{Event, Malformed};

/// The sample nonce of RFC 6455, section 1.3. A fixed nonce spares ten thousand hashes and still lets the
/// answer be checked.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server must answer to [`KEY`].
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The contract's largest notification is 32 KiB; a frame above this is none of ours.
const MAX_PAYLOAD: u64 = 1024 * 1024;
/// RFC 6455, section 5.5.
const MAX_CONTROL_PAYLOAD: usize = 125;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// One message from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Text(&'a [u8]),
    /// To be answered with [`pong`].
    Ping(&'a [u8]),
    Pong,
    /// The close code, 1005 when there was none.
    Close(u16),
}

/// Cuts one connection into messages. Bytes are kept only while a frame is incomplete.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Hands every message that `bytes` completes to `sink`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(Message<'_>)) -> Result<(), Malformed> {
        if self.pending.is_empty() {
            let used = emit(bytes, &mut sink)?;
            self.pending.extend_from_slice(&bytes[used..]);
        } else {
            self.pending.extend_from_slice(bytes);
            let used = emit(&self.pending, &mut sink)?;
            self.pending.drain(..used);
        }
        Ok(())
    }
}

fn emit(bytes: &[u8], sink: &mut impl FnMut(Message<'_>)) -> Result<usize, Malformed> {
    let mut used = 0;
    while let Some((message, length)) = split(&bytes[used..])? {
        sink(message);
        used += length;
    }
    Ok(used)
}

/// The first message of `bytes` and the bytes it took, `None` while it is incomplete.
fn split(bytes: &[u8]) -> Result<Option<(Message<'_>, usize)>, Malformed> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err(Malformed("masked frame from a server"));
    }
    let (length, head) = match second & 0x7F {
        126 => {
            let Some(wide) = rest.first_chunk::<2>() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*wide)), 4)
        }
        127 => {
            let Some(wide) = rest.first_chunk::<8>() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*wide), 10)
        }
        short => (u64::from(short), 2),
    };
    if length > MAX_PAYLOAD {
        return Err(Malformed("frame above 1 MiB"));
    }
    let total = head + usize::try_from(length).map_err(|_| Malformed("frame length"))?;
    let Some(payload) = bytes.get(head..total) else {
        return Ok(None);
    };
    let message = match (first & 0xF0, first & 0x0F) {
        (0x80, TEXT) => Message::Text(payload),
        (0x80, PING) if payload.len() <= MAX_CONTROL_PAYLOAD => Message::Ping(payload),
        (0x80, PONG) => Message::Pong,
        (0x80, CLOSE) => Message::Close(
            payload
                .first_chunk()
                .map_or(1005, |code| u16::from_be_bytes(*code)),
        ),
        _ => {
            return Err(Malformed(
                "frame that is fragmented, extended, or of an unknown kind",
            ));
        }
    };
    Ok(Some((message, total)))
}

/// The answer to a ping, masked as a client must, with a mask of zeros.
pub(crate) fn pong(payload: &[u8]) -> Vec<u8> {
    let length = payload.len().min(MAX_CONTROL_PAYLOAD);
    let mut frame = vec![
        0x80 | PONG,
        0x80 | u8::try_from(length).unwrap_or_default(),
        0,
        0,
        0,
        0,
    ];
    frame.extend_from_slice(&payload[..length]);
    frame
}

/// Reads `{"event","id"?,"data"}` by scanning; an `id` after `data` belongs to the notification.
pub(crate) fn event(text: &[u8]) -> Event<'_> {
    let split = memmem::find(text, b"\"data\":").unwrap_or(text.len());
    let (envelope, data) = text.split_at(split);
    Event {
        name: string_after(envelope, b"\"event\":\"").unwrap_or_default(),
        id: string_after(envelope, b"\"id\":\""),
        data: data.strip_prefix(b"\"data\":").unwrap_or_default(),
    }
}

fn string_after<'a>(text: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let value = &text[memmem::find(text, key)? + key.len()..];
    Some(&value[..memchr::memchr(b'"', value)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> Vec<u8> {
        let mut wire = vec![0x81, 5];
        wire.extend_from_slice(b"hello");
        wire.extend_from_slice(&[0x89, 2, b'h', b'i']);
        wire.extend_from_slice(&[0x81, 126, 1, 44]);
        wire.extend_from_slice(&[b'x'; 300]);
        wire.extend_from_slice(&[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c']);
        wire.extend_from_slice(&[0x8A, 0]);
        wire.extend_from_slice(&[0x88, 2, 0x0F, 0xA1]);
        wire
    }

    fn decode(pieces: &[&[u8]]) -> Result<Vec<String>, Malformed> {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for piece in pieces {
            decoder.feed(piece, |message| {
                seen.push(match message {
                    Message::Text(text) => format!("text {}", String::from_utf8_lossy(text)),
                    Message::Ping(payload) => format!("ping {}", String::from_utf8_lossy(payload)),
                    Message::Pong => "pong".to_owned(),
                    Message::Close(code) => format!("close {code}"),
                });
            })?;
        }
        Ok(seen)
    }

    fn expected() -> Vec<String> {
        let long = format!("text {}", "x".repeat(300));
        ["text hello", "ping hi", &long, "text abc", "pong", "close 4001"]
            .map(str::to_owned)
            .to_vec()
    }

    #[test]
    fn messages_come_out_the_same_wherever_the_reads_fall() {
        let wire = wire();
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                let pieces = [&wire[..first], &wire[first..second], &wire[second..]];
                assert_eq!(decode(&pieces), Ok(expected()), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn messages_come_out_the_same_byte_by_byte() {
        let wire = wire();
        let pieces: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(decode(&pieces), Ok(expected()));
    }

    #[test]
    fn masked_fragmented_and_oversized_frames_are_refused() {
        for wire in [
            &[0x81, 0x85][..],
            &[0x01, 0],
            &[0xC1, 0],
            &[0x83, 0],
            &[0x81, 127, 1, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(decode(&[wire]).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn a_pong_is_masked_and_repeats_the_payload() {
        assert_eq!(pong(b"hi"), [0x8A, 0x82, 0, 0, 0, 0, b'h', b'i']);
    }

    #[test]
    fn an_id_inside_the_data_is_not_the_cursor() {
        let bare = event(br#"{"event":"session","data":{"id":"n-1"}}"#);
        assert_eq!(
            bare,
            Event {
                name: b"session",
                id: None,
                data: br#"{"id":"n-1"}}"#
            }
        );
        let full = event(br#"{"event":"notification","id":"8f3a-2","data":{"id":"n-1"}}"#);
        assert_eq!((full.name, full.id), (&b"notification"[..], Some(&b"8f3a-2"[..])));
    }
}
