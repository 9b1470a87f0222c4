//! Tokens that are taken back.

use std::sync::Arc;

use application::revocations::{RevokeError, Wish};
use domain::notification::FieldError;
use domain::revocation::{Revocation, RevocationId, Target};
use domain::rollout::Why;
use domain::time::Timestamp;
use poem::Request;
use poem::web::Data;
use poem_openapi::registry::MetaSchema;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::{Deserialize, Serialize};

use super::{ADMINISTRATOR, Administrator};
use crate::http::answer::{Answer, Done};
use crate::http::edge::trace::Trace;
use crate::http::problem::{CALLER, JSON_BODY, Kind, Outcome, Problem, causes};
use crate::http::request::{Faults, FromTexts, JsonBody, Named, RequestBody, once};
use crate::http::schema::{self, IdText, MomentText, TokenIdText, WhyText};
use crate::http::{Group, Services, parse_moment};

causes! {
    Listing = [CALLER, ADMINISTRATOR];
    Revoking = [CALLER, ADMINISTRATOR, JSON_BODY, &[Kind::CapacityReached]];
    Lifting = [CALLER, ADMINISTRATOR, &[Kind::NotFound]];
}

/// Tokens that are taken back.
pub(crate) struct RevocationsApi;

#[OpenApi(tag = "Group::Administration")]
impl RevocationsApi {
    /// Which tokens were taken back?
    ///
    /// The latest first. `in_force` is the version that the node which answers goes by: behind `version` for less than
    /// a second after a change.
    #[oai(path = "/v1/admin/revocations", method = "get", operation_id = "revocations")]
    async fn list(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
    ) -> Outcome<Answer<RevocationsBody>, Listing> {
        let listed = services.revocations.list().await?;
        Ok(Answer::new(&RevocationsBody {
            version: listed.version,
            in_force: listed.in_force,
            revocations: listed.revocations.all().iter().map(Into::into).collect(),
        }))
    }

    /// Take tokens back
    ///
    /// One by its `jti` (`token_id`), all of a person (`subject`), or those issued before a moment: a person's, or
    /// everybody's. On every node within a second: open streams are closed as `revoked` and told not to come back,
    /// requests are answered 401 `token-revoked`, tickets and renewals are refused, and tokens for Ably 403. Ably itself
    /// is told at once and once more, without anybody waiting for it.
    ///
    /// `subject` alone shuts a person out, with tokens that are issued later as well, until it is lifted. With
    /// `issued_before` it ends their sessions, and whoever signs in again is served. Tokens say when they were issued in
    /// whole seconds: one of the same second counts as issued before, and so does one that does not say it.
    #[oai(path = "/v1/admin/revocations", method = "post", operation_id = "revoke")]
    async fn revoke(
        &self,
        services: Data<&Arc<Services>>,
        request: &Request,
        administrator: Administrator,
        body: JsonBody<RevokeBody>,
    ) -> Outcome<Answer<RevocationBody>, Revoking> {
        let mut faults = Faults::default();
        let wish = faults.absorb(body.0.wish());
        let wish = faults.check_with(wish)?;
        let revoked = services.revocations.revoke(&administrator.0.user, wish).await?;
        Trace::note(request, || revoked.id.to_string());
        Ok(Answer::new(&RevocationBody::from(&revoked)))
    }

    /// Lift a revocation
    ///
    /// Its tokens count again, on every node within a second. Streams that it closed stay closed.
    #[oai(
        path = "/v1/admin/revocations/:id",
        method = "delete",
        operation_id = "liftRevocation"
    )]
    async fn lift(
        &self,
        services: Data<&Arc<Services>>,
        _administrator: Administrator,
        /// The revocation's id.
        id: Named<RevocationId>,
    ) -> Outcome<Done, Lifting> {
        services.revocations.lift(id.known("revocation")?).await?;
        Ok(Done)
    }
}

impl From<RevokeError> for Problem {
    fn from(error: RevokeError) -> Self {
        let detail = error.to_string();
        match error {
            RevokeError::Ahead => Self::field("issued_before", detail),
            RevokeError::Over => Self::field("ends_at", detail),
            RevokeError::Unknown => Self::not_found("revocation"),
            RevokeError::Full(_) => Self::new(Kind::CapacityReached, detail).retry_after(UPGRADE_RETRY_AFTER),
            RevokeError::Unreadable(_) => {
                Self::new(Kind::Unavailable, detail).retry_after(UPGRADE_RETRY_AFTER)
            }
            RevokeError::Contended | RevokeError::Settings(_) => {
                Self::new(Kind::Unavailable, detail).retry_after(SETTINGS_RETRY_AFTER)
            }
        }
    }
}

/// A document that another version of the service wrote is readable when this node was replaced; a full list has room
/// when something in it has ended.
const UPGRADE_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// Settings that did not answer are asked for again that soon.
const SETTINGS_RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

impl FromTexts for RevocationId {
    fn schema() -> MetaSchema {
        schema::patterned("^[0-9a-f]{16}$")
    }

    fn from_texts(texts: &[String]) -> Result<Self, String> {
        once(texts, |text| text.parse().map_err(|error| format!("{error}")))
    }
}

/// Which tokens are to be taken back: `token_id` alone, `subject` with or without `issued_before`, or `everyone` with
/// `issued_before`.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(rename = "Revoke", example)]
pub(crate) struct RevokeBody {
    /// The `jti` of one token.
    #[oai(nullable)]
    #[serde(default)]
    token_id: Option<TokenIdText>,
    /// A person, by their id.
    #[oai(nullable)]
    #[serde(default)]
    subject: Option<IdText>,
    /// Everybody, the caller included.
    #[oai(default)]
    #[serde(default)]
    everyone: bool,
    /// Tokens issued before this moment, which does not lie ahead.
    #[oai(nullable)]
    #[serde(default)]
    issued_before: Option<MomentText>,
    /// Until when it counts. By default as long as `ARAUTO_REVOCATIONS_KEPT` says, which is to be longer than any token
    /// lives.
    #[oai(nullable)]
    #[serde(default)]
    ends_at: Option<MomentText>,
    /// Why: a sentence or two for whoever looks back.
    why: WhyText,
}

impl RequestBody for RevokeBody {}

impl RevokeBody {
    fn wish(self) -> Result<Wish, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut moment = |field: &str, text: Option<MomentText>| -> Option<Timestamp> {
            let read = parse_moment(&text?.0);
            read.map_err(|detail| errors.push(FieldError::new(field, detail)))
                .ok()
        };
        let dated = self.issued_before.is_some();
        let before = moment("issued_before", self.issued_before);
        let ends_at = moment("ends_at", self.ends_at);
        let why =
            Why::try_new(&self.why.0).map_err(|error| errors.push(FieldError::new("why", error.to_string())));
        let subject = self.subject.map(|subject| {
            let read = subject.0.parse();
            read.map_err(|error| errors.push(FieldError::new("subject", format!("{error}"))))
        });
        let token = self.token_id.map(|id| {
            let read = id.0.parse();
            read.map_err(|error| errors.push(FieldError::new("token_id", format!("{error}"))))
        });
        let target = match (token, subject, self.everyone, dated) {
            (Some(token), None, false, false) => token.ok().map(Target::Token),
            (None, Some(subject), false, false) => subject.ok().map(Target::Subject),
            (None, Some(subject), false, true) => subject.ok().zip(before).map(|(subject, before)| {
                let subject = Some(subject);
                Target::IssuedBefore { subject, before }
            }),
            (None, None, true, true) => before.map(|before| Target::IssuedBefore {
                subject: None,
                before,
            }),
            _ => {
                let takes = "give token_id alone, subject with or without issued_before, or everyone with issued_before";
                errors.push(FieldError::new("", takes));
                None
            }
        };
        match (target, why) {
            (Some(target), Ok(why)) if errors.is_empty() => Ok(Wish { target, why, ends_at }),
            _ => Err(errors),
        }
    }
}

impl Example for RevokeBody {
    fn example() -> Self {
        Self {
            token_id: None,
            subject: Some(IdText("u-42".to_owned())),
            everyone: false,
            issued_before: Some(MomentText("2026-01-01T12:00:00.000Z".to_owned())),
            ends_at: None,
            why: WhyText("lost phone".to_owned()),
        }
    }
}

/// The tokens that were taken back.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Revocations")]
pub(crate) struct RevocationsBody {
    /// How often they were written; 0 for never.
    version: u64,
    /// The version that the node which answers goes by.
    in_force: u64,
    /// All that were not lifted, the latest first; at most 4,096. Those whose end is over go with the next change.
    revocations: Vec<RevocationBody>,
}

/// Tokens that were taken back.
#[derive(Debug, Serialize, Object)]
#[oai(rename = "Revocation", example)]
pub(crate) struct RevocationBody {
    /// Its id.
    id: String,
    /// The `jti` of one token; null where it is about others.
    #[oai(nullable)]
    token_id: Option<TokenIdText>,
    /// Whose tokens; null where it is about one token or everybody's.
    #[oai(nullable)]
    subject: Option<IdText>,
    /// Whether it is about everybody.
    everyone: bool,
    /// Tokens issued before this moment; null where age does not matter.
    #[oai(nullable)]
    issued_before: Option<MomentText>,
    /// Who took them back.
    by: IdText,
    /// Why.
    why: WhyText,
    /// When.
    at: MomentText,
    /// Until when it counts.
    ends_at: MomentText,
}

impl From<&Revocation> for RevocationBody {
    fn from(revocation: &Revocation) -> Self {
        let (token_id, subject, issued_before) = match &revocation.target {
            Target::Token(id) => (Some(TokenIdText(id.as_str().to_owned())), None, None),
            Target::Subject(user) => (None, Some(user), None),
            Target::IssuedBefore { subject, before } => (None, subject.as_ref(), Some(*before)),
        };
        Self {
            id: revocation.id.to_string(),
            everyone: token_id.is_none() && subject.is_none(),
            token_id,
            subject: subject.map(|user| IdText(user.to_string())),
            issued_before: issued_before.map(Into::into),
            by: IdText(revocation.by.to_string()),
            why: WhyText(revocation.why.as_str().to_owned()),
            at: revocation.at.into(),
            ends_at: revocation.ends_at.into(),
        }
    }
}

impl Example for RevocationBody {
    fn example() -> Self {
        let at = MomentText("2026-01-01T12:00:00.000Z".to_owned());
        Self {
            id: "9f86d081884c7d65".to_owned(),
            token_id: None,
            subject: Some(IdText("u-42".to_owned())),
            everyone: false,
            issued_before: Some(at.clone()),
            by: IdText("admin-1".to_owned()),
            why: WhyText("lost phone".to_owned()),
            at,
            ends_at: MomentText("2026-01-31T12:00:00.000Z".to_owned()),
        }
    }
}
