//! Servers that others wrote, as processes that a test kills, freezes and brings back.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::now;

/// A server that has not answered, or not gone, by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that another process does.
const LOOK: Duration = Duration::from_millis(10);

/// Ends a server whose test has died without ending it: nextest kills what takes too long. Its standard input ends with
/// the test's process, however that ends; a line on it says that there is nothing left to do.
/// Arguments: the server's process id, the signal that ends it, its folder.
const WATCHDOG: &str = r#"
read -r word
[ "$word" = done ] && exit 0
kill -CONT "$1"; kill -"$2" "$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" || break; sleep 1; done
kill -KILL "$1"
rm -rf "$3"
"#;

/// How a server is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM.
    Term,
    /// SIGQUIT: what PostgreSQL calls immediate.
    Quit,
    /// SIGKILL: it is not asked.
    Kill,
}

impl Ending {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
        }
    }

    const fn signal(self) -> Signal {
        match self {
            Self::Term => Signal::TERM,
            Self::Quit => Signal::QUIT,
            Self::Kill => Signal::KILL,
        }
    }
}

/// Makes a folder that other users may look into: servers do not run as root.
pub fn folder(name: &str) -> anyhow::Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("arauto-{name}-"))
        .tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// Returns what the environment says about a server that is given.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is told where servers are by its environment, not by the service's configuration"
)]
pub fn given(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Looks until something is there, and says what the last look saw when that takes too long.
pub fn eventually<T>(
    what: &str,
    at_most: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let started = now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(started.elapsed() < at_most, "{what}: not within {at_most:?}");
        std::thread::sleep(LOOK);
    }
}

/// A running server with all processes that it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    ending: Ending,
    watchdog: Option<Child>,
}

impl Process {
    /// Starts a server that logs into `log` and is ended with this process at the latest. `folder` goes with it then.
    pub fn start(command: &mut Command, ending: Ending, log: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut process = Self::detached(command, ending, log)?;
        process.watchdog = Some(
            Command::new("sh")
                .args(["-c", WATCHDOG, "watchdog"])
                .arg(process.child.id().to_string())
                .arg(ending.name())
                .arg(folder)
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("sh does not start")?,
        );
        Ok(process)
    }

    /// Starts a server that outlives this process.
    pub(crate) fn detached(command: &mut Command, ending: Ending, log: &Path) -> anyhow::Result<Self> {
        let said = File::options().create(true).append(true).open(log)?;
        let program = command.get_program().display().to_string();
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("{program} does not start"))?;
        Ok(Self {
            child,
            log: log.to_owned(),
            ending,
            watchdog: None,
        })
    }

    /// Waits until the server answers. An end before that is an error with what it last said.
    pub fn ready(&mut self, mut answers: impl FnMut() -> bool) -> anyhow::Result<()> {
        let (child, log) = (&mut self.child, &self.log);
        eventually("the server answers", PATIENCE, || match child.try_wait()? {
            Some(status) => bail!("the server ended with {status}:\n{}", tail(log)),
            None => Ok(answers().then_some(())),
        })
        .with_context(|| tail(&self.log))
    }

    /// The process id of its first process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it logs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines that it logged.
    pub fn tail(&self) -> String {
        tail(&self.log)
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends all its processes at once, without a chance to clean up. Returns when they are gone.
    pub fn kill_9(&mut self) -> anyhow::Result<()> {
        if !self.runs() {
            self.dismiss();
            return Ok(());
        }
        // A process that is stopped starts no others, so nobody slips through.
        let family = self.freeze()?;
        for member in &family {
            // Gone already is what was wanted.
            let _ = kill_process(*member, Signal::KILL);
        }
        self.gone(&family)
    }

    /// Asks it to end, without waiting.
    pub fn ask(&self, ending: Ending) -> anyhow::Result<()> {
        kill_process(pid(self.child.id())?, ending.signal())?;
        Ok(())
    }

    /// Asks it to end in its own way and returns when all its processes are gone.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if self.runs() {
            let family = family(pid(self.child.id())?)?;
            self.thaw()?;
            self.ask(self.ending)?;
            return self.gone(&family);
        }
        self.dismiss();
        Ok(())
    }

    /// Waits for its end.
    pub fn wait(&mut self, at_most: Duration) -> anyhow::Result<ExitStatus> {
        let child = &mut self.child;
        let status = eventually("the server ends", at_most, || Ok(child.try_wait()?))?;
        self.dismiss();
        Ok(status)
    }

    /// Stops all its processes where they stand: what a machine looks like whose hypervisor has paused it.
    pub fn freeze(&self) -> anyhow::Result<Vec<Pid>> {
        let mut frozen = Vec::new();
        // Whoever was started between a look and its signal is seen by the next look.
        loop {
            let members = family(pid(self.child.id())?)?;
            let fresh: Vec<Pid> = members.into_iter().filter(|p| !frozen.contains(p)).collect();
            if fresh.is_empty() {
                return Ok(frozen);
            }
            for member in fresh {
                let _ = kill_process(member, Signal::STOP);
                frozen.push(member);
            }
        }
    }

    /// Lets all its processes go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        for member in family(pid(self.child.id())?)? {
            let _ = kill_process(member, Signal::CONT);
        }
        Ok(())
    }

    /// Waits until the processes are gone, and sends the watchdog home.
    fn gone(&mut self, family: &[Pid]) -> anyhow::Result<()> {
        let child = &mut self.child;
        eventually("the server is gone", PATIENCE, || {
            let reaped = child.try_wait()?.is_some();
            let left = family
                .iter()
                .any(|member| state(*member).is_some_and(|s| s.0 != 'Z'));
            Ok((reaped && !left).then_some(()))
        })?;
        self.dismiss();
        Ok(())
    }

    fn dismiss(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            if let Some(mut stdin) = watchdog.stdin.take() {
                let _ = stdin.write_all(b"done\n");
            }
            let _ = watchdog.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show(&self.log);
        }
        // Without a watchdog it is meant to outlive us, or has ended.
        if self.watchdog.is_some() && self.stop().is_err() {
            let _ = self.kill_9();
        }
    }
}

/// Returns a process and all that descend from it. PostgreSQL's backends have process groups of their own, so the
/// group does not tell.
fn family(first: Pid) -> anyhow::Result<Vec<Pid>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(member) = name
            .to_str()
            .and_then(|name| name.parse().ok())
            .and_then(Pid::from_raw)
        else {
            continue;
        };
        if let Some((_, parent)) = state(member) {
            parents.push((member, parent));
        }
    }
    let mut found = vec![first];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let raw = parent.as_raw_nonzero().get();
        found.extend(
            parents
                .iter()
                .filter(|(_, p)| *p == raw)
                .map(|(member, _)| *member),
        );
        next += 1;
    }
    Ok(found)
}

/// Returns the state letter and the parent of a process: `proc(5)`, `/proc/pid/stat`.
fn state(process: Pid) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).ok()?;
    // The name stands in brackets and may hold anything.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn pid(number: u32) -> anyhow::Result<Pid> {
    i32::try_from(number)
        .ok()
        .and_then(Pid::from_raw)
        .context("a process id")
}

/// A test that fails shows what its servers last said.
#[expect(clippy::print_stderr, reason = "it is shown with the test's own failure")]
fn show(log: &Path) {
    eprintln!("{}:\n{}\n", log.display(), tail(log));
}

/// Returns the end of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
