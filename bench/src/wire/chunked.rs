//! The chunked transfer coding (RFC 9112, section 7.1), decoded in place.

use super::Malformed;

/// A chunk above this is no event; a wrong size must not swallow the rest of the stream in silence.
const MAX_CHUNK: u64 = 64 * 1024 * 1024;

/// The decoder of one response body. It keeps no bytes, only where it stands.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Size { value: u64, digits: u32 },
    Extension { value: u64 },
    SizeLf { value: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailer { length: usize },
    Done,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

impl Chunked {
    /// Takes the framing off the front of `input` and returns the next run of body bytes, `None` when more input
    /// is needed or the body is over.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
        while !input.is_empty() {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                let (body, rest) = input.split_at(here);
                *input = rest;
                let left = left - here as u64;
                self.state = if left == 0 {
                    State::DataCr
                } else {
                    State::Data { left }
                };
                return Ok(Some(body));
            }
            if matches!(self.state, State::Done) {
                return Ok(None);
            }
            let byte = input[0];
            *input = &input[1..];
            self.state = self.state.after(byte)?;
        }
        Ok(None)
    }

    /// The last chunk and its trailer have been read.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl State {
    fn after(self, byte: u8) -> Result<Self, Malformed> {
        match (self, byte) {
            (Self::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = (byte as char).to_digit(16).ok_or(Malformed("chunk size"))?;
                let value = value * 16 + u64::from(digit);
                if value > MAX_CHUNK {
                    return Err(Malformed("chunk size out of bounds"));
                }
                Ok(Self::Size {
                    value,
                    digits: digits + 1,
                })
            }
            (Self::Size { digits: 0, .. }, _) => Err(Malformed("chunk without a size")),
            (Self::Size { value, .. } | Self::Extension { value }, b'\r') => Ok(Self::SizeLf { value }),
            (Self::Size { value, .. }, b';') | (Self::Extension { value }, _) => {
                Ok(Self::Extension { value })
            }
            (Self::SizeLf { value: 0 }, b'\n') => Ok(Self::Trailer { length: 0 }),
            (Self::SizeLf { value }, b'\n') => Ok(Self::Data { left: value }),
            (Self::DataCr, b'\r') => Ok(Self::DataLf),
            (Self::DataLf, b'\n') => Ok(Self::Size { value: 0, digits: 0 }),
            (Self::Trailer { length: 0 }, b'\n') => Ok(Self::Done),
            (Self::Trailer { .. }, b'\n') => Ok(Self::Trailer { length: 0 }),
            (Self::Trailer { length }, b'\r') => Ok(Self::Trailer { length }),
            (Self::Trailer { length }, _) => Ok(Self::Trailer { length: length + 1 }),
            _ => Err(Malformed("chunk framing")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), Malformed> {
        let mut decoder = Chunked::default();
        let mut body = Vec::new();
        for piece in pieces {
            let mut input = *piece;
            while let Some(bytes) = decoder.next(&mut input)? {
                body.extend_from_slice(bytes);
            }
        }
        Ok((body, decoder.is_done()))
    }

    const WIRE: &[u8] = b"5\r\nhello\r\n1A;note=x\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nx-end: 1\r\n\r\n";
    const BODY: &[u8] = b"helloabcdefghijklmnopqrstuvwxyz";

    #[test]
    fn a_body_comes_out_the_same_wherever_the_reads_fall() {
        for first in 0..=WIRE.len() {
            for second in first..=WIRE.len() {
                let pieces = [&WIRE[..first], &WIRE[first..second], &WIRE[second..]];
                assert_eq!(
                    decode(&pieces),
                    Ok((BODY.to_vec(), true)),
                    "cut at {first} and {second}"
                );
            }
        }
    }

    #[test]
    fn a_body_comes_out_the_same_byte_by_byte() {
        let pieces: Vec<&[u8]> = WIRE.chunks(1).collect();
        assert_eq!(decode(&pieces), Ok((BODY.to_vec(), true)));
    }

    #[test]
    fn broken_framing_is_refused() {
        for wire in [
            &b"\r\n"[..],
            b"5\r\nhelloX",
            b"zz\r\n",
            b"5\nhello",
            b"fffffffff\r\n",
        ] {
            assert!(decode(&[wire]).is_err(), "{}", String::from_utf8_lossy(wire));
        }
    }

    #[test]
    fn an_unfinished_body_is_not_done() {
        assert_eq!(decode(&[b"5\r\nhel"]), Ok((b"hel".to_vec(), false)));
    }
}
