//! The reference client follows with npm `ably`, in Node.js and in a browser.

use tests::script::{Runner, run_told};
use tests::server::Server;
use tests::standin::{PUBLISH_KEY, StandIn, TOKEN_KEY};

fn passes(script: &str) {
    let ably = StandIn::start().unwrap();
    let mut server = Server::start_with(&[
        ("ARAUTO_ABLY_PUBLISH_KEY", PUBLISH_KEY),
        ("ARAUTO_ABLY_TOKEN_KEY", TOKEN_KEY),
        ("ARAUTO_ABLY_ENDPOINT", &ably.url()),
        // Three good probes bring people back to an Ably that was away; by default they are a quarter of a minute apart.
        ("ARAUTO_ABLY_PROBE_EVERY", "1s"),
        // Limits have tests of their own; here few people ask often.
        ("ARAUTO_RATE_LIMIT_ENABLED", "false"),
    ])
    .unwrap();
    let url = ably.url();
    let told = [("STANDIN_URL", url.as_str()), ("STANDIN_KEY", PUBLISH_KEY)];
    assert_eq!(run_told(Runner::Node, script, &mut server, &told).unwrap(), 9);
}

#[test]
fn the_reference_client_follows_in_node() {
    passes("ably-reference-node.mjs");
}

#[test]
fn the_reference_client_follows_in_a_browser() {
    passes("ably-reference-browser.mjs");
}
