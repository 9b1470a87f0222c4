//! Parsers for what a server sends, fed with whatever a read returned and cheap enough for one thread to serve
//! every stream.

pub(crate) mod chunked;
pub(crate) mod http;
pub(crate) mod mark;
pub(crate) mod sse;
pub(crate) mod websocket;

/// Bytes that no server following the protocol sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "malformed answer: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// What one event says to a reader, whichever transport carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// Empty for a comment or a bare `retry:`.
    pub(crate) name: &'a [u8],
    /// The cursor.
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) data: &'a [u8],
}
