//! Certificates that sign themselves.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Makes a certificate for this machine that is its own authority, and its key. `openssl` is that program, run by whom
/// the files shall belong to.
pub(crate) fn make(mut openssl: Command, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let output = openssl
        .args(["req", "-x509", "-nodes", "-days", "2"])
        .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        // By default it would be an authority, which verifiers refuse as a server.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-out")
        .arg(certificate)
        .arg("-keyout")
        .arg(key)
        .output()
        .context("openssl does not start")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl makes no certificate: {said}");
    Ok(())
}
