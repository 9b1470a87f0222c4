//! What a key of the configuration is.

/// A key: how it is called, what it holds where nothing is given, and what it takes.
#[derive(Clone, Copy)]
pub struct Key<T: 'static> {
    /// The variable without its prefix; in lower case the name in the file.
    pub suffix: &'static str,
    /// What it is for, as lines.
    pub doc: &'static [&'static str],
    /// What it holds where nothing is given.
    pub preset: Preset,
    /// What it takes.
    pub takes: &'static dyn Takes<T>,
}

/// What a key holds where nothing is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// This value.
    Value(&'static str),
    /// Nothing.
    Unset {
        /// What holds then.
        meaning: &'static str,
        /// A value as it might be given.
        sample: &'static str,
    },
    /// Nothing, and it is a secret: taken from the environment alone and never shown.
    Secret {
        /// What holds then.
        meaning: &'static str,
    },
}

/// How a value is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A quoted text, or a bare number where it is one.
    Scalar,
    /// `true` or `false`.
    Flag,
    /// A list of quoted texts; in the environment separated by commas.
    List,
}

/// What a key takes.
pub trait Takes<T>: Sync {
    /// Says it in words that follow "it takes".
    fn describe(&self) -> String;

    /// Reads a value.
    fn parse(&self, text: &str) -> Option<T>;

    /// Says how a value is written in the file.
    fn shape(&self) -> Shape {
        Shape::Scalar
    }
}

/// A key whatever its type, for lists of keys.
pub trait Entry: Sync {
    /// Returns the variable without its prefix.
    fn suffix(&self) -> &'static str;
    /// Returns what it is for, as lines.
    fn doc(&self) -> &'static [&'static str];
    /// Returns what it holds where nothing is given.
    fn preset(&self) -> Preset;
    /// Says what it takes.
    fn describe(&self) -> String;
    /// Says how it is written in the file.
    fn shape(&self) -> Shape;
    /// Tells whether it takes this text.
    fn accepts(&self, text: &str) -> bool;

    /// Returns the environment variable.
    fn variable(&self) -> String {
        format!("{PREFIX}{}", self.suffix())
    }

    /// Returns the name in the file.
    fn name(&self) -> String {
        self.suffix().to_ascii_lowercase()
    }

    /// Tells whether it is a secret.
    fn is_secret(&self) -> bool {
        matches!(self.preset(), Preset::Secret { .. })
    }
}

/// What every variable begins with.
pub(super) const PREFIX: &str = "ARAUTO_";

impl<T: 'static> Entry for Key<T> {
    fn suffix(&self) -> &'static str {
        self.suffix
    }

    fn doc(&self) -> &'static [&'static str] {
        self.doc
    }

    fn preset(&self) -> Preset {
        self.preset
    }

    fn describe(&self) -> String {
        self.takes.describe()
    }

    fn shape(&self) -> Shape {
        self.takes.shape()
    }

    fn accepts(&self, text: &str) -> bool {
        self.takes.parse(text).is_some()
    }
}

/// Keys that belong together.
pub struct Topic {
    /// Its heading.
    pub title: &'static str,
    /// Its keys, in reading order.
    pub keys: &'static [&'static dyn Entry],
}
