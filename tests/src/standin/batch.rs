//! Publishing to many channels in one request.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::ErrorInfo;
use super::answer::{Answer, told};
use super::app::{App, Publisher};
use super::call::Call;
use super::fault::Befalling;
use super::grant::Grant;
use super::message::Message;
use super::rest::{acting_for, shown};

/// What one request may name (Ably, batch publish).
const CHANNELS_MAX: usize = 100;
/// Since this version each specification has a result of its own.
const BY_SPECIFICATION: u32 = 3;

struct Specification {
    channels: Vec<String>,
    messages: Vec<Message>,
}

/// What became of one specification.
#[derive(Default)]
struct Report {
    taken: usize,
    failed: usize,
    results: Vec<Value>,
}

/// Lists the channels that a batch names.
pub(super) fn channels(body: &Value) -> Vec<String> {
    let specifications: &[Value] = match body {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    };
    specifications
        .iter()
        .flat_map(|one| names(&one["channels"]))
        .collect()
}

fn names(channels: &Value) -> Vec<String> {
    match channels {
        Value::Array(list) => list
            .iter()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect(),
        Value::String(name) => vec![name.clone()],
        _ => Vec::new(),
    }
}

/// Publishes what can be published. Each channel of a specification stands alone.
pub(super) fn publish(
    app: &App,
    call: &Call,
    grant: &Grant,
    befalling: &Befalling,
) -> Result<Answer, ErrorInfo> {
    let specifications = read(&call.body)?;
    let client = acting_for(call)?;
    let publisher = Publisher {
        grant,
        client_id: client.as_deref(),
        connection: None,
    };
    let reports = specifications
        .iter()
        .map(|one| carry_out(app, &publisher, one, befalling));
    let reports: Vec<Report> = reports.collect();
    if call.version() >= BY_SPECIFICATION {
        let shown = reports.into_iter().map(|report| {
            json!({ "successCount": report.taken, "failureCount": report.failed, "results": report.results })
        });
        return Ok(told(201, &shown.collect()));
    }
    let failed = reports.iter().any(|report| report.failed > 0);
    let flat: Value = reports.into_iter().flat_map(|report| report.results).collect();
    if failed {
        let error = ErrorInfo::new(40020, 400, "batched response includes errors");
        return Ok(told(
            400,
            &json!({ "error": error.to_value(), "batchResponse": flat }),
        ));
    }
    Ok(told(201, &flat))
}

fn carry_out(app: &App, publisher: &Publisher<'_>, one: &Specification, befalling: &Befalling) -> Report {
    let mut report = Report::default();
    for channel in &one.channels {
        match app.publish(publisher, channel, &one.messages, befalling) {
            Ok(receipt) => {
                report.taken += 1;
                report.results.push(shown(channel, &receipt));
            }
            Err(error) => {
                report.failed += 1;
                report
                    .results
                    .push(json!({ "channel": channel, "error": error.to_value() }));
            }
        }
    }
    report
}

fn read(body: &Value) -> Result<Vec<Specification>, ErrorInfo> {
    let list: &[Value] = match body {
        Value::Array(list) => list,
        one => std::slice::from_ref(one),
    };
    let specifications: Vec<Specification> = list
        .iter()
        .map(|one| {
            let channels = names(&one["channels"]);
            if channels.is_empty() {
                return Err(ErrorInfo::new(40000, 400, "a specification names its channels"));
            }
            let messages = Message::read_all(&one["messages"])?;
            Ok(Specification { channels, messages })
        })
        .collect::<Result<_, _>>()?;
    let distinct: BTreeSet<&String> = specifications.iter().flat_map(|one| &one.channels).collect();
    if specifications.is_empty() || distinct.len() > CHANNELS_MAX {
        return Err(ErrorInfo::new(40000, 400, "a batch names 1 to 100 channels"));
    }
    Ok(specifications)
}
