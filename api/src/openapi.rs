//! The document of the API: made from the handlers, finished here, kept in `openapi/openapi.yaml`.

mod yaml;

use poem_openapi::{LicenseObject, OpenApiService};
use serde_json::{Map, Number, Value};

use crate::cli::DocumentFormat;
use crate::http::{self, PublicUrl};

pub(crate) use self::yaml::to_yaml as yaml;

const DESCRIPTION: &str = "Arauto delivers notifications to people's browsers, live and without losing any over a \
reconnect.

Everything that a client can receive is an event in one log, and the *cursor* (`epoch-position`) is its only id: in \
receipts, pages, streams and replays. Load the inbox, open the stream with the inbox's cursor, and nothing is missed or \
repeated.

Errors are problems as RFC 9457 defines them. Their `type` is stable, and its address has a page. Every answer carries \
`x-request-id`; quote it when you ask for help. Answers are not to be cached unless they say so. Fields that a request \
does not know are refused; parameters that an address does not know are ignored. Clients ignore fields and events that \
they do not know.

How often anybody may do something is limited, over any sixty seconds. Answers to requests that were counted say by \
`RateLimit-Limit` how many are answered, by `RateLimit-Remaining` how many of them are left, and by `RateLimit-Reset` in \
how many seconds there are more; 429 says by `Retry-After` when to come back. Coming back early costs nothing.";

/// The groups in the order in which people meet them.
const GROUPS: [&str; 6] = [
    "publish",
    "inbox",
    "streams",
    "administration",
    "operations",
    "development",
];

/// Schemas of requests, whose unknown fields are refused.
const CLOSED: [&str; 17] = [
    "AddressLimits",
    "Allowance",
    "Audience",
    "Batch",
    "BatchItem",
    "ChangeRollout",
    "Draft",
    "HeartbeatReply",
    "Identity",
    "LimitProfile",
    "Limits",
    "LimitsChange",
    "ReadAll",
    "ReleaseKillSwitch",
    "RolloutOverrides",
    "RolloutStage",
    "ThrowKillSwitch",
];

/// Writes the document, as it is kept in `openapi/openapi.yaml`.
pub fn document(format: DocumentFormat) -> String {
    let document = described(None);
    match format {
        DocumentFormat::Json => json(&document),
        DocumentFormat::Yaml => yaml(&document),
    }
}

/// Writes a document as JSON.
pub(crate) fn json(document: &Value) -> String {
    // The alternate form is indented.
    format!("{document:#}\n")
}

/// Describes the service at its public address.
pub(crate) fn described(public_url: Option<&PublicUrl>) -> Value {
    let address = public_url.map_or_else(|| "/".to_owned(), PublicUrl::address);
    let service = OpenApiService::new(
        http::Api::new(http::Documents::default()),
        "Arauto",
        env!("CARGO_PKG_VERSION"),
    )
    .description(DESCRIPTION)
    .license(LicenseObject::new("MIT OR Apache-2.0").url("https://spdx.org/licenses/MIT.html"))
    .server(address);
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    finish(&mut document);
    document
}

/// Adds what the types of the document cannot say.
fn finish(document: &mut Value) {
    walk(document, &mut |object| {
        say_null_in_enums(object);
        write_whole_numbers(object);
    });
    finish_answers(document);
    if let Some(Value::Array(groups)) = document.get_mut("tags") {
        groups.sort_by_key(|group| GROUPS.iter().position(|name| group["name"] == *name));
    }
    for name in CLOSED {
        let pointer = format!("/components/schemas/{name}");
        if let Some(Value::Object(schema)) = document.pointer_mut(&pointer) {
            schema.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
    }
}

fn walk(value: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values_mut().for_each(|value| walk(value, visit));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| walk(value, visit)),
        _ => {}
    }
}

/// In version 3.0 of the format `nullable` adds a type, not a value, so an enumeration has to name `null` as well.
fn say_null_in_enums(object: &mut Map<String, Value>) {
    let nullable = object.get("nullable") == Some(&Value::Bool(true));
    if let (true, Some(Value::Array(values))) = (nullable, object.get_mut("enum"))
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

/// Limits are kept as floating-point numbers; readers of the document expect `1000`, not `1000.0`.
fn write_whole_numbers(object: &mut Map<String, Value>) {
    for name in ["minimum", "maximum"] {
        let Some(Value::Number(number)) = object.get(name) else {
            continue;
        };
        let whole = number
            .to_string()
            .strip_suffix(".0")
            .and_then(|text| text.parse::<i64>().ok());
        if let Some(whole) = whole {
            object.insert(name.to_owned(), Value::Number(Number::from(whole)));
        }
    }
}

/// Finishes what is said of each answer: every one carries a request id, and an example stands beside the schema that
/// it is an example of.
fn finish_answers(document: &mut Value) {
    let request_id = serde_json::json!({
        "description": "The request's id: the one that was sent, if it is 1 to 64 of `A-Z a-z 0-9 _ -`, else a new one.",
        "required": true,
        "schema": { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" },
    });
    document["components"]["headers"] = serde_json::json!({ "x-request-id": request_id });
    let Some(Value::Object(paths)) = document.get_mut("paths") else {
        return;
    };
    let operations = paths
        .values_mut()
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut);
    let answers = operations.filter_map(|operation| operation.get_mut("responses")?.as_object_mut());
    for answer in answers.flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        let headers = answer
            .entry("headers")
            .or_insert_with(|| Value::Object(Map::new()));
        headers["x-request-id"] = serde_json::json!({ "$ref": "#/components/headers/x-request-id" });
        let media_types = answer.get_mut("content").and_then(Value::as_object_mut);
        media_types
            .into_iter()
            .flat_map(Map::values_mut)
            .for_each(lift_example);
    }
}

/// Turns `allOf` of a reference and an example into the reference, and the example beside it.
fn lift_example(media_type: &mut Value) {
    let schema = &mut media_type["schema"];
    let Some(example) = schema.get_mut("example").map(Value::take) else {
        return;
    };
    if let Some(reference) = schema.pointer_mut("/allOf/0").map(Value::take) {
        media_type["schema"] = reference;
        media_type["example"] = example;
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_kept_document_is_the_one_that_the_handlers_make() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/openapi.yaml");
        let made = document(DocumentFormat::Yaml);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        if kept != made {
            let fresh = std::env::temp_dir().join("arauto-openapi.yaml");
            std::fs::write(&fresh, &made).unwrap();
            panic!(
                "openapi/openapi.yaml is out of date. `cargo run -p api -- openapi > openapi/openapi.yaml` renews it; \
                 what it would write stands in {}",
                fresh.display()
            );
        }
    }

    #[test]
    fn every_closed_schema_is_in_the_document() {
        let document = described(None);
        for name in CLOSED {
            let closed = document.pointer(&format!("/components/schemas/{name}/additionalProperties"));
            assert_eq!(closed, Some(&Value::Bool(false)), "{name}");
        }
    }

    #[test]
    fn the_public_address_is_the_server() {
        let public: PublicUrl = "https://gov.example/avisos".parse().unwrap();
        assert_eq!(
            described(Some(&public)).pointer("/servers/0/url"),
            Some(&Value::from("https://gov.example/avisos"))
        );
    }

    #[test]
    fn every_operation_says_what_it_is_and_has_an_example_for_its_body() {
        let document = described(None);
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let at = format!("{method} {path}");
                assert!(operation["summary"].is_string(), "{at}");
                assert!(operation["operationId"].is_string(), "{at}");
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    assert!(parameter["description"].is_string(), "{at} {}", parameter["name"]);
                }
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
                if let Some(name) = schema.as_str().and_then(|reference| reference.rsplit('/').next()) {
                    let schema = &document["components"]["schemas"][name];
                    let items = &schema["properties"]["items"];
                    assert!(
                        schema["example"].is_object() || items.is_object(),
                        "{at}: {name} has no example"
                    );
                }
            }
        }
    }
}
