//! Why a WebSocket is closed, as a number that says whether to come back.

use domain::stream::CloseReason;

/// Why a WebSocket is closed.
///
/// | codes | the client |
/// |---|---|
/// | 4000–4099 | reconnects and resumes from its cursor |
/// | 4400–4499 | does not come back by itself |
/// | 1002, 1007 | broke RFC 6455 itself, as any WebSocket server would tell it |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum CloseCode {
    /// The client's frames are no WebSocket frames.
    ProtocolError = 1002,
    /// A text frame does not hold UTF-8.
    InvalidText = 1007,
    /// This node is going.
    ShuttingDown = 4000,
    /// This node cannot take or serve the stream now.
    Overloaded = 4001,
    /// Too many requests; `closing` says when the window ends.
    RateLimited = 4002,
    /// The client stopped answering heartbeats, or stopped reading.
    Unresponsive = 4003,
    /// A fault of this program ended the connection.
    Failed = 4004,
    /// The client does not speak `arauto.v1`.
    BadProtocol = 4400,
    /// The token does not count, or no longer.
    Unauthorised = 4401,
    /// Who is calling may not subscribe to what it asks for.
    Forbidden = 4403,
    /// The client did not say who it is in time.
    HelloTimeout = 4408,
    /// A newer stream of the same person took its place.
    Replaced = 4409,
    /// The right to be here was taken away.
    Revoked = 4410,
    /// A frame was larger than any operation needs.
    TooLarge = 4413,
}

impl CloseCode {
    /// Every code, smallest first.
    pub const ALL: [Self; 14] = [
        Self::ProtocolError,
        Self::InvalidText,
        Self::ShuttingDown,
        Self::Overloaded,
        Self::RateLimited,
        Self::Unresponsive,
        Self::Failed,
        Self::BadProtocol,
        Self::Unauthorised,
        Self::Forbidden,
        Self::HelloTimeout,
        Self::Replaced,
        Self::Revoked,
        Self::TooLarge,
    ];

    /// Returns the number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Returns the reason that stands beside the number, for people who read traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProtocolError => "protocol_error",
            Self::InvalidText => "invalid_text",
            Self::ShuttingDown => "shutting_down",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::Unresponsive => "unresponsive",
            Self::Failed => "failed",
            Self::BadProtocol => "bad_protocol",
            Self::Unauthorised => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::HelloTimeout => "hello_timeout",
            Self::Replaced => "replaced",
            Self::Revoked => "revoked",
            Self::TooLarge => "too_large",
        }
    }
}

impl From<CloseReason> for CloseCode {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TokenExpired => Self::Unauthorised,
            CloseReason::Revoked => Self::Revoked,
            CloseReason::ShuttingDown => Self::ShuttingDown,
            CloseReason::RateLimited => Self::RateLimited,
            CloseReason::Overloaded => Self::Overloaded,
            CloseReason::Replaced => Self::Replaced,
            CloseReason::Unresponsive => Self::Unresponsive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_code_says_what_the_closing_event_said() {
        for reason in [
            CloseReason::TokenExpired,
            CloseReason::Revoked,
            CloseReason::ShuttingDown,
            CloseReason::RateLimited,
            CloseReason::Overloaded,
            CloseReason::Replaced,
            CloseReason::Unresponsive,
        ] {
            let code = CloseCode::from(reason).code();
            assert_eq!((4_000..4_100).contains(&code), reason.reconnect(), "{reason:?}");
            assert_eq!((4_400..4_500).contains(&code), !reason.reconnect(), "{reason:?}");
        }
    }

    #[test]
    fn every_code_has_its_own_number_and_name() {
        for pair in CloseCode::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code());
            assert_ne!(pair[0].as_str(), pair[1].as_str());
        }
    }
}
