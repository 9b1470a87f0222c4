//! `ably-js` takes the stand-in for Ably.

use serde_json::json;
use tests::script::run_alone;
use tests::standin::{PUBLISH_KEY, Setup, TOKEN_KEY};

fn passes(script: &str, checks: usize) {
    let ably = Setup::new().unwrap().start().unwrap();
    let told = json!({ "url": ably.url(), "publishKey": PUBLISH_KEY, "tokenKey": TOKEN_KEY });
    assert_eq!(run_alone(script, &told.to_string()).unwrap(), checks);
}

#[test]
fn ably_js_publishes_to_the_stand_in() {
    passes("ably-standin-rest.mjs", 5);
}

#[test]
fn ably_js_listens_at_the_stand_in_and_comes_back() {
    passes("ably-standin-realtime.mjs", 15);
}

#[test]
fn the_browser_bundle_of_ably_js_listens_at_the_stand_in() {
    passes("ably-standin-browser.mjs", 3);
}
