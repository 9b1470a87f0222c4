//! A channel name is written as it was read, and its id never leaves its place.
#![no_main]

use domain::channel::Channel;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(channel) = text.parse::<Channel>() else {
        return;
    };
    assert_eq!(channel.to_string(), text);
    let id = match &channel {
        Channel::User(id) => id.as_str(),
        Channel::Unit(id) => id.as_str(),
        Channel::Benefit(id) => id.as_str(),
        Channel::System => return,
    };
    assert!((1..=64).contains(&id.len()));
    assert!(
        id.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    );
    assert_eq!(text.split(':').count(), 4);
});
