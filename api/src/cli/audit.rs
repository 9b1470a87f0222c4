//! The audit trail, from the command line.

use std::fmt::Write as _;

use application::audit::hex;
use clap::Subcommand;

use crate::{bootstrap, config::Config};

/// What to do with the trail.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum AuditCommand {
    /// Check that no record was changed, removed, moved or cut off
    ///
    /// Goes through the whole trail, while nodes write it. Ends with 1, and one line that names the first record that is
    /// not what was written. What it prints otherwise, where each chain ends, is worth keeping elsewhere: whoever owns
    /// the database can write the whole trail anew, but not with the same end.
    Verify,
}

impl AuditCommand {
    /// Does it and returns what there is to say.
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<String> {
        let Self::Verify = self;
        let verified = bootstrap::verify_audit(config).await?;
        let mut said = format!(
            "{} records are as they were written, places {} to {}\n",
            verified.records,
            verified.forgotten + 1,
            verified.head
        );
        for end in &verified.ends {
            let hash = hex(&end.hash);
            writeln!(said, "{} {} {hash}", end.chain, end.sequence)?;
        }
        Ok(said)
    }
}
