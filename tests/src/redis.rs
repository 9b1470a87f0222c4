//! Redis: one for the whole run, or a test's own.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::{Ending, Process, folder, given};
use crate::shared;

/// Returns the address of the run's Redis, or what `TEST_REDIS_URL` says. Tests stay apart by prefixes of their keys.
pub fn shared() -> anyhow::Result<String> {
    if let Some(url) = given("TEST_REDIS_URL") {
        return Ok(url);
    }
    shared::server("redis", answers, || {
        let folder = folder("redis")?.keep();
        let port = Port::free()?;
        let mut command = command(&port, &folder, &Settings::default().set("appendonly", "no"));
        let mut process = Process::detached(&mut command, Ending::Term, &folder.join("log"))?;
        shared::until_the_run_ends(&process, Ending::Term, &folder)?;
        let url = url(&port);
        process.ready(|| answers(&url))?;
        Ok(url)
    })
}

/// How a Redis of a test's own is configured: lines of `redis.conf`, over an append-only file that is synced at every
/// write and `maxmemory-policy noeviction`.
#[derive(Debug, Clone)]
pub struct Settings(Vec<(String, String)>);

impl Default for Settings {
    fn default() -> Self {
        Self(Vec::new())
            .set("save", "")
            .set("appendonly", "yes")
            .set("appendfsync", "always")
            .set("maxmemory-policy", "noeviction")
    }
}

impl Settings {
    /// Sets one line; what was set before under that name no longer counts.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A Redis of a test's own, ended with the test.
#[derive(Debug)]
pub struct Redis {
    // Ends before its folder goes.
    process: Process,
    settings: Settings,
    port: Port,
    folder: TempDir,
}

impl Redis {
    /// Starts it on a free port with an empty data set.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let (port, folder) = (Port::free()?, folder("redis")?);
        let process = launch(&port, folder.path(), &settings)?;
        Ok(Self {
            process,
            settings,
            port,
            folder,
        })
    }

    /// Its address.
    pub fn url(&self) -> String {
        url(&self.port)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
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

    /// Starts it again on the same port with the same data, after it was ended if it still runs.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.stop()?;
        self.process = launch(&self.port, self.folder.path(), &self.settings)?;
        Ok(())
    }

    /// The same with one line of its configuration changed.
    pub fn restart_with(&mut self, name: &str, value: &str) -> anyhow::Result<()> {
        self.settings = self.settings.clone().set(name, value);
        self.restart()
    }

    /// Sends one command; returns the answer's first line, or the text of a bulk answer. An error answer is an error.
    pub fn command(&self, words: &[&str]) -> anyhow::Result<String> {
        ask(self.address(), words, Duration::from_secs(10))
    }
}

fn launch(port: &Port, folder: &Path, settings: &Settings) -> anyhow::Result<Process> {
    let log = folder.join("log");
    let mut process = Process::start(&mut command(port, folder, settings), Ending::Term, &log, folder)?;
    let url = url(port);
    process.ready(|| answers(&url))?;
    Ok(process)
}

fn command(port: &Port, folder: &Path, settings: &Settings) -> Command {
    let mut command = Command::new("redis-server");
    command
        .args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.number().to_string(),
            "--dir",
        ])
        .arg(folder)
        .current_dir(folder);
    for (name, value) in &settings.0 {
        command.arg(format!("--{name}")).arg(value);
    }
    command
}

fn url(port: &Port) -> String {
    format!("redis://{}", port.address())
}

/// Whether it serves somebody. One that asks for a password serves others.
fn answers(url: &str) -> bool {
    let Ok(address) = url.trim_start_matches("redis://").parse() else {
        return false;
    };
    match ask(address, &["PING"], Duration::from_secs(1)) {
        Ok(said) => said == "PONG",
        Err(error) => error.to_string().contains("NOAUTH"),
    }
}

/// Redis' protocol, as much of it as the harness asks for itself: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
fn ask(address: SocketAddr, words: &[&str], at_most: Duration) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, at_most)?;
    socket.set_read_timeout(Some(at_most))?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        let _ = write!(request, "${}\r\n{word}\r\n", word.len());
    }
    socket.write_all(request.as_bytes())?;
    let mut lines = BufReader::new(socket).lines();
    let first = lines.next().context("no answer")??;
    match first.split_at_checked(1) {
        Some(("+" | ":", rest)) => Ok(rest.to_owned()),
        Some(("$", "-1")) => bail!("nothing is there"),
        Some(("$", _)) => Ok(lines.next().context("no text")??),
        _ => bail!("{first}"),
    }
}
