//! Many notifications in one request.

use std::fmt;

use application::error::Error;
use application::ports::Accepted;
use application::publish::{BATCH_ITEMS_MAX, Submission};
use poem_openapi::Object;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{Example, Type};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::draft::{DraftBody, described_by, item_schema};
use super::receipt::ReceiptBody;
use crate::http::BodyLimits;
use crate::http::problem::{Kind, Problem, ProblemDocument};
use crate::http::request::{RequestBody, parse};

/// Many notifications to be published.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchBody {
    /// Each is parsed on its own, so that one with a wrong shape does not take the others with it.
    #[serde(deserialize_with = "bounded")]
    items: Vec<Box<RawValue>>,
}

/// An item of a batch, for the document.
pub(crate) struct BatchItem;

described_by!(BatchBody, BatchDocument);

impl RequestBody for BatchBody {
    fn limit(limits: &BodyLimits) -> usize {
        limits.batch
    }
}

impl BatchBody {
    /// Checks each item on its own.
    pub(super) fn submissions(self) -> Vec<Result<Submission, Error>> {
        self.items
            .into_iter()
            .map(|item| submission(item.get()))
            .collect()
    }
}

fn submission(text: &str) -> Result<Submission, Error> {
    let body: DraftBody = parse(text.as_bytes()).map_err(|problem| Error::Invalid(problem.into_errors()))?;
    let (draft, key) = body.draft_and_key().map_err(Error::Invalid)?;
    Submission::try_new(draft, key).map_err(|error| Error::Invalid(vec![error]))
}

/// Stops at the first item too many: four megabytes of tiny ones would take a hundred of memory.
fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Box<RawValue>>, D::Error> {
    struct Items;

    impl<'de> Visitor<'de> for Items {
        type Value = Vec<Box<RawValue>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "1 to {BATCH_ITEMS_MAX} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = sequence.next_element()? {
                if items.len() == BATCH_ITEMS_MAX {
                    return Err(serde::de::Error::custom(format_args!(
                        "must be 1 to {BATCH_ITEMS_MAX}, got more"
                    )));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Items)
}

/// Many notifications to be published.
#[derive(Debug)]
struct BatchDocument;

impl BatchDocument {
    fn name() -> std::borrow::Cow<'static, str> {
        "Batch".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Reference(Self::name().into_owned())
    }

    fn register(registry: &mut Registry) {
        registry.create_schema::<BatchItem, _>("BatchItem".to_owned(), item_schema);
        registry.create_schema::<Self, _>(Self::name().into_owned(), |_| {
            let items = MetaSchema {
                description: Some("The notifications, up to 500 that make up to 5,000 events together."),
                items: Some(Box::new(MetaSchemaRef::Reference("BatchItem".to_owned()))),
                min_items: Some(1),
                max_items: Some(BATCH_ITEMS_MAX),
                ..MetaSchema::new("array")
            };
            MetaSchema {
                description: Some("Many notifications to be published."),
                required: vec!["items"],
                properties: vec![("items", MetaSchemaRef::Inline(Box::new(items)))],
                ..MetaSchema::new("object")
            }
        });
    }
}

/// What became of each item, in order.
#[derive(Debug, Serialize, Object)]
#[oai(example)]
pub(crate) struct BatchResults {
    /// One for each item.
    results: Vec<BatchResult>,
}

/// What became of one item: a receipt, or a problem.
#[derive(Debug, Serialize, Object)]
#[oai(skip_serializing_if_is_none)]
struct BatchResult {
    /// What the item alone would have been answered with: 201, or the problem's status.
    status: u16,
    /// The receipt of an item that is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<ReceiptBody>,
    /// With a receipt: whether it is that of an earlier request with the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    /// Why the item was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ProblemDocument>,
}

impl BatchResults {
    /// Writes down what became of each item.
    pub(super) fn of(outcomes: Vec<Result<Accepted, Error>>) -> Self {
        let results = outcomes.into_iter().map(BatchResult::of).collect();
        Self { results }
    }
}

impl BatchResult {
    fn of(outcome: Result<Accepted, Error>) -> Self {
        match outcome {
            Ok(accepted) => Self {
                status: 201,
                receipt: Some((&accepted.receipt).into()),
                replayed: Some(accepted.replayed),
                problem: None,
            },
            Err(error) => Self::refused(&error.into()),
        }
    }

    fn refused(problem: &Problem) -> Self {
        Self {
            status: problem.status_code().as_u16(),
            receipt: None,
            replayed: None,
            problem: Some(problem.document(None)),
        }
    }
}

impl Example for BatchResults {
    fn example() -> Self {
        let stored = BatchResult {
            status: 201,
            receipt: Some(ReceiptBody::example()),
            replayed: Some(false),
            problem: None,
        };
        let refused = Problem::new(
            Kind::Forbidden,
            "none of your roles may publish to private:unit:cras-2:notifications",
        );
        Self {
            results: vec![stored, BatchResult::refused(&refused)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(items: &str) -> Vec<Result<Submission, Error>> {
        parse::<BatchBody>(format!(r#"{{"items":[{items}]}}"#).as_bytes())
            .unwrap()
            .submissions()
    }

    #[test]
    fn an_item_with_a_wrong_shape_stands_alone() {
        let good = r#"{"audience":{"everyone":true},"type":"x","title":"t","idempotency_key":"k-1"}"#;
        let outcomes = outcomes(&format!(r#"{good},5,{{"title":5}},{{"nmae":1}},null,{good}"#));
        let stored: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(stored, [true, false, false, false, false, true]);
        assert_eq!(
            outcomes[0].as_ref().unwrap().idempotency_key.as_deref(),
            Some("k-1")
        );
        let Err(Error::Invalid(errors)) = &outcomes[2] else {
            panic!("{outcomes:?}");
        };
        assert_eq!(errors[0].field, "title");
    }

    #[test]
    fn too_many_items_are_not_even_gathered() {
        let text = format!(r#"{{"items":[{}]}}"#, vec!["1"; BATCH_ITEMS_MAX + 1].join(","));
        let problem = parse::<BatchBody>(text.as_bytes()).unwrap_err();
        assert!(
            problem.to_string().contains("items: must be 1 to 500, got more"),
            "{problem}"
        );
    }
}
