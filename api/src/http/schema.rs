//! Scalars of the wire: texts that the document describes with the limits of the domain.
//!
//! A scalar is read as any text; whether it is a good one, the domain says, so that everything that is wrong with a
//! request is reported at once. Its schema tells clients beforehand.

use std::borrow::Cow;

use application::publish::IDEMPOTENCY_KEY_MAX_CHARS;
use domain::channel::Channel;
use domain::cursor::Cursor;
use domain::ids::{ID_MAX_CHARS, NotificationId};
use domain::notification::{BODY_MAX_CHARS, LINK_MAX_CHARS, Priority, TITLE_MAX_CHARS, TYPE_MAX_CHARS};
use domain::revocation::TOKEN_ID_MAX_CHARS;
use domain::rollout::WHY_MAX_CHARS;
use domain::time::Timestamp;
use domain::transport::{Reason, Transport};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::Moment;

macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $schema:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub(crate) $inner);

        impl Type for $name {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                serde_json::to_value(self).ok()
            }
        }
    )+};
}

scalars! {
    /// A notification's id.
    NotificationIdText(String) = notification_id();
    /// The id of a person, a unit or a benefit type.
    IdText(String) = id();
    /// A place in the log.
    CursorText(String) = cursor();
    /// A channel's name.
    ChannelText(String) = channel();
    /// A moment.
    MomentText(String) = MetaSchema::new_with_format("string", "date-time");
    /// A notification's type.
    TypeText(String) = notification_type();
    /// A priority's name.
    PriorityText(String) = priority();
    /// A notification's title.
    TitleText(String) = MetaSchema {
        min_length: Some(1),
        max_length: Some(TITLE_MAX_CHARS),
        // One line with something to see on it.
        pattern: Some(
            r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*[^\x00-\x1f\x7f-\x9f\u2028\u2029\s][^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"
                .to_owned(),
        ),
        ..MetaSchema::new("string")
    };
    /// A notification's body.
    BodyText(String) = MetaSchema {
        max_length: Some(BODY_MAX_CHARS),
        pattern: Some(r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$".to_owned()),
        ..MetaSchema::new("string")
    };
    /// Where a notification leads.
    LinkText(String) = MetaSchema {
        max_length: Some(LINK_MAX_CHARS),
        pattern: Some(
            r#"^(/([^/\s\\<>"`\x00-\x1f\x7f-\x9f][^\s\\<>"`\x00-\x1f\x7f-\x9f]*)?|https://[^\s\\<>"`\x00-\x1f\x7f-\x9f/?#@:][^\s\\<>"`\x00-\x1f\x7f-\x9f/?#@]*([/?#][^\s\\<>"`\x00-\x1f\x7f-\x9f]*)?)$"#
                .to_owned(),
        ),
        ..MetaSchema::new("string")
    };
    /// The key under which a repeated publish is recognised.
    KeyText(String) = idempotency_key();
    /// A share of all people in percent.
    PercentNumber(Value) = MetaSchema {
        minimum: Some(0.0),
        maximum: Some(100.0),
        ..MetaSchema::new("number")
    };
    /// The name of a transport.
    TransportText(String) = one_of_texts(["ably", "sse"]);
    /// Why a transport was chosen.
    ReasonText(String) = one_of_texts(Reason::ALL.map(Reason::as_str));
    /// A token's own id, its `jti`.
    TokenIdText(String) = MetaSchema {
        min_length: Some(1),
        max_length: Some(TOKEN_ID_MAX_CHARS),
        ..MetaSchema::new("string")
    };
    /// Who is shut out.
    SuspectText(String) = suspect();
    /// Whether a rollout goes up by itself.
    ScheduleText(String) = one_of_texts(["running", "stopped"]);
    /// Why an operator did something.
    WhyText(String) = MetaSchema {
        min_length: Some(1),
        max_length: Some(WHY_MAX_CHARS),
        pattern: Some(r"\S".to_owned()),
        ..MetaSchema::new("string")
    };
    /// A JSON value of the publisher's own.
    AnyJson(Value) = MetaSchema::ANY;
}

/// Describes a notification's id.
pub(crate) fn notification_id() -> MetaSchema {
    MetaSchema::new_with_format("string", "uuid")
}

/// Describes who is shut out.
pub(crate) fn suspect() -> MetaSchema {
    patterned(&format!(
        "^(user:[A-Za-z0-9_-]{{1,{ID_MAX_CHARS}}}|address:[0-9a-fA-F:.]{{1,45}})$"
    ))
}

/// Describes a stream's id.
pub(crate) fn connection_id() -> MetaSchema {
    patterned("^[0-9a-f]{8}-[0-9a-f]{16}$")
}

/// Describes an id that can stand inside a channel's name.
pub(crate) fn id() -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(ID_MAX_CHARS),
        ..patterned("^[A-Za-z0-9_-]+$")
    }
}

/// Describes a place in the log.
pub(crate) fn cursor() -> MetaSchema {
    patterned("^(0|[1-9a-z][0-9a-z]{0,11})-(0|[1-9][0-9]{0,18})$")
}

/// Describes a channel's name.
pub(crate) fn channel() -> MetaSchema {
    let pattern = format!(
        "^(system:notifications|private:(user|unit|benefit):[A-Za-z0-9_-]{{1,{ID_MAX_CHARS}}}:notifications)$"
    );
    patterned(&pattern)
}

/// Describes a notification's type.
pub(crate) fn notification_type() -> MetaSchema {
    patterned(&format!("^[a-z0-9_.-]{{1,{TYPE_MAX_CHARS}}}$"))
}

/// Describes a priority's name.
pub(crate) fn priority() -> MetaSchema {
    one_of_texts(Priority::ALL.map(Priority::as_str))
}

/// Describes the key under which a repeated publish is recognised.
pub(crate) fn idempotency_key() -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(IDEMPOTENCY_KEY_MAX_CHARS),
        ..patterned("^[!-~]+$")
    }
}

/// Describes a text that is one of a few.
pub(crate) fn one_of_texts(texts: impl IntoIterator<Item = &'static str>) -> MetaSchema {
    MetaSchema {
        enum_items: texts.into_iter().map(Value::from).collect(),
        ..MetaSchema::new("string")
    }
}

/// Describes a whole number within bounds.
pub(crate) fn whole_number(minimum: usize, maximum: usize, default: usize) -> MetaSchema {
    #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
    let bound = |limit: usize| Some(limit as f64);
    MetaSchema {
        minimum: bound(minimum),
        maximum: bound(maximum),
        default: Some(Value::from(default)),
        ..MetaSchema::new("integer")
    }
}

/// Describes a text of one form.
pub(crate) fn patterned(pattern: &str) -> MetaSchema {
    MetaSchema {
        pattern: Some(pattern.to_owned()),
        ..MetaSchema::new("string")
    }
}

impl From<NotificationId> for NotificationIdText {
    fn from(id: NotificationId) -> Self {
        Self(id.to_string())
    }
}

impl From<Cursor> for CursorText {
    fn from(cursor: Cursor) -> Self {
        Self(cursor.to_string())
    }
}

impl From<Transport> for TransportText {
    fn from(transport: Transport) -> Self {
        Self(transport.as_str().to_owned())
    }
}

impl From<Reason> for ReasonText {
    fn from(reason: Reason) -> Self {
        Self(reason.as_str().to_owned())
    }
}

impl From<&Channel> for ChannelText {
    fn from(channel: &Channel) -> Self {
        Self(channel.to_string())
    }
}

impl From<Timestamp> for MomentText {
    fn from(at: Timestamp) -> Self {
        Self(Moment(at).to_string())
    }
}
