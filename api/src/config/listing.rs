//! The configuration written out: the annotated example, and what is in effect.

use super::key::{Entry, Preset, Shape};
use super::keys::TOPICS;
use super::layers::{Layers, Origin};

const EXAMPLE_HEAD: &str = "\
# Arauto's settings. Every key is here, commented out at its default.
#
# This file is read from arauto.toml in the working directory, or from where --config or ARAUTO_CONFIG says.
# An environment variable wins over the file, and a flag over both. Variables are the keys in upper case with
# ARAUTO_ in front; a list is written there with commas, and an empty variable counts as not set.
# Durations are written 250ms, 30s, 5m, 12h, 7d; sizes 32768, 16KiB, 256MiB, 1GiB.
#
# `arauto check-config` says what is in effect, and where each value comes from.
";

/// Writes `arauto.example.toml`.
pub fn example() -> String {
    let topics = TOPICS.iter().map(|topic| {
        let keys: Vec<String> = topic.keys.iter().map(|key| annotated(*key)).collect();
        format!("\n# ---- {} ----\n\n{}\n", topic.title, keys.join("\n\n"))
    });
    [EXAMPLE_HEAD.to_owned()]
        .into_iter()
        .chain(topics)
        .collect::<Vec<_>>()
        .join("\n")
}

fn annotated(key: &dyn Entry) -> String {
    let mut lines: Vec<String> = key.doc().iter().map(|line| format!("#{line}")).collect();
    lines.push(format!("# Takes {}.", key.describe()));
    match key.preset() {
        Preset::Value(value) => lines.push(format!("#{}", assignment(key, value))),
        Preset::Unset { meaning, sample } => {
            lines.push(format!("# Not set: {meaning}. For example:"));
            lines.push(format!("#{}", assignment(key, sample)));
        }
        Preset::Secret { meaning } => {
            lines.push(format!(
                "# Not set: {meaning}. A secret, so never in this file, only in the environment:"
            ));
            lines.push(format!("# {}", key.variable()));
        }
    }
    lines.join("\n")
}

fn assignment(key: &dyn Entry, value: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let written = match key.shape() {
        Shape::Flag => value.to_owned(),
        Shape::Scalar if value.bytes().all(|b| b.is_ascii_digit() || b == b'_') => value.to_owned(),
        Shape::Scalar => quoted(value),
        Shape::List => {
            let items: Vec<String> = value.split(',').map(|item| quoted(item.trim())).collect();
            format!("[{}]", items.join(", "))
        }
    };
    format!("{} = {written}", key.name())
}

/// Writes what is in effect as a file that could be read again, with the origin of each value. Secrets are masked.
pub fn effective(layers: &Layers) -> String {
    let topics = TOPICS.iter().map(|topic| {
        let lines = topic.keys.iter().map(|key| {
            let (left, right) = in_effect(layers, *key);
            format!("{left:<46} # {right}")
        });
        let lines: Vec<String> = [format!("# {}", topic.title)].into_iter().chain(lines).collect();
        lines.join("\n")
    });
    topics.collect::<Vec<_>>().join("\n\n") + "\n"
}

fn in_effect(layers: &Layers, key: &dyn Entry) -> (String, String) {
    match (layers.given(key), key.preset()) {
        (Some(given), preset) => {
            let left = match preset {
                Preset::Secret { .. } => format!("# {} = ***", key.name()),
                _ => assignment(key, &given.text),
            };
            let right = match &given.origin {
                Origin::Default => "default".to_owned(),
                Origin::File(path) => path.display().to_string(),
                Origin::Environment => key.variable(),
                Origin::Flag(flag) => (*flag).to_owned(),
            };
            (left, right)
        }
        (None, Preset::Value(value)) => (assignment(key, value), "default".to_owned()),
        (None, Preset::Unset { meaning, .. } | Preset::Secret { meaning }) => {
            (format!("# {}", key.name()), format!("not set: {meaning}"))
        }
    }
}
