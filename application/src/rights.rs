//! The capability matrix in force.

use std::sync::{Arc, PoisonError, RwLock};

use domain::capability::{Matrix, Operation, Principal};
use domain::channel::Channel;

use crate::error::Error;
use crate::ports::{Reader, Selection};

/// The capability matrix in force, which can be replaced while the service runs.
#[derive(Debug)]
pub struct Rights(RwLock<Arc<Matrix>>);

/// Whether a stream may be given a channel's earlier events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// All that the log still holds.
    Given,
    /// None: the channel joins at the live position.
    Withheld,
}

impl Rights {
    /// Puts a matrix in force.
    pub fn new(matrix: Matrix) -> Self {
        Self(RwLock::new(Arc::new(matrix)))
    }

    /// Returns the matrix in force.
    pub fn matrix(&self) -> Arc<Matrix> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another matrix in force.
    pub fn replace(&self, matrix: Matrix) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(matrix);
    }

    /// Says which channels a stream carries now, and on which of them the past is given. What the person may not
    /// subscribe to is left out.
    pub fn stream_channels(&self, person: &Principal, selection: &Selection) -> Vec<(Channel, Past)> {
        let matrix = self.matrix();
        let channels = match selection {
            Selection::Default => matrix.default_channels(person),
            Selection::Named(channels) => channels
                .iter()
                .filter(|channel| matrix.allows(person, channel, Operation::Subscribe))
                .cloned()
                .collect(),
        };
        let past = |channel: &Channel| {
            let given = matrix.allows(person, channel, Operation::History);
            if given { Past::Given } else { Past::Withheld }
        };
        channels
            .into_iter()
            .map(|channel| {
                let past = past(&channel);
                (channel, past)
            })
            .collect()
    }

    /// Describes a person as the reader of their own inbox; refused when they have none.
    pub fn reader(&self, person: &Principal) -> Result<Reader, Error> {
        let matrix = self.matrix();
        let channels: Vec<Channel> = matrix
            .default_channels(person)
            .into_iter()
            .filter(|channel| matrix.allows(person, channel, Operation::History))
            .collect();
        if channels.is_empty() {
            return Err(Error::Forbidden("none of your roles has an inbox".to_owned()));
        }
        Ok(Reader {
            user: person.user.clone(),
            channels,
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::capability::{Operations, Role, RoleGrants, Scope};

    use super::*;

    fn person(role: &str) -> Principal {
        Principal::new("me".parse().unwrap(), [Role::new(role)])
    }

    #[test]
    fn a_named_channel_that_may_not_be_subscribed_to_is_left_out() {
        let rights = Rights::new(Matrix::default_roles());
        let named = Selection::Named(vec![
            "private:user:you:notifications".parse().unwrap(),
            "system:notifications".parse().unwrap(),
        ]);
        let channels = rights.stream_channels(&person("CIDADAO"), &named);
        assert_eq!(channels, [(Channel::System, Past::Given)]);
    }

    #[test]
    fn without_history_a_channel_gives_no_past_and_no_inbox() {
        let live_only = Operations::NONE.with(Operation::Subscribe);
        let grants = RoleGrants {
            channels: [(Scope::System, live_only)].into(),
            ..RoleGrants::default()
        };
        let rights = Rights::new(Matrix::new([(Role::new("WATCHER"), grants)]));
        let watcher = person("WATCHER");
        let channels = rights.stream_channels(&watcher, &Selection::Default);
        assert_eq!(channels, [(Channel::System, Past::Withheld)]);
        assert!(matches!(rights.reader(&watcher), Err(Error::Forbidden(_))));
    }

    #[test]
    fn a_replaced_matrix_is_in_force_at_once() {
        let rights = Rights::new(Matrix::default_roles());
        assert!(rights.reader(&person("CIDADAO")).is_ok());
        rights.replace(Matrix::default());
        assert!(rights.reader(&person("CIDADAO")).is_err());
    }
}
