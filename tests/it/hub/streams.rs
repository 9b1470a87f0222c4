//! What one stream says, step by step.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use application::ports::{
    Clock as _, Format, Outgoing, Registry as _, Selection, Spent, Store as _, Streams as _, Subscription,
};
use application::subscribe::{StreamRequest, SubscribeError};
use domain::capability::{Matrix, Operation, Operations, Principal, Role, RoleGrants, Scope};
use domain::ids::ConnectionId;
use domain::notification::{AudienceFields, DraftFields};
use domain::stream::{CloseReason, Resume};

use super::faults::Fault;
use super::node::{Node, Size};

pub(super) async fn node() -> Node {
    Node::start(&Size::default(), Fault::None).await
}

pub(super) fn person(user: &str, units: &[&str]) -> Principal {
    Principal::new(user.parse().unwrap(), [Role::new("TECNICO")])
        .with_memberships(units.iter().map(|unit| unit.parse().unwrap()).collect(), vec![])
        .unwrap()
}

pub(super) fn request(resume: Resume) -> StreamRequest {
    StreamRequest {
        selection: Selection::Default,
        resume,
        format: Format::Sse,
        ticket: None,
    }
}

pub(super) struct Stream {
    subscription: Box<dyn Subscription>,
    pub(super) ended: bool,
}

impl Stream {
    pub(super) async fn open(node: &Node, person: Principal, resume: Resume) -> Self {
        Self::open_with(node, person, request(resume)).await
    }

    pub(super) async fn open_with(node: &Node, person: Principal, request: StreamRequest) -> Self {
        let subscription = node
            .subscribe
            .run(Arc::new(person), request)
            .await
            .expect("a stream");
        Self {
            subscription,
            ended: false,
        }
    }

    pub(super) fn id(&self) -> ConnectionId {
        self.subscription.connection()
    }

    /// Takes everything that is there, without the `retry` that differs each time.
    pub(super) fn take(&mut self) -> Vec<String> {
        let mut taken = Vec::new();
        loop {
            match self
                .subscription
                .poll_next(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(Some(Outgoing::Frame(frame))) => {
                    taken.push(String::from_utf8(frame.to_vec()).unwrap());
                }
                Poll::Ready(Some(Outgoing::KeepAlive)) => taken.push("keep-alive".into()),
                Poll::Ready(None) => {
                    self.ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        taken.retain(|frame| !frame.starts_with("retry"));
        taken
    }
}

async fn to_user(node: &Node, user: &str) {
    let audience = AudienceFields {
        users: Some(vec![user.into()]),
        ..AudienceFields::default()
    };
    node.publish(DraftFields {
        audience,
        ..DraftFields::default()
    })
    .await;
    node.settle().await;
}

async fn to_unit(node: &Node, unit: &str) {
    let audience = AudienceFields {
        unit: Some(unit.into()),
        ..AudienceFields::default()
    };
    node.publish(DraftFields {
        audience,
        ..DraftFields::default()
    })
    .await;
    node.settle().await;
}

async fn cursor(node: &Node) -> domain::cursor::Cursor {
    node.store.head().await.unwrap().cursor
}

#[tokio::test(start_paused = true)]
async fn a_new_stream_starts_from_the_live_position() {
    let node = node().await;
    to_user(&node, "u-1").await;
    let start = cursor(&node).await;
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    assert_eq!(stream.take(), [format!("ready {start} false 2")]);
    to_user(&node, "u-1").await;
    assert_eq!(stream.take(), [format!("event {}", cursor(&node).await)]);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_stream_starts_from_the_clients_own_cursor() {
    let node = node().await;
    let before = cursor(&node).await;
    to_user(&node, "u-1").await;
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::After(before)).await;
    assert_eq!(
        stream.take(),
        [
            format!("ready {before} true 2"),
            format!("event {}", cursor(&node).await)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_cannot_be_continued_is_answered_by_ready_and_a_reset() {
    let node = node().await;
    to_user(&node, "u-1").await;
    let head = cursor(&node).await;
    let mut other = head;
    other.epoch.0 -= 1;
    let mut ahead = head;
    ahead.position.0 += 1;
    for (resume, reason, from) in [
        (Resume::After(other), "epoch_changed", other.to_string()),
        (Resume::After(ahead), "unknown", ahead.to_string()),
        (Resume::Unreadable, "unknown", "none".into()),
    ] {
        let mut stream = Stream::open(&node, person("u-1", &[]), resume).await;
        // Until the reset is there the client keeps what it came with.
        let shown = if from == "none" { "0-0" } else { &from };
        assert_eq!(
            stream.take(),
            [
                format!("ready {shown} false 2"),
                format!("reset {reason} {from} {head}")
            ]
        );
        let mut again = Stream::open(&node, person("u-1", &[]), Resume::After(head)).await;
        assert_eq!(
            again.take(),
            [format!("ready {head} true 2")],
            "a reset is not repeated"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_move_the_cursor_of_a_quiet_person_along() {
    let node = node().await;
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    stream.take();
    to_user(&node, "somebody-else").await;
    node.pass(30).await;
    let frames = stream.take();
    let head = cursor(&node).await;
    assert!(
        frames
            .iter()
            .any(|frame| frame.starts_with(&format!("beat {head} "))),
        "{frames:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn where_heartbeats_are_slow_a_comment_goes_out_every_25_seconds() {
    let node = node().await;
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    stream.take();
    let mut seen = Vec::new();
    for second in 1..=60 {
        node.pass(1).await;
        for frame in stream.take() {
            seen.push((second, frame.split(' ').next().unwrap().to_owned()));
        }
    }
    let expected = [(25, "keep-alive"), (30, "beat"), (50, "keep-alive"), (60, "beat")];
    assert_eq!(seen, expected.map(|(second, kind)| (second, kind.to_owned())));
}

fn sequence(frames: &[String]) -> Option<u64> {
    frames
        .iter()
        .rev()
        .find_map(|frame| frame.strip_prefix("beat ")?.split(' ').next_back()?.parse().ok())
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_replies_fast_is_asked_more_often_and_closed_after_three_misses() {
    let node = node().await;
    let user = person("u-1", &[]);
    let mut stream = Stream::open(&node, user.clone(), Resume::Live).await;
    let mut beats = 0;
    for _ in 0..300 {
        node.pass(1).await;
        if let Some(sequence) = sequence(&stream.take()) {
            beats += 1;
            node.hub.replied(&user.user, stream.id(), sequence).unwrap();
        }
    }
    assert!(beats > 15, "30 s would be 10 in 300 s, 10 s would be 30: {beats}");
    // It stops replying: three intervals of about 10 s and the time for a reply.
    let mut closed_after = None;
    for second in 1..=120 {
        node.pass(1).await;
        if stream.take().iter().any(|frame| frame == "closing overloaded") {
            closed_after = Some(second);
            break;
        }
    }
    assert!(
        closed_after.is_some_and(|seconds| (30..=60).contains(&seconds)),
        "{closed_after:?}"
    );
    assert_eq!(node.hub.report().connections, 0, "out of the books at once");
    assert_eq!(node.registry.count().await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_replies_is_never_closed_for_it() {
    let node = node().await;
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    node.pass(3_600).await;
    let frames = stream.take();
    assert!(
        !frames.iter().any(|frame| frame.starts_with("closing")),
        "{frames:?}"
    );
    assert_eq!(node.hub.report().connections, 1);
}

#[tokio::test(start_paused = true)]
async fn replies_of_somebody_else_and_for_unknown_streams_are_refused_alike() {
    let node = node().await;
    let stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    assert!(node.hub.replied(&"u-2".parse().unwrap(), stream.id(), 1).is_err());
    let mut unknown = stream.id();
    unknown.serial ^= 1;
    assert!(node.hub.replied(&"u-1".parse().unwrap(), unknown, 1).is_err());
    assert!(
        node.hub
            .replied(&"u-1".parse().unwrap(), stream.id(), 999)
            .is_ok(),
        "an unknown sequence moves nothing"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_is_warned_of_its_end_and_closed_at_it() {
    let node = node().await;
    let mut user = person("u-1", &[]);
    user.expires_at = node.clock.now().plus(Duration::from_secs(300));
    let ticketed = StreamRequest {
        ticket: Some(9),
        ..request(Resume::Live)
    };
    node.registry.spend(9, Duration::from_secs(600)).await.unwrap();
    let mut stream = Stream::open_with(&node, user.clone(), ticketed).await;
    node.pass(239).await;
    assert!(!stream.take().iter().any(|frame| frame.starts_with("session")));
    node.pass(2).await;
    assert!(
        stream
            .take()
            .contains(&format!("session {}", user.expires_at.as_millis()))
    );
    node.pass(60).await;
    assert_eq!(
        stream.take().last().map(String::as_str),
        Some("closing token_expired")
    );
    assert!(stream.ended);
    assert_eq!(stream.subscription.closed(), Some(CloseReason::TokenExpired));
    let spent = node.registry.spend(9, Duration::from_secs(1)).await;
    assert_eq!(
        spent,
        Ok(Spent::Ended),
        "its ticket is over before the client can come back"
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewed_stream_lives_on_with_its_new_rights() {
    let node = node().await;
    let mut user = person("u-1", &["old", "kept"]);
    user.expires_at = node.clock.now().plus(Duration::from_secs(300));
    let mut stream = Stream::open(&node, user.clone(), Resume::Live).await;
    stream.take();
    to_unit(&node, "new").await;
    let mut fresh = person("u-1", &["new", "kept"]);
    fresh.expires_at = node.clock.now().plus(Duration::from_secs(3_600));
    node.renew.run(Arc::new(fresh), stream.id()).await.unwrap();
    node.settle().await;
    to_unit(&node, "old").await;
    assert_eq!(
        stream.take(),
        Vec::<String>::new(),
        "neither what is lost nor what was before it was given"
    );
    to_unit(&node, "new").await;
    assert_eq!(stream.take(), [format!("event {}", cursor(&node).await)]);
    to_unit(&node, "kept").await;
    assert_eq!(stream.take(), [format!("event {}", cursor(&node).await)]);
    node.pass(600).await;
    assert!(!stream.take().iter().any(|frame| frame.starts_with("closing")));
    let foreign = node.renew.run(Arc::new(person("u-2", &[])), stream.id()).await;
    assert!(foreign.is_err());
}

#[tokio::test(start_paused = true)]
async fn rights_that_are_taken_from_a_role_reach_open_streams() {
    let node = node().await;
    let mut stream = Stream::open(&node, person("u-1", &["unit"]), Resume::Live).await;
    stream.take();
    to_unit(&node, "unit").await;
    node.rights.replace(Matrix::default());
    node.hub.recheck_rights();
    assert_eq!(stream.take(), ["closing revoked"], "not even what was waiting");
}

/// Rights by which a unit's channel is for listening alone.
fn no_history_of_units() -> Matrix {
    let live = Operations::NONE.with(Operation::Subscribe);
    let grants = RoleGrants {
        channels: [(Scope::OwnUser, Operations::READ), (Scope::OwnUnits, live)].into(),
        ..RoleGrants::default()
    };
    let mut rows: Vec<_> = vec![(Role::new("TECNICO"), grants)];
    let defaults = Matrix::default_roles();
    rows.extend(
        defaults
            .rows()
            .filter(|(role, _)| role.as_str() == "SERVICE")
            .map(|(r, g)| (r.clone(), g.clone())),
    );
    Matrix::new(rows)
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_loses_its_past_keeps_what_came_while_it_was_open() {
    let node = node().await;
    let before = cursor(&node).await;
    to_unit(&node, "unit").await;
    let mut stream = Stream::open(&node, person("u-1", &["unit"]), Resume::After(before)).await;
    to_unit(&node, "unit").await;
    node.rights.replace(no_history_of_units());
    node.hub.recheck_rights();
    assert_eq!(
        stream.take(),
        [
            format!("ready {before} true 3"),
            format!("event {}", cursor(&node).await)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_channel_without_history_joins_at_the_live_position() {
    let node = node().await;
    node.rights.replace(no_history_of_units());
    let before = cursor(&node).await;
    to_unit(&node, "unit").await;
    to_user(&node, "u-1").await;
    let own = cursor(&node).await;
    let mut stream = Stream::open(&node, person("u-1", &["unit"]), Resume::After(before)).await;
    assert_eq!(
        stream.take(),
        [format!("ready {before} true 2"), format!("event {own}")]
    );
    to_unit(&node, "unit").await;
    assert_eq!(stream.take(), [format!("event {}", cursor(&node).await)]);
}

#[tokio::test(start_paused = true)]
async fn a_full_node_says_so_and_takes_the_next_one_when_somebody_leaves() {
    let node = Node::start(
        &Size {
            connections: 1,
            ..Size::default()
        },
        Fault::None,
    )
    .await;
    let first = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    let refused = node
        .subscribe
        .run(Arc::new(person("u-2", &[])), request(Resume::Live))
        .await;
    assert!(matches!(
        refused,
        Err(SubscribeError::Later {
            reason: CloseReason::Overloaded,
            ..
        })
    ));
    drop(first);
    assert!(
        node.subscribe
            .run(Arc::new(person("u-2", &[])), request(Resume::Live))
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn the_oldest_stream_of_a_person_gives_way_to_the_newest() {
    let node = Node::start(
        &Size {
            streams_per_user: 2,
            ..Size::default()
        },
        Fault::None,
    )
    .await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(Stream::open(&node, person("u-1", &[]), Resume::Live).await);
    }
    node.settle().await;
    let last = |stream: &mut Stream| stream.take().pop();
    assert_eq!(last(&mut streams[0]).as_deref(), Some("closing replaced"));
    assert!(last(&mut streams[1]).is_some_and(|frame| frame.starts_with("ready")));
    assert!(last(&mut streams[2]).is_some_and(|frame| frame.starts_with("ready")));
}

#[tokio::test(start_paused = true)]
async fn draining_closes_everybody_within_the_window_and_takes_nobody() {
    let node = node().await;
    let mut streams = Vec::new();
    for user in 0..100 {
        streams.push(Stream::open(&node, person(&format!("u-{user}"), &[]), Resume::Live).await);
    }
    let hub = Arc::clone(&node.hub);
    let (half, ()) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let closed = |stream: &mut Stream| stream.take().contains(&"closing shutting_down".to_owned());
            streams.iter_mut().map(closed).filter(|closed| *closed).count()
        },
        hub.drain(Duration::from_secs(10)),
    );
    assert!(
        (30..=70).contains(&half),
        "half of the window closes about half: {half}"
    );
    let refused = node
        .subscribe
        .run(Arc::new(person("late", &[])), request(Resume::Live))
        .await;
    assert!(matches!(
        refused,
        Err(SubscribeError::Later {
            reason: CloseReason::ShuttingDown,
            ..
        })
    ));
    for stream in &mut streams {
        stream.take();
        assert!(stream.ended);
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_the_ring_still_serves_and_what_needs_history_comes_back_later() {
    let node = Node::start(
        &Size {
            ring_bytes: 400,
            ..Size::default()
        },
        Fault::None,
    )
    .await;
    let start = cursor(&node).await;
    for _ in 0..5 {
        to_user(&node, "u-1").await;
    }
    let head = cursor(&node).await;
    let mut behind = Stream::open(&node, person("u-1", &[]), Resume::After(start)).await;
    node.store.set_away(true);
    let mut near = Stream::open(&node, person("u-1", &[]), Resume::After(head)).await;
    assert_eq!(near.take(), [format!("ready {head} true 2")]);
    assert_eq!(
        behind.take(),
        [format!("ready {start} true 2"), "closing overloaded".into()]
    );
    let far = node
        .subscribe
        .run(Arc::new(person("u-1", &[])), request(Resume::After(start)))
        .await;
    assert!(matches!(
        far,
        Err(SubscribeError::Later {
            reason: CloseReason::Overloaded,
            ..
        })
    ));
    node.store.set_away(false);
    let mut back = Stream::open(&node, person("u-1", &[]), Resume::After(start)).await;
    assert_eq!(back.take().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn what_is_missed_on_the_bus_comes_from_the_log() {
    let node = node().await;
    let mut stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    stream.take();
    // The bus loses every seventh ring, repeats one and holds one back.
    for _ in 0..30 {
        let audience = AudienceFields {
            users: Some(vec!["u-1".into()]),
            ..AudienceFields::default()
        };
        node.publish(DraftFields {
            audience,
            ..DraftFields::default()
        })
        .await;
    }
    node.settle().await;
    assert_eq!(stream.take().len(), 30);
    let lag = node.hub.report().lag_positions;
    assert_eq!(lag, 0);
}

#[tokio::test(start_paused = true)]
async fn a_ready_node_reports_what_it_holds() {
    let node = node().await;
    to_user(&node, "u-1").await;
    let _stream = Stream::open(&node, person("u-1", &[]), Resume::Live).await;
    let report = node.hub.report();
    assert_eq!(
        (report.connections, report.ring_events, report.store_reads),
        (1, 1, 0)
    );
    assert!(report.tailing && report.ring_bytes > 0);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_read_the_log_says_for_how_long() {
    let node = node().await;
    assert_eq!(node.hub.report().lag, Duration::ZERO);
    node.store.set_away(true);
    node.pass(20).await;
    let report = node.hub.report();
    assert!(!report.tailing);
    // The head is read every quarter of a second.
    let away = Duration::from_secs(20);
    assert!(
        (away..away + Duration::from_secs(1)).contains(&report.lag),
        "{:?}",
        report.lag
    );
    node.store.set_away(false);
    node.pass(1).await;
    assert_eq!(node.hub.report().lag, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_person_never_sees_a_false_reset() {
    let size = Size {
        ring_bytes: 400,
        history_events: 5,
        ..Size::default()
    };
    let node = Node::start(&size, Fault::None).await;
    let mut stream = Stream::open(&node, person("quiet", &[]), Resume::Live).await;
    let mut known = None;
    for _ in 0..10 {
        // Everything that the person stood at falls out of the history again and again.
        for _ in 0..20 {
            to_user(&node, "busy").await;
        }
        node.pass(30).await;
        let frames = stream.take();
        assert!(
            !frames.iter().any(|frame| frame.starts_with("reset")),
            "{frames:?}"
        );
        let beat = frames.iter().rev().find_map(|frame| frame.strip_prefix("beat "));
        known = beat
            .and_then(|beat| beat.split(' ').next()?.parse().ok())
            .or(known);
        drop(stream);
        to_user(&node, "quiet").await;
        let resume = Resume::After(known.expect("a heartbeat came"));
        stream = Stream::open(&node, person("quiet", &[]), resume).await;
        let frames = stream.take();
        assert_eq!(frames.len(), 2, "ready and what was missed: {frames:?}");
        assert_eq!(frames[1], format!("event {}", cursor(&node).await));
    }
}
