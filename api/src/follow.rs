//! Following the settings: what was changed for the cluster comes into force on this node.

use std::sync::Arc;
use std::time::Duration;

use application::abuse::FollowBlocks;
use application::ports::Document;
use application::revocations::{FollowError, FollowRevocations};
use application::rights::Rights;
use application::rollout::FollowRollout;
use application::settings::Watched;
use domain::capability::Matrix;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::capabilities;

/// Settings are looked at this often even when the log says nothing: a word may be lost with the node that had it.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Settings that could not be read are asked for again.
const RETRY: Duration = Duration::from_secs(1);

/// Something that comes into force on this node when its document changes.
pub(crate) trait Look: Send {
    /// Takes what has changed; tells whether it could be asked for.
    fn look(&mut self) -> impl Future<Output = bool> + Send;
}

/// Looks until `cancel`. `changes` moves whenever the log says that something changed.
pub(crate) async fn follow(
    mut looked: impl Look,
    mut changes: watch::Receiver<u64>,
    cancel: CancellationToken,
) {
    loop {
        let pause = if looked.look().await { LOOK_EVERY } else { RETRY };
        tokio::select! {
            () = cancel.cancelled() => return,
            told = changes.changed() => if told.is_err() {
                return;
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Look for FollowRollout {
    async fn look(&mut self) -> bool {
        Self::look(self)
            .await
            .inspect_err(|error| tracing::warn!(%error, "the rollout in force could not be looked up"))
            .is_ok()
    }
}

impl Look for FollowRevocations {
    async fn look(&mut self) -> bool {
        match Self::look(self).await {
            Ok(()) => true,
            Err(FollowError::Settings(error)) => {
                tracing::warn!(%error, "the revocations in force could not be looked up");
                false
            }
            Err(FollowError::Unreadable(error)) => {
                tracing::error!(%error, "the revocations of the settings are refused, and the last ones stay");
                true
            }
        }
    }
}

impl Look for FollowBlocks {
    async fn look(&mut self) -> bool {
        Self::look(self)
            .await
            .inspect_err(|error| tracing::warn!(%error, "the blocks in force could not be looked up"))
            .is_ok()
    }
}

/// Takes the documents that are in force.
pub(crate) struct Follower {
    /// [`application::settings::CAPABILITIES`].
    pub(crate) watched: Watched,
    pub(crate) rights: Arc<Rights>,
    /// What is in force without a document.
    pub(crate) own: Matrix,
    /// Lets every open stream take its rights again.
    pub(crate) recheck: Box<dyn Fn() + Send + Sync>,
}

impl Look for Follower {
    async fn look(&mut self) -> bool {
        let Document { version, text } = match self.watched.news().await {
            Ok(Some(document)) => document,
            Ok(None) => return true,
            Err(error) => {
                tracing::warn!(%error, "the capability matrix in force could not be looked up");
                return false;
            }
        };
        let matrix = if text.is_empty() {
            Ok(self.own.clone())
        } else {
            capabilities::parse(&text)
        };
        match matrix {
            Ok(matrix) => {
                self.rights.replace(matrix);
                (self.recheck)();
                tracing::info!(version, "another capability matrix is in force");
            }
            // Whoever wrote it has checked it: only another version of the service could have.
            Err(error) => {
                tracing::error!(version, %error, "the capability matrix of the settings is refused");
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use application::ports::{MockSettings, Version};
    use application::settings::CAPABILITIES;
    use domain::capability::Role;

    use super::*;

    const AUDITORS_ONLY: &str = r#"[roles.AUDITOR.channels]
"system:notifications" = ["subscribe"]
"#;

    fn follower(documents: Vec<Option<Document>>) -> (Follower, Arc<AtomicUsize>) {
        let mut settings = MockSettings::new();
        let mut documents = documents.into_iter();
        settings
            .expect_get()
            .returning(move |_| Ok(documents.next().unwrap()));
        let rechecks = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rechecks);
        let own = Matrix::default_roles();
        let follower = Follower {
            watched: Watched::new(Arc::new(settings), CAPABILITIES),
            rights: Arc::new(Rights::new(own.clone())),
            own,
            recheck: Box::new(move || {
                counted.fetch_add(1, Ordering::Relaxed);
            }),
        };
        (follower, rechecks)
    }

    fn written(version: Version, text: &str) -> Document {
        let text = text.to_owned();
        Document { version, text }
    }

    #[tokio::test]
    async fn a_document_comes_into_force_and_goes_again() {
        let documents = vec![
            None,
            Some(written(1, AUDITORS_ONLY)),
            Some(written(1, AUDITORS_ONLY)),
            Some(written(2, "")),
        ];
        let (mut follower, rechecks) = follower(documents);
        let mut roles = Vec::new();
        for _ in 0..4 {
            assert!(follower.look().await);
            roles.push(follower.rights.matrix().rows().count());
        }
        let built_in = Matrix::default_roles().rows().count();
        assert_eq!(roles, [built_in, 1, 1, built_in]);
        assert_eq!(
            rechecks.load(Ordering::Relaxed),
            2,
            "only what changes is rechecked"
        );
    }

    #[tokio::test]
    async fn a_document_that_cannot_be_read_leaves_what_is_in_force() {
        let (mut follower, rechecks) =
            follower(vec![Some(written(1, AUDITORS_ONLY)), Some(written(2, "[roles"))]);
        assert!(follower.look().await);
        assert!(follower.look().await);
        let matrix = follower.rights.matrix();
        assert!(matrix.rows().any(|(role, _)| *role == Role::new("AUDITOR")));
        assert_eq!(rechecks.load(Ordering::Relaxed), 1);
    }
}
