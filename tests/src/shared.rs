//! Servers that one test run shares. nextest runs each test in a process of its own, so the first that needs a server
//! starts it, the others find it, and it ends when the run has ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::process::{Ending, Process};
use crate::server::workspace;

/// Outlives the test that started it, and ends the server when the run has gone.
/// Arguments: process id of the run, of the server, the signal that ends it, folders to remove.
const WATCHDOG: &str = r#"
while kill -0 "$1"; do sleep 1; done
kill -CONT "$2"; kill -"$3" "$2"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$2" || break; sleep 1; done
kill -KILL "$2"
shift 3
rm -rf "$@"
"#;

/// Returns where the server of that name is, and starts it when this run has none yet.
///
/// `answers` looks whether the one that was found is alive: a run may have had our parent's process id before.
pub(crate) fn server(
    name: &str,
    answers: impl Fn(&str) -> bool,
    start: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let folder = folder()?;
    let lock = File::create(folder.join(format!("{name}.lock")))?;
    lock.lock()?;
    let known = folder.join(name);
    if let Ok(url) = fs::read_to_string(&known)
        && answers(&url)
    {
        return Ok(url);
    }
    let url = start().with_context(|| format!("the shared {name} does not start"))?;
    fs::write(&known, &url)?;
    Ok(url)
}

/// Has the server ended, and its data removed, when the run is over.
pub(crate) fn until_the_run_ends(server: &Process, ending: Ending, data: &Path) -> anyhow::Result<()> {
    Command::new("setsid")
        .args(["sh", "-c", WATCHDOG, "watchdog"])
        .arg(run().to_string())
        .arg(server.pid().to_string())
        .arg(ending.name())
        .arg(data)
        .arg(folder()?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("setsid does not start")?;
    Ok(())
}

/// The process that runs the tests: nextest or cargo.
pub(crate) fn run() -> i32 {
    rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get())
}

fn folder() -> anyhow::Result<PathBuf> {
    let folder = workspace().join(format!("target/test-servers/{}", run()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
