//! Scripts of other ecosystems: Node.js, Python and their packages, as clients that we did not write.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::server::{Server, workspace};

/// Who runs a script.
#[derive(Debug, Clone, Copy)]
pub enum Runner {
    /// Node.js with the packages of `tests/web`.
    Node,
    /// Python with the packages of `tests/web/requirements.txt`.
    Python,
}

/// Returns the Python that has the packages of `tests/web/requirements.txt`.
pub fn python() -> anyhow::Result<PathBuf> {
    let python = workspace().join("target/test-venv/bin/python");
    ensure!(
        python.exists(),
        "the Python packages are missing; ./test installs them"
    );
    Ok(python)
}

/// Runs a script of `tests/web` against a server and returns how many checks it passed.
pub fn run(runner: Runner, script: &str, server: &mut Server) -> anyhow::Result<usize> {
    run_told(runner, script, server, &[])
}

/// The same with more environment for the script.
pub fn run_told(
    runner: Runner,
    script: &str,
    server: &mut Server,
    told: &[(&str, &str)],
) -> anyhow::Result<usize> {
    let folder = workspace().join("tests/web");
    let mut command = match runner {
        Runner::Node => {
            let installed = folder.join("node_modules").exists();
            ensure!(installed, "the Node packages are missing; ./test installs them");
            Command::new("node")
        }
        Runner::Python => Command::new(python()?),
    };
    let mut child = command
        .arg(script)
        .current_dir(folder)
        .env("ARAUTO_URL", server.url())
        .envs(told.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{script} does not start"))?;
    let mut answers = child.stdin.take().context("stdin is not piped")?;
    let said = child.stdout.take().context("stdout is not piped")?;
    let (mut passed, mut failures) = (0, Vec::new());
    for line in BufReader::new(said).lines() {
        let line = line?;
        let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else {
            bail!("{script} said: {line}")
        };
        if value["do"] == "restart" {
            let answer = match server.restart() {
                Ok(()) => serde_json::json!({ "ok": true, "url": server.url() }),
                Err(error) => serde_json::json!({ "ok": false, "error": format!("{error:#}") }),
            };
            writeln!(answers, "{answer}")?;
        } else if value["ok"] == true {
            passed += 1;
        } else {
            failures.push(line);
        }
    }
    let status = child.wait()?;
    ensure!(
        status.success() && failures.is_empty(),
        "{script} failed: {}",
        failures.join("\n")
    );
    Ok(passed)
}

/// Runs a script of `tests/web` that needs no server, with a text on its standard input.
pub fn run_alone(script: &str, input: &str) -> anyhow::Result<usize> {
    let mut child = Command::new("node")
        .arg(script)
        .current_dir(workspace().join("tests/web"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{script} does not start"))?;
    child
        .stdin
        .take()
        .context("stdin is not piped")?
        .write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{script} failed: {said}");
    Ok(said.lines().filter(|line| line.contains("\"ok\":true")).count())
}
