//! Turning a client away when the node is full: quickly, in words, and without holding anything for it.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::task::{Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A client that is turned away gets this long to send its request and take the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Clients are told to come back after 1 to this many seconds, in turn, so that they do not come back together.
const RETRY_AFTER_MAX_SECONDS: usize = 5;

/// As the catalogue of problems has it. It is written out here: there is no request yet that it could answer.
const PROBLEM: &str = concat!(
    r#"{"type":"/problems/capacity-reached","title":"A bound of the service is reached","status":503,"#,
    r#""detail":"This node holds as many connections as it may. Try again after the time in Retry-After."}"#
);

/// Writes the answer. `turn` counts the clients that were turned away.
fn answer(turn: usize) -> String {
    let retry_after = 1 + turn % RETRY_AFTER_MAX_SECONDS;
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         retry-after: {retry_after}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n{PROBLEM}",
        PROBLEM.len()
    )
}

/// Waits for the request, answers, and sees that the answer arrives.
pub(super) async fn refuse(mut stream: TcpStream, turn: usize) {
    let exchange = async {
        // An answer before the request would confuse clients that keep a pool of connections. (`readable` alone may
        // return too early.)
        stream.peek(&mut [0]).await?;
        discard_what_is_there(&stream)?;
        stream.write_all(answer(turn).as_bytes()).await?;
        stream.shutdown().await?;
        discard_to_end(&stream, usize::MAX).await
    };
    // Whatever goes wrong, the connection ends here.
    let _ = timeout(PATIENCE, exchange).await;
}

/// Answers without waiting, when there is not even room to wait.
pub(super) fn refuse_at_once(stream: &TcpStream, turn: usize) {
    let _ = discard_what_is_there(stream)
        .and_then(|_| stream.try_write(answer(turn).as_bytes()))
        .and_then(|_| SockRef::from(stream).shutdown(Shutdown::Write));
}

/// Reads and forgets what has come in.
pub(super) fn discard_what_is_there(stream: &TcpStream) -> io::Result<Input> {
    let mut buffer = [0; 4_096];
    let mut bytes = 0;
    loop {
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(Input::Ended),
            Ok(read) => bytes += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Input::Open { bytes }),
            Err(error) => return Err(error),
        }
        // Somebody who sends faster than this reads must not keep the thread.
        if bytes >= 1 << 20 {
            return Ok(Input::Open { bytes });
        }
    }
}

/// What a peer sends.
pub(super) enum Input {
    /// It may send more; these many bytes were discarded.
    Open { bytes: usize },
    /// It has finished.
    Ended,
}

/// Reads and forgets until the peer has finished, or has sent too much.
///
/// A socket that is closed while something lies unread in it resets the connection, and a reset may destroy the
/// answer before the peer has read it.
pub(super) async fn discard_to_end(stream: &TcpStream, bytes_max: usize) -> io::Result<()> {
    let mut total = 0_usize;
    poll_fn(|context| {
        loop {
            ready!(stream.poll_read_ready(context))?;
            match discard_what_is_there(stream)? {
                Input::Ended => return Poll::Ready(Ok(())),
                Input::Open { bytes } => total = total.saturating_add(bytes),
            }
            if total > bytes_max {
                return Poll::Ready(Ok(()));
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_different_moments_to_come_back() {
        let seconds = |turn| {
            let answer = answer(turn);
            let line = answer
                .lines()
                .find(|line| line.starts_with("retry-after"))
                .unwrap();
            line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
        };
        assert_eq!((0..6).map(seconds).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 1]);
    }

    #[test]
    fn the_problem_is_json() {
        let problem: serde_json::Value = serde_json::from_str(PROBLEM).unwrap();
        assert_eq!(problem["status"], 503);
    }
}
