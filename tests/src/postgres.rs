//! PostgreSQL: one server for the whole run with a database for each test, or a server of a test's own.

mod database;
mod install;
mod standby;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio_postgres::Row;

pub use self::database::{Database, connect, database};
use self::install::{as_account, command, new_data, run};
use crate::certificate::make;
use crate::port::Port;
use crate::process::{Ending, Process, folder};
use crate::shared;

/// The superuser that initdb made. Connections from 127.0.0.1 are trusted.
const USER: &str = "postgres";

/// A server that has not said anything after a second is not ready.
const SECOND: Duration = Duration::from_secs(1);

/// How a server is configured: names and values of `postgresql.conf`, over PostgreSQL's own defaults.
#[derive(Debug, Clone, Default)]
pub struct Settings(Vec<(String, String)>);

impl Settings {
    /// Sets one parameter.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.0.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Returns a command that runs one of PostgreSQL's programs, as somebody it agrees to run as: `pgbench`, say.
pub fn program(name: &str) -> anyhow::Result<Command> {
    command(name)
}

/// Where a server keeps what it is made of.
#[derive(Debug)]
struct Home {
    folder: TempDir,
    port: Port,
    settings: Settings,
}

/// A server of a test's own, with fsync on, ended with the test.
#[derive(Debug)]
pub struct Postgres {
    // Ends before its folder goes.
    process: Process,
    home: Home,
}

impl Postgres {
    /// Starts it on a free port with no database but its own.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let home = Home {
            folder: folder("postgres")?,
            port: Port::free()?,
            settings,
        };
        new_data(&home.data())?;
        Self::launch(home)
    }

    /// The same, and it speaks TLS to whoever asks for it. Also returns its authority's certificate, a PEM file.
    pub fn start_with_tls(settings: Settings) -> anyhow::Result<(Self, PathBuf)> {
        let home = Home {
            folder: folder("postgres")?,
            port: Port::free()?,
            settings: settings.set("ssl", "on"),
        };
        new_data(&home.data())?;
        // Where the server looks for them by default.
        let certificate = home.data().join("server.crt");
        make(
            as_account("openssl"),
            &certificate,
            &home.data().join("server.key"),
        )?;
        // The data folder is the server's alone.
        let authority = home.folder.path().join("authority.pem");
        std::fs::copy(certificate, &authority)?;
        Ok((Self::launch(home)?, authority))
    }

    fn launch(home: Home) -> anyhow::Result<Self> {
        let process = home.launch()?;
        Ok(Self { process, home })
    }

    /// The address of its own database.
    pub fn url(&self) -> String {
        self.url_of(USER)
    }

    /// The address of one of its databases.
    pub fn url_of(&self, database: &str) -> String {
        url(&self.home.port, database)
    }

    /// Makes an empty database and returns its address.
    pub fn create(&self, database: &str) -> anyhow::Result<String> {
        database::execute(&self.url(), &[format!("CREATE DATABASE {database}")])?;
        Ok(self.url_of(database))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.home.port.address()
    }

    /// Kills all its processes at once.
    pub fn kill_9(&mut self) -> anyhow::Result<()> {
        self.process.kill_9()
    }

    /// Stops all its processes where they stand.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.process.freeze().map(drop)
    }

    /// Lets them go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.process.thaw()
    }

    /// Shuts it down in immediate mode: no checkpoint, all connections dropped, recovery at the next start.
    pub fn stop_immediate(&mut self) -> anyhow::Result<()> {
        self.process.stop()
    }

    /// Starts it again on the same port with the same data, after an immediate shutdown if it still runs. Returns when
    /// it has recovered.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.stop()?;
        self.process = self.home.launch()?;
        Ok(())
    }

    /// Bounds the size of its files, which is how a full disk is made here; `None` takes the bound away. Holds for the
    /// processes that run and those that they start; a restart forgets it. Below 16 MiB, the size of a WAL segment, the
    /// server cannot write its log either and goes down.
    pub fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        // Nobody comes or goes while they are frozen.
        let members = self.process.freeze()?;
        let limited = members
            .into_iter()
            .try_for_each(|member| limit_files(member, bytes));
        self.process.thaw()?;
        limited
    }

    /// Ends all sessions but its own, as a failing network or an administrator does. What was not committed is gone.
    pub fn end_sessions(&self) -> anyhow::Result<()> {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        database::execute(&self.url(), &[end.to_owned()])
    }

    /// The processes behind the sessions of that name.
    pub async fn sessions(&self, name: &str) -> anyhow::Result<Vec<Pid>> {
        let client = connect(&self.url()).await?;
        let sessions = client
            .query(
                "SELECT pid FROM pg_stat_activity WHERE application_name = $1",
                &[&name],
            )
            .await?;
        let pid = |session: &Row| Pid::from_raw(session.get(0)).context("a process id");
        sessions.iter().map(pid).collect()
    }

    /// Stops some of its processes where they stand, as if a router had lost their connections; the others go on.
    /// [`Self::thaw`] lets them go on.
    pub fn freeze_sessions(&self, sessions: &[Pid]) -> anyhow::Result<()> {
        for session in sessions {
            kill_process(*session, Signal::STOP)?;
        }
        Ok(())
    }

    /// What it logged so far.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.process.log())?)
    }
}

impl Home {
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn launch(&self) -> anyhow::Result<Process> {
        let (data, log) = (self.data(), self.folder.path().join("log"));
        let mut command = command("postgres")?;
        command.args(arguments(&data, &self.port, &self.settings));
        let mut process = Process::start(&mut command, Ending::Quit, &log, self.folder.path())?;
        let address = self.port.address();
        process.ready(|| accepts(address))?;
        Ok(process)
    }
}

/// Returns the address of the run's server, in which tests have databases of their own.
fn shared_server() -> anyhow::Result<String> {
    let alive = |url: &str| address(url).is_some_and(accepts);
    shared::server("postgres", alive, || {
        let folder = folder("postgres")?.keep();
        let (data, port) = (folder.join("data"), Port::free()?);
        new_data(&data)?;
        // Nobody pulls this one's plug, and many tests use it at once.
        let settings = Settings::default()
            .set("fsync", "off")
            .set("full_page_writes", "off")
            .set("max_connections", "500");
        let mut command = command("postgres")?;
        command.args(arguments(&data, &port, &settings));
        let mut process = Process::detached(&mut command, Ending::Quit, &folder.join("log"))?;
        shared::until_the_run_ends(&process, Ending::Quit, &folder)?;
        let address = port.address();
        process.ready(|| accepts(address))?;
        let url = url(&port, USER);
        database::make_template(&url)?;
        Ok(url)
    })
}

/// The hard limit stays, so that the bound can be taken away. Only the owner of a process may set its limits.
fn limit_files(member: Pid, bytes: Option<u64>) -> anyhow::Result<()> {
    let soft = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
    let mut limit = as_account("prlimit");
    limit.args(["--pid", &member.as_raw_nonzero().to_string()]);
    run(limit.arg(format!("--fsize={soft}:")))
}

fn arguments(data: &Path, port: &Port, settings: &Settings) -> Vec<String> {
    let mut arguments = vec!["-D".to_owned(), data.display().to_string()];
    let fixed = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &port.number().to_string()),
        ("unix_socket_directories", ""),
        // What is left in /dev/shm after a kill would stay there.
        ("dynamic_shared_memory_type", "mmap"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    for (name, value) in fixed.iter().chain(&settings.0) {
        arguments.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    arguments
}

fn url(port: &Port, database: &str) -> String {
    format!("postgres://{USER}@{}/{database}", port.address())
}

fn address(url: &str) -> Option<SocketAddr> {
    let (_, rest) = url.split_once('@')?;
    rest.split('/').next()?.parse().ok()
}

/// Whether a server lets somebody in. A start-up message is answered with `R` (authentication) by one that does and with
/// `E` by one that still recovers: <https://www.postgresql.org/docs/15/protocol-message-formats.html>.
fn accepts(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<u8> {
        let mut socket = TcpStream::connect_timeout(&address, SECOND)?;
        socket.set_read_timeout(Some(SECOND))?;
        let words = format!("user\0{USER}\0database\0{USER}\0\0");
        let length = u32::try_from(words.len() + 8).unwrap_or_default();
        let mut message = length.to_be_bytes().to_vec();
        message.extend(196_608_u32.to_be_bytes());
        message.extend(words.as_bytes());
        socket.write_all(&message)?;
        let mut answer = [0];
        socket.read_exact(&mut answer)?;
        // Said properly, so that the log does not speak of a lost connection.
        socket.write_all(&[b'X', 0, 0, 0, 4])?;
        Ok(answer[0])
    };
    ask().is_ok_and(|answer| answer == b'R')
}
