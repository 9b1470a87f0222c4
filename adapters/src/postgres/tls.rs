//! TLS towards the database: all or nothing.
//!
//! `sslmode=require` verifies the certificate and the name in it, which libpq calls `verify-full`; both words mean that
//! here. Anything less protects from nobody who stands between, so there is nothing between it and plain text.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Why a database cannot be spoken to over TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file with the authorities is not there or holds none.
    #[error("sslrootcert: {} holds no certificate that can be read", .0.display())]
    Authorities(PathBuf),
    /// TLS cannot be set up on this machine.
    #[error("TLS cannot be set up")]
    Unavailable(#[source] rustls::Error),
}

/// An address without what only TLS is asked for.
pub(super) struct Address {
    pub(super) url: String,
    authorities: Option<PathBuf>,
}

impl Address {
    /// Takes `sslrootcert` out of an address, which the driver does not know, and calls `verify-full` what it calls so.
    pub(super) fn read(url: &str) -> Self {
        let Some((place, query)) = url.split_once('?').filter(|_| url.contains("://")) else {
            return Self {
                url: url.to_owned(),
                authorities: None,
            };
        };
        let mut authorities = None;
        let mut kept: Vec<&str> = Vec::new();
        for option in query.split('&') {
            match option.split_once('=') {
                Some(("sslrootcert", path)) => authorities = Some(PathBuf::from(path.replace("%2F", "/"))),
                Some(("sslmode", "verify-full")) => kept.push("sslmode=require"),
                _ => kept.push(option),
            }
        }
        Self {
            url: format!("{place}?{}", kept.join("&")),
            authorities,
        }
    }

    /// Prepares TLS where the address asks for it, and turns it off where it does not.
    pub(super) fn tls(&self, config: &mut Config) -> Result<MakeRustlsConnect, TlsError> {
        let wanted = config.get_ssl_mode() == SslMode::Require;
        if !wanted {
            config.ssl_mode(SslMode::Disable);
        }
        let trust =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(TlsError::Unavailable)?;
        let trusting = match &self.authorities {
            Some(path) => trust.with_root_certificates(authorities(path)?),
            None if wanted => trust.with_platform_verifier().map_err(TlsError::Unavailable)?,
            // Never used: the machine need not have any authorities for that.
            None => trust.with_root_certificates(RootCertStore::empty()),
        };
        Ok(MakeRustlsConnect::new(trusting.with_no_client_auth()))
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let unreadable = || TlsError::Authorities(path.to_owned());
    let pem = fs::read(path).map_err(|_| unreadable())?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates.map_err(|_| unreadable())?);
    if added == 0 {
        return Err(unreadable());
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> (String, Option<PathBuf>) {
        let address = Address::read(url);
        (address.url, address.authorities)
    }

    #[test]
    fn an_address_keeps_whatever_is_not_for_tls() {
        for (url, driver, authorities) in [
            ("postgres://h/db", "postgres://h/db", None),
            (
                "postgres://h/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&connect_timeout=3",
                "postgres://h/db?sslmode=require&connect_timeout=3",
                Some("/etc/ca.pem"),
            ),
            (
                "postgres://h/db?sslrootcert=%2Fetc%2Fca.pem",
                "postgres://h/db?",
                Some("/etc/ca.pem"),
            ),
            ("host=h sslmode=require", "host=h sslmode=require", None),
        ] {
            assert_eq!(
                read(url),
                (driver.to_owned(), authorities.map(PathBuf::from)),
                "{url}"
            );
            assert!(driver.parse::<Config>().is_ok(), "{driver}");
        }
    }

    #[test]
    fn tls_is_whole_or_off() {
        for (url, mode) in [
            ("postgres://h/db", SslMode::Disable),
            ("postgres://h/db?sslmode=prefer", SslMode::Disable),
            ("postgres://h/db?sslmode=require", SslMode::Require),
            ("postgres://h/db?sslmode=verify-full", SslMode::Require),
        ] {
            let address = Address::read(url);
            let mut config: Config = address.url.parse().unwrap();
            // Machines without any authority refuse the platform's verifier.
            let tls = address.tls(&mut config);
            assert!(tls.is_ok() || mode == SslMode::Require, "{url}");
            assert_eq!(config.get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn authorities_that_are_none_are_named() {
        let address = Address::read("postgres://h/db?sslmode=require&sslrootcert=/nowhere/ca.pem");
        let mut config: Config = address.url.parse().unwrap();
        let error = address.tls(&mut config).err().unwrap();
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
