//! The rollout of Ably and its kill switch.

use std::sync::Arc;

use domain::rollout::Why;
use poem::web::Data;
use poem_openapi::OpenApi;

use super::rollout_body::{ChangeRolloutBody, ReleaseBody, RolloutBody, ThrowBody};
use super::{ADMINISTRATOR, Administrator};
use crate::http::answer::Answer;
use crate::http::problem::{CALLER, JSON_BODY, Kind, Outcome, Problem, causes};
use crate::http::request::{Faults, JsonBody};
use crate::http::{Group, Services};

causes! {
    Showing = [CALLER, ADMINISTRATOR];
    Changing = [CALLER, ADMINISTRATOR, JSON_BODY, &[Kind::SettingsChanged]];
    Switching = [CALLER, ADMINISTRATOR, JSON_BODY];
}

/// The rollout of Ably and its kill switch.
pub(crate) struct RolloutApi;

#[OpenApi(tag = "Group::Administration")]
impl RolloutApi {
    /// Show the rollout of Ably
    ///
    /// Who is on Ably, and the latest changes: who made them, what they changed, why and when. `in_force` is the
    /// version that the node which answers goes by: behind `version` for less than a second after a change.
    #[oai(path = "/v1/admin/rollout", method = "get", operation_id = "rollout")]
    async fn show(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
    ) -> Outcome<Answer<RolloutBody>, Showing> {
        let shown = services.rollout.show().await?;
        Ok(Answer::new(&RolloutBody::from(&shown)))
    }

    /// Change the rollout of Ably
    ///
    /// In force on every node within a second. What is left out stays as it is; what is given replaces the whole of
    /// its field. Raising the share takes nobody off Ably, and lowering it undoes exactly that.
    ///
    /// `version` is the one that the change was decided upon: if somebody else was faster, nothing is changed and the
    /// answer is 409. What changes nothing is not written.
    #[oai(path = "/v1/admin/rollout", method = "put", operation_id = "changeRollout")]
    async fn change(
        &self,
        services: Data<&Arc<Services>>,
        administrator: Administrator,
        body: JsonBody<ChangeRolloutBody>,
    ) -> Outcome<Answer<RolloutBody>, Changing> {
        let mut faults = Faults::default();
        let change = faults.absorb(body.0.change());
        let change = faults.check_with(change)?;
        let changed = services.rollout.change(&administrator.0.user, change).await?;
        Ok(Answer::new(&RolloutBody::from(&changed)))
    }

    /// Send everybody to the streams
    ///
    /// The kill switch: on every node within a second, whatever share and overrides say, until it is taken away. It
    /// needs no version. Throwing it twice is harmless: who threw it first, why and when stays, and the nodes are told
    /// again.
    #[oai(
        path = "/v1/admin/kill-switch",
        method = "post",
        operation_id = "throwKillSwitch"
    )]
    async fn throw(
        &self,
        services: Data<&Arc<Services>>,
        administrator: Administrator,
        body: JsonBody<ThrowBody>,
    ) -> Outcome<Answer<RolloutBody>, Switching> {
        let why = why(&body.0.why.0)?;
        let killed = services.rollout.kill(&administrator.0.user, &why).await?;
        Ok(Answer::new(&RolloutBody::from(&killed)))
    }

    /// Take the kill switch away
    ///
    /// Share and overrides hold again, on every node within a second. Harmless where it is not thrown.
    #[oai(
        path = "/v1/admin/kill-switch",
        method = "delete",
        operation_id = "releaseKillSwitch"
    )]
    async fn release(
        &self,
        services: Data<&Arc<Services>>,
        administrator: Administrator,
        body: JsonBody<ReleaseBody>,
    ) -> Outcome<Answer<RolloutBody>, Switching> {
        let why = body.0.why.map(|text| why(&text.0)).transpose()?;
        let released = services
            .rollout
            .release(&administrator.0.user, why.as_ref())
            .await?;
        Ok(Answer::new(&RolloutBody::from(&released)))
    }
}

fn why(text: &str) -> Result<Why, Problem> {
    Why::try_new(text).map_err(|error| Problem::field("why", error.to_string()))
}
