//! What is to be looked at next, channel by channel.

use application::ports::DeliveryRow;
use domain::channel::Channel;
use domain::outbox::Status;

use super::{
    HOUR, NOON, OutboxFactory, dead, done, head_places, leased, new_row, pending, person, places, plan, row,
    suppressed, turn, with, withdrawn,
};

pub(super) async fn the_oldest_open_delivery_of_each_channel_is_its_head(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let (ana, bia, caio) = (person("ana"), person("bia"), person("caio"));
    let retry = with(Status::RetryAt(NOON.plus(HOUR)));
    plan(
        &one,
        &[
            (1, caio.clone(), done()),
            (2, ana.clone(), leased()),
            (3, ana.clone(), pending()),
            (4, bia.clone(), suppressed()),
            (5, bia.clone(), dead()),
            (6, caio.clone(), retry),
            (7, bia.clone(), withdrawn()),
            (8, bia.clone(), pending()),
            (9, caio.clone(), pending()),
            (10, person("davi"), dead()),
            (100, bia.clone(), pending()),
        ],
    )
    .await;
    for node in [&one, &other] {
        let heads = node.heads(None, 10).await.unwrap().rows;
        let expected = [
            new_row(2, &ana, leased()),
            new_row(8, &bia, pending()),
            new_row(6, &caio, retry),
        ];
        assert_eq!(heads, expected);
    }
}

/// Names that languages sort differently than bytes do, and kinds in another order than the domain has them.
fn channels() -> Vec<Channel> {
    let mut channels = vec![Channel::System];
    for name in ["a", "B", "_", "-", "a-b", "ab", "A", "aB", "a_b", "10", "9", "0"] {
        channels.push(Channel::User(name.parse().unwrap()));
        channels.push(Channel::Unit(name.parse().unwrap()));
        channels.push(Channel::Benefit(name.parse().unwrap()));
    }
    channels
}

fn names(rows: &[DeliveryRow]) -> Vec<String> {
    rows.iter().map(|row| row.channel.to_string()).collect()
}

fn sorted(channels: &[Channel]) -> Vec<String> {
    let mut names: Vec<_> = channels.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

pub(super) async fn channels_come_as_the_bytes_of_their_names_sort(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let channels = channels();
    let stretch: Vec<_> = (1..).zip(&channels).collect();
    let stretch: Vec<_> = stretch
        .into_iter()
        .map(|(position, channel)| (position, channel.clone(), pending()))
        .collect();
    plan(&one, &stretch).await;
    let heads = other.heads(None, 100).await.unwrap().rows;
    assert_eq!(names(&heads), sorted(&channels));
}

pub(super) async fn every_channel_is_on_exactly_one_page(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let channels = channels();
    // Each has several, so that a page that counted rows would be short of channels.
    let twice = channels.iter().chain(channels.iter().rev());
    let stretch: Vec<_> = (1..).zip(twice).collect();
    let stretch: Vec<_> = stretch
        .into_iter()
        .map(|(position, channel)| (position, channel.clone(), pending()))
        .collect();
    plan(&one, &stretch).await;
    for limit in [1, 2, 5, 36, 37, 38] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = other.heads(after, limit).await.unwrap().rows;
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit);
            after = Some(last.channel.clone());
            listed.extend(names(&page));
        }
        assert_eq!(listed, sorted(&channels), "{limit}");
    }
    assert!(one.heads(None, 0).await.unwrap().rows.is_empty());
    // A page may begin after a channel that has nothing.
    let page = one.heads(Some(person("a-")), 1).await.unwrap().rows;
    assert_eq!(names(&page), ["private:user:a-b:notifications"]);
}

pub(super) async fn a_channel_moves_on_when_its_oldest_ends(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let ana = person("ana");
    plan(
        &one,
        &[
            (1, ana.clone(), pending()),
            (2, person("bia"), pending()),
            (9, ana.clone(), pending()),
            (10, ana.clone(), pending()),
        ],
    )
    .await;
    assert_eq!(head_places(&one).await, [1, 2]);
    turn(&one, 1, leased()).await;
    assert_eq!(head_places(&other).await, [1, 2], "it is still being sent");
    turn(&one, 1, done()).await;
    assert_eq!(head_places(&other).await, [9, 2]);
    turn(&other, 10, withdrawn()).await;
    assert_eq!(
        head_places(&one).await,
        [9, 2],
        "what ends behind it changes nothing"
    );
    turn(&other, 9, suppressed()).await;
    assert_eq!(head_places(&one).await, [2], "nothing of the channel is left");
    turn(&one, 2, dead()).await;
    assert!(head_places(&other).await.is_empty());
    plan(&one, &[(11, ana, pending())]).await;
    assert_eq!(head_places(&other).await, [11]);
}

pub(super) async fn a_revived_delivery_is_its_channels_head_again(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    let ana = person("ana");
    plan(&one, &[(9, ana.clone(), dead()), (10, ana, pending())]).await;
    assert_eq!(head_places(&one).await, [10]);
    let later = NOON.plus(HOUR);
    let revived = row(&one, 9).await.delivery.revive(later).unwrap();
    turn(&one, 9, revived).await;
    assert_eq!(head_places(&other).await, [9]);
    let head = other.heads(None, 1).await.unwrap().rows.remove(0);
    assert_eq!(head.delivery, revived);
    assert_eq!(other.backlog().await.unwrap().oldest, Some(NOON));
    turn(&other, 10, done()).await;
    assert_eq!(one.backlog().await.unwrap().oldest, Some(later));
    turn(&one, 9, done()).await;
    assert_eq!(places(&other.heads(None, 1).await.unwrap().rows), [0; 0]);
}

pub(super) async fn pages_tell_the_present(factory: &dyn OutboxFactory) {
    let [one, other] = factory.open().await;
    plan(&one, &[(1, person("ana"), pending())]).await;
    for _ in 0..2 {
        let before = factory.now().await;
        let present = [
            one.heads(None, 1).await.unwrap().now,
            other.find(&[]).await.unwrap().now,
            other.dead(None, 1).await.unwrap().now,
        ];
        let after = factory.now().await;
        for now in present {
            assert!(before <= now && now <= after, "{before:?} {now:?} {after:?}");
        }
        factory.advance(HOUR).await;
        assert!(factory.now().await >= before.plus(HOUR));
    }
}
