//! The service as its operators run it: a node of a cluster, as a process that a test kills, freezes and brings back.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use tempfile::TempDir;

use crate::port::Port;
use crate::process::{Ending, Process, eventually, folder};
use crate::server::{binary, now};

/// A node that has not started by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service manager waits this long before it starts again what has ended.
const AGAIN: Duration = Duration::from_millis(200);

/// A node with its port and configuration, ended with the test.
#[derive(Debug)]
pub struct Node {
    // Ends before its folder goes.
    process: Process,
    port: Port,
    environment: BTreeMap<String, String>,
    folder: TempDir,
}

impl Node {
    /// Starts a node outside development mode and waits until it takes work.
    pub fn start(environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut node = Self::alive(environment)?;
        node.ready(PATIENCE)?;
        Ok(node)
    }

    /// Starts a node and waits until it answers at all. An end before that is an error with what it said.
    pub fn alive(environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let port = Port::free()?;
        let mut known = BTreeMap::from([
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("ARAUTO_LOG_FORMAT".to_owned(), "json".to_owned()),
            ("ARAUTO_LISTEN".to_owned(), port.address().to_string()),
        ]);
        known.extend(
            environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let folder = folder("node")?;
        let process = launch(&port, &known, &folder)?;
        Ok(Self {
            process,
            port,
            environment: known,
            folder,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its address as a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Kills it.
    pub fn kill_9(&mut self) -> anyhow::Result<()> {
        self.process.kill_9()
    }

    /// Stops it where it stands.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.process.freeze().map(drop)
    }

    /// Lets it go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.process.thaw()
    }

    /// Starts it again on the same port, after it was killed if it still runs. A start that fails is tried again, as a
    /// service manager does: what the node needs may be away just then.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.kill_9()?;
        let started = now();
        loop {
            match launch(&self.port, &self.environment, &self.folder) {
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
                Err(error) if started.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(AGAIN),
            }
        }
    }

    /// Asks it to go, as a service manager does, without waiting.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.process.ask(Ending::Term)
    }

    /// Waits for its end.
    pub fn wait(&mut self, at_most: Duration) -> anyhow::Result<ExitStatus> {
        self.process.wait(at_most)
    }

    /// Waits until it takes work.
    pub fn ready(&mut self, at_most: Duration) -> anyhow::Result<()> {
        eventually("the node is ready", at_most, || {
            anyhow::ensure!(self.process.runs(), "the node ended:\n{}", self.process.tail());
            Ok((self.status("/health/ready") == Some(200)).then_some(()))
        })
    }

    /// Asks one of its pages and returns the status; nothing if there is no answer within two seconds.
    pub fn status(&self, path: &str) -> Option<u16> {
        status(self.port.address(), path)
    }

    /// What it logged, over all its lives.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.process.log())?)
    }
}

fn launch(port: &Port, environment: &BTreeMap<String, String>, folder: &TempDir) -> anyhow::Result<Process> {
    let mut command = Command::new(binary()?);
    command
        .arg("serve")
        .env_clear()
        .envs(environment)
        .current_dir(folder.path());
    let log = folder.path().join("log");
    let mut process = Process::start(&mut command, Ending::Kill, &log, folder.path())?;
    process.ready(|| status(port.address(), "/health/live").is_some())?;
    Ok(process)
}

fn status(address: SocketAddr, path: &str) -> Option<u16> {
    const AT_MOST: Duration = Duration::from_secs(2);
    let mut socket = TcpStream::connect_timeout(&address, AT_MOST).ok()?;
    socket.set_read_timeout(Some(AT_MOST)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer[9..]).ok()?.parse().ok()
}
