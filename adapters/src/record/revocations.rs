//! Revocations as the settings keep them.
//!
//! `format` is raised with every new kind of revocation: a node that does not know it goes on by what it read last and
//! says so, rather than to let somebody in.

use application::ports::{RevocationsFormat, UnreadableRevocations};
use domain::revocation::{Revocation, Revocations, Target};
use domain::rollout::Why;
use domain::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Unreadable, from_text, millis, parse, to_text};

/// What this version of the service writes, and the only one it reads.
const FORMAT: u32 = 1;

/// Keeps revocations as JSON.
#[derive(Debug, Clone, Copy, Default)]
pub struct RevocationsJson;

#[derive(Serialize, Deserialize)]
struct ListRecord {
    format: u32,
    /// The latest first.
    revocations: Vec<RevocationRecord>,
}

#[derive(Serialize, Deserialize)]
struct RevocationRecord {
    id: String,
    target: TargetRecord,
    by: String,
    why: String,
    at: i64,
    ends_at: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TargetRecord {
    Token(String),
    Subject(String),
    IssuedBefore { subject: Option<String>, before: i64 },
}

impl RevocationsFormat for RevocationsJson {
    fn read(&self, text: &str) -> Result<Revocations, UnreadableRevocations> {
        read(text).map_err(|error| UnreadableRevocations { what: error.what })
    }

    fn write(&self, revocations: &Revocations) -> String {
        to_text(&ListRecord {
            format: FORMAT,
            revocations: revocations.all().iter().map(Into::into).collect(),
        })
    }
}

fn read(text: &str) -> Result<Revocations, Unreadable> {
    if text.is_empty() {
        return Ok(Revocations::default());
    }
    let list: ListRecord = from_text(text)?;
    if list.format != FORMAT {
        return Err(Unreadable::new("a format of another version of the service"));
    }
    let all = list.revocations.into_iter().map(TryInto::try_into);
    Ok(Revocations::new(all.collect::<Result<_, _>>()?))
}

impl From<&Revocation> for RevocationRecord {
    fn from(revocation: &Revocation) -> Self {
        Self {
            id: revocation.id.to_string(),
            target: match &revocation.target {
                Target::Token(id) => TargetRecord::Token(id.as_str().to_owned()),
                Target::Subject(user) => TargetRecord::Subject(user.to_string()),
                Target::IssuedBefore { subject, before } => TargetRecord::IssuedBefore {
                    subject: subject.as_ref().map(ToString::to_string),
                    before: millis(*before),
                },
            },
            by: revocation.by.to_string(),
            why: revocation.why.as_str().to_owned(),
            at: millis(revocation.at),
            ends_at: millis(revocation.ends_at),
        }
    }
}

impl TryFrom<RevocationRecord> for Revocation {
    type Error = Unreadable;

    fn try_from(record: RevocationRecord) -> Result<Self, Unreadable> {
        let target = match record.target {
            TargetRecord::Token(id) => Target::Token(parse(&id, "token")?),
            TargetRecord::Subject(user) => Target::Subject(parse(&user, "subject")?),
            TargetRecord::IssuedBefore { subject, before } => Target::IssuedBefore {
                subject: subject.map(|user| parse(&user, "subject")).transpose()?,
                before: Timestamp::from_millis(before),
            },
        };
        Ok(Self {
            id: parse(&record.id, "id")?,
            target,
            by: parse(&record.by, "by")?,
            why: Why::try_new(&record.why).map_err(|_| Unreadable::new("why"))?,
            at: Timestamp::from_millis(record.at),
            ends_at: Timestamp::from_millis(record.ends_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::revocation::RevocationId;

    use super::*;

    #[test]
    fn every_revocation_reads_back_as_it_was_written() {
        let before = Timestamp::from_millis(1_500);
        let targets = [
            Target::Token("jti \"1\"".parse().unwrap()),
            Target::Subject("ana".parse().unwrap()),
            Target::IssuedBefore {
                subject: Some("ana".parse().unwrap()),
                before,
            },
            Target::IssuedBefore {
                subject: None,
                before,
            },
        ];
        let all = targets.into_iter().zip(1..).map(|(target, id)| Revocation {
            id: RevocationId(id),
            target,
            by: "admin".parse().unwrap(),
            why: Why::try_new("lost").unwrap(),
            at: before,
            ends_at: Timestamp::MAX,
        });
        let revocations = Revocations::new(all.collect());
        let text = RevocationsJson.write(&revocations);
        assert_eq!(RevocationsJson.read(&text), Ok(revocations));
        assert_eq!(RevocationsJson.read(""), Ok(Revocations::default()));
    }

    #[test]
    fn what_another_version_wrote_is_unreadable_as_a_whole() {
        for text in [
            r#"{"format":2,"revocations":[]}"#,
            r#"{"format":1,"revocations":[{"id":"0000000000000001","target":{"unit":"norte"},"by":"a","why":"x","at":1,"ends_at":2}]}"#,
            "{",
        ] {
            assert!(RevocationsJson.read(text).is_err(), "{text}");
        }
    }
}
