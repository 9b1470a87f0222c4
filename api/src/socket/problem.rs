//! What `error` events say.

use std::borrow::Cow;

/// What an `error` event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The stable name, as `type` in problem documents.
    pub kind: Cow<'static, str>,
    /// What is wrong, for people.
    pub title: Cow<'static, str>,
}

impl Problem {
    /// Names a problem and says what is wrong.
    pub fn new(kind: impl Into<Cow<'static, str>>, title: impl Into<Cow<'static, str>>) -> Self {
        let (kind, title) = (kind.into(), title.into());
        Self { kind, title }
    }
}

/// The problems that only a socket has. What an operation comes to has the names of the HTTP API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// A frame is no JSON object with the fields of one operation.
    MalformedFrame,
    /// A frame names an operation that does not exist.
    UnknownOp,
    /// A frame is larger than its operation needs.
    FrameTooLarge,
    /// A frame is binary.
    BinaryFrame,
    /// The first frame is another operation than `hello`.
    HelloExpected,
    /// A `hello` came although it is known who is calling.
    HelloRepeated,
    /// No `hello` came in time.
    HelloTimeout,
    /// An operation came before the one before it was done.
    TooManyOperations,
}

impl Mistake {
    /// Every mistake.
    pub const ALL: [Self; 8] = [
        Self::MalformedFrame,
        Self::UnknownOp,
        Self::FrameTooLarge,
        Self::BinaryFrame,
        Self::HelloExpected,
        Self::HelloRepeated,
        Self::HelloTimeout,
        Self::TooManyOperations,
    ];

    /// Returns the `type` of its problems: a reference relative to the service's address, as in the HTTP API.
    pub const fn uri(self) -> &'static str {
        match self {
            Self::MalformedFrame => "/problems/malformed-frame",
            Self::UnknownOp => "/problems/unknown-op",
            Self::FrameTooLarge => "/problems/frame-too-large",
            Self::BinaryFrame => "/problems/binary-frame",
            Self::HelloExpected => "/problems/hello-expected",
            Self::HelloRepeated => "/problems/hello-repeated",
            Self::HelloTimeout => "/problems/hello-timeout",
            Self::TooManyOperations => "/problems/too-many-operations",
        }
    }

    /// Says what is wrong with one frame.
    pub(super) fn says(self, title: impl Into<Cow<'static, str>>) -> Problem {
        Problem::new(self.uri(), title)
    }
}
