//! A gzip member that is being written, piece by piece.

use std::sync::LazyLock;

use bytes::{Buf, Bytes};

use super::{Effort, HEAD, LAST_BLOCK, NOTE_BYTES, Note, end, press};

/// A comment, as event streams have it: proxies and kernels see that the stream lives, scripts see nothing.
pub const COMMENT: &[u8] = b":\n\n";

static COMMENT_PIECE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut piece = COMMENT.to_vec();
    press(&mut piece, Effort::Passing);
    piece.into()
});

/// A gzip member under way: what its end has to tell, and what has not been told to whoever counts.
#[derive(Debug, Default)]
pub struct Member {
    crc: u32,
    bytes: u32,
    stage: Stage,
    uncounted: Saved,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    New,
    Open,
    Ended,
}

/// How many bytes became how many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// Before.
    pub plain: usize,
    /// After.
    pub sent: usize,
}

impl Member {
    /// Returns what a member begins with, once.
    pub fn begin(&mut self) -> Option<Bytes> {
        if self.stage != Stage::New {
            return None;
        }
        self.stage = Stage::Open;
        self.uncounted.sent += HEAD.len();
        Some(Bytes::from_static(&HEAD))
    }

    /// Takes a frame of the format `SseGzip` and returns what of it goes to the client. What is no piece is nothing.
    pub fn add(&mut self, mut piece: Bytes) -> Bytes {
        let Some(note) = Note::read(&piece) else {
            return Bytes::new();
        };
        piece.advance(NOTE_BYTES);
        self.crc = note.shift.append(self.crc, note.crc);
        self.bytes = self.bytes.wrapping_add(note.bytes);
        self.uncounted.plain += note.bytes as usize;
        self.uncounted.sent += piece.len();
        piece
    }

    /// Returns a comment, for the client.
    pub fn comment(&mut self) -> Bytes {
        self.add(COMMENT_PIECE.clone())
    }

    /// Returns what a member ends with, once.
    pub fn end(&mut self) -> Option<Bytes> {
        if self.has_ended() {
            return None;
        }
        self.stage = Stage::Ended;
        let last = [LAST_BLOCK.as_slice(), &end(self.crc, self.bytes)].concat();
        self.uncounted.sent += last.len();
        Some(last.into())
    }

    /// Tells whether the end has been given.
    pub fn has_ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    /// Takes what has not been counted yet, where there is any.
    pub fn uncounted(&mut self) -> Option<Saved> {
        let saved = std::mem::take(&mut self.uncounted);
        (saved != Saved::default()).then_some(saved)
    }
}
