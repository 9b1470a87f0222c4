//! What panics takes nothing else with it: a port that panics for the tail, and an event that no encoder can write.

use application::ports::Streams as _;
use domain::cursor::{Cursor, Position};
use domain::notification::{AudienceFields, DraftFields};
use domain::stream::Resume;

use super::faults::Fault;
use super::node::{Node, POISON, Size};
use super::streams::{Stream, person};

async fn tell(node: &Node, user: &str, title: &str) {
    let audience = AudienceFields {
        users: Some(vec![user.into()]),
        ..AudienceFields::default()
    };
    let fields = DraftFields {
        audience,
        title: title.into(),
        ..DraftFields::default()
    };
    node.publish_titled(fields).await;
    node.settle().await;
}

fn events(frames: &[String]) -> usize {
    frames.iter().filter(|frame| frame.starts_with("event ")).count()
}

#[tokio::test(start_paused = true)]
async fn a_tail_whose_store_panics_goes_on_and_misses_nothing() {
    let node = Node::start(&Size::default(), Fault::None).await;
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    stream.take();
    node.store.set_panics(true);
    tell(&node, "u-1", "one").await;
    tell(&node, "u-1", "two").await;
    node.store.set_panics(false);
    tell(&node, "u-1", "three").await;
    assert_eq!(events(&stream.take()), 3);
    assert!(node.panics() > 0, "it was counted");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_written_is_left_out_and_everything_else_arrives() {
    let node = Node::start(&Size::default(), Fault::None).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
        stream.take();
        streams.push(stream);
    }
    for title in ["before", POISON, "after"] {
        tell(&node, "u-1", title).await;
    }
    for stream in &mut streams {
        assert_eq!(events(&stream.take()), 2);
        assert!(!stream.ended);
    }
    assert_eq!(node.panics(), 1, "once for all streams");
    // Nor does it hold up whoever comes back.
    let epoch = node.hub.report().cursor.unwrap().epoch;
    let from = Cursor {
        epoch,
        position: Position(0),
    };
    let mut back = Stream::open(&node, person("u-1", &[]), Resume::After(from)).await;
    assert_eq!(events(&back.take()), 2);
    node.stop().await;
}
