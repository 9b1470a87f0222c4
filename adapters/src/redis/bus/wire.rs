//! Listening: one subscription.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use domain::ids::NodeId;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisResult, Value};
use tokio_util::sync::CancellationToken;

use super::{Own, channel, signature};
use crate::bus::{Line, Wire, hear};
use crate::redis::connect::{ANSWER_TIMEOUT, Server};

/// A subscription is silent when nobody speaks and when the other end has vanished: a PING tells.
const PING_EVERY: Duration = Duration::from_secs(2);

pub(super) struct RedisWire {
    server: Server,
    /// What begins messages that are not heard.
    skipped: Option<String>,
}

impl RedisWire {
    pub(super) fn new(server: Server, node: NodeId, own: Own) -> Self {
        let skipped = match own {
            Own::Heard => None,
            Own::Skipped => Some(signature(node)),
        };
        Self { server, skipped }
    }

    async fn stay(&self, line: &Line) -> RedisResult<()> {
        let gone = CancellationToken::new();
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_push_sender(
                Reader {
                    line: line.clone(),
                    skipped: self.skipped.clone(),
                    gone: gone.clone(),
                }
                .reading(),
            );
        let mut connection = self.server.connect(config).await?;
        connection.subscribe(channel(&self.server)).await?;
        line.up();
        loop {
            tokio::select! {
                () = gone.cancelled() => return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
                () = tokio::time::sleep(PING_EVERY) => {
                    redis::cmd("PING").exec_async(&mut connection).await?;
                }
            }
        }
    }
}

#[async_trait]
impl Wire for RedisWire {
    async fn hear(&mut self, line: &Line) -> Box<dyn Error + Send + Sync> {
        match self.stay(line).await {
            Err(error) => error.into(),
            Ok(()) => "the subscription ended".into(),
        }
    }
}

/// What the connection calls with each message. It reads them there and then, so that nothing piles up between: when
/// that is too slow, Redis' own bound for subscribers ends the connection.
struct Reader {
    line: Line,
    skipped: Option<String>,
    gone: CancellationToken,
}

impl Reader {
    fn reading(self) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync {
        move |push| {
            match push.kind {
                PushKind::Message => self.message(&push.data),
                PushKind::Disconnection => self.gone.cancel(),
                _ => {}
            }
            Ok(())
        }
    }

    /// Takes channel and message.
    fn message(&self, data: &[Value]) {
        let text = match data.last() {
            Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => "",
        };
        let (signature, said) = text.split_once(' ').unwrap_or_default();
        if self.skipped.as_deref() != Some(signature) {
            self.line.ring(hear(said));
        }
    }
}
