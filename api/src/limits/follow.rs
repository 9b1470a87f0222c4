//! Following the limits: what was changed for the cluster comes into force on this node.

use std::sync::Arc;

use application::limits::{Limits, Rules};
use application::ports::{Document, Settings};
use application::settings::Watched;

use super::{LIMITS, StoredLimits};
use crate::follow::Look;

/// Takes the limits that are in force.
pub(crate) struct LimitsFollower {
    watched: Watched,
    limits: Arc<Limits>,
}

impl LimitsFollower {
    /// Begins with what is built in.
    pub(crate) const fn new(settings: Arc<dyn Settings>, limits: Arc<Limits>) -> Self {
        Self {
            watched: Watched::new(settings, LIMITS),
            limits,
        }
    }
}

impl Look for LimitsFollower {
    async fn look(&mut self) -> bool {
        let Document { version, text } = match self.watched.news().await {
            Ok(Some(document)) => document,
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(%error, "the limits in force could not be looked up");
                return false;
            }
        };
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
    use application::ports::{MockSettings, SettingsError, Version};
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
