//! A standby takes its primary's place and lacks the last commits: positions that clients have seen are given out again.
//! That is another history, and everybody must be told so.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::forwarder::Forwarder;
use tests::postgres::{Postgres, Settings, connect};
use tests::server::now;

use crate::cluster::cast::Cast;
use crate::cluster::ledger::Audience;
use crate::cluster::publisher::Pace;
use crate::cluster::reader::{Manners, OnReset, Reader, Return};
use crate::cluster::{Setup, plain, until};

const CLIENTS: usize = 60;
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_that_lost_commits_everybody_is_reset_reloads_and_skips_no_reused_position() {
    let mut primary = Postgres::start(Settings::default()).unwrap();
    let mut standby = Postgres::standby_of(&primary).unwrap();
    let address = Forwarder::to(primary.address()).unwrap();
    let setup = Setup::new().on_postgres(&format!("postgres://postgres@{}/postgres", address.address()));
    let nodes = [setup.node(), setup.node()];
    let doors = nodes.each_ref().map(|node| plain(node.address()));
    let manners = Manners {
        back: Return::Soon,
        reset: OnReset::Reload,
    };
    let cast = Cast::new(&setup, 1, CLIENTS, &doors, manners);
    cast.listen().await;
    let pace = Pace {
        rest: Duration::from_millis(50),
        batches: 0,
    };

    // The standby has the beginning, and its primary tells it no more.
    cast.publish(2, pace);
    cast.published(100, PATIENCE).await;
    standby.stop_immediate().unwrap();
    let doomed = cast.ledger.len() + 50;
    cast.published(doomed, PATIENCE).await;
    cast.hush(PATIENCE).await;
    cast.tell(Audience::Everyone).await;
    everybody_has_everything(&cast).await;
    let old = cast.ledger.all();
    let old_epoch = old[0].at.epoch.clone();
    let last = old.iter().map(|published| published.at.position).max().unwrap();

    address.cut();
    primary.kill_9().unwrap();
    standby.restart().unwrap();
    standby.promote().await.unwrap();
    address.switch(standby.address());

    cast.publish(2, pace);
    cast.published(old.len() + 100, PATIENCE).await;
    cast.hush(PATIENCE).await;
    cast.tell(Audience::Everyone).await;
    let new: Vec<_> = cast
        .ledger
        .all()
        .into_iter()
        .filter(|p| p.at.epoch != old_epoch)
        .collect();
    let epochs: BTreeSet<&str> = new.iter().map(|published| published.at.epoch.as_str()).collect();
    assert_eq!(epochs.len(), 1, "{epochs:?}");
    let first = new.iter().map(|published| published.at.position).min().unwrap();
    assert!(
        first <= last,
        "no position was given out twice: {first} after {last}"
    );

    until("everybody goes on in the new history", PATIENCE, || {
        cast.readers
            .iter()
            .try_for_each(|reader| account(&cast, reader, &old_epoch))
    })
    .await;
    cast.end().await;
    for reader in &cast.readers {
        account(&cast, reader, &old_epoch).unwrap();
    }
}

async fn everybody_has_everything(cast: &Cast) {
    until("everybody has everything", PATIENCE, || {
        let mut readers = cast.readers.iter();
        readers.try_for_each(|reader| cast.ledger.check(&reader.person, &reader.story().received))
    })
    .await;
}

/// All of the old history that was received, one reset, and all of the new one: in the inbox or after it.
fn account(cast: &Cast, reader: &Reader, old_epoch: &str) -> Result<(), String> {
    let story = reader.story();
    let user = &reader.person.user;
    let [reset] = story.resets.as_slice() else {
        return Err(format!("{user} was given {:?}", story.resets));
    };
    if reset.reason != "epoch_changed" || reset.to.epoch == old_epoch {
        return Err(format!("{user} was given {reset:?}"));
    }
    let (before, after) = story.received.split_at(reset.after);
    let ledger = &cast.ledger;
    ledger.check_where(&reader.person, before, |published| {
        published.at.epoch == old_epoch
    })?;
    let inbox: BTreeSet<u64> = reset.inbox.iter().copied().collect();
    // What the inbox gave may come again; what it did not give must come.
    let streamed: BTreeSet<u64> = after.iter().map(|item| item.number).collect();
    ledger.check_where(&reader.person, after, |published| {
        published.at.epoch != old_epoch
            && (streamed.contains(&published.number) || !inbox.contains(&published.number))
    })?;
    match after.iter().find(|item| item.at.position <= reset.to.position) {
        Some(early) => Err(format!("{user} was given {early:?} again after {:?}", reset.to)),
        None => Ok(()),
    }
}

/// The scene itself: a standby that has not followed lacks what was committed meanwhile.
#[tokio::test]
async fn a_primary_that_dies_takes_with_it_what_its_standby_was_not_sent() {
    let mut primary = Postgres::start(Settings::default()).unwrap();
    let mut standby = Postgres::standby_of(&primary).unwrap();
    let forwarder = Forwarder::to(primary.address()).unwrap();
    let url = format!("postgres://postgres@{}/postgres", forwarder.address());
    let client = connect(&url).await.unwrap();
    client.batch_execute("CREATE TABLE stones ()").await.unwrap();
    let started = now();
    while connect(&standby.url())
        .await
        .unwrap()
        .query_one("SELECT count(*) FROM stones", &[])
        .await
        .is_err()
    {
        assert!(started.elapsed() < PATIENCE, "the standby does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    standby.stop_immediate().unwrap();
    client
        .batch_execute("INSERT INTO stones DEFAULT VALUES")
        .await
        .unwrap();
    forwarder.cut();
    primary.kill_9().unwrap();
    standby.restart().unwrap();
    standby.promote().await.unwrap();
    assert!(connect(&url).await.is_err(), "nobody is behind the address");
    forwarder.switch(standby.address());
    let client = connect(&url).await.unwrap();
    let row = client
        .query_one("SELECT count(*) FROM stones", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}
