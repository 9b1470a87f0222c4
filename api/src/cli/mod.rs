//! The command line: what the program is asked to do, and how it ends.

#![expect(
    clippy::doc_markdown,
    reason = "doc comments on arguments are help texts, shown as they stand"
)]

mod audit;
mod capabilities;
mod import;
mod token;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::{Config, ConfigError, Flag, Layers, Sources, effective, example};
use crate::{bootstrap, logging, openapi};

use audit::AuditCommand;
use capabilities::CapabilitiesCommand;
use import::ImportArgs;
use token::TokenArgs;

/// A wrong command line or configuration.
const EXIT_USAGE: u8 = 2;
/// Anything that goes wrong later.
const EXIT_RUNTIME: u8 = 1;

const ABOUT: &str = "Delivers notifications to every open browser, and loses none when it reconnects.";

const SETTINGS: &str = "Settings";

const EXAMPLES: &str = "\
Examples:
  arauto serve --dev                       try it: demo page at http://127.0.0.1:8080/
  arauto --listen 0.0.0.0:8080             serve (the default), with ARAUTO_JWT_SECRET in the environment
  arauto --config /etc/arauto.toml check-config
  arauto token --sub u-42 --units cras-1   a token, for curl and scripts
  arauto openapi --format json > openapi.json

Every setting is a key of the file (arauto.toml), a variable (ARAUTO_…) or, for a few, a flag; the flag wins over
the variable and the variable over the file. arauto.example.toml explains them all.

Exit codes: 0 all went well, 1 something failed while running, 2 the command line or the configuration is wrong.";

#[derive(Debug, Parser)]
#[command(name = "arauto", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    overrides: Overrides,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Settings that are worth a flag.
#[derive(Debug, Args)]
struct Overrides {
    /// Read settings from this file [env: ARAUTO_CONFIG] [default: arauto.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", help_heading = SETTINGS)]
    config: Option<PathBuf>,
    /// Development mode: demo page and tokens for the asking, on loopback alone [env: ARAUTO_DEV]
    #[arg(long, global = true, help_heading = SETTINGS)]
    dev: bool,
    /// Listen here; port 0 picks a free one [env: ARAUTO_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = SETTINGS)]
    listen: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (what happens without a command)
    ///
    /// Stops on SIGTERM or SIGINT: it takes no more connections, closes the streams one by one so that their clients
    /// come back spread out, waits for what is running and exits with 0. A second signal stops it at once.
    Serve,
    /// Check the settings and show what is in effect
    ///
    /// Prints every setting with its value and where that comes from, as a file that could be read again. Secrets are
    /// masked. Ends with 2, and one line that says why, if the service would not start.
    CheckConfig,
    /// Mint a token with the configured secret (ARAUTO_JWT_SECRET)
    ///
    /// For development and scripts: whoever holds the secret can be anybody. It is printed alone on one line.
    Token(TokenArgs),
    /// Print the OpenAPI document
    Openapi {
        /// How it is written
        #[arg(long, value_enum, default_value_t = DocumentFormat::Yaml)]
        format: DocumentFormat,
    },
    /// Who may do what, for the whole cluster
    #[command(subcommand)]
    Capabilities(CapabilitiesCommand),
    /// Bring notifications of another system into the inboxes, from JSON lines
    ///
    /// docs/moving.md describes a line. A run that was cut off is started again: nothing is imported twice.
    Import(ImportArgs),
    /// The audit trail
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Bring the store's tables up to date
    Migrate,
    /// The identity of this history of events
    #[command(subcommand)]
    Epoch(Epoch),
    /// Print the annotated example of the settings file
    #[command(hide = true)]
    ExampleConfig,
}

#[derive(Debug, Subcommand)]
enum Epoch {
    /// Begin a new one, after a store was restored by hand: clients then reload instead of resuming
    New,
}

/// How the OpenAPI document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DocumentFormat {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// Why the program ends before it should.
#[derive(Debug)]
enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The configuration is wrong.
    Config(ConfigError),
    /// Something went wrong later.
    Runtime(anyhow::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(line) => f.write_str(line),
            Self::Config(error) => error.fmt(f),
            Self::Runtime(error) => write!(f, "{error:#}"),
        }
    }
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => EXIT_USAGE,
            Self::Runtime(_) => EXIT_RUNTIME,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Does what the arguments ask, and returns how it went. Whatever goes wrong is one line on standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return print(&format!("{}\n", error.to_string().trim_end()))
                .map_or_else(|failure| end(&failure), |()| ExitCode::SUCCESS);
        }
        Err(error) => return end(&Failure::Usage(usage_line(&error))),
    };
    execute(cli).map_or_else(|failure| end(&failure), |()| ExitCode::SUCCESS)
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn execute(cli: Cli) -> Result<(), Failure> {
    let settings = || {
        Layers::merge(&Sources::read(
            cli.overrides.config.clone(),
            cli.overrides.flags(),
        )?)
    };
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(Config::from_layers(&settings()?)?),
        Command::CheckConfig => {
            let layers = settings()?;
            Config::from_layers(&layers)?;
            print(&effective(&layers))
        }
        Command::Token(arguments) => {
            let token = arguments.mint(&Config::from_layers(&settings()?)?.tokens)?;
            print(&format!("{token}\n"))
        }
        Command::Openapi { format } => print(&openapi::document(format)),
        Command::Capabilities(command) => {
            let config = Config::from_layers(&settings()?)?;
            print(&run_to_end(command.run(&config))?)
        }
        Command::Import(arguments) => {
            let config = Config::from_layers(&settings()?)?;
            print(&run_to_end(arguments.run(&config))?)
        }
        Command::Audit(command) => {
            let config = Config::from_layers(&settings()?)?;
            print(&run_to_end(command.run(&config))?)
        }
        Command::Migrate => {
            let config = Config::from_layers(&settings()?)?;
            let said = run_to_end(bootstrap::migrate(&config))?;
            print(&format!("{said}\n"))
        }
        Command::Epoch(Epoch::New) => {
            let config = Config::from_layers(&settings()?)?;
            let said = run_to_end(bootstrap::begin_epoch(&config))?;
            print(&format!("{said}\n"))
        }
        Command::ExampleConfig => print(&example()),
    }
}

fn serve(config: Config) -> Result<(), Failure> {
    logging::init(&config.telemetry).map_err(anyhow::Error::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("arauto")
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    let outcome = runtime.block_on(bootstrap::serve(config));
    // Whatever was to be waited for has been: a task that is stuck must not hold the exit up.
    runtime.shutdown_background();
    Ok(outcome?)
}

/// Runs a command that waits for others.
fn run_to_end<T>(work: impl Future<Output = anyhow::Result<T>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    Ok(runtime.block_on(work)?)
}

impl Overrides {
    fn flags(&self) -> Vec<Flag> {
        let dev = self.dev.then(|| Flag {
            name: "--dev",
            suffix: "DEV",
            value: "true".to_owned(),
        });
        let listen = self.listen.clone().map(|value| Flag {
            name: "--listen",
            suffix: "LISTEN",
            value,
        });
        dev.into_iter().chain(listen).collect()
    }
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Runtime(
            anyhow::Error::from(error).context("cannot write to standard output"),
        )),
        _ => Ok(()),
    }
}

fn end(failure: &Failure) -> ExitCode {
    let line = failure.to_string().replace('\n', " ");
    // Where standard error is closed there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "arauto: {line}");
    ExitCode::from(failure.code())
}

/// Draws what clap spreads over several lines together into one.
fn usage_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is missing; see arauto --help".to_owned();
    }
    let text = error.render().to_string();
    let told = text.lines().map(str::trim);
    let told: Vec<&str> = told
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("tip:"))
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    let line = told.join(" ");
    let suggestion = [
        ContextKind::SuggestedArg,
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedValue,
    ]
    .into_iter()
    .find_map(|kind| match error.get(kind) {
        Some(ContextValue::String(name)) => Some(name.as_str()),
        Some(ContextValue::Strings(names)) => names.first().map(String::as_str),
        _ => None,
    });
    let hint = suggestion.map_or("see arauto --help".to_owned(), |name| {
        format!("did you mean {name}?")
    });
    format!("{}; {hint}", line.trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    fn refused(line: &str) -> String {
        usage_line(&parsed(line).expect_err("the command line is refused"))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_is_what_happens_without_a_command() {
        let cli = parsed("arauto --dev --listen 127.0.0.1:0").unwrap();
        assert!(cli.command.is_none());
        let flags: Vec<&str> = cli.overrides.flags().iter().map(|flag| flag.suffix).collect();
        assert_eq!(flags, ["DEV", "LISTEN"]);
    }

    #[test]
    fn flags_stand_before_or_after_the_command() {
        for line in [
            "arauto --dev serve",
            "arauto serve --dev",
            "arauto check-config --dev",
        ] {
            assert!(parsed(line).unwrap().overrides.dev, "{line}");
        }
    }

    #[test]
    fn a_wrong_command_line_is_told_on_one_line() {
        assert_eq!(
            refused("arauto --lisen x"),
            "unexpected argument '--lisen' found; did you mean --listen?"
        );
        assert_eq!(
            refused("arauto serv"),
            "unrecognized subcommand 'serv'; did you mean serve?"
        );
        assert_eq!(refused("arauto epoch"), "a command is missing; see arauto --help");
        assert_eq!(
            refused("arauto token"),
            "the following required arguments were not provided: --sub <ID>; see arauto --help"
        );
        assert_eq!(
            refused("arauto openapi --format xml"),
            "invalid value 'xml' for '--format <FORMAT>' [possible values: yaml, json]; did you mean yaml?"
        );
    }

    #[test]
    fn help_shows_how_to_begin_and_hides_what_is_for_the_build() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("arauto serve --dev"));
        assert!(!help.contains("example-config"));
    }

    #[test]
    fn an_error_and_its_causes_are_one_line_with_their_exit_code() {
        let error = anyhow::anyhow!("address in use").context("cannot listen on 127.0.0.1:1");
        let failure = Failure::from(error);
        assert_eq!(
            failure.to_string(),
            "cannot listen on 127.0.0.1:1: address in use"
        );
        assert_eq!(failure.code(), 1);
        assert_eq!(Failure::Usage(String::new()).code(), 2);
    }
}
