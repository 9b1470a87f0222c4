//! Messages as publishers send them.

use serde_json::{Map, Value};

use super::ErrorInfo;

/// What one publish may hold (Ably, 40034).
const MESSAGES_MAX: usize = 1_000;

/// A message, before and after it was accepted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) data: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) extras: Option<Value>,
}

impl Message {
    /// Reads one message, or a list of them.
    pub(super) fn read_all(body: &Value) -> Result<Vec<Self>, ErrorInfo> {
        let messages: Vec<Self> = match body {
            Value::Array(list) => list.iter().map(Self::read).collect::<Result<_, _>>()?,
            one => vec![Self::read(one)?],
        };
        match messages.len() {
            0 => Err(ErrorInfo::new(40000, 400, "no message")),
            count if count > MESSAGES_MAX => {
                Err(ErrorInfo::new(40034, 400, "too many messages in one publish"))
            }
            _ => Ok(messages),
        }
    }

    fn read(value: &Value) -> Result<Self, ErrorInfo> {
        let fields = value
            .as_object()
            .ok_or_else(|| ErrorInfo::new(40000, 400, "a message is an object"))?;
        let mut message = Self {
            id: text(fields, "id")?,
            name: text(fields, "name")?,
            data: None,
            encoding: text(fields, "encoding")?,
            client_id: text(fields, "clientId")?,
            extras: fields.get("extras").filter(|extras| !extras.is_null()).cloned(),
        };
        match fields.get("data") {
            None | Some(Value::Null) => {}
            Some(Value::String(data)) => message.data = Some(data.clone()),
            // Raw JSON is taken as if it had been encoded.
            Some(data @ (Value::Object(_) | Value::Array(_))) => {
                message.data = Some(data.to_string());
                message.encoding = Some(match message.encoding {
                    Some(encoding) => format!("{encoding}/json"),
                    None => "json".to_owned(),
                });
            }
            Some(_) => {
                return Err(ErrorInfo::new(40013, 400, "data is a text, an object or a list"));
            }
        }
        Ok(message)
    }

    /// The size as Ably counts it (TM6): name, client and data in bytes, and the extras as JSON.
    pub(super) fn bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let data = match &self.encoding {
            // Three bytes stand in four letters.
            Some(encoding) if encoding.ends_with("base64") => text(&self.data) / 4 * 3,
            _ => text(&self.data),
        };
        let extras = self.extras.as_ref().map_or(0, |extras| extras.to_string().len());
        text(&self.name) + text(&self.client_id) + data + extras
    }

    /// The message as subscribers get it.
    pub(super) fn to_value(&self) -> Value {
        let mut fields = Map::new();
        let texts = [
            ("id", &self.id),
            ("name", &self.name),
            ("data", &self.data),
            ("encoding", &self.encoding),
            ("clientId", &self.client_id),
        ];
        for (field, text) in texts {
            if let Some(text) = text {
                fields.insert(field.to_owned(), Value::from(text.as_str()));
            }
        }
        if let Some(extras) = &self.extras {
            fields.insert("extras".to_owned(), extras.clone());
        }
        Value::Object(fields)
    }
}

fn text(fields: &Map<String, Value>, field: &str) -> Result<Option<String>, ErrorInfo> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ErrorInfo::new(
            40000,
            400,
            format!("{field} of a message is a text"),
        )),
    }
}

/// Finds under which id a publish counts, for two minutes and one channel: the base of the ids of its messages.
pub(super) fn idempotency_key(messages: &[Message]) -> Result<Option<String>, ErrorInfo> {
    let refused = || ErrorInfo::new(40031, 400, "ids within one publish are BASE:0, BASE:1 and so on");
    if messages.iter().all(|message| message.id.is_none()) {
        return Ok(None);
    }
    if let [only] = messages {
        let base = only
            .id
            .as_deref()
            .map(|id| split(id).map_or(id, |(base, _)| base));
        return Ok(base.map(str::to_owned));
    }
    let mut base = None;
    for (at, message) in messages.iter().enumerate() {
        let (own, index) = message.id.as_deref().and_then(split).ok_or_else(refused)?;
        if index != at || base.is_some_and(|base| base != own) {
            return Err(refused());
        }
        base = Some(own);
    }
    Ok(base.map(str::to_owned))
}

fn split(id: &str) -> Option<(&str, usize)> {
    let (base, index) = id.rsplit_once(':')?;
    Some((base, index.parse().ok()?))
}

/// Refuses names that Ably does not take for a channel.
pub(super) fn check_channel(name: &str) -> Result<(), ErrorInfo> {
    let invalid =
        name.is_empty() || name.len() >= 2_048 || name.starts_with(['[', ':']) || name.contains('\n');
    if invalid {
        return Err(ErrorInfo::new(40010, 400, "invalid channel name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(body: &Value) -> Result<Option<String>, u32> {
        idempotency_key(&Message::read_all(body).unwrap()).map_err(|error| error.code)
    }

    #[test]
    fn a_publish_counts_under_the_base_of_its_ids() {
        assert_eq!(key(&json!({ "name": "a" })), Ok(None));
        assert_eq!(key(&json!({ "id": "evt-1" })), Ok(Some("evt-1".to_owned())));
        assert_eq!(key(&json!({ "id": "evt:0" })), Ok(Some("evt".to_owned())));
        assert_eq!(
            key(&json!([{ "id": "b:0" }, { "id": "b:1" }])),
            Ok(Some("b".to_owned()))
        );
        for wrong in [
            json!([{ "id": "b:0" }, { "id": "c:1" }]),
            json!([{ "id": "b:1" }, { "id": "b:0" }]),
            json!([{ "id": "b:0" }, { "name": "a" }]),
        ] {
            assert_eq!(key(&wrong), Err(40031), "{wrong}");
        }
    }

    #[test]
    fn raw_json_is_taken_as_encoded_json_and_numbers_are_refused() {
        let message = &Message::read_all(&json!({ "data": { "a": 1 } })).unwrap()[0];
        assert_eq!(
            message.to_value(),
            json!({ "data": "{\"a\":1}", "encoding": "json" })
        );
        assert_eq!(Message::read_all(&json!({ "data": 7 })).unwrap_err().code, 40013);
    }
}
