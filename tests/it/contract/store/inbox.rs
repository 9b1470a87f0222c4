//! Pages of an inbox.

use application::ports::InboxQuery;
use domain::channel::Channel;
use domain::cursor::Position;
use domain::notification::{NotificationType, Priority};
use domain::state::{Mark, StateFilter};

use super::StoreFactory;
use super::scene::{DAY, HOUR, Scene, ids, reader, to, unit, user};

fn page_of(limit: usize) -> InboxQuery {
    InboxQuery {
        limit,
        filter: StateFilter::All,
        ..InboxQuery::default()
    }
}

pub(crate) async fn the_newest_comes_first(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[unit("norte")]);
    let mut expected = Vec::new();
    for channel in [Channel::System, user("ana"), unit("norte"), user("ana")] {
        expected.push(scene.publish(to(&[channel])).await.id);
        scene.publish(to(&[user("bia")])).await;
    }
    expected.reverse();
    let page = scene.page(&ana, page_of(10)).await;
    assert_eq!(ids(&page), expected);
    let places: Vec<_> = page
        .items
        .iter()
        .map(|item| (item.position.0, item.channel.clone()))
        .collect();
    let channels = [
        (7, user("ana")),
        (5, unit("norte")),
        (3, user("ana")),
        (1, Channel::System),
    ];
    assert_eq!(places, channels);
    assert_eq!(page.as_of, scene.cursor(Position(8)).await);
    assert!(!page.has_more);
}

pub(crate) async fn pages_follow_one_another_to_the_end(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[unit("norte")]);
    for n in 0..23 {
        let channel = [user("ana"), unit("norte"), Channel::System, user("bia")][n % 4].clone();
        scene.publish(to(&[channel])).await;
    }
    let whole = scene.shown(&ana, StateFilter::All).await;
    for limit in [1, 2, 5, 17, 18, 19] {
        let (mut joined, mut before) = (Vec::new(), None);
        loop {
            let page = scene
                .page(
                    &ana,
                    InboxQuery {
                        before,
                        ..page_of(limit)
                    },
                )
                .await;
            joined.extend(ids(&page));
            before = page.items.last().map(|item| item.position);
            if !page.has_more {
                break;
            }
            assert_eq!(page.items.len(), limit);
        }
        assert_eq!(joined, whole, "by {limit}");
    }
}

pub(crate) async fn more_is_promised_only_where_it_follows(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (first, _) = scene.place(to(&[user("ana")])).await;
    scene.place(to(&[user("ana")])).await;
    assert!(scene.page(&ana, page_of(1)).await.has_more);
    assert!(!scene.page(&ana, page_of(2)).await.has_more);
    // What the filter hides is no more.
    scene.mark(&ana, first, Mark::Archive).await;
    let unarchived = InboxQuery {
        limit: 1,
        ..InboxQuery::default()
    };
    assert!(!scene.page(&ana, unarchived).await.has_more);
    let none = scene.page(&reader("bia", &[]), page_of(1)).await;
    assert!(none.items.is_empty() && !none.has_more);
}

pub(crate) async fn each_filter_shows_its_part(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    scene.store.meet(&ana.user).await.unwrap();
    let mut ids = Vec::new();
    for n in 0..6 {
        let channel = if n % 2 == 0 { user("ana") } else { Channel::System };
        ids.push(scene.publish(to(&[channel])).await.id);
    }
    scene.store.read_all(&ana, Some(Position(4))).await.unwrap();
    for (index, mark) in [
        (1, Mark::Unread),
        (2, Mark::Archive),
        (4, Mark::Archive),
        (5, Mark::Read),
    ] {
        scene.mark(&ana, ids[index], mark).await;
    }
    for (filter, expected) in [
        (StateFilter::All, &[5, 4, 3, 2, 1, 0][..]),
        (StateFilter::Unarchived, &[5, 3, 1, 0]),
        (StateFilter::Unread, &[1]),
        (StateFilter::Read, &[5, 3, 0]),
        (StateFilter::Archived, &[4, 2]),
    ] {
        let expected: Vec<_> = expected.iter().map(|index| ids[*index]).collect();
        assert_eq!(scene.shown(&ana, filter).await, expected, "{filter:?}");
    }
    assert_eq!(scene.unread(&ana).await, 1);
}

pub(crate) async fn type_priority_and_channel_narrow_the_page(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let own = || to(&[user("ana")]);
    let (paid, _) = scene.place(own().kind("pagamento.liberado")).await;
    let (failed, _) = scene
        .place(own().kind("pagamento.falhou").priority(Priority::Urgent))
        .await;
    let everyones = to(&[Channel::System]).kind("pagamento.falhou");
    let (down, _) = scene.place(everyones.priority(Priority::High)).await;
    let shown = async |query| {
        let page = scene.page(&ana, query).await;
        assert!(!page.has_more);
        ids(&page)
    };
    let kind = |name: &str| InboxQuery {
        kind: NotificationType::parse(name),
        ..page_of(2)
    };
    assert_eq!(shown(kind("pagamento.falhou")).await, [down, failed]);
    assert_eq!(shown(kind("pagamento.liberado")).await, [paid]);
    assert_eq!(shown(kind("pagamento")).await, []);
    let urgent = InboxQuery {
        priority: Some(Priority::Urgent),
        ..page_of(1)
    };
    assert_eq!(shown(urgent).await, [failed]);
    let everyones = InboxQuery {
        channel: Some(Channel::System),
        ..page_of(1)
    };
    assert_eq!(shown(everyones).await, [down]);
    let all_three = InboxQuery {
        priority: Some(Priority::High),
        channel: Some(user("ana")),
        ..kind("pagamento.falhou")
    };
    assert_eq!(shown(all_three).await, []);
}

pub(crate) async fn a_channel_that_is_not_the_readers_shows_nothing(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    scene.publish(to(&[unit("norte")])).await;
    scene.publish(to(&[user("bia")])).await;
    for foreign in [unit("norte"), user("bia")] {
        let query = InboxQuery {
            channel: Some(foreign),
            ..page_of(10)
        };
        let page = scene.page(&reader("ana", &[]), query).await;
        assert!(page.items.is_empty() && !page.has_more);
    }
}

pub(crate) async fn nobody_reaches_what_is_on_anothers_channel(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[unit("norte")]);
    scene.store.meet(&ana.user).await.unwrap();
    let (bias, _) = scene.place(to(&[user("bia")])).await;
    let (souths, _) = scene.place(to(&[unit("sul")])).await;
    // Ana's name in another kind of channel is not Ana.
    let (namesakes, _) = scene.place(to(&[unit("ana")])).await;
    let (shared, place) = scene.place(to(&[user("bia"), user("ana")])).await;
    let head = scene.head().await;
    for foreign in [bias, souths, namesakes] {
        assert_eq!(scene.item(&ana, foreign).await, None);
        for mark in [Mark::Read, Mark::Archive, Mark::Acknowledge] {
            assert_eq!(scene.store.mark(&ana, foreign, mark).await.unwrap(), None);
        }
    }
    assert_eq!(scene.head().await, head, "nothing was written");
    let page = scene.page(&ana, page_of(10)).await;
    assert_eq!(ids(&page), [shared]);
    assert_eq!(
        (page.items[0].position, &page.items[0].channel),
        (place, &user("ana"))
    );
    assert_eq!(scene.unread(&ana).await, 1);
    // Whoever leaves a unit leaves its notifications.
    let (norths, _) = scene.place(to(&[unit("norte")])).await;
    assert!(scene.item(&ana, norths).await.is_some());
    let left = reader("ana", &[]);
    assert_eq!(scene.item(&left, norths).await, None);
    assert_eq!(scene.shown(&left, StateFilter::All).await, [shared]);
    assert_eq!(scene.unread(&left).await, 1);
}

pub(crate) async fn what_was_read_a_month_ago_is_archived(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (before, _) = scene.place(to(&[Channel::System])).await;
    scene.store.meet(&ana.user).await.unwrap();
    let (by_all, _) = scene.place(to(&[user("ana")])).await;
    scene.read_all(&ana).await;
    let (by_itself, _) = scene.place(to(&[user("ana")])).await;
    scene.mark(&ana, by_itself, Mark::Read).await;
    let (unread, _) = scene.place(to(&[user("ana")])).await;
    scene.advance(HOUR * (30 * 24 - 1)).await;
    let all = [unread, by_itself, by_all, before];
    assert_eq!(scene.shown(&ana, StateFilter::Unarchived).await, all);
    scene.advance(HOUR * 2).await;
    assert_eq!(scene.shown(&ana, StateFilter::Unarchived).await, [unread]);
    assert_eq!(scene.shown(&ana, StateFilter::Archived).await, all[1..]);
    assert_eq!(scene.shown(&ana, StateFilter::Read).await, []);
    for id in [before, by_all, by_itself] {
        let state = scene.state(&ana, id).await;
        assert_eq!(state.archived_at, state.read_at.map(|at| at.plus(DAY * 30)));
    }
    assert_eq!(scene.unread(&ana).await, 1);
}

pub(crate) async fn what_is_taken_out_of_the_archive_stays_out(make: &dyn StoreFactory) {
    let scene = Scene::open(make).await;
    let ana = reader("ana", &[]);
    let (id, _) = scene.place(to(&[user("ana")])).await;
    let read = scene.mark(&ana, id, Mark::Read).await.value.state;
    scene.advance(DAY * 31).await;
    let taken_out = scene.mark(&ana, id, Mark::Unarchive).await;
    assert_eq!(taken_out.value.state, read);
    assert_eq!(taken_out.events.len(), 1);
    scene.advance(DAY * 20).await;
    assert_eq!(scene.shown(&ana, StateFilter::Unarchived).await, [id]);
    scene.advance(DAY * 11).await;
    assert_eq!(scene.shown(&ana, StateFilter::Archived).await, [id]);
}
