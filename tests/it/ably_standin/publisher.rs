//! Arauto's own publisher against the stand-in.

use std::sync::Arc;
use std::time::Duration;

use adapters::ably::{Endpoint, Key, Patience, Publisher, PublisherConfig};
use adapters::system::SystemClock;
use application::ports::{Parcel, Transport as _};
use application::testing::SeededEntropy;
use domain::channel::Channel;
use domain::outbox::Outcome;
use tests::standin::{Fault, PUBLISH_KEY, Rule, StandIn};

const AGAIN: Outcome = Outcome::Transient {
    retry_after: Duration::ZERO,
};

fn publisher(ably: &StandIn) -> Publisher {
    let config = PublisherConfig {
        endpoint: Endpoint::Address(ably.url()),
        patience: Patience {
            request: Duration::from_secs(1),
            ..Patience::default()
        },
        ..PublisherConfig::default()
    };
    let key = Key::parse(PUBLISH_KEY).unwrap();
    Publisher::new(
        &key,
        config,
        Arc::new(SystemClock::start()),
        Arc::new(SeededEntropy::new(1)),
    )
    .unwrap()
}

fn parcel(user: &str) -> Parcel {
    Parcel {
        id: format!("evt-{user}"),
        channel: Channel::User(user.parse().unwrap()),
        event: "notification",
        data: "{\"cursor\":\"e-1\"}".into(),
    }
}

fn name(user: &str) -> String {
    format!("private:user:{user}:notifications")
}

#[tokio::test]
async fn one_message_and_several_are_accepted_under_their_ids() {
    let ably = StandIn::start().unwrap();
    let publisher = publisher(&ably);
    assert_eq!(publisher.deliver(&[parcel("ana")]).await, [Outcome::Accepted]);
    let several = [parcel("bea"), parcel("caio")];
    assert_eq!(
        publisher.deliver(&several).await,
        [Outcome::Accepted, Outcome::Accepted]
    );
    for user in ["ana", "bea", "caio"] {
        let accepted = ably.ledger().accepted(&name(user));
        assert_eq!(accepted[0].message["id"], format!("evt-{user}"));
        assert_eq!(accepted[0].message["data"], "{\"cursor\":\"e-1\"}");
    }
}

#[tokio::test]
async fn a_lost_answer_is_told_again_and_counts_once() {
    let ably = StandIn::start().unwrap();
    let publisher = publisher(&ably);
    ably.faults().add(Rule::from(Fault::CutAnswer).once());
    assert_eq!(publisher.deliver(&[parcel("ana")]).await, [AGAIN]);
    assert_eq!(publisher.deliver(&[parcel("ana")]).await, [Outcome::Accepted]);
    assert_eq!(ably.ledger().accepted(&name("ana")).len(), 1);
    assert_eq!(ably.ledger().counts().repeated, 1);
}

#[tokio::test]
async fn only_the_items_that_failed_fail() {
    let ably = StandIn::start().unwrap();
    let fault = Rule::from(Fault::fail_items(401, 40160)).on_channel(name("bea"));
    ably.faults().add(fault);
    let outcomes = publisher(&ably)
        .deliver(&[parcel("ana"), parcel("bea"), parcel("caio")])
        .await;
    assert_eq!(
        outcomes,
        [
            Outcome::Accepted,
            Outcome::Refused { code: 40160 },
            Outcome::Accepted
        ]
    );
}

#[tokio::test]
async fn an_ably_that_hangs_or_is_gone_is_tried_again() {
    let ably = StandIn::start().unwrap();
    let publisher = publisher(&ably);
    ably.faults().set([Fault::Hang]);
    assert_eq!(publisher.deliver(&[parcel("ana")]).await, [AGAIN]);
    ably.faults().clear();
    ably.kill().unwrap();
    assert_eq!(publisher.deliver(&[parcel("ana")]).await, [AGAIN]);
    ably.restart(tests::standin::Remembers::Everything).unwrap();
    assert_eq!(publisher.deliver(&[parcel("ana")]).await, [Outcome::Accepted]);
}
