//! A cursor is written as it was read, and two spellings never mean the same.
#![no_main]

use domain::cursor::Cursor;
use domain::ids::{ConnectionId, NotificationId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text);
    }
    if let Ok(connection) = text.parse::<ConnectionId>() {
        assert_eq!(connection.to_string(), text);
    }
    if let Ok(id) = text.parse::<NotificationId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
    }
});
