//! Importing: notifications that another system sent before, into the inboxes of the people they were for.

use std::sync::Arc;

use domain::channel::Channel;
use domain::delivery::{DeliveryPlan, Due};
use domain::ids::NotificationId;
use domain::notification::{Content, Draft, Notification};
use domain::state::Mark;
use domain::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::announce::announce;
use crate::error::Error;
use crate::ports::{Acceptance, Bus, Encoder, Reader, Sanitizer, Store};

/// A notification that was sent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// What the other system knows it by: the same key is never imported twice.
    pub key: String,
    /// What was sent, to whom.
    pub draft: Draft,
    /// When.
    pub published_at: Timestamp,
    /// What each of its people has done with it.
    pub marks: Vec<Mark>,
}

/// What became of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Imported {
    /// It is in the inboxes now.
    Taken,
    /// It was there before.
    Known,
}

/// Imports notifications.
pub struct Import {
    /// Where they are stored.
    pub store: Arc<dyn Store>,
    /// Where nodes hear of them.
    pub bus: Arc<dyn Bus>,
    /// What bodies may hold.
    pub sanitizer: Arc<dyn Sanitizer>,
    /// How large they are as sent.
    pub encoder: Arc<dyn Encoder>,
    /// Largest notification as sent.
    pub notification_bytes_max: usize,
}

impl Import {
    /// Imports some, in order, each standing alone. Repeating the call is harmless: what is there is left as it is,
    /// marks included.
    pub async fn run(&self, batch: Vec<Earlier>) -> Result<Vec<Result<Imported, Error>>, Error> {
        let prepared: Vec<Result<Acceptance, Error>> =
            batch.iter().map(|earlier| self.prepare(earlier)).collect();
        let fit = prepared.iter().flatten().cloned().collect();
        let accepted = announce(&*self.bus, self.store.accept(fit).await?).await;
        let mut accepted = accepted.into_iter();
        let mut outcomes = Vec::with_capacity(batch.len());
        for (earlier, prepared) in batch.iter().zip(prepared) {
            outcomes.push(match prepared {
                Err(error) => Err(error),
                Ok(acceptance) => match accepted.next() {
                    Some(Ok(accepted)) if accepted.replayed => Ok(Imported::Known),
                    Some(Ok(_)) => {
                        self.mark(earlier, &acceptance).await?;
                        Ok(Imported::Taken)
                    }
                    Some(Err(refusal)) => Err(refusal.into()),
                    None => Err(Error::NotFound("item")),
                },
            });
        }
        Ok(outcomes)
    }

    fn prepare(&self, earlier: &Earlier) -> Result<Acceptance, Error> {
        let draft = earlier.draft.clone();
        let channels = draft.audience.channels();
        let personal = |channel: &Channel| matches!(channel, Channel::User(_));
        if !earlier.marks.is_empty() && !channels.iter().all(personal) {
            return Err(Error::invalid(
                "read",
                "is for notifications to people; what a group has read is not one thing",
            ));
        }
        let notification = Notification {
            id: id_of(&earlier.key).ok_or_else(|| Error::invalid("key", "cannot be taken"))?,
            content: Content {
                body: self.sanitizer.clean(&draft.content.body).into(),
                ..draft.content
            },
            published_at: earlier.published_at,
        };
        let (limit, actual) = (
            self.notification_bytes_max,
            self.encoder.notification_bytes(&notification),
        );
        if actual > limit {
            return Err(Error::TooLarge { limit, actual });
        }
        Ok(Acceptance {
            notification,
            plan: DeliveryPlan {
                channels,
                due: Due::Now,
            },
            idempotency: None,
            publisher: None,
        })
    }

    async fn mark(&self, earlier: &Earlier, acceptance: &Acceptance) -> Result<(), Error> {
        for channel in &acceptance.plan.channels {
            let Channel::User(user) = channel else { continue };
            let reader = Reader {
                user: user.clone(),
                channels: vec![channel.clone()],
            };
            for mark in &earlier.marks {
                let marked = self
                    .store
                    .mark(&reader, acceptance.notification.id, *mark)
                    .await?;
                if let Some(written) = marked {
                    announce(&*self.bus, written).await;
                }
            }
        }
        Ok(())
    }
}

/// Makes an id of a key: the first 122 bits of its SHA-256 as a UUID of version 8 (RFC 9562, section 5.8).
fn id_of(key: &str) -> Option<NotificationId> {
    let digest = Sha256::digest(format!("arauto import {key}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_always_the_same_id_and_another_key_another() {
        let id = id_of("old-17").unwrap();
        assert_eq!(id_of("old-17"), Some(id));
        assert_ne!(id_of("old-18"), Some(id));
        assert_eq!(id.to_string().as_bytes()[14], b'8', "a UUID of version 8");
    }
}
