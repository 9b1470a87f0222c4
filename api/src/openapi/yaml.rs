//! YAML, as much of it as a document of JSON values needs.
//!
//! Blocks for objects and arrays, JSON for everything else: YAML 1.2 takes every JSON text. A general YAML writer
//! would not do: numbers of any precision reach it as objects.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes a value as a YAML document.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(_) | Value::Array(_) => block(&mut out, value, 0),
        scalar => line(&mut out, scalar),
    }
    out
}

fn block(out: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                out.push_str(&indent);
                out.push_str(&text(key));
                out.push(':');
                below(out, value, depth + 1);
            }
        }
        Value::Array(items) => {
            for item in items {
                let start = out.len();
                match item {
                    Value::Object(object) if !object.is_empty() => block(out, item, depth + 1),
                    Value::Array(_) => {
                        out.push_str(&indent);
                        out.push('-');
                        below(out, item, depth + 1);
                        continue;
                    }
                    scalar => {
                        out.push_str(&indent);
                        out.push_str("  ");
                        line(out, scalar);
                    }
                }
                // The first line of an item stands behind its dash.
                out.replace_range(start + indent.len()..start + indent.len() + 2, "- ");
            }
        }
        scalar => line(out, scalar),
    }
}

fn below(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(object) if !object.is_empty() => {
            out.push('\n');
            block(out, value, depth);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, depth);
        }
        scalar => {
            out.push(' ');
            line(out, scalar);
        }
    }
}

fn line(out: &mut String, value: &Value) {
    let _ = match value {
        Value::String(string) => writeln!(out, "{}", text(string)),
        other => writeln!(out, "{other}"),
    };
}

/// Writes a text plainly where no reader can take it for anything else, and as JSON otherwise.
fn text(string: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | ' ' | '-');
    let begins = string
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '/');
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let taken = reserved.iter().any(|word| string.eq_ignore_ascii_case(word));
    if begins && string.chars().all(plain) && !string.ends_with(' ') && !taken {
        string.to_owned()
    } else {
        Value::from(string).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_in_blocks() {
        let value = serde_json::json!({
            "openapi": "3.0.0",
            "empty": {}, "none": [],
            "paths": { "/v1/{id}": { "get": { "tags": ["a", "no"], "x": [{ "b": 1, "c": [1.50] }, [[]], {}] } } },
            "text": "two\nlines: \"quoted\"",
        });
        let expected = r#"openapi: "3.0.0"
empty: {}
none: []
paths:
  "/v1/{id}":
    get:
      tags:
        - a
        - "no"
      x:
        - b: 1
          c:
            - 1.5
        -
          - []
        - {}
text: "two\nlines: \"quoted\""
"#;
        assert_eq!(to_yaml(&value), expected);
    }
}
