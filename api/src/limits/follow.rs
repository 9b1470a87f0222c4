//! Following the limits: what was changed for the cluster comes into force on this node.

use std::sync::Arc;
use std::time::Duration;

use application::limits::{Limits, Rules};
use application::ports::{Settings, Version};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{LIMITS, StoredLimits};

/// Settings are looked at this often even when the log says nothing: a word may be lost with the node that had it.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Settings that could not be read are asked for again.
const RETRY: Duration = Duration::from_secs(1);

/// Takes the limits that are in force.
pub(crate) struct LimitsFollower {
    settings: Arc<dyn Settings>,
    limits: Arc<Limits>,
    /// The version in force; 0 for what is built in.
    in_force: Version,
}

impl LimitsFollower {
    /// Begins with what is built in.
    pub(crate) const fn new(settings: Arc<dyn Settings>, limits: Arc<Limits>) -> Self {
        Self {
            settings,
            limits,
            in_force: 0,
        }
    }

    /// Follows until `cancel`. `changes` moves whenever the log says that something changed.
    pub(crate) async fn run(mut self, mut changes: watch::Receiver<u64>, cancel: CancellationToken) {
        loop {
            let pause = if self.look().await { LOOK_EVERY } else { RETRY };
            tokio::select! {
                () = cancel.cancelled() => return,
                told = changes.changed() => if told.is_err() {
                    return;
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes what has changed; tells whether it could be asked for.
    async fn look(&mut self) -> bool {
        let document = match self.settings.get(LIMITS).await {
            Ok(document) => document,
            Err(error) => {
                tracing::warn!(%error, "the limits in force could not be looked up");
                return false;
            }
        };
        let (version, text) =
            document.map_or((0, String::new()), |document| (document.version, document.text));
        if version == self.in_force {
            return true;
        }
        self.in_force = version;
        match StoredLimits::read(&text) {
            Ok(stored) => {
                self.limits
                    .replace(stored.map_or_else(Rules::built_in, |(_, rules)| rules));
                tracing::info!(version, "other limits are in force");
            }
            // Whoever wrote it has checked it: only another version of the service could have.
            Err(error) => tracing::error!(version, %error, "the limits of the settings are refused"),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use application::ports::{Document, MockSettings, SettingsError};
    use application::testing::Unobserved;

    use super::*;
    use crate::limits::RulesBody;

    fn document(version: Version, exempt: &[&str]) -> Document {
        let mut rules = Rules::built_in();
        rules.exempt = exempt.iter().map(|text| text.parse().unwrap()).collect();
        let stored = StoredLimits {
            rules: RulesBody::from(&rules),
            changed_by: "admin".to_owned(),
            changed_at: "2026-01-01T00:00:00.000Z".to_owned(),
        };
        Document {
            version,
            text: serde_json::to_string(&stored).unwrap(),
        }
    }

    #[tokio::test]
    async fn documents_come_into_force_and_what_cannot_be_read_changes_nothing() {
        let broken = Document {
            version: 3,
            text: "{".to_owned(),
        };
        let reset = Document {
            version: 4,
            text: String::new(),
        };
        let answers = [
            Ok(None),
            Ok(Some(document(1, &["10.0.0.0/8"]))),
            Ok(Some(document(2, &[]))),
            Err(SettingsError::Unavailable),
            Ok(Some(broken)),
            Ok(Some(reset)),
        ];
        let mut answers = answers.into_iter();
        let mut settings = MockSettings::new();
        settings.expect_get().returning(move |_| answers.next().unwrap());
        let limits = Arc::new(Limits::new(None, Arc::new(Unobserved)));
        let mut follower = LimitsFollower::new(Arc::new(settings), Arc::clone(&limits));
        let mut seen = Vec::new();
        for _ in 0..6 {
            let asked = follower.look().await;
            seen.push((asked, limits.rules().exempt.len()));
        }
        let expected = [(true, 2), (true, 1), (true, 0), (false, 0), (true, 0), (true, 2)];
        assert_eq!(seen, expected);
    }
}
