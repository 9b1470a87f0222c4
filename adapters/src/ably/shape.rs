//! Requests as Ably's REST API takes them.

use application::ports::Parcel;
use serde::Serialize;

/// A request that publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shaped {
    /// Its path, encoded.
    pub path: String,
    /// Its body, JSON.
    pub body: String,
}

/// A message. Its data is JSON text, and `encoding` says so: clients get the object that it stands for.
#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    name: &'a str,
    data: &'a str,
    encoding: &'static str,
}

/// Messages of different channels have different data (each names its channel and its cursor), so each is a
/// specification of its own, with its own id.
#[derive(Serialize)]
struct Specification<'a> {
    channels: [&'a str; 1],
    messages: Message<'a>,
}

impl<'a> From<&'a Parcel> for Message<'a> {
    fn from(parcel: &'a Parcel) -> Self {
        Self {
            id: &parcel.id,
            name: parcel.event,
            data: &parcel.data,
            encoding: "json",
        }
    }
}

/// Publishes one message to a channel.
pub fn publish_one(channel: &str, parcel: &Parcel) -> Shaped {
    Shaped {
        path: format!("/channels/{}/messages", encode_component(channel)),
        body: json(&[Message::from(parcel)]),
    }
}

/// Publishes to several channels; each message stands alone.
pub fn publish_several<'a>(messages: impl IntoIterator<Item = (&'a str, &'a Parcel)>) -> Shaped {
    let specifications: Vec<Specification<'a>> = messages
        .into_iter()
        .map(|(channel, parcel)| Specification {
            channels: [channel],
            messages: parcel.into(),
        })
        .collect();
    Shaped {
        path: "/messages".to_owned(),
        body: json(&specifications),
    }
}

/// Returns the size of a message as Ably counts it (TM6): its name and data in bytes. We send neither client id nor
/// extras.
pub(super) fn message_bytes(parcel: &Parcel) -> usize {
    parcel.event.len() + parcel.data.len()
}

/// Texts and lists of them always can be written.
fn json(shape: &impl Serialize) -> String {
    serde_json::to_string(shape).unwrap_or_default()
}

/// Encodes as ECMAScript's `encodeURIComponent` does, so that a name is one segment of a path.
pub(super) fn encode_component(name: &str) -> String {
    name.bytes()
        .fold(String::with_capacity(name.len()), |encoded, byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => encoded + char::from(byte).encode_utf8(&mut [0; 4]),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => {
                encoded + char::from(byte).encode_utf8(&mut [0; 4])
            }
            other => format!("{encoded}%{other:02X}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_of_a_path() {
        for (name, expected) in [
            ("system:notifications", "system%3Anotifications"),
            ("a/b?c%d", "a%2Fb%3Fc%25d"),
            ("\u{e9} x", "%C3%A9%20x"),
            ("-_.!~*'()", "-_.!~*'()"),
        ] {
            assert_eq!(encode_component(name), expected, "{name}");
        }
    }
}
