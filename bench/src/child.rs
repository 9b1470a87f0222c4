//! Processes under measurement. None outlives the run, however the run ends.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use serde_json::Value;

use crate::clock;
use crate::procfs::Process;
use crate::report::progress;

/// Longest wait for the line that says `listening`.
const START: Duration = Duration::from_secs(20);
/// Log lines kept to explain a failure.
const TAIL: usize = 12;

/// A started process that listens on an address it logged. Killed when dropped.
pub(crate) struct Child {
    process: std::process::Child,
    address: SocketAddr,
    tail: Tail,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

impl Child {
    /// Starts `program` with nothing but `environment` and waits for the address it listens on.
    ///
    /// Must be called from the main thread: the kernel ties the child's life to the thread that started it.
    pub(crate) fn start(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Self> {
        let mut process = Command::new("/proc/self/exe")
            .args(["leash", &std::process::id().to_string(), program])
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let tail = Tail::default();
        let (lines, said) = channel();
        if let Some(out) = process.stdout.take() {
            follow(out, lines.clone(), Arc::clone(&tail));
        }
        if let Some(err) = process.stderr.take() {
            follow(err, lines, Arc::clone(&tail));
        }
        // From here on dropping the child kills it, also when no address ever comes.
        let mut child = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tail,
        };
        match wait_for_address(&said) {
            Ok(address) => child.address = address,
            Err(error) => {
                child.show_tail();
                return Err(error.context(format!("{program} did not start")));
            }
        }
        Ok(child)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn process(&self) -> Process {
        Process::new(self.process.id())
    }

    /// Shows the last lines it logged, to explain a failure.
    pub(crate) fn show_tail(&self) {
        for line in self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            progress(&format!("    | {line}"));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Becomes `program`, to be killed by the kernel when its parent dies, even of SIGKILL.
pub(crate) fn leash(parent: i32, program: &str, arguments: &[String]) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        bail!("the run that wanted {program} is gone");
    }
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot execute {program}"))
}

/// Reads lines for the child's whole life, so that it never blocks on a full pipe.
fn follow(from: impl Read + Send + 'static, lines: Sender<String>, tail: Tail) {
    thread::spawn(move || {
        let mut lines = Some(lines);
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            {
                let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line.clone());
            }
            // Once the address is known nobody listens any more.
            if lines.as_ref().is_some_and(|lines| lines.send(line).is_err()) {
                lines = None;
            }
        }
    });
}

fn wait_for_address(said: &Receiver<String>) -> Result<SocketAddr> {
    let deadline = clock::after(START);
    loop {
        match said.recv_timeout(clock::until(deadline)) {
            Ok(line) => {
                if let Some(address) = listening_address(&line) {
                    return Ok(address);
                }
            }
            Err(RecvTimeoutError::Timeout) => bail!("no `listening` line within {} s", START.as_secs()),
            Err(RecvTimeoutError::Disconnected) => bail!("it ended before it listened"),
        }
    }
}

/// The address of a JSON log line `listening`, whose fields may stand at the top or under `fields`.
fn listening_address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let field = |name: &str| line.get(name).or_else(|| line.get("fields")?.get(name))?.as_str();
    if field("message")? != "listening" {
        return None;
    }
    field("address")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_flat_and_nested_and_nowhere_else() {
        let expected = Some(SocketAddr::from(([127, 0, 0, 1], 4711)));
        let flat = r#"{"level":"INFO","message":"listening","address":"127.0.0.1:4711"}"#;
        let nested = r#"{"level":"INFO","fields":{"message":"listening","address":"127.0.0.1:4711"}}"#;
        assert_eq!(listening_address(flat), expected);
        assert_eq!(listening_address(nested), expected);
        assert_eq!(
            listening_address(r#"{"message":"started","address":"127.0.0.1:4711"}"#),
            None
        );
        assert_eq!(listening_address("listening on 127.0.0.1:4711"), None);
    }
}
