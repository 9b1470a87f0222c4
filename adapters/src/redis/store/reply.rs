//! What a script says, value by value.

use std::str::FromStr;

use domain::cursor::Position;
use domain::time::Timestamp;
use redis::Value;

use crate::record::Unreadable;

/// The values of a list that are still to be read, in order.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    pub(super) fn of(value: Value) -> Result<Self, Unreadable> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            _ => Err(Unreadable::new("a list")),
        }
    }

    fn value(&mut self) -> Result<Value, Unreadable> {
        self.0
            .next()
            .ok_or_else(|| Unreadable::new("a value that is missing"))
    }

    pub(super) fn list(&mut self) -> Result<Self, Unreadable> {
        Self::of(self.value()?)
    }

    /// Reads a list, or nil.
    pub(super) fn maybe_list(&mut self) -> Result<Option<Self>, Unreadable> {
        match self.value()? {
            Value::Nil => Ok(None),
            value => Self::of(value).map(Some),
        }
    }

    /// Reads each list that is left.
    pub(super) fn lists(self) -> impl Iterator<Item = Result<Self, Unreadable>> {
        self.0.map(Self::of)
    }

    /// Reads a text, or nil.
    pub(super) fn maybe_text(&mut self) -> Result<Option<String>, Unreadable> {
        match self.value()? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| Unreadable::new("a text")),
            Value::SimpleString(text) => Ok(Some(text)),
            Value::Int(number) => Ok(Some(number.to_string())),
            _ => Err(Unreadable::new("a text")),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, Unreadable> {
        self.maybe_text()?.ok_or_else(|| Unreadable::new("a text"))
    }

    /// Reads a value that has a text form of its own.
    pub(super) fn parsed<T: FromStr>(&mut self, what: &str) -> Result<T, Unreadable> {
        self.text()?.parse().map_err(|_| Unreadable::new(what))
    }

    pub(super) fn number<T: FromStr>(&mut self) -> Result<T, Unreadable> {
        self.parsed("a number")
    }

    pub(super) fn position(&mut self) -> Result<Position, Unreadable> {
        self.number().map(Position)
    }

    pub(super) fn moment(&mut self) -> Result<Timestamp, Unreadable> {
        self.number().map(Timestamp::from_millis)
    }
}
