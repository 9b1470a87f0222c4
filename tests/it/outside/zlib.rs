//! zlib, a decoder that knows nothing of ours, on what the encoder writes.

use api::wire::{COMMENT, Member};
use application::ports::Format;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tests::script::run_alone;

use crate::encoder::{Sent, frame, sent};

/// A stream: what each frame is, and what of it goes over the wire.
struct Stream {
    frames: Vec<(Vec<u8>, Bytes)>,
    end: Bytes,
}

impl Stream {
    fn of(all: &[Sent]) -> Self {
        let mut member = Member::default();
        let mut frames = vec![(Vec::new(), member.begin().unwrap())];
        for (position, sent) in (1..).zip(all) {
            let (plain, piece) = if let Sent::KeepAlive = sent {
                (COMMENT.to_vec(), member.comment())
            } else {
                let [plain, piece] =
                    [Format::Sse, Format::SseGzip].map(|format| frame(format, position, sent).0);
                (plain, member.add(piece.into()))
            };
            frames.push((plain, piece));
        }
        let end = member.end().unwrap();
        Self { frames, end }
    }

    fn has_deflated(&self) -> bool {
        self.frames.iter().any(|(plain, piece)| piece.len() < plain.len())
    }

    fn told(&self) -> Value {
        let plain: Vec<String> = self
            .frames
            .iter()
            .map(|(plain, _)| STANDARD.encode(plain))
            .collect();
        let pieces: Vec<String> = self
            .frames
            .iter()
            .map(|(_, piece)| STANDARD.encode(piece))
            .collect();
        json!({ "pieces": pieces, "plain": plain, "end": STANDARD.encode(&self.end) })
    }
}

#[test]
fn zlib_reads_each_frame_as_soon_as_it_is_there_and_the_whole_with_its_end() {
    let mut runner = TestRunner::deterministic();
    let all = prop::collection::vec(sent(), 1..12);
    let streams: Vec<Stream> = (0..64)
        .map(|_| Stream::of(&all.new_tree(&mut runner).unwrap().current()))
        .collect();
    assert!(streams.iter().any(Stream::has_deflated), "nothing was deflated");
    let told: Vec<Value> = streams.iter().map(Stream::told).collect();
    assert_eq!(
        run_alone("gunzip.mjs", &Value::from(told).to_string()).unwrap(),
        1
    );
}
