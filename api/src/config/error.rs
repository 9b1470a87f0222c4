//! What stops the start: one line each.

use std::path::PathBuf;

/// A configuration that cannot be used. Its `Display` is one line, and never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A variable or key that does not exist.
    #[error("{given} is not known{}", hint(suggestion.as_deref()))]
    Unknown {
        /// The variable, or the key and the file it stands in.
        given: String,
        /// The nearest one that exists.
        suggestion: Option<String>,
    },
    /// A value of the wrong shape.
    #[error("{place} got {got}; it takes {takes}")]
    Wrong {
        /// The variable, flag or key.
        place: String,
        /// The value, quoted, or that it is not shown.
        got: String,
        /// What would do.
        takes: String,
    },
    /// Values that do not fit one another.
    #[error("{names} got {got}; {rule}")]
    Together {
        /// The variables.
        names: String,
        /// Their values.
        got: String,
        /// What holds between them.
        rule: String,
    },
    /// A value that the program cannot do without.
    #[error("{names} is missing: {rule}")]
    Missing {
        /// The variable, or the variables of which one is needed.
        names: String,
        /// Why it is needed.
        rule: String,
    },
    /// A secret in the file.
    #[error("{key} must not stand in {file}: secrets are taken from the environment alone, here {variable}")]
    SecretInFile {
        /// The key.
        key: String,
        /// The file.
        file: String,
        /// Where it belongs.
        variable: String,
    },
    /// A feature that is still to come.
    #[error("{place} got {got}, which is not available in this version yet; {instead}")]
    NotAvailable {
        /// The variable, flag or key.
        place: String,
        /// The value, quoted, or that it is not shown.
        got: String,
        /// What to do.
        instead: String,
    },
    /// The file cannot be read.
    #[error("{} (named by {named_by}) cannot be read: {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The flag, variable or default that names it.
        named_by: String,
        /// What the system says.
        problem: String,
    },
    /// The file is no TOML.
    #[error("{file} line {line}: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// Where, from 1.
        line: usize,
        /// What the parser says.
        problem: String,
    },
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}
