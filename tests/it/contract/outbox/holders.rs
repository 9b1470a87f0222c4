//! Who holds a token of a pushed transport.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Outbox, TokenHolder};
use domain::capability::{MEMBERSHIPS_MAX, Role};
use domain::cursor::Position;
use domain::ids::UserId;
use domain::time::Timestamp;
use futures_util::{StreamExt as _, stream};
use tokio::task::JoinSet;

use super::{HOUR, OutboxFactory, pending, person, plan};

const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn holder(name: &str, unit: &str, until: Timestamp) -> TokenHolder {
    TokenHolder {
        user: user(name),
        units: vec![unit.parse().unwrap()],
        roles: vec![Role::new("CIDADAO")],
        until,
    }
}

/// Finds holders in the order of their ids.
async fn find(outbox: &Arc<dyn Outbox>, names: &[&str]) -> Vec<TokenHolder> {
    let users: Vec<_> = names.iter().copied().map(user).collect();
    let mut found = outbox.holders(&users).await.unwrap();
    found.sort_by(|one, other| one.user.as_str().cmp(other.user.as_str()));
    found
}

pub(super) async fn whoever_holds_a_token_is_found_until_it_ends(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let now = factory.now().await;
    let ana = holder("ana", "cras-1", now.plus(HOUR));
    let bia = holder("bia", "cras-2", now.plus(HOUR * 3));
    one.hold(ana.clone()).await.unwrap();
    other.hold(bia.clone()).await.unwrap();
    for node in [&one, &other] {
        assert_eq!(find(node, &["ana", "bia"]).await, [ana.clone(), bia.clone()]);
    }
    factory.advance(HALF_AN_HOUR).await;
    assert_eq!(find(&one, &["ana"]).await, [ana]);
    factory.advance(HOUR).await;
    for node in [&one, &other] {
        assert_eq!(find(node, &["ana", "bia"]).await, std::slice::from_ref(&bia));
    }
    let again = holder("ana", "cras-3", now.plus(HOUR * 2));
    one.hold(again.clone()).await.unwrap();
    assert_eq!(find(&other, &["ana"]).await, [again]);
    factory.advance(HOUR * 2).await;
    assert!(find(&one, &["ana", "bia"]).await.is_empty());
    one.hold(holder("caio", "cras-1", now.plus(HOUR))).await.unwrap();
    assert!(find(&one, &["caio"]).await.is_empty(), "it has ended already");
}

pub(super) async fn an_earlier_end_never_replaces_a_later_one(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let now = factory.now().await;
    let until = |hours: u32| now.plus(HOUR * hours);
    let second = holder("ana", "cras-2", until(2));
    one.hold(second.clone()).await.unwrap();
    other.hold(holder("ana", "cras-1", until(1))).await.unwrap();
    assert_eq!(find(&one, &["ana"]).await, [second]);
    let third = holder("ana", "cras-3", until(3));
    other.hold(third.clone()).await.unwrap();
    assert_eq!(find(&one, &["ana"]).await, [third]);
    let moved = holder("ana", "cras-4", until(3));
    one.hold(moved.clone()).await.unwrap();
    assert_eq!(
        find(&other, &["ana"]).await,
        std::slice::from_ref(&moved),
        "the last of one end"
    );
    other.hold(holder("ana", "cras-1", until(1))).await.unwrap();
    factory.advance(HOUR * 2 + HALF_AN_HOUR).await;
    assert_eq!(find(&other, &["ana"]).await, [moved]);
    factory.advance(HOUR).await;
    assert!(find(&other, &["ana"]).await.is_empty());
}

pub(super) async fn of_many_who_ask_at_once_the_latest_end_stays(factory: &dyn OutboxFactory) {
    let nodes = factory.open().await;
    let now = factory.now().await;
    for round in 0..10 {
        let name = format!("u-{round}");
        let mut asking = JoinSet::new();
        for hours in 1..=8 {
            let (node, name) = (Arc::clone(&nodes[hours as usize % 2]), name.clone());
            asking.spawn(async move {
                let unit = format!("cras-{hours}");
                let holder = holder(&name, &unit, now.plus(HOUR * hours));
                node.hold(holder).await.unwrap();
            });
        }
        asking.join_all().await;
        let latest = holder(&name, "cras-8", now.plus(HOUR * 8));
        assert_eq!(find(&nodes[round % 2], &[&name]).await, [latest]);
    }
}

pub(super) async fn units_and_roles_come_back(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let until = factory.now().await.plus(HOUR);
    let longest = |n: usize| format!("{n:_>64}");
    let roles = [
        "",
        " ",
        "TÉCNICO \"1\"",
        "a,b",
        "{NULL}",
        "'; --",
        "\u{2028}\t🎉\n",
        "\\",
    ];
    let mut many = TokenHolder {
        user: user(&longest(0)),
        units: (0..MEMBERSHIPS_MAX)
            .map(|n| longest(n).parse().unwrap())
            .collect(),
        roles: roles.map(Role::new).to_vec(),
        until,
    };
    let nobody = TokenHolder {
        user: user("-"),
        units: Vec::new(),
        roles: Vec::new(),
        until: Timestamp::MAX,
    };
    one.hold(many.clone()).await.unwrap();
    one.hold(nobody.clone()).await.unwrap();
    assert_eq!(find(&other, &["-", &longest(0)]).await, [nobody, many.clone()]);
    many.units.truncate(1);
    many.roles.clear();
    other.hold(many.clone()).await.unwrap();
    assert_eq!(find(&one, &[&longest(0)]).await, [many]);
}

pub(super) async fn whoever_never_asked_is_not_found(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    assert!(find(&one, &["ana"]).await.is_empty());
    let ana = holder("ana", "cras-1", factory.now().await.plus(HOUR));
    one.hold(ana.clone()).await.unwrap();
    assert!(find(&other, &["Ana", "an", "ana-", "_"]).await.is_empty());
    assert!(find(&other, &[]).await.is_empty());
    assert_eq!(find(&other, &["bia", "ana", "caio", "ana"]).await, [ana], "once");
}

pub(super) async fn of_many_people_those_who_hold_a_token_are_found(factory: &dyn OutboxFactory) {
    const PEOPLE: usize = 1_100;
    let [one, other] = factory.open().await;
    let now = factory.now().await;
    let hold = |name: String, hours: u32| {
        let (one, until) = (Arc::clone(&one), now.plus(HOUR * hours));
        async move { one.hold(holder(&name, "cras-1", until)).await.unwrap() }
    };
    let stays = |n: usize| n % 100 == 7;
    let names: Vec<_> = (0..PEOPLE).map(|n| format!("u-{n:04}")).collect();
    let holding = names.iter().enumerate().map(|(n, name)| {
        let hours = if stays(n) { 9 } else { 1 };
        hold(name.clone(), hours)
    });
    stream::iter(holding)
        .buffer_unordered(4)
        .collect::<Vec<_>>()
        .await;
    let everyone: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(find(&other, &everyone).await.len(), PEOPLE);
    factory.advance(HOUR * 2).await;
    // What has ended is cleared away with what is new.
    hold("ana".to_owned(), 9).await;
    let found = find(&other, &everyone).await;
    let found: Vec<_> = found.iter().map(|holder| holder.user.as_str()).collect();
    let stay: Vec<_> = (0..PEOPLE).filter(|n| stays(*n)).map(|n| everyone[n]).collect();
    assert_eq!(found, stay);
    assert_eq!(find(&other, &["ana"]).await.len(), 1);
}

/// A crowd that comes back in one second, on both nodes: nobody is told to come again, each is remembered and each finds
/// what they asked for.
pub(super) async fn a_crowd_that_comes_at_once_is_all_served(factory: &dyn OutboxFactory) {
    const CROWD: u64 = 10_000;
    let nodes = factory.open().await;
    let until = factory.now().await.plus(HOUR);
    plan(
        &nodes[0],
        &[(1, person("u-1"), pending()), (2, person("u-2"), pending())],
    )
    .await;
    let mut crowd = JoinSet::new();
    for number in 0..CROWD {
        let node = Arc::clone(&nodes[usize::from(number.is_multiple_of(2))]);
        crowd.spawn(async move {
            let own = holder(&format!("u-{number}"), "cras-1", until);
            let position = Position(1 + number % 3);
            let (held, found) = tokio::join!(node.hold(own), node.find(std::slice::from_ref(&position)));
            let due = usize::from(position.0 < 3);
            assert_eq!((held, found.map(|page| page.rows.len())), (Ok(()), Ok(due)));
        });
    }
    crowd.join_all().await;
    let everybody: Vec<UserId> = (0..CROWD).map(|number| user(&format!("u-{number}"))).collect();
    let found = nodes[0].holders(&everybody).await.unwrap();
    assert_eq!(found.len() as u64, CROWD);
}
