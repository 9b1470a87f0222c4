//! Notifications, and the drafts that become them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::audience::{Audience, USERS_MAX, Users};
use crate::ids::{ID_MAX_CHARS, NotificationId};
use crate::time::Timestamp;

/// A type is a dotted word such as `solicitacao.aprovada`.
pub const TYPE_MAX_CHARS: usize = 64;
/// One line on a phone's lock screen, with room.
pub const TITLE_MAX_CHARS: usize = 200;
/// About two printed pages; longer texts belong behind the link.
pub const BODY_MAX_CHARS: usize = 5_000;
/// The shortest limit that a browser in use puts on an address.
pub const LINK_MAX_CHARS: usize = 2_048;
/// A notification is scheduled at most this far ahead.
pub const DELIVER_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How much a notification presses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// May be read at leisure.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Worth interrupting.
    High,
    /// Now.
    Urgent,
}

impl Priority {
    /// Every priority, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Normal, Self::High, Self::Urgent];

    /// Returns the name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
            Self::Urgent => "urgent",
        }
    }

    /// Reads the name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.as_str() == text)
    }
}

/// What a notification is about: `[a-z0-9_.-]{1,64}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NotificationType(Arc<str>);

impl NotificationType {
    /// Reads a type; `None` when it is empty, too long or holds another character.
    pub fn parse(text: &str) -> Option<Self> {
        let length_fits = (1..=TYPE_MAX_CHARS).contains(&text.len());
        let byte_fits =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
        (length_fits && text.bytes().all(byte_fits)).then(|| Self(text.into()))
    }

    /// Returns the type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One thing wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, such as `audience.users[3]`.
    pub field: String,
    /// What is wrong and what is taken instead.
    pub detail: String,
}

impl FieldError {
    /// Names a field and says what is wrong with it.
    pub fn new(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            detail: detail.into(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.detail)
    }
}

/// The audience as a caller wrote it, before anything is known about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AudienceFields {
    /// `{"users": […]}`
    pub users: Option<Vec<String>>,
    /// `{"unit": "…"}`
    pub unit: Option<String>,
    /// `{"benefit": "…"}`
    pub benefit: Option<String>,
    /// `{"everyone": true}`
    pub everyone: Option<bool>,
}

/// A request to publish as a caller wrote it, before anything is known about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftFields {
    /// Who it is for.
    pub audience: AudienceFields,
    /// The type's name.
    pub kind: String,
    /// The priority's name; normal when absent.
    pub priority: Option<String>,
    /// Plain text.
    pub title: String,
    /// HTML, reduced to the allowed elements before it is stored.
    pub body: String,
    /// A path or an https address.
    pub link: Option<String>,
    /// One JSON value as text; `{}` when absent. The edge has parsed it: it is well-formed.
    pub data: Option<String>,
    /// When to publish; at once when absent or past.
    pub deliver_at: Option<Timestamp>,
    /// When it stops being worth showing.
    pub expires_at: Option<Timestamp>,
    /// Whether each reader is asked to acknowledge it.
    pub requires_ack: bool,
}

/// A request to publish in which every field has been checked against its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Who it is for.
    pub audience: Audience,
    /// What a reader will be shown.
    pub content: Content,
    /// When to publish; at once when absent or past.
    pub deliver_at: Option<Timestamp>,
}

/// What a reader is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What it is about.
    pub kind: NotificationType,
    /// How much it presses.
    pub priority: Priority,
    /// Plain text on one line.
    pub title: Arc<str>,
    /// HTML; in a draft as written, in a notification reduced to the allowed elements.
    pub body: Arc<str>,
    /// A path or an https address.
    pub link: Option<Arc<str>>,
    /// One JSON value as text, given back unchanged.
    pub data: Arc<str>,
    /// Whether each reader is asked to acknowledge it.
    pub requires_ack: bool,
    /// When it stops being worth showing.
    pub expires_at: Option<Timestamp>,
}

/// A notification as it is stored: once, whoever and however many it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its address for good.
    pub id: NotificationId,
    /// What a reader is shown.
    pub content: Content,
    /// When it became visible.
    pub published_at: Timestamp,
}

impl Notification {
    /// Tells whether it has stopped being worth showing.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.content.expires_at.is_some_and(|at| at <= now)
    }
}

impl Draft {
    /// Checks every field and reports all that is wrong at once.
    pub fn check(fields: DraftFields) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let audience = check_audience(fields.audience, &mut errors);
        let kind = NotificationType::parse(&fields.kind);
        if kind.is_none() {
            errors.push(FieldError::new(
                "type",
                format!("must be 1 to {TYPE_MAX_CHARS} of a-z 0-9 _ . -"),
            ));
        }
        let priority = fields
            .priority
            .as_deref()
            .map_or(Some(Priority::Normal), Priority::parse);
        if priority.is_none() {
            errors.push(FieldError::new("priority", "must be low, normal, high or urgent"));
        }
        errors.extend(title_problem(&fields.title).map(|detail| FieldError::new("title", detail)));
        errors.extend(body_problem(&fields.body).map(|detail| FieldError::new("body", detail)));
        let link_problem = fields.link.as_deref().and_then(link_problem);
        errors.extend(link_problem.map(|detail| FieldError::new("link", detail)));
        if let (Some(deliver), Some(expire)) = (fields.deliver_at, fields.expires_at)
            && expire <= deliver
        {
            errors.push(FieldError::new("expires_at", "must be later than deliver_at"));
        }

        let (Some(audience), Some(kind), Some(priority), true) =
            (audience, kind, priority, errors.is_empty())
        else {
            return Err(errors);
        };
        let content = Content {
            kind,
            priority,
            title: fields.title.into(),
            body: fields.body.into(),
            link: fields.link.map(Into::into),
            data: fields.data.map_or_else(|| "{}".into(), Into::into),
            requires_ack: fields.requires_ack,
            expires_at: fields.expires_at,
        };
        Ok(Self {
            audience,
            content,
            deliver_at: fields.deliver_at,
        })
    }

    /// Checks the moments against `now`: what has expired is not published, and nothing is scheduled further
    /// ahead than [`DELIVER_AHEAD_MAX`].
    pub fn check_moments(&self, now: Timestamp) -> Result<(), FieldError> {
        if self.content.expires_at.is_some_and(|at| at <= now) {
            return Err(FieldError::new("expires_at", "must lie in the future"));
        }
        if self.deliver_at.is_some_and(|at| at > now.plus(DELIVER_AHEAD_MAX)) {
            return Err(FieldError::new("deliver_at", "must be at most 366 days ahead"));
        }
        Ok(())
    }

    /// Writes the draft so that two drafts have the same bytes only if they are the same: each part is preceded
    /// by its length. Idempotency keys remember a digest of it.
    pub fn canonical_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        let mut part = |text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        let moment = |at: Option<Timestamp>| at.map_or(String::new(), |at| at.as_millis().to_string());
        part("draft-1");
        let channels = self.audience.channels();
        part(&channels.len().to_string());
        for channel in channels {
            part(&channel.to_string());
        }
        let content = &self.content;
        part(content.kind.as_str());
        part(content.priority.as_str());
        part(&content.title);
        part(&content.body);
        part(if content.link.is_some() { "link" } else { "" });
        part(content.link.as_deref().unwrap_or_default());
        part(&content.data);
        part(if content.requires_ack { "ack" } else { "" });
        part(&moment(content.expires_at));
        part(&moment(self.deliver_at));
        bytes
    }
}

fn check_audience(fields: AudienceFields, errors: &mut Vec<FieldError>) -> Option<Audience> {
    let id_detail = || format!("must be 1 to {ID_MAX_CHARS} of A-Z a-z 0-9 _ -");
    let before = errors.len();
    let audience = match fields {
        AudienceFields {
            users: Some(names),
            unit: None,
            benefit: None,
            everyone: None,
        } => {
            let mut users = Vec::with_capacity(names.len().min(USERS_MAX));
            for (index, name) in names.iter().enumerate().take(USERS_MAX) {
                match name.parse() {
                    Ok(user) => users.push(user),
                    Err(_) => errors.push(FieldError::new(format!("audience.users[{index}]"), id_detail())),
                }
            }
            let counted = (1..=USERS_MAX).contains(&names.len());
            if !counted {
                let detail = format!("must name 1 to {USERS_MAX} people, got {}", names.len());
                errors.push(FieldError::new("audience.users", detail));
            }
            (errors.len() == before)
                .then(|| Users::try_new(users).ok().map(Audience::Users))
                .flatten()
        }
        AudienceFields {
            users: None,
            unit: Some(unit),
            benefit: None,
            everyone: None,
        } => unit.parse().map(Audience::Unit).ok().or_else(|| {
            errors.push(FieldError::new("audience.unit", id_detail()));
            None
        }),
        AudienceFields {
            users: None,
            unit: None,
            benefit: Some(benefit),
            everyone: None,
        } => benefit.parse().map(Audience::Benefit).ok().or_else(|| {
            errors.push(FieldError::new("audience.benefit", id_detail()));
            None
        }),
        AudienceFields {
            users: None,
            unit: None,
            benefit: None,
            everyone: Some(true),
        } => Some(Audience::Everyone),
        AudienceFields {
            users: None,
            unit: None,
            benefit: None,
            everyone: Some(false),
        } => {
            errors.push(FieldError::new(
                "audience.everyone",
                "must be true when it is given",
            ));
            None
        }
        _ => {
            let detail = "must be exactly one of users, unit, benefit, everyone";
            errors.push(FieldError::new("audience", detail));
            None
        }
    };
    audience.filter(|_| errors.len() == before)
}

fn title_problem(title: &str) -> Option<String> {
    let chars = title.chars().count();
    if title.trim().is_empty() || chars > TITLE_MAX_CHARS {
        return Some(format!(
            "must be 1 to {TITLE_MAX_CHARS} characters of plain text, got {chars}"
        ));
    }
    let breaks_line = |c: &char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    title.chars().find(breaks_line).map(|c| {
        format!(
            "must be one line without control characters, holds U+{:04X}",
            u32::from(c)
        )
    })
}

fn body_problem(body: &str) -> Option<String> {
    let chars = body.chars().count();
    if chars > BODY_MAX_CHARS {
        return Some(format!(
            "must be at most {BODY_MAX_CHARS} characters, got {chars}"
        ));
    }
    let unfit = |c: &char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    body.chars().find(unfit).map(|c| {
        format!(
            "must hold no control characters but line breaks and tabs, holds U+{:04X}",
            u32::from(c)
        )
    })
}

/// A link leads to this site or to an https address, never to a script, another scheme or, by `//host` or
/// `/\host`, to somewhere that only looks like a path (WHATWG URL: a backslash counts as a slash).
fn link_problem(link: &str) -> Option<String> {
    let takes = "must be a path beginning with one / or an https:// address";
    let chars = link.chars().count();
    if chars > LINK_MAX_CHARS {
        return Some(format!(
            "must be at most {LINK_MAX_CHARS} characters, got {chars}"
        ));
    }
    let unfit = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '\\' | '<' | '>' | '"' | '`');
    if link.chars().any(unfit) {
        return Some(format!(
            "{takes}, without blanks, control characters, \\ < > \" or `"
        ));
    }
    if link.starts_with('/') && !link.starts_with("//") {
        return None;
    }
    let authority = link
        .strip_prefix("https://")
        .map(|rest| rest.split(['/', '?', '#']).next().unwrap_or(""));
    match authority {
        Some(host) if !host.is_empty() && !host.contains('@') && !host.starts_with(':') => None,
        Some(host) if host.contains('@') => Some(format!("{takes} without a user name")),
        _ => Some(takes.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> DraftFields {
        DraftFields {
            audience: AudienceFields {
                users: Some(vec!["u-42".into()]),
                ..AudienceFields::default()
            },
            kind: "solicitacao.aprovada".into(),
            title: "Solicitação aprovada".into(),
            body: "Seu pedido <b>2024/17</b> foi aprovado.".into(),
            ..DraftFields::default()
        }
    }

    fn wrong(change: impl FnOnce(&mut DraftFields)) -> Vec<String> {
        let mut fields = fields();
        change(&mut fields);
        Draft::check(fields)
            .expect_err("must be refused")
            .into_iter()
            .map(|e| e.field)
            .collect()
    }

    #[test]
    fn a_plain_draft_passes_with_its_defaults() {
        let draft = Draft::check(fields()).unwrap();
        assert_eq!(draft.content.priority, Priority::Normal);
        assert_eq!(&*draft.content.data, "{}");
        assert_eq!(draft.content.link, None);
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let named = wrong(|f| {
            f.kind = "Not A Type".into();
            f.priority = Some("loud".into());
            f.title = "x".repeat(201);
            f.body = "x".repeat(5_001);
            f.link = Some("javascript:alert(1)".into());
            f.audience.users = Some(vec!["ok".into(), "a:b".into()]);
        });
        assert_eq!(
            named,
            ["audience.users[1]", "type", "priority", "title", "body", "link"]
        );
    }

    #[test]
    fn limits_count_characters_and_hold_at_their_edge() {
        let mut at_edge = fields();
        at_edge.title = "é".repeat(TITLE_MAX_CHARS);
        at_edge.body = "é".repeat(BODY_MAX_CHARS);
        at_edge.kind = "a".repeat(TYPE_MAX_CHARS);
        assert!(Draft::check(at_edge).is_ok());
        assert_eq!(wrong(|f| f.title = " \u{a0} ".into()), ["title"]);
        assert_eq!(wrong(|f| f.kind = "a".repeat(TYPE_MAX_CHARS + 1)), ["type"]);
        assert_eq!(wrong(|f| f.kind = String::new()), ["type"]);
    }

    #[test]
    fn titles_are_one_line_and_bodies_hold_no_control_characters() {
        for c in ['\n', '\r', '\0', '\u{1b}', '\u{85}', '\u{2028}', '\u{2029}'] {
            assert_eq!(wrong(|f| f.title = format!("a{c}b")), ["title"], "{c:?}");
        }
        for c in ['\0', '\u{1b}', '\u{7f}', '\u{85}'] {
            assert_eq!(wrong(|f| f.body = format!("a{c}b")), ["body"], "{c:?}");
        }
        let mut lines = fields();
        lines.body = "one\r\ntwo\tthree\u{2028}".into();
        assert!(Draft::check(lines).is_ok());
    }

    #[test]
    fn links_lead_to_this_site_or_to_https() {
        for bad in [
            "",
            "x",
            "//evil.example",
            "/\\evil.example",
            "http://a",
            "https://",
            "https:///a",
            "https://u@a",
            "ftp://a",
            "javascript:alert(1)",
            "/a b",
            "/a\nb",
            "https://:80/",
            "HTTPS://a",
            "data:text/html,x",
            "/<script>",
        ] {
            assert_eq!(wrong(|f| f.link = Some(bad.into())), ["link"], "{bad:?}");
        }
        for good in [
            "/",
            "/solicitacoes/17?x=1#y",
            "https://a.example/ç?q=1",
            "https://a.example:8443",
        ] {
            let mut with_link = fields();
            with_link.link = Some(good.into());
            assert!(Draft::check(with_link).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn an_audience_is_exactly_one_of_four() {
        let none = AudienceFields::default();
        assert_eq!(wrong(|f| f.audience = none.clone()), ["audience"]);
        assert_eq!(wrong(|f| f.audience.everyone = Some(true)), ["audience"]);
        assert_eq!(wrong(|f| f.audience.users = Some(vec![])), ["audience.users"]);
        assert_eq!(
            wrong(|f| f.audience = AudienceFields {
                everyone: Some(false),
                ..none.clone()
            }),
            ["audience.everyone"]
        );
        assert_eq!(
            wrong(|f| f.audience = AudienceFields {
                unit: Some("*".into()),
                ..none.clone()
            }),
            ["audience.unit"]
        );
        assert_eq!(
            wrong(|f| f.audience = AudienceFields {
                benefit: Some(String::new()),
                ..none.clone()
            }),
            ["audience.benefit"]
        );
        let many = (0..=USERS_MAX).map(|i| format!("u{i}")).collect();
        assert_eq!(wrong(|f| f.audience.users = Some(many)), ["audience.users"]);
    }

    #[test]
    fn moments_are_checked_against_now_and_each_other() {
        let at = Timestamp::from_millis;
        assert_eq!(
            wrong(|f| {
                f.deliver_at = Some(at(2_000));
                f.expires_at = Some(at(2_000));
            }),
            ["expires_at"]
        );
        let mut expiring = fields();
        expiring.expires_at = Some(at(1_000));
        let draft = Draft::check(expiring).unwrap();
        assert!(draft.check_moments(at(999)).is_ok());
        assert_eq!(draft.check_moments(at(1_000)).unwrap_err().field, "expires_at");
        let mut far = fields();
        far.deliver_at = Some(at(1).plus(DELIVER_AHEAD_MAX));
        let draft = Draft::check(far).unwrap();
        assert!(draft.check_moments(at(1)).is_ok());
        assert_eq!(draft.check_moments(at(0)).unwrap_err().field, "deliver_at");
    }

    #[test]
    fn canonical_bytes_tell_every_two_drafts_apart() {
        type Change = fn(&mut DraftFields);
        let changes: [Change; 10] = [
            |f| f.audience.users = Some(vec!["u-43".into()]),
            |f| f.kind = "x".into(),
            |f| f.priority = Some("high".into()),
            |f| f.title = "x".into(),
            |f| f.body = "x".into(),
            |f| f.link = Some("/".into()),
            |f| f.data = Some("1".into()),
            |f| f.requires_ack = true,
            |f| f.expires_at = Some(Timestamp::from_millis(9)),
            |f| f.deliver_at = Some(Timestamp::from_millis(9)),
        ];
        let bytes = |change: Option<&Change>| {
            let mut fields = fields();
            if let Some(change) = change {
                change(&mut fields);
            }
            Draft::check(fields).unwrap().canonical_bytes()
        };
        let mut all: Vec<_> = changes.iter().map(|change| bytes(Some(change))).collect();
        all.push(bytes(None));
        assert_eq!(bytes(None), bytes(None));
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), changes.len() + 1);
    }
}
