//! The fault table: whatever Ably does, people who go by `GET /v1/transport` are shown every notification of theirs once
//! and within half a minute, nobody is shown anybody else's, and the deliveries add up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::cursor::Cursor;
use futures_util::future::{join_all, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};
use tests::follower::{self, Follower, Story};
use tests::server::now;
use tests::standin::{Fault, Remembers, Rule, StandIn};

use crate::ably_delivery::Site;

/// What a client that follows is promised.
const PROMISED: Duration = Duration::from_secs(30);

const UNIT: &str = "private:unit:norte:notifications";
const EVERYONE: &str = "system:notifications";

/// Where notifications are published in turn.
const AUDIENCES: usize = 4;

/// People, their clients, and what each must have been shown.
struct Table {
    site: Site,
    people: Vec<(&'static str, Follower)>,
    /// Cursors by channel.
    published: BTreeMap<String, Vec<Cursor>>,
}

impl Table {
    /// Ana and Bia belong to the unit and listen on Ably; Caio does not belong to it.
    async fn set() -> Self {
        let site = Site::open().await;
        let nodes = site.nodes.iter().map(tests::node::Node::url);
        let follow = follower::Site::new(nodes, site.ably.address()).unwrap();
        let mut people = Vec::new();
        for (name, units) in [
            ("ana", vec!["norte".to_owned()]),
            ("bia", vec!["norte".to_owned()]),
            ("caio", vec![]),
        ] {
            let token = site.setup.issuer.token(name, "TECNICO", &units).unwrap();
            people.push((name, Follower::open(&follow, token).await.unwrap()));
        }
        let table = Self {
            site,
            people,
            published: BTreeMap::new(),
        };
        for (_, follower) in &table.people {
            follower.until("on Ably", PROMISED, Story::on_ably).await.unwrap();
        }
        table
    }

    /// Publishes to the unit, to Ana, to Bia and to everyone in turn.
    async fn publish(&mut self, count: usize) {
        for number in 0..count {
            let (channel, audience) = match number % AUDIENCES {
                0 => (UNIT.to_owned(), json!({ "unit": "norte" })),
                1 => (own("ana"), json!({ "users": ["ana"] })),
                2 => (own("bia"), json!({ "users": ["bia"] })),
                _ => (EVERYONE.to_owned(), json!({ "everyone": true })),
            };
            let draft = json!({ "type": "t", "title": format!("{number}"), "audience": audience });
            let node = &self.site.nodes[number % 2];
            let call = (Method::POST, "/v1/notifications", draft);
            let receipt = self.site.call(node, "SERVICE", call).await;
            let cursor = receipt["cursor"].as_str().unwrap().parse().unwrap();
            self.published.entry(channel).or_default().push(cursor);
        }
    }

    /// What somebody must be shown.
    fn due(&self, name: &str) -> BTreeSet<Cursor> {
        let mut channels = vec![own(name), EVERYONE.to_owned()];
        if name != "caio" {
            channels.push(UNIT.to_owned());
        }
        let published = channels.iter().filter_map(|channel| self.published.get(channel));
        published.flatten().copied().collect()
    }

    /// Waits until everybody has been shown what was published so far.
    async fn shown(&self, when: &str) {
        let waiting = self.people.iter().map(|(name, follower)| async move {
            let due = self.due(name);
            let all = |story: &Story| story.missing(&due).is_empty();
            let what = format!("{name} was shown everything {when}");
            follower.until(&what, PROMISED, all).await
        });
        let waited = join_all(waiting).await;
        let late: Vec<String> = waited
            .into_iter()
            .filter_map(|shown| shown.err().map(|error| format!("{error:#}")))
            .collect();
        assert!(late.is_empty(), "{late:#?}");
    }

    /// Ends everything, and holds it to what was promised. Returns the stories.
    async fn ends(mut self) -> Vec<(&'static str, Story)> {
        let people = std::mem::take(&mut self.people);
        let mut stories = Vec::new();
        for (name, follower) in people {
            let story = follower.stop().await;
            assert_eq!(
                story.faults(),
                Vec::<String>::new(),
                "{name}: {}",
                story.summary()
            );
            let shown: BTreeSet<Cursor> = story.shown.iter().map(|shown| shown.cursor).collect();
            assert_eq!(shown, self.due(name), "{name} was shown exactly what was theirs");
            stories.push((name, story));
        }
        self.adds_up().await;
        stories
    }

    /// Every event that was published has one delivery, of its channel, that stands somewhere; and those that are done
    /// are those that Ably accepted, each once.
    async fn adds_up(&self) {
        let published: BTreeMap<u64, &str> = (self.published.iter())
            .flat_map(|(channel, cursors)| cursors.iter().map(|cursor| (cursor.position.0, channel.as_str())))
            .collect();
        let rows = self.rows().await;
        let planned: BTreeMap<u64, &str> = (rows.iter())
            .map(|(position, channel, _)| (*position, channel.as_str()))
            .collect();
        assert_eq!(planned, published);
        assert_eq!(rows.len(), published.len(), "no event has two deliveries");
        let standing = |names: &[&str]| {
            rows.iter()
                .filter(|(.., status)| names.contains(&status.as_str()))
                .count()
        };
        let ended = standing(&["done", "suppressed", "dead", "withdrawn"]);
        let open = standing(&["pending", "leased", "retry_at"]);
        assert_eq!(rows.len(), ended + open, "{rows:?}");
        let done: BTreeSet<u64> = (rows.iter())
            .filter(|(.., status)| status == "done")
            .map(|(position, ..)| *position)
            .collect();
        let accepted = self.accepted();
        let once: BTreeSet<u64> = accepted.iter().copied().collect();
        assert_eq!(
            once.len(),
            accepted.len(),
            "Ably accepted something twice: {accepted:?}"
        );
        assert!(
            done.is_subset(&once),
            "done without Ably's word: {done:?} of {once:?}"
        );
    }

    /// The deliveries, once every event has one.
    async fn rows(&self) -> Vec<(u64, String, String)> {
        let database = self.site.database.connect().await.unwrap();
        let started = now();
        loop {
            let query =
                "SELECT position, channel, record::json ->> 'status' FROM deliveries ORDER BY position";
            let rows = database.query(query, &[]).await.unwrap();
            let rows: Vec<(u64, String, String)> = (rows.iter())
                .map(|row| (row.get::<_, i64>(0).unsigned_abs(), row.get(1), row.get(2)))
                .collect();
            if rows.len() >= self.published.values().map(Vec::len).sum() {
                return rows;
            }
            assert!(
                started.elapsed() < PROMISED,
                "not everything was planned: {rows:?}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The positions of what Ably accepted.
    fn accepted(&self) -> Vec<u64> {
        let ledger = self.site.ably.ledger();
        let messages = self.published.keys().flat_map(|channel| ledger.accepted(channel));
        let position = |accepted: tests::standin::Accepted| {
            let data = accepted.message["data"].as_str().expect("data is JSON text");
            let data: Value = serde_json::from_str(data).unwrap();
            data["cursor"]
                .as_str()
                .unwrap()
                .parse::<Cursor>()
                .unwrap()
                .position
                .0
        };
        messages.map(position).collect()
    }
}

fn own(name: &str) -> String {
    format!("private:user:{name}:notifications")
}

/// Ably's REST API fails like this, its connections go on.
fn on_rest(ably: &StandIn, fault: &Fault) {
    for path in ["/channels", "/messages"] {
        ably.faults().add(Rule::from(fault.clone()).on_path(path));
    }
}

/// One row: something begins to go wrong, and ends.
async fn row(begin: impl Fn(&StandIn), end: impl Fn(&StandIn)) -> Vec<(&'static str, Story)> {
    let mut table = Table::set().await;
    table.publish(AUDIENCES).await;
    table.shown("before anything goes wrong").await;
    begin(&table.site.ably);
    table.publish(2 * AUDIENCES).await;
    table.shown("while it goes wrong").await;
    end(&table.site.ably);
    table.publish(AUDIENCES).await;
    table.shown("after it went wrong").await;
    table.ends().await
}

fn mended(ably: &StandIn) {
    ably.faults().clear();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_refused() {
    row(|ably| ably.faults().add(Fault::Refuse), mended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_is_never_answered() {
    row(|ably| on_rest(ably, &Fault::Hang), mended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_answered_and_nobody_can_connect() {
    let begin = |ably: &StandIn| {
        ably.faults().add(Fault::Hang);
        ably.cut();
    };
    row(begin, mended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_answers_500() {
    row(|ably| on_rest(ably, &Fault::answer(500, 50_000)), mended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_answers_429() {
    row(|ably| on_rest(ably, &Fault::answer(429, 42_913)), mended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_answers_that_the_token_has_expired() {
    row(|ably| on_rest(ably, &Fault::answer(401, 40_142)), mended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_each_batch_is_refused_for_good() {
    let begin = |ably: &StandIn| {
        let rule = Rule::from(Fault::fail_items(400, 40_000));
        ably.faults().add(rule.on_channel(UNIT));
    };
    let stories = row(begin, mended).await;
    for (name, story) in stories.iter().filter(|(name, _)| *name != "caio") {
        let by_replay = |shown: &&follower::Shown| shown.channel == UNIT && shown.by == follower::Way::Replay;
        let replayed = story.shown.iter().filter(by_replay).count();
        assert!(
            replayed >= 2,
            "{name} is given what Ably refused: {}",
            story.summary()
        );
        assert_eq!(story.switches.len(), 1, "and stays on Ably: {}", story.summary());
    }
}

/// A client that has the channel's last cursor could take what is below it for received: only `replay` says otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_refused_for_good_and_the_next_one_of_its_channel_is_taken() {
    let begin = |ably: &StandIn| {
        let rule = Rule::from(Fault::fail_items(400, 40_000));
        ably.faults().add(rule.on_channel(UNIT).once());
    };
    let stories = row(begin, mended).await;
    for (name, story) in stories.iter().filter(|(name, _)| *name != "caio") {
        let by_replay = |shown: &follower::Shown| shown.channel == UNIT && shown.by == follower::Way::Replay;
        assert!(story.shown.iter().any(by_replay), "{name}: {}", story.summary());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_what_was_done_is_lost() {
    let begin = |ably: &StandIn| {
        for path in ["/channels", "/messages"] {
            ably.faults()
                .add(Rule::from(Fault::CutAnswer).on_path(path).times(2));
        }
    };
    row(begin, mended).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_cut_off_again_and_again() {
    let mut table = Table::set().await;
    for _ in 0..5 {
        table.site.ably.cut();
        table.publish(AUDIENCES).await;
    }
    table.shown("over five cuts").await;
    for (_, follower) in &table.people {
        follower
            .until("back on Ably", PROMISED, Story::on_ably)
            .await
            .unwrap();
    }
    table.ends().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ably_is_killed_and_comes_back_with_all_that_it_knew() {
    row(
        |ably| ably.kill().unwrap(),
        |ably| ably.restart(Remembers::Everything).unwrap(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ably_is_killed_and_comes_back_with_nothing() {
    row(
        |ably| ably.kill().unwrap(),
        |ably| ably.restart(Remembers::Nothing).unwrap(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_followers_in_one_process_are_moved_together() {
    let site = Site::open().await;
    let nodes = site.nodes.iter().map(tests::node::Node::url);
    let follow = follower::Site::new(nodes, site.ably.address()).unwrap();
    let opening = (0..200).map(|number| {
        let token = site
            .setup
            .issuer
            .token(&format!("u{number}"), "CIDADAO", &[])
            .unwrap();
        Follower::open(&follow, token)
    });
    let crowd: Vec<Follower> = try_join_all(opening).await.unwrap();
    let all = |what: &'static str, wanted: fn(&Story, usize) -> bool, count: usize| {
        let waiting = crowd
            .iter()
            .map(move |follower| follower.until(what, PROMISED, move |story| wanted(story, count)));
        async move {
            let waited: Result<Vec<()>, _> = join_all(waiting).await.into_iter().collect();
            waited.unwrap();
        }
    };
    all("on Ably", |story, _| story.on_ably(), 0).await;
    for (count, dead) in [(5, false), (10, true)] {
        if dead {
            site.ably.kill().unwrap();
        }
        for _ in 0..5 {
            let draft = json!({ "type": "t", "title": "t", "audience": { "everyone": true } });
            site.call(
                &site.nodes[0],
                "SERVICE",
                (Method::POST, "/v1/notifications", draft),
            )
            .await;
        }
        all("shown", |story, count| story.shown.len() == count, count).await;
    }
    for follower in crowd {
        let story = follower.stop().await;
        assert_eq!(story.faults(), Vec::<String>::new());
        assert_eq!(story.out_of_order(), Vec::<Cursor>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kill_switch_moves_people_to_the_stream_and_back_without_a_gap() {
    let mut table = Table::set().await;
    table.publish(AUDIENCES).await;
    let why = || json!({ "why": "a test" });
    let switch = |method| (method, "/v1/admin/kill-switch", why());
    table
        .site
        .call(&table.site.nodes[0], "ADMIN", switch(Method::POST))
        .await;
    table.publish(2 * AUDIENCES).await;
    table.shown("with the kill switch thrown").await;
    for (_, follower) in &table.people {
        follower
            .until("on the stream", PROMISED, Story::on_stream)
            .await
            .unwrap();
    }
    table.publish(AUDIENCES).await;
    table
        .site
        .call(&table.site.nodes[1], "ADMIN", switch(Method::DELETE))
        .await;
    table.publish(AUDIENCES).await;
    for (_, follower) in &table.people {
        // Twice in a row, each time after at most 20 s.
        follower
            .until("back on Ably", 2 * PROMISED, Story::on_ably)
            .await
            .unwrap();
    }
    table.publish(AUDIENCES).await;
    table.shown("back on Ably").await;
    for (name, story) in table.ends().await {
        assert_eq!(
            story.out_of_order(),
            Vec::<Cursor>::new(),
            "{name}: {}",
            story.summary()
        );
    }
}
