//! The capability matrix of the cluster, from the command line.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;

use crate::{bootstrap, capabilities, config::Config};

/// What to do with the matrix.
#[derive(Debug, Subcommand)]
pub(super) enum CapabilitiesCommand {
    /// Put a matrix in force on every node, within a second and without a restart
    ///
    /// It stands above each node's own file. Open streams lose at once what it does not give them.
    Apply {
        /// A file like capabilities.example.toml
        file: PathBuf,
    },
    /// Print the matrix that was put in force for the cluster
    Show,
    /// Go back to each node's own file, or to what is built in
    Reset,
}

impl CapabilitiesCommand {
    /// Does it and returns what there is to say.
    pub(super) async fn run(&self, config: &Config) -> anyhow::Result<String> {
        match self {
            Self::Apply { file } => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("{} cannot be read", file.display()))?;
                capabilities::parse(&text).with_context(|| file.display().to_string())?;
                let version = bootstrap::put_capabilities(config, text).await?;
                Ok(format!("in force on every node, as version {version}\n"))
            }
            Self::Reset => {
                let version = bootstrap::put_capabilities(config, String::new()).await?;
                Ok(format!(
                    "each node goes by its own matrix again (version {version})\n"
                ))
            }
            Self::Show => {
                let text = bootstrap::capabilities(config).await?;
                let own = || "# none: each node goes by its own file, or by what is built in\n".to_owned();
                Ok(text.filter(|text| !text.is_empty()).unwrap_or_else(own))
            }
        }
    }
}
