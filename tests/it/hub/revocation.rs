//! Streams whose token is taken back.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Clock as _, Registry as _, Spent, Store as _};
use application::subscribe::StreamRequest;
use domain::event::Control;
use domain::revocation::{Revocation, RevocationId, Revocations, Target};
use domain::rollout::Why;
use domain::stream::Resume;
use domain::time::Timestamp;

use super::node::Node;
use super::streams::{Stream, node, person, request};

fn revoke(node: &Node, user: &str) {
    let revocation = Revocation {
        id: RevocationId(1),
        target: Target::Subject(user.parse().unwrap()),
        by: "admin".parse().unwrap(),
        why: Why::try_new("a test").unwrap(),
        at: node.clock.now(),
        ends_at: Timestamp::MAX,
    };
    node.revocations.replace(1, Revocations::new(vec![revocation]));
}

fn ended(taken: &[String]) -> bool {
    taken.last().is_some_and(|frame| frame == "closing revoked")
}

#[tokio::test(start_paused = true)]
async fn open_streams_are_closed_with_their_tickets_and_those_of_others_go_on() {
    let node = node().await;
    let with_ticket = StreamRequest {
        ticket: Some(9),
        ..request(Resume::Live)
    };
    let mut theirs = Stream::open_with(&node, person("u-1", &[]), with_ticket).await;
    let mut others = Stream::open(&node, person("u-2", &[]), Resume::Live).await;
    theirs.take();
    others.take();
    revoke(&node, "u-1");
    node.hub.close_revoked();
    assert_eq!(theirs.take(), ["closing revoked"]);
    assert_eq!(others.take(), Vec::<String>::new());
    let spent = node.registry.spend(9, Duration::from_secs(1)).await;
    assert_eq!(spent, Ok(Spent::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_opens_while_its_token_is_taken_back_is_closed_at_once() {
    let node = node().await;
    // Whoever asked was verified before this, and everybody who was registered was looked at.
    revoke(&node, "u-1");
    node.hub.close_revoked();
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    let taken = stream.take();
    assert!(ended(&taken), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_on_its_way_saves_no_stream() {
    let node = node().await;
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    stream.take();
    revoke(&node, "u-1");
    let fresh = Arc::new(person("u-1", &[]));
    node.renew.run(fresh, stream.id()).await.unwrap();
    node.settle().await;
    let taken = stream.take();
    assert!(ended(&taken), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_finds_its_stream_cut_still_counts_for_whoever_comes_back_with_the_ticket() {
    let node = node().await;
    let with_ticket = StreamRequest {
        ticket: Some(9),
        ..request(Resume::Live)
    };
    node.registry.spend(9, Duration::from_secs(600)).await.unwrap();
    let stream = Stream::open_with(&node, person("u-1", &["old"]), with_ticket).await;
    let connection = stream.id();
    drop(stream);
    for user in ["u-1", "u-2"] {
        let principal = Arc::new(person(user, &[]));
        let renewed = Control::Renewed {
            connection,
            principal,
        };
        node.store.control(renewed).await.unwrap();
    }
    node.settle().await;
    let renewed = node.registry.renewed(9).await.unwrap().unwrap();
    assert_eq!(*renewed, person("u-1", &[]), "and nobody else's counts");
}
