//! Browsers and clients that we did not write.

use tests::script::{Runner, run, run_alone};
use tests::server::Server;

fn passes(runner: Runner, script: &str, checks: usize) {
    let mut server = Server::start().unwrap();
    let passed = run(runner, script, &mut server).unwrap();
    assert!(
        passed >= checks,
        "{script} made {passed} checks, {checks} were expected"
    );
}

#[test]
fn chromium_shows_delivery_resume_and_reset_on_the_demo_page() {
    passes(Runner::Node, "browser.mjs", 15);
}

#[test]
fn npm_eventsource_gets_hostile_content_unharmed_and_resumes_by_itself() {
    passes(Runner::Node, "eventsource.mjs", 5);
}

#[test]
fn fetch_event_source_gets_hostile_content_unharmed_and_resumes_by_itself() {
    passes(Runner::Node, "fetch-event-source.mjs", 4);
}

#[test]
fn httpx_sse_gets_hostile_content_unharmed_and_resumes_by_its_last_event_id() {
    passes(Runner::Python, "httpx_sse_client.py", 2);
}

#[test]
fn the_demo_pages_inbox_ends_up_right_whatever_the_order_of_events() {
    assert!(run_alone("modules.mjs", "").unwrap() > 0);
}
