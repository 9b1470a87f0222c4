//! What the stand-in says when it refuses.

use std::fmt;

use serde_json::{Value, json};

/// An error as Ably shows it, in answers and in frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorInfo {
    /// Ably's own code.
    pub code: u32,
    /// The HTTP status that goes with it.
    pub status: u16,
    /// What a person reads.
    pub message: String,
}

impl ErrorInfo {
    /// An error with Ably's code and the status of HTTP.
    pub fn new(code: u32, status: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            status,
            message: message.into(),
        }
    }

    /// The operation is not among the rights. Ably answers it with 401.
    pub(super) fn not_permitted(operation: &str, channel: &str) -> Self {
        let message = format!("operation not permitted with provided capability: {operation} on {channel}");
        Self::new(40160, 401, message)
    }

    /// The token has come to its end.
    pub(super) fn expired() -> Self {
        Self::new(40142, 401, "token expired")
    }

    /// The token was taken back.
    pub(super) fn revoked() -> Self {
        Self::new(40141, 401, "token revoked")
    }

    pub(super) fn to_value(&self) -> Value {
        json!({
            "code": self.code,
            "statusCode": self.status,
            "message": self.message,
            "href": format!("https://help.ably.io/error/{}", self.code),
        })
    }
}

impl fmt::Display for ErrorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.status, self.message)
    }
}
