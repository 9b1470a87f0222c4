//! JSON text that is safe in an event stream and in a page.

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

/// A JSON text that stands as it is in the text around it.
///
/// `serde_json`'s own raw value would parse the text again each time that it is written. Here a byte string stands
/// for JSON text that was parsed when it came in, and [`Compact`] writes it as such; so shapes that hold one are
/// written by this module alone.
pub(super) struct Raw<'a>(pub(super) &'a str);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0.as_bytes())
    }
}

/// Returns a value as one line of JSON in which `<`, `>`, `&`, U+2028 and U+2029 are `\u` escapes: it can stand in
/// an event stream, in a script element and in JavaScript of any age.
pub fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    let mut text = Vec::with_capacity(512);
    write_json(&mut text, value);
    String::from_utf8(text).unwrap_or_else(|_| unreachable!("escapes replace whole characters"))
}

/// Appends a value as [`to_json`] writes it.
pub(super) fn write_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serialize(out, value);
}

/// Returns how many bytes [`to_json`] would write.
pub(super) fn json_len<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut count = Count(0);
    serialize(&mut count, value);
    count.0
}

fn serialize<T: Serialize + ?Sized>(writer: impl Write, value: &T) {
    let mut serializer = serde_json::Serializer::with_formatter(writer, Compact);
    if let Err(error) = value.serialize(&mut serializer) {
        unreachable!("memory takes every byte, and keys of shapes are strings: {error}");
    }
}

/// Counts what is written.
struct Count(usize);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line, with nothing in it that an event stream, HTML or old JavaScript could take for its own.
struct Compact;

impl Formatter for Compact {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment.as_bytes())
    }

    fn write_byte_array<W: ?Sized + Write>(&mut self, writer: &mut W, json: &[u8]) -> io::Result<()> {
        write_escaped(writer, json)
    }
}

/// Writes a part of a JSON text.
///
/// `<`, `>`, `&` and the two separators occur only inside strings, so an escape always fits. A bare CR or LF occurs
/// only between tokens, where at least one structural character separates its neighbours, so it is left out.
fn write_escaped<W: ?Sized + Write>(writer: &mut W, text: &[u8]) -> io::Result<()> {
    let mut rest = text;
    while let Some(at) = first_special(rest) {
        let (plain, special) = rest.split_at(at);
        let (taken, escape): (usize, &[u8]) = match special {
            [b'<', ..] => (1, b"\\u003c"),
            [b'>', ..] => (1, b"\\u003e"),
            [b'&', ..] => (1, b"\\u0026"),
            [b'\r' | b'\n', ..] => (1, b""),
            // U+2028 and U+2029 in UTF-8.
            [0xe2, 0x80, 0xa8, ..] => (3, b"\\u2028"),
            [0xe2, 0x80, 0xa9, ..] => (3, b"\\u2029"),
            // Another character that begins with the same byte.
            _ => (1, &special[..1]),
        };
        writer.write_all(plain)?;
        writer.write_all(escape)?;
        rest = &special[taken..];
    }
    writer.write_all(rest)
}

fn first_special(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| SPECIAL[usize::from(*byte)])
}

/// The bytes that may have to be written otherwise.
static SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let special = b"<>&\r\n\xe2";
    let mut index = 0;
    while index < special.len() {
        table[special[index] as usize] = true;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_pages_and_streams_could_misread_is_escaped() {
        assert_eq!(
            to_json("<b>&\u{2028}\u{2029}"),
            r#""\u003cb\u003e\u0026\u2028\u2029""#
        );
        assert_eq!(to_json("a\r\nb\0\u{7f}"), "\"a\\r\\nb\\u0000\u{7f}\"");
    }

    #[test]
    fn characters_that_begin_like_the_separators_stand_as_they_are() {
        for text in ["–“€…", "\u{2027}\u{202a}", "é\u{2028}é"] {
            let json = to_json(text);
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            assert!(!json.contains(['\u{2028}', '\u{2029}']));
        }
        assert_eq!(to_json("–"), "\"–\"");
    }

    #[test]
    fn json_text_stands_as_it_is_but_on_one_line() {
        let raw = "{ \"a\" :\r\n\t[1.50,\n1e400, \"<\u{2028}\\n\" ] }\n";
        let expected = "{ \"a\" :\t[1.50,1e400, \"\\u003c\\u2028\\n\" ] }";
        assert_eq!(to_json(&Raw(raw)), expected);
    }

    #[test]
    fn a_special_character_is_found_wherever_it_stands() {
        for length in 0..100 {
            for at in 0..length {
                let mut text = vec![b'x'; length];
                text[at] = b'<';
                assert_eq!(first_special(&text), Some(at));
            }
            assert_eq!(first_special(&vec![b'x'; length]), None);
        }
    }

    fn harmless(json: &str) -> bool {
        !json.contains(['<', '>', '&', '\r', '\n', '\u{2028}', '\u{2029}'])
    }

    proptest! {
        #[test]
        fn every_text_reads_back_and_is_one_line(text in "\\PC*|.*|[<>&\r\n\u{2028}\u{2029}–\"\\\\]{0,80}") {
            let json = to_json(&text);
            prop_assert_eq!(json_len(&text), json.len());
            prop_assert!(harmless(&json));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn every_json_text_keeps_its_value(text in "[<>&\u{2028}\u{2029}–a\n]{0,40}", indented: bool) {
            let value = serde_json::json!({ text.clone(): [text, 1, null, {}] });
            let raw = if indented { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let json = to_json(&Raw(&raw.unwrap()));
            prop_assert!(harmless(&json));
            prop_assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), value);
        }
    }
}
