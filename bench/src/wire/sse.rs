//! Event streams, cut into frames by a scan for the blank line.
//!
//! Only what the service promises is understood: lines end in LF, `data` is one line. A server that breaks this
//! delivers nothing here and the run fails, which is right for a bench.

use memchr::memmem;

use super::{Event, Malformed};

/// A frame above this is not an event of ours; without a bound a missing blank line would eat memory in silence.
const MAX_FRAME: usize = 1024 * 1024;

/// Cuts one stream into frames. Bytes are kept only while a frame is incomplete.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    pending: Vec<u8>,
}

impl Scanner {
    /// Hands every frame that `bytes` completes to `sink`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(Event<'_>)) -> Result<(), Malformed> {
        if self.pending.is_empty() {
            let used = emit(bytes, 0, &mut sink);
            self.pending.extend_from_slice(&bytes[used..]);
        } else {
            // The blank line may have begun in what was kept.
            let from = self.pending.len() - 1;
            self.pending.extend_from_slice(bytes);
            let used = emit(&self.pending, from, &mut sink);
            self.pending.drain(..used);
        }
        if self.pending.len() > MAX_FRAME {
            Err(Malformed("no end of event in 1 MiB"))
        } else {
            Ok(())
        }
    }
}

/// Emits the frames of `bytes`, looking for the first end at or after `from`; returns how many bytes they took.
fn emit(bytes: &[u8], from: usize, sink: &mut impl FnMut(Event<'_>)) -> usize {
    let mut start = 0;
    let mut search = from;
    while let Some(end) = memmem::find(&bytes[search..], b"\n\n") {
        let end = search + end;
        sink(parse(&bytes[start..end]));
        start = end + 2;
        search = start;
    }
    start
}

fn parse(frame: &[u8]) -> Event<'_> {
    let mut event = Event {
        name: b"",
        id: None,
        data: b"",
    };
    let mut rest = frame;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if let Some(value) = field(line, b"data:") {
            event.data = value;
        } else if let Some(value) = field(line, b"id:") {
            event.id = Some(value);
        } else if let Some(value) = field(line, b"event:") {
            event.name = value;
        }
    }
    event
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Owned = (Vec<u8>, Option<Vec<u8>>, Vec<u8>);

    fn scan(pieces: &[&[u8]]) -> Vec<Owned> {
        let mut scanner = Scanner::default();
        let mut seen = Vec::new();
        for piece in pieces {
            scanner
                .feed(piece, |event| {
                    seen.push((
                        event.name.to_vec(),
                        event.id.map(<[u8]>::to_vec),
                        event.data.to_vec(),
                    ));
                })
                .unwrap();
        }
        seen
    }

    const WIRE: &[u8] = b"retry: 3417\n\nid: 8f3a-1\nevent: ready\ndata: {\"a\":1}\n\n: quiet\n\n\
        id: 8f3a-2\nevent: notification\ndata: {\"text\":\"id: 9\\nevent: x\"}\n\nid: 8f3a-3\nevent: hal";

    fn expected() -> Vec<Owned> {
        vec![
            (b"".to_vec(), None, b"".to_vec()),
            (b"ready".to_vec(), Some(b"8f3a-1".to_vec()), b"{\"a\":1}".to_vec()),
            (b"".to_vec(), None, b"".to_vec()),
            (
                b"notification".to_vec(),
                Some(b"8f3a-2".to_vec()),
                b"{\"text\":\"id: 9\\nevent: x\"}".to_vec(),
            ),
        ]
    }

    #[test]
    fn frames_come_out_the_same_wherever_the_reads_fall() {
        for first in 0..=WIRE.len() {
            for second in first..=WIRE.len() {
                let pieces = [&WIRE[..first], &WIRE[first..second], &WIRE[second..]];
                assert_eq!(scan(&pieces), expected(), "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn frames_come_out_the_same_byte_by_byte() {
        let pieces: Vec<&[u8]> = WIRE.chunks(1).collect();
        assert_eq!(scan(&pieces), expected());
    }

    #[test]
    fn a_stream_without_an_end_of_event_is_refused() {
        let mut scanner = Scanner::default();
        let mut outcome = Ok(());
        for _ in 0..=1024 {
            outcome = outcome.and_then(|()| scanner.feed(&[b'x'; 1024], |_| {}));
        }
        assert_eq!(outcome, Err(Malformed("no end of event in 1 MiB")));
    }
}
