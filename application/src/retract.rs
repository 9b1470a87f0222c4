//! Retracting: taking a notification back from everybody.

use std::sync::Arc;

use domain::capability::{Operation, Principal};
use domain::ids::NotificationId;

use crate::announce::announce;
use crate::error::Error;
use crate::ports::{Bus, Retraction, Store};
use crate::rights::Rights;

/// Takes a notification back from inboxes, history and schedule.
pub struct Retract {
    /// Where it is stored.
    pub store: Arc<dyn Store>,
    /// Where nodes hear of it.
    pub bus: Arc<dyn Bus>,
    /// Who may publish where.
    pub rights: Arc<Rights>,
}

impl Retract {
    /// Retracts a notification. Whoever may not publish to its whole audience learns nothing of it.
    pub async fn run(&self, publisher: &Principal, id: NotificationId) -> Result<Retraction, Error> {
        if !self.rights.matrix().publishes(publisher) {
            return Err(Error::Forbidden("none of your roles may publish".to_owned()));
        }
        let Some(channels) = self.store.channels_of(id).await? else {
            return Err(Error::NotFound("notification"));
        };
        let matrix = self.rights.matrix();
        if !channels
            .iter()
            .all(|channel| matrix.allows(publisher, channel, Operation::Publish))
        {
            return Err(Error::NotFound("notification"));
        }
        let written = self.store.retract(id).await?;
        match announce(&*self.bus, written).await {
            Retraction::Unknown => Err(Error::NotFound("notification")),
            done => Ok(done),
        }
    }
}
