//! nginx as Debian builds it, with a configuration of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

use crate::certificate::make;
use crate::port::Port;
use crate::process::{Ending, Process, folder};
use crate::server::workspace;

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

/// `deploy/nginx/arauto.conf` with the lines marked CHANGE changed: an address for browsers, one that sends on to it, the
/// nodes, and a certificate from [`certificate`] among the files.
pub fn deployed(port: &Port, redirect: &Port, nodes: &[SocketAddr]) -> anyhow::Result<String> {
    let shipped = fs::read_to_string(workspace().join("deploy/nginx/arauto.conf"))?;
    let nodes: Vec<String> = nodes.iter().map(|node| format!("server {node};")).collect();
    let changes = [
        ("server 127.0.0.1:8080;", nodes.join("\n")),
        ("listen 80;", format!("listen {};", redirect.address())),
        ("listen 443 ssl", format!("listen {} ssl", port.address())),
        ("/etc/ssl/certs/arauto.pem", "arauto.pem".to_owned()),
        ("/etc/ssl/private/arauto.key", "arauto.key".to_owned()),
        ("/var/log/nginx/arauto.log", "access.log".to_owned()),
    ];
    let mut text = shipped;
    for (line, change) in changes {
        ensure!(
            text.matches(line).count() == 1,
            "deploy/nginx/arauto.conf has no line {line}"
        );
        text = text.replace(line, &change);
    }
    Ok(text)
}

/// Makes a certificate that nobody trusts, and its key.
pub fn certificate() -> anyhow::Result<[(&'static str, String); 2]> {
    let folder = folder("certificate")?;
    let (certificate, key) = (folder.path().join("arauto.pem"), folder.path().join("arauto.key"));
    make(Command::new("openssl"), &certificate, &key)?;
    Ok([
        ("arauto.pem", fs::read_to_string(certificate)?),
        ("arauto.key", fs::read_to_string(key)?),
    ])
}
