//! The request to publish, as callers write it.

use domain::audience::USERS_MAX;
use domain::notification::{AudienceFields, Draft, DraftFields, FieldError};
use domain::time::Timestamp;
use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{Example, ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::http::BodyLimits;
use crate::http::request::{RequestBody, object, raw_json};
use crate::http::schema::{
    AnyJson, BodyText, IdText, KeyText, LinkText, MomentText, PriorityText, TitleText, TypeText,
};

/// A notification to be published.
#[derive(Debug, Object)]
#[oai(rename = "Draft", example)]
pub(crate) struct DraftDocument {
    /// Who it is for.
    audience: AudienceBody,
    /// What it is about: a dotted word such as `solicitacao.aprovada`.
    #[oai(rename = "type")]
    kind: TypeText,
    /// How much it presses. `normal` when absent.
    #[oai(nullable)]
    priority: Option<PriorityText>,
    /// Plain text on one line.
    title: TitleText,
    /// HTML, reduced to `b i em strong br p ul ol li code a[href]` before it is stored. Empty when absent.
    body: Option<BodyText>,
    /// Where it leads: a path beginning with one `/`, or an `https://` address.
    #[oai(nullable)]
    link: Option<LinkText>,
    /// A JSON value of the publisher's own, given back unchanged. `{}` when absent.
    data: Option<AnyJson>,
    /// When to publish it, at most 366 days ahead; at once when absent, null or past.
    #[oai(nullable)]
    deliver_at: Option<MomentText>,
    /// When it stops being worth showing; never when absent or null. Later than now and than `deliver_at`.
    #[oai(nullable)]
    expires_at: Option<MomentText>,
    /// Whether each reader is asked to acknowledge it. False when absent.
    requires_ack: Option<bool>,
}

/// A notification to be published, as it is read. Everything may be absent here: the domain says what is missing,
/// together with whatever else is wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DraftBody {
    #[serde(deserialize_with = "object")]
    audience: AudienceBody,
    #[serde(rename = "type")]
    kind: String,
    priority: Option<String>,
    title: String,
    body: String,
    link: Option<String>,
    #[serde(deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    deliver_at: Option<String>,
    expires_at: Option<String>,
    requires_ack: bool,
    /// Taken from the items of a batch; elsewhere it is a header.
    idempotency_key: Option<String>,
}

/// `null` is a value like others here, not the absence of one.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl DraftBody {
    /// Checks a draft whose key is sent as a header.
    pub(crate) fn draft(self) -> Result<Draft, Vec<FieldError>> {
        let misplaced = self.idempotency_key.is_some().then(|| {
            FieldError::new(
                "idempotency_key",
                "is sent as the header Idempotency-Key; only items of a batch have it",
            )
        });
        self.check(misplaced.into_iter().collect())
    }

    /// Checks an item of a batch, and takes its key out.
    pub(super) fn draft_and_key(mut self) -> Result<(Draft, Option<String>), Vec<FieldError>> {
        let key = self.idempotency_key.take();
        Ok((self.check(Vec::new())?, key))
    }

    fn check(self, mut errors: Vec<FieldError>) -> Result<Draft, Vec<FieldError>> {
        let mut moment = |field: &str, text: Option<String>| {
            let at = text.map(|text| parse_moment(&text)).transpose();
            at.unwrap_or_else(|detail| {
                errors.push(FieldError::new(field, detail));
                None
            })
        };
        let (deliver_at, expires_at) = (
            moment("deliver_at", self.deliver_at),
            moment("expires_at", self.expires_at),
        );
        let data = self.data.map(|data| raw_json::compact(data.get())).transpose();
        let data = data.unwrap_or_else(|flaw| {
            errors.push(FieldError::new("data", flaw.to_string()));
            None
        });
        let draft = Draft::check(DraftFields {
            audience: self.audience.into(),
            kind: self.kind,
            priority: self.priority,
            title: self.title,
            body: self.body,
            link: self.link,
            data,
            deliver_at,
            expires_at,
            requires_ack: self.requires_ack,
        });
        match draft {
            Ok(draft) if errors.is_empty() => Ok(draft),
            Ok(_) => Err(errors),
            Err(others) => {
                errors.extend(others);
                Err(errors)
            }
        }
    }
}

/// Reads an RFC 3339 moment. Parts of milliseconds are dropped.
/// Reads a moment as RFC 3339 writes it.
pub(crate) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let refused = || "must be an RFC 3339 moment such as 2026-01-31T12:00:00Z".to_owned();
    // The grammar has no more than these; the parser takes some other forms as well.
    let takes =
        |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | ':' | '.' | 'T' | 't' | 'Z' | 'z' | ' ');
    let date_and_time = text.len() >= "2026-01-31T12:00:00Z".len() && text.as_bytes()[4] == b'-';
    if !date_and_time || !text.chars().all(takes) {
        return Err(refused());
    }
    let at: jiff::Timestamp = text.parse().map_err(|_| refused())?;
    Ok(Timestamp::from_millis(at.as_millisecond()))
}

/// Who a notification is for: exactly one of these. Callers name people and groups, never channels.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AudienceBody {
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    users: Option<Vec<String>>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    benefit: Option<String>,
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    everyone: Option<bool>,
}

impl From<AudienceBody> for AudienceFields {
    fn from(body: AudienceBody) -> Self {
        Self {
            users: body.users,
            unit: body.unit,
            benefit: body.benefit,
            everyone: body.everyone,
        }
    }
}

impl Type for AudienceBody {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> std::borrow::Cow<'static, str> {
        "Audience".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<Self, _>(Self::name().into_owned(), |_| {
            let described = |schema: MetaSchemaRef, description: &'static str| {
                schema.merge(MetaSchema {
                    description: Some(description),
                    ..MetaSchema::ANY
                })
            };
            let users = MetaSchema {
                items: Some(Box::new(IdText::schema_ref())),
                min_items: Some(1),
                max_items: Some(USERS_MAX),
                ..MetaSchema::new("array")
            };
            let users = MetaSchemaRef::Inline(Box::new(users));
            let everyone = MetaSchemaRef::Inline(Box::new(MetaSchema {
                enum_items: vec![Value::Bool(true)],
                ..MetaSchema::new("boolean")
            }));
            MetaSchema {
                description: Some(
                    "Who a notification is for: exactly one of these. Callers name people and groups, never channels.",
                ),
                properties: vec![
                    ("users", described(users, "People by name, one event each; a name given twice counts once.")),
                    ("unit", described(IdText::schema_ref(), "The members of one unit, one event.")),
                    ("benefit", described(IdText::schema_ref(), "The staff of one benefit type, one event.")),
                    ("everyone", described(everyone, "Everyone who is authenticated, one event.")),
                ],
                min_properties: Some(1),
                max_properties: Some(1),
                ..MetaSchema::new("object")
            }
        });
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for AudienceBody {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
    }
}

impl ToJSON for AudienceBody {
    fn to_json(&self) -> Option<Value> {
        serde_json::to_value(self).ok()
    }
}

/// `DraftBody` is described by `DraftDocument`.
macro_rules! described_by {
    ($body:ty, $document:ty) => {
        impl Type for $body {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> std::borrow::Cow<'static, str> {
                <$document>::name()
            }

            fn schema_ref() -> MetaSchemaRef {
                <$document>::schema_ref()
            }

            fn register(registry: &mut Registry) {
                <$document>::register(registry);
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    };
}
pub(super) use described_by;

described_by!(DraftBody, DraftDocument);

impl RequestBody for DraftBody {
    fn limit(limits: &BodyLimits) -> usize {
        limits.publish
    }
}

impl Example for DraftDocument {
    fn example() -> Self {
        Self {
            audience: AudienceBody {
                users: Some(vec!["u-42".to_owned()]),
                ..AudienceBody::default()
            },
            kind: TypeText("solicitacao.aprovada".to_owned()),
            priority: Some(PriorityText("high".to_owned())),
            title: TitleText("Solicitação aprovada".to_owned()),
            body: Some(BodyText("Seu pedido <b>2024/17</b> foi aprovado.".to_owned())),
            link: Some(LinkText("/solicitacoes/17".to_owned())),
            data: Some(AnyJson(serde_json::json!({ "protocolo": "2024/17" }))),
            deliver_at: None,
            expires_at: None,
            requires_ack: Some(false),
        }
    }
}

/// Returns the schema of an item of a batch: a draft with its key.
pub(super) fn item_schema(registry: &mut Registry) -> MetaSchema {
    let mut schema = registry.create_fake_schema::<DraftDocument>();
    let key = KeyText::schema_ref().merge(MetaSchema {
        description: Some(
            "Recognises a repeat of this item, as the header `Idempotency-Key` does for one notification.",
        ),
        nullable: true,
        ..MetaSchema::ANY
    });
    schema.properties.push(("idempotency_key", key));
    schema.description = Some("A notification of a batch.");
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> Result<Draft, Vec<FieldError>> {
        serde_json::from_str::<DraftBody>(text).unwrap().draft()
    }

    fn data(value: &str) -> String {
        let text = format!(r#"{{"audience":{{"everyone":true}},"type":"x","title":"t","data":{value}}}"#);
        draft(&text).unwrap().content.data.to_string()
    }

    #[test]
    fn data_is_kept_as_it_was_written() {
        for value in [
            "null",
            "0",
            "\"a b\"",
            r#"{"z":1,"a":{"b":null},"z":2}"#,
            "123456789012345678901234567890.10e-400",
            r#"{"$serde_json::private::Number":"x"}"#,
            r#"{"$serde_json::private::RawValue":"x"}"#,
        ] {
            assert_eq!(data(value), value);
        }
        assert_eq!(data("[ 1,\n2 ]"), "[1,2]");
        let absent = draft(r#"{"audience":{"everyone":true},"type":"x","title":"t"}"#).unwrap();
        assert_eq!(&*absent.content.data, "{}");
    }

    #[test]
    fn everything_that_is_wrong_is_reported_at_once() {
        let text = r#"{"audience":{"users":["ok","a b"]},"type":"X","priority":"asap","title":" ",
            "body":"\u0000","link":"javascript:alert(1)","data":"\ud800","deliver_at":"tomorrow",
            "expires_at":"2026-01-01T00:00:00","idempotency_key":"k"}"#;
        let fields: Vec<String> = draft(text)
            .unwrap_err()
            .into_iter()
            .map(|error| error.field)
            .collect();
        assert_eq!(
            fields,
            [
                "idempotency_key",
                "deliver_at",
                "expires_at",
                "data",
                "audience.users[1]",
                "type",
                "priority",
                "title",
                "body",
                "link"
            ]
        );
    }

    #[test]
    fn moments_are_rfc_3339_and_nothing_else() {
        let millis = |text: &str| parse_moment(text).map(Timestamp::as_millis);
        assert_eq!(millis("2026-01-01T00:00:00Z"), Ok(1_767_225_600_000));
        assert_eq!(millis("2025-12-31t21:00:00.1239-03:00"), Ok(1_767_225_600_123));
        assert_eq!(millis("2026-01-01 00:00:00z"), Ok(1_767_225_600_000));
        for bad in [
            "",
            "2026-01-01",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00",
            "2026-02-30T00:00:00Z",
            "2026-01-01T00:00:00+00:00[UTC]",
            "+002026-01-01T00:00:00Z",
            "20260101T000000.000000Z",
            "2026-W01-4T00:00:00Z",
            "1767225600000",
        ] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }
}
