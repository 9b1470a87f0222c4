//! Where PostgreSQL's programs are, how they are run, and an empty data directory quickly.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::USER;
use crate::process::folder;
use crate::server::workspace;

/// The account that Debian's package makes. PostgreSQL refuses to run as root.
const ACCOUNT: &str = "postgres";

/// Returns a command that runs one of PostgreSQL's programs, as somebody it agrees to run as.
pub(super) fn command(program: &str) -> anyhow::Result<Command> {
    let program = match newest()? {
        Some((_, programs)) => programs.join(program),
        None => PathBuf::from(program),
    };
    Ok(as_account(program))
}

/// Returns a command that runs as PostgreSQL's account where we are root, else as ourselves.
pub(super) fn as_account(program: impl AsRef<OsStr>) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={ACCOUNT}"))
            .arg(format!("--regid={ACCOUNT}"))
            .args(["--clear-groups", "--"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    // PostgreSQL's programs listen to the environment, and want a folder that they may stand in.
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C.UTF-8")
        .current_dir("/");
    command
}

/// Runs a command that ends by itself.
pub(super) fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("{program} does not start; ./test installs it"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}

/// Fills a folder that does not exist yet with an empty cluster.
pub(super) fn new_data(data: &Path) -> anyhow::Result<()> {
    let template = template()?;
    run(Command::new("cp").arg("-a").arg(&template).arg(data))
}

/// Makes a folder that only PostgreSQL's account may look into, as it demands.
pub(super) fn private_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    if is_root() {
        run(Command::new("chown")
            .arg(format!("{ACCOUNT}:{ACCOUNT}"))
            .arg(folder))?;
    }
    Ok(())
}

/// Returns an empty cluster to copy. initdb takes seconds, a copy a fraction of one.
fn template() -> anyhow::Result<PathBuf> {
    let version = newest()?.map_or(0, |(version, _)| version);
    let uid = rustix::process::getuid().as_raw();
    let servers = workspace().join("target/test-servers");
    let template = servers.join(format!("initdb-{version}-{uid}"));
    fs::create_dir_all(&servers)?;
    let lock = File::create(servers.join("initdb.lock"))?;
    lock.lock()?;
    if template.exists() {
        return Ok(template);
    }
    // Made where the account may go, whoever owns the workspace, and moved at the end: whole or not there.
    let making = folder("initdb")?;
    let data = making.path().join("data");
    private_folder(&data)?;
    run(command("initdb")?
        .arg("-D")
        .arg(&data)
        .args(["--username", USER, "--auth", "trust", "--encoding", "UTF8"])
        .args(["--locale", "C.UTF-8", "--no-sync", "--no-instructions"]))?;
    let whole = servers.join(format!("initdb-{version}-{uid}.part"));
    run(Command::new("rm").arg("-rf").arg(&whole))?;
    run(Command::new("cp").arg("-a").arg(&data).arg(&whole))?;
    fs::rename(&whole, &template)?;
    Ok(template)
}

/// Returns the newest version that Debian's packages have installed, and where its programs are.
fn newest() -> anyhow::Result<Option<(u32, PathBuf)>> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for version in versions {
        let version = version?;
        let programs = version.path().join("bin");
        if let Some(number) = version.file_name().to_str().and_then(|name| name.parse().ok())
            && programs.join("postgres").exists()
        {
            found.push((number, programs));
        }
    }
    Ok(found.into_iter().max())
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}
