//! Ports that stay ours while a server is down.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};

/// Below the range that the kernel takes for outgoing connections (32,768 and up on Linux): a client that reconnects
/// while a server is down must not be given that server's port as its own.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A free port of 127.0.0.1, held against every other test on this machine until it is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a free port.
    pub fn free() -> anyhow::Result<Self> {
        // One folder for each user: a lock file of somebody else cannot be opened.
        let uid = rustix::process::getuid().as_raw();
        let folder = std::env::temp_dir().join(format!("arauto-test-ports-{uid}"));
        fs::create_dir_all(&folder)?;
        let start = random() % u64::from(COUNT);
        for step in 0..u64::from(COUNT) {
            let offset = u16::try_from((start + step) % u64::from(COUNT)).context("ports are 16 bits")?;
            let number = FIRST + offset;
            let lock = File::create(folder.join(number.to_string()))?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no port is free")
    }

    /// The number.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// The port on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}

/// Returns 64 random bits: names that no other test has, nothing that a test's outcome hangs on.
pub fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
