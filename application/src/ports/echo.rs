//! What is heard of a pushed transport from outside: whether people there get what it accepts.

use std::time::Duration;

use async_trait::async_trait;
use domain::channel::Channel;

/// Why nobody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EchoError {
    /// There is no right to listen.
    #[error("there is no right to listen to the transport")]
    Forbidden,
    /// The transport does not answer, or not as it should.
    #[error("the transport cannot be listened to")]
    Unreachable,
}

/// Listens to a transport as people's clients do.
///
/// An adapter MUST bound how long it waits for the transport to answer; what was opened lasts until one side ends it.
#[async_trait]
pub trait Echo: Send + Sync {
    /// Opens a stream of what is published to a channel from now on.
    async fn listen(&self, channel: &Channel) -> Result<Box<dyn Heard>, EchoError>;

    /// Asks for the time, and says how long the answer took.
    async fn time(&self) -> Result<Duration, EchoError>;
}

/// What is heard on a channel.
#[async_trait]
pub trait Heard: Send {
    /// Waits for the next message and returns it as text; `None` when the stream has ended. It may be given up and
    /// called again.
    async fn next(&mut self) -> Option<String>;
}
