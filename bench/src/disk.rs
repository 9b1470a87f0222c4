//! What the disk takes to keep a commit: no statement about publishes a second means anything without it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::clock;

/// A page of Postgres' log, the least that a commit writes.
const PAGE: [u8; 8192] = [0x5a; 8192];
/// The file is as long as this before the first sample, as a segment of that log is before it is written.
const PAGES: u64 = 256;

/// Returns the nanoseconds that each of `count` writes of one page took until the disk had it, by `fdatasync(2)`.
pub(crate) fn syncs(folder: &Path, count: usize) -> Result<Vec<u64>> {
    let path = folder.join("sync");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    for page in 0..PAGES {
        file.write_all_at(&PAGE, page * PAGE.len() as u64)?;
    }
    file.sync_all()?;
    let sample = |n: usize| -> Result<u64> {
        let began = clock::now();
        file.write_all_at(&PAGE, n as u64 % PAGES * PAGE.len() as u64)?;
        file.sync_data()?;
        Ok(clock::now() - began)
    };
    (0..count).map(sample).collect()
}
