//! A store in Redis looks at a bounded number of entries at once: what takes several looks is whole all the same.

use domain::channel::Channel;
use domain::cursor::Position;
use domain::state::{Mark, StateFilter};

use super::on_redis::RedisStores;
use super::scene::{Scene, positions, reader, to, unit};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_crowd_has_marked_leaves_every_count_at_once() {
    const CROWD: usize = 1_500;
    let factory = RedisStores::begin().await;
    let scene = Scene::open(&factory).await;
    let crowd: Vec<_> = (0..CROWD).map(|n| reader(&format!("u{n}"), &[])).collect();
    for reader in &crowd {
        scene.store.meet(&reader.user).await.unwrap();
    }
    let (id, _) = scene.place(to(&[Channel::System])).await;
    for reader in &crowd {
        scene.mark(reader, id, Mark::Acknowledge).await;
        scene.mark(reader, id, Mark::Unread).await;
    }
    scene.store.retract(id).await.unwrap();
    assert_eq!(scene.store.channels_of(id).await.unwrap(), None);
    for reader in &crowd {
        assert_eq!(scene.unread(reader).await, 0);
        assert_eq!(scene.item(reader, id).await, None);
    }
}

/// Each channel gives so much to one look, and here some hold more than that, and others less.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_reads_a_hundred_channels_misses_nothing_between_two_looks() {
    let factory = RedisStores::begin().await;
    let scene = Scene::open(&factory).await;
    let units: Vec<_> = (0..100).map(|n| unit(&format!("u{n}"))).collect();
    let ana = reader("ana", &units);
    scene.store.meet(&ana.user).await.unwrap();
    let busy = (0..150).flat_map(|n| [&units[n % 2], &units[2 + n % 98]]);
    let items = busy.map(|unit| to(std::slice::from_ref(unit))).collect();
    let accepted = scene.accept(items).await;
    let mut expected: Vec<_> = accepted
        .value
        .iter()
        .map(|item| item.as_ref().unwrap().receipt.id)
        .collect();
    for id in expected.iter().step_by(7) {
        scene.mark(&ana, *id, Mark::Read).await;
    }
    expected.reverse();
    assert_eq!(scene.shown(&ana, StateFilter::All).await, expected);
    let read: Vec<_> = expected.iter().rev().step_by(7).rev().copied().collect();
    assert_eq!(scene.shown(&ana, StateFilter::Read).await, read);
    let (mut joined, mut after) = (Vec::new(), Position(0));
    while after < Position(300) {
        let page = scene.read_channels(&units, after, 1_000).await.unwrap();
        assert!(page.scanned_to > after);
        after = page.scanned_to;
        joined.extend(positions(&page.events));
    }
    assert_eq!(joined, (1..=300).collect::<Vec<_>>());
}
