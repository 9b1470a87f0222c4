//! Logs: what is shown, how it is written, and where a panic is told.

use std::io::{self, IsTerminal};
use std::panic;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

use crate::config::{LogFormat, TelemetryConfig};

/// Libraries that tell at level info what only their own developers want to know.
const TALKATIVE: [&str; 2] = ["refinery_core", "tokio_postgres"];

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads a filter: levels, and targets with levels, separated by commas.
///
/// Stricter than [`Targets`]: there, a mistyped level such as `inof` would be a target, and everything else would
/// fall silent.
pub fn filter(text: &str) -> Option<Targets> {
    let is_target = |target: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':');
        !target.is_empty() && target.bytes().all(fits)
    };
    let is_level = |level: &str| LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level));
    let fits = text.split(',').all(|directive| match directive.split_once('=') {
        Some((target, level)) => is_target(target) && is_level(level),
        None => is_level(directive),
    });
    if fits { text.parse().ok() } else { None }
}

/// Begins to log to standard error. Panics are logged as errors from here on.
pub fn init(telemetry: &TelemetryConfig) -> Result<(), TryInitError> {
    let stderr_is_for_people = io::stderr().is_terminal();
    let format = telemetry.format.unwrap_or(if stderr_is_for_people {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let lines = tracing_subscriber::fmt::layer::<Registry>().with_writer(io::stderr);
    let layer = match format {
        LogFormat::Text => lines.with_ansi(stderr_is_for_people).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(quiet(telemetry.filter.clone())))
        .try_init()?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Holds talkative libraries back, unless the filter names them.
fn quiet(filter: Targets) -> Targets {
    let named = |library: &str| filter.iter().any(|(target, _)| target.starts_with(library));
    let quieted: Vec<_> = TALKATIVE.into_iter().filter(|library| !named(library)).collect();
    quieted.into_iter().fold(filter, |filter, library| {
        filter.with_target(library, LevelFilter::WARN)
    })
}

fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    let message = panic.payload_as_str().unwrap_or("a panic without a message");
    tracing::error!(location, message, "panicked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_and_targets_with_levels() {
        for text in [
            "info",
            "off",
            "WARN",
            "info,hyper=warn",
            "api::server=trace,error",
        ] {
            assert!(filter(text).is_some(), "{text}");
        }
        for text in [
            "",
            "inof",
            "3",
            "info,",
            "info,hyper",
            "hyper=loud",
            "=info",
            "a b=info",
        ] {
            assert!(filter(text).is_none(), "{text}");
        }
    }

    #[test]
    fn talkative_libraries_are_held_back_unless_they_are_named() {
        let said = |text: &str| quiet(filter(text).unwrap()).would_enable("tokio_postgres::x", &Level::INFO);
        assert!(!said("info"));
        assert!(!said("debug,hyper=warn"));
        assert!(said("info,tokio_postgres=debug"));
    }

    #[test]
    fn a_filter_holds_back_what_it_names() {
        let filter = filter("info,hyper=warn").unwrap();
        assert!(filter.would_enable("api::server", &Level::INFO));
        assert!(!filter.would_enable("api::server", &Level::DEBUG));
        assert!(!filter.would_enable("hyper::proto", &Level::INFO));
    }
}
