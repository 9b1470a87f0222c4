//! Gzip (RFC 1951, RFC 1952) for event streams and for pages.
//!
//! A stream is one gzip member, and each frame a *piece* of it, made once for all streams: whole blocks of deflate that
//! refer to nothing before them and end with a byte, so that pieces can follow each other in any order. A stream
//! therefore keeps no window, only the checksum and the length that the member's end is to tell ([`Member`]); each
//! piece brings its own in a note in front.
//!
//! That no piece refers to another is a matter of secrecy as well: the size of an event says nothing of any other
//! (docs/security.md).

mod checksum;
mod member;

use std::cell::RefCell;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use self::checksum::Shift;
pub use self::member::{COMMENT, Member, Saved};

/// No flags, no moment, compressed at the fastest, on whatever system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
/// The flag of a head that is followed by a file name and a zero.
const NAMED: u8 = 1 << 3;
/// An empty last block.
const LAST_BLOCK: [u8; 2] = [3, 0];
/// What a stored block holds at most, and what it takes beside that.
const STORED_MAX_BYTES: usize = 0xffff;
const STORED_HEAD_BYTES: usize = 5;
/// Frames below this size are stored as they are. To deflate one takes 8 µs however short it is, nearly what it takes to
/// write it to a socket, and saves a third of a short one: at 512 bytes 180, at 400 bytes 130.
const DEFLATED_MIN_BYTES: usize = 512;
/// The fastest level: the next one takes half as long again and saves another hundredth.
const LEVEL: Compression = Compression::fast();
/// A compressed page is so many bytes longer than it would be, at most: what is hidden in its size.
const PADDING_MAX_BYTES: u8 = 96;

thread_local! {
    /// Some 300 KiB for each thread that has ever compressed something; to make it takes longer than to use it.
    static PRESS: RefCell<Option<Compress>> = const { RefCell::new(None) };
}

/// Whether a frame is worth being deflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// It may be shared by many streams: deflated unless it is short.
    Shared,
    /// It is one stream's own, or gone in a second: stored.
    Passing,
}

/// What stands in front of a piece and never reaches a client: what the end of its member has to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    crc: u32,
    bytes: u32,
    shift: Shift,
}

const NOTE_BYTES: usize = 12;

impl Note {
    fn of(plain: &[u8]) -> Self {
        // No frame comes near 4 GiB, and lengths count modulo that.
        #[expect(clippy::cast_possible_truncation, reason = "RFC 1952 has it modulo 2^32")]
        let bytes = plain.len() as u32;
        Self {
            crc: crc(plain),
            bytes,
            shift: Shift::over(bytes),
        }
    }

    fn written(self) -> [u8; NOTE_BYTES] {
        let mut written = [0; NOTE_BYTES];
        written[..4].copy_from_slice(&self.crc.to_le_bytes());
        written[4..8].copy_from_slice(&self.bytes.to_le_bytes());
        written[8..].copy_from_slice(&self.shift.0.to_le_bytes());
        written
    }

    fn read(piece: &[u8]) -> Option<Self> {
        let (note, _) = piece.split_first_chunk::<NOTE_BYTES>()?;
        let word = |at: usize| u32::from_le_bytes([note[at], note[at + 1], note[at + 2], note[at + 3]]);
        Some(Self {
            crc: word(0),
            bytes: word(4),
            shift: Shift(word(8)),
        })
    }
}

/// Makes a piece of a frame, in its place. What is empty stays so.
pub(super) fn press(frame: &mut Vec<u8>, effort: Effort) {
    if frame.is_empty() {
        return;
    }
    let stored_bytes = frame.len() + frame.len().div_ceil(STORED_MAX_BYTES) * STORED_HEAD_BYTES;
    let mut piece = Vec::with_capacity(NOTE_BYTES + stored_bytes);
    piece.extend_from_slice(&Note::of(frame).written());
    let pays = effort == Effort::Shared && frame.len() >= DEFLATED_MIN_BYTES;
    if !(pays && deflate(frame, &mut piece, FlushCompress::Full)) {
        piece.truncate(NOTE_BYTES);
        store(frame, &mut piece);
    }
    *frame = piece;
}

/// Compresses a page by itself, or says that it cannot be. `bits` are random.
///
/// What stands together in a page was written by many, so its size could be used to guess what somebody else wrote, by
/// whoever can have something written next to it again and again. A name of random length in the head, which every
/// client skips, blurs that.
pub fn page(plain: &[u8], bits: u64) -> Option<Vec<u8>> {
    let mut page = Vec::with_capacity(plain.len() / 4);
    page.extend_from_slice(&HEAD);
    page[3] = NAMED;
    page.extend((0..bits % u64::from(PADDING_MAX_BYTES)).map(|_| b'a'));
    page.push(0);
    if !deflate(plain, &mut page, FlushCompress::Finish) {
        return None;
    }
    let Note { crc, bytes, .. } = Note::of(plain);
    page.extend_from_slice(&end(crc, bytes));
    Some(page)
}

fn crc(plain: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(plain);
    crc.sum()
}

/// The end of a member: checksum and length of what it holds.
fn end(crc: u32, bytes: u32) -> [u8; 8] {
    let mut end = [0; 8];
    end[..4].copy_from_slice(&crc.to_le_bytes());
    end[4..].copy_from_slice(&bytes.to_le_bytes());
    end
}

fn store(plain: &[u8], piece: &mut Vec<u8>) {
    for block in plain.chunks(STORED_MAX_BYTES) {
        #[expect(clippy::cast_possible_truncation, reason = "a block is at most 65,535 bytes")]
        let bytes = block.len() as u16;
        piece.push(0);
        piece.extend_from_slice(&bytes.to_le_bytes());
        piece.extend_from_slice(&(!bytes).to_le_bytes());
        piece.extend_from_slice(block);
    }
}

/// Appends what deflate makes of a text, which is to be shorter than it, and tells whether it is there whole.
fn deflate(plain: &[u8], out: &mut Vec<u8>, flush: FlushCompress) -> bool {
    let start = out.len();
    out.resize(start + plain.len(), 0);
    let made = PRESS.with_borrow_mut(|press| {
        let press = press.get_or_insert_with(|| Compress::new(LEVEL, false));
        press.reset();
        let status = press.compress(plain, &mut out[start..], flush);
        let made = usize::try_from(press.total_out()).unwrap_or(usize::MAX);
        // Where there is no room left, there may be more to come.
        let whole = match status {
            Ok(Status::StreamEnd) => true,
            Ok(_) => flush == FlushCompress::Full && made < plain.len(),
            Err(_) => false,
        };
        whole.then_some(made)
    });
    out.truncate(start + made.unwrap_or(0));
    made.is_some()
}

/// Returns the piece of a frame that many share.
#[cfg(test)]
pub(crate) fn piece(plain: &[u8]) -> bytes::Bytes {
    let mut frame = plain.to_vec();
    press(&mut frame, Effort::Shared);
    frame.into()
}

#[cfg(test)]
mod tests;
