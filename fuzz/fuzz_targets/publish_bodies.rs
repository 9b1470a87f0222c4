//! Whatever body is sent, the answer names fields or the draft keeps every limit, and `data` is given back as JSON.
#![no_main]

use domain::notification::{BODY_MAX_CHARS, LINK_MAX_CHARS, TITLE_MAX_CHARS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    match api::http::read_draft(body) {
        Err(errors) => assert!(!errors.is_empty() || std::str::from_utf8(body).is_err() || !body.is_empty()),
        Ok(draft) => {
            let content = &draft.content;
            assert!((1..=1_000).contains(&draft.audience.channels().len()));
            assert!((1..=TITLE_MAX_CHARS).contains(&content.title.chars().count()));
            assert!(!content.title.chars().any(char::is_control));
            assert!(content.body.chars().count() <= BODY_MAX_CHARS);
            assert!(!content.data.contains(['\n', '\r']));
            if let Some(link) = &content.link {
                assert!(link.chars().count() <= LINK_MAX_CHARS);
                let own = link.starts_with('/') && !link.starts_with("//");
                assert!(own || link.starts_with("https://"));
                assert!(!link.contains('\\'));
            }
        }
    }
});
