//! The service as a process of its own, on a free port, ended with the test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Returns the moment. Processes outside live by the real clock.
#[expect(
    clippy::disallowed_methods,
    reason = "processes outside live by the real clock"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// A start that takes longer has failed.
const START: Duration = Duration::from_secs(30);

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds the binary once, so that a test never runs an old one, and returns its path.
pub fn binary() -> anyhow::Result<&'static Path> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BINARY.get() {
        return Ok(path);
    }
    let status = Command::new("cargo")
        .args(["build", "--quiet", "--package", "api", "--bin", "arauto"])
        .current_dir(workspace())
        .status()
        .context("cargo cannot be run")?;
    anyhow::ensure!(status.success(), "the binary does not build");
    // This test lies in target/<profile>/deps.
    let own = std::env::current_exe()?;
    let profile = own
        .ancestors()
        .nth(2)
        .context("the target folder was not found")?;
    Ok(BINARY.get_or_init(|| profile.join("arauto")))
}

/// A running service.
pub struct Server {
    child: Child,
    address: SocketAddr,
    environment: Vec<(String, String)>,
}

impl Server {
    /// Starts the service in development mode on a free port.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts the service in development mode on a free port with more environment.
    pub fn start_with(environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Self::launch("127.0.0.1:0", environment)
    }

    fn launch(listen: &str, environment: Vec<(String, String)>) -> anyhow::Result<Self> {
        let mut child = Command::new(binary()?)
            .args(["serve", "--dev", "--listen", listen])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("ARAUTO_LOG_FORMAT", "json")
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("the service does not start")?;
        let log = child.stderr.take().context("the log is not piped")?;
        match listening(log) {
            Ok(address) => Ok(Self {
                child,
                address,
                environment,
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it and starts it again on the same port, with an empty store.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        let started = now();
        // The port may linger for a moment.
        loop {
            match Self::launch(&self.address.to_string(), self.environment.clone()) {
                Ok(fresh) => {
                    *self = fresh;
                    return Ok(());
                }
                Err(error) if started.elapsed() > START => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Asks it to end, as a service manager would.
    pub fn terminate(&self) -> anyhow::Result<()> {
        let status = Command::new("kill")
            .args(["-TERM", &self.pid().to_string()])
            .status()?;
        anyhow::ensure!(status.success(), "the signal was not sent");
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(mut self, at_most: Duration) -> anyhow::Result<ExitStatus> {
        let started = now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > at_most {
                bail!("it still runs after {at_most:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the log until it says where the service listens, and keeps reading so that it never blocks.
fn listening(log: impl std::io::Read + Send + 'static) -> anyhow::Result<SocketAddr> {
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let _ = said.send(line);
        }
    });
    let started = now();
    let mut lines = Vec::new();
    while let Some(left) = START.checked_sub(started.elapsed()) {
        let Ok(line) = heard.recv_timeout(left) else { break };
        let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let field = |name: &str| value.get(name).or_else(|| value.get("fields")?.get(name));
        if field("message").and_then(|message| message.as_str()) == Some("listening") {
            let address = field("address")
                .and_then(|address| address.as_str())
                .context("no address")?;
            return Ok(address.parse()?);
        }
        lines.push(line);
    }
    bail!("the service did not say where it listens:\n{}", lines.join("\n"))
}
