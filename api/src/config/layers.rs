//! What was given, and by whom: flags over the environment over the file over the defaults.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::key::{Entry, Key, PREFIX, Preset, Shape};
use super::keys;

/// The file that is read where none is named; it need not exist.
const DEFAULT_FILE: &str = "arauto.toml";
/// The variable that names the file.
const FILE_VARIABLE: &str = "ARAUTO_CONFIG";
/// A quoted value in an error is cut off here.
const QUOTED_MAX_CHARS: usize = 80;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The program itself.
    Default,
    /// A key of this file.
    File(PathBuf),
    /// The environment.
    Environment,
    /// This flag.
    Flag(&'static str),
}

/// A value as text, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The value.
    pub text: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// A flag of the command line that stands for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// How it is written: `--listen`.
    pub name: &'static str,
    /// The key's variable without its prefix.
    pub suffix: &'static str,
    /// Its value.
    pub value: String,
}

/// Everything that was given, before it is merged.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, where there is one, and its text.
    pub file: Option<(PathBuf, String)>,
    /// The variables that begin with `ARAUTO_`.
    pub environment: BTreeMap<String, String>,
    /// The flags.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// Reads the environment and the file. `named` is the file that a flag names.
    pub fn read(named: Option<PathBuf>, flags: Vec<Flag>) -> Result<Self, ConfigError> {
        // `vars` would panic on bytes that are not UTF-8, anywhere in the environment.
        Self::gather(named, flags, std::env::vars_os())
    }

    /// Takes the environment as a list, and reads the file.
    pub fn gather(
        named: Option<PathBuf>,
        flags: Vec<Flag>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let environment = own_variables(variables)?;
        let named_by_variable = environment
            .get(FILE_VARIABLE)
            .map(|path| (PathBuf::from(path), FILE_VARIABLE));
        let file = match named.map(|path| (path, "--config")).or(named_by_variable) {
            Some((path, named_by)) => Some(read_file(path, named_by)?),
            None if Path::new(DEFAULT_FILE).exists() => {
                Some(read_file(DEFAULT_FILE.into(), "being the default")?)
            }
            None => None,
        };
        Ok(Self {
            file,
            environment,
            flags,
        })
    }
}

/// Keeps the variables that are meant for this program. An empty one counts as not set, as container files write
/// it where they mean nothing.
fn own_variables(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut own = BTreeMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let value = value.into_string().map_err(|_| ConfigError::Wrong {
            place: name.to_owned(),
            got: "bytes that are not UTF-8".to_owned(),
            takes: "a text".to_owned(),
        })?;
        if !value.trim().is_empty() {
            own.insert(name.to_owned(), value);
        }
    }
    Ok(own)
}

fn read_file(path: PathBuf, named_by: &str) -> Result<(PathBuf, String), ConfigError> {
    match fs::read_to_string(&path) {
        Ok(text) => Ok((path, text)),
        Err(error) => Err(ConfigError::Unreadable {
            path,
            named_by: named_by.to_owned(),
            problem: plain(&error),
        }),
    }
}

/// Says what went wrong without the number of the error.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission is denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
        _ => error.to_string().replace('\n', " "),
    }
}

/// What holds for each key that was given.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    given: BTreeMap<&'static str, Given>,
}

impl Layers {
    /// Lays flags over the environment over the file. Names that do not exist are refused.
    pub fn merge(sources: &Sources) -> Result<Self, ConfigError> {
        let mut given = BTreeMap::new();
        if let Some((path, text)) = &sources.file {
            lay_file(&mut given, path, text)?;
        }
        for (variable, value) in &sources.environment {
            if variable == FILE_VARIABLE {
                continue;
            }
            let key = keys::all().find(|key| key.variable() == *variable);
            let key = key.ok_or_else(|| ConfigError::Unknown {
                given: variable.clone(),
                suggestion: nearest(
                    variable,
                    keys::all().map(Entry::variable).chain([FILE_VARIABLE.to_owned()]),
                ),
            })?;
            // A signing secret may begin or end with a space; nothing else means to.
            let text = if key.is_secret() { value } else { value.trim() };
            given.insert(
                key.suffix(),
                Given {
                    text: text.to_owned(),
                    origin: Origin::Environment,
                },
            );
        }
        for flag in &sources.flags {
            given.insert(
                flag.suffix,
                Given {
                    text: flag.value.clone(),
                    origin: Origin::Flag(flag.name),
                },
            );
        }
        Ok(Self { given })
    }

    /// Returns what was given for a key.
    pub fn given(&self, key: &dyn Entry) -> Option<&Given> {
        self.given.get(key.suffix())
    }

    /// Reads a key's value, or its default; `None` where it has neither.
    pub fn find<T>(&self, key: &Key<T>) -> Result<Option<T>, ConfigError> {
        let text = match (self.given.get(key.suffix), key.preset) {
            (Some(given), _) => given.text.as_str(),
            (None, Preset::Value(text)) => text,
            (None, Preset::Unset { .. } | Preset::Secret { .. }) => return Ok(None),
        };
        match key.takes.parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(ConfigError::Wrong {
                place: self.place(key),
                got: self.got(key),
                takes: key.takes.describe(),
            }),
        }
    }

    /// Reads the value of a key that always has one.
    pub fn get<T>(&self, key: &Key<T>) -> Result<T, ConfigError> {
        self.find(key)?.ok_or_else(|| ConfigError::Missing {
            names: key.variable(),
            rule: format!("it takes {}", key.takes.describe()),
        })
    }

    /// Names a key as whoever gave its value wrote it.
    pub fn place(&self, key: &dyn Entry) -> String {
        match self.given(key).map(|given| &given.origin) {
            Some(Origin::File(path)) => format!("{} in {}", key.name(), path.display()),
            Some(Origin::Flag(flag)) => (*flag).to_owned(),
            Some(Origin::Environment | Origin::Default) | None => key.variable(),
        }
    }

    /// Quotes a key's value on one line; says of a secret only how long it is.
    pub fn got(&self, key: &dyn Entry) -> String {
        match (self.given(key), key.preset()) {
            (Some(given), Preset::Secret { .. }) => {
                format!("a secret of {} bytes (not shown)", given.text.len())
            }
            (Some(given), _) => quoted(&given.text),
            (None, Preset::Value(text)) => quoted(text),
            (None, _) => "nothing".to_owned(),
        }
    }
}

/// Writes a text so that it stays on one line and on the screen.
fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(QUOTED_MAX_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}

fn lay_file(given: &mut BTreeMap<&'static str, Given>, path: &Path, text: &str) -> Result<(), ConfigError> {
    let file = path.display().to_string();
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let before = error.span().map_or(0, |span| span.start);
        ConfigError::Syntax {
            file: file.clone(),
            line: 1 + text.bytes().take(before).filter(|b| *b == b'\n').count(),
            problem: error.message().replace('\n', " "),
        }
    })?;
    for (name, value) in table {
        let Some(key) = keys::all().find(|key| key.name() == name) else {
            return Err(unknown_key(&file, &name, &value));
        };
        if key.is_secret() {
            return Err(ConfigError::SecretInFile {
                key: name,
                file,
                variable: key.variable(),
            });
        }
        let text = as_text(key, &value).ok_or_else(|| ConfigError::Wrong {
            place: format!("{name} in {file}"),
            got: quoted(&value.to_string()),
            takes: key.describe(),
        })?;
        let origin = Origin::File(path.to_owned());
        given.insert(key.suffix(), Given { text, origin });
    }
    Ok(())
}

/// Writes a value of the file as it would stand in the environment.
fn as_text(key: &dyn Entry, value: &toml::Value) -> Option<String> {
    match (value, key.shape()) {
        (toml::Value::Boolean(flag), Shape::Flag) => Some(flag.to_string()),
        (toml::Value::String(text), _) => Some(text.clone()),
        (toml::Value::Integer(number), Shape::Scalar) => Some(number.to_string()),
        (toml::Value::Array(items), Shape::List) => {
            let texts: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            Some(texts?.join(","))
        }
        _ => None,
    }
}

fn unknown_key(file: &str, name: &str, value: &toml::Value) -> ConfigError {
    // Keys are flat. `[heartbeat]` with `base` below it is a table, and means `heartbeat_base`.
    let inner = value.as_table().and_then(|table| table.keys().next());
    let (shown, meant) = match inner {
        Some(inner) => (format!("{name}.{inner}"), format!("{name}_{inner}")),
        None => (name.to_owned(), name.to_lowercase().replace('-', "_")),
    };
    let meant = meant.strip_prefix("arauto_").unwrap_or(&meant);
    ConfigError::Unknown {
        given: format!("{} in {file}", shown.escape_debug()),
        suggestion: nearest(meant, keys::all().map(Entry::name)),
    }
}

/// Finds the name that a mistyped one was likely meant to be: at most one letter in four, and two at least, may
/// be wrong.
fn nearest(given: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let given = given.trim_start_matches(PREFIX);
    let distance = |name: &str| strsim::damerau_levenshtein(given, name.trim_start_matches(PREFIX));
    let allowed = (given.chars().count() / 4).max(2);
    names
        .map(|name| (distance(&name), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, name)| name)
}
