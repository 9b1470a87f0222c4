//! nginx as Debian builds it, with a configuration of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::port::Port;
use crate::process::{Ending, Process, folder};

/// An nginx of a test's own, ended with the test.
#[derive(Debug)]
pub struct Nginx {
    // Ends before its folder goes.
    process: Process,
    port: Port,
    folder: TempDir,
}

/// What stands around the `http` block of a test.
const MAIN: &str = "\
daemon off;
worker_processes 2;
error_log stderr warn;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  include /etc/nginx/mime.types;
  include site.conf;
}
";

impl Nginx {
    /// Starts it with the inside of an `http` block, which must listen on `port`. Files beside it are named by a path
    /// that begins with the prefix's folder.
    pub fn start(port: Port, http: &str, files: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = folder("nginx")?;
        for (name, text) in files {
            fs::write(folder.path().join(name), text)?;
        }
        fs::write(folder.path().join("nginx.conf"), MAIN)?;
        fs::write(folder.path().join("site.conf"), http)?;
        check(folder.path())?;
        let process = launch(&port, folder.path())?;
        Ok(Self {
            process,
            port,
            folder,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its folder: configuration and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far.
    pub fn log(&self) -> anyhow::Result<String> {
        Ok(fs::read_to_string(self.process.log())?)
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

    /// Starts it again on the same port, after it was ended if it still runs.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.stop()?;
        self.process = launch(&self.port, self.folder.path())?;
        Ok(())
    }
}

/// Debian keeps it where not every user's path leads.
fn nginx(folder: &Path) -> Command {
    let installed = Path::new("/usr/sbin/nginx");
    let mut command = Command::new(if installed.exists() {
        installed
    } else {
        Path::new("nginx")
    });
    // The trailing slash is part of how nginx joins paths.
    command.arg("-p").arg(format!("{}/", folder.display()));
    command
        .args(["-e", "stderr", "-c", "nginx.conf"])
        .current_dir(folder);
    command
}

fn check(folder: &Path) -> anyhow::Result<()> {
    let output = nginx(folder).arg("-t").output().context("nginx does not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "nginx refuses its configuration: {said}");
    Ok(())
}

fn launch(port: &Port, folder: &Path) -> anyhow::Result<Process> {
    let mut process = Process::start(&mut nginx(folder), Ending::Term, &folder.join("log"), folder)?;
    process.ready(|| TcpStream::connect(port.address()).is_ok())?;
    Ok(process)
}
