use proptest::prelude::*;

use super::*;

fn start() -> AuditedRollout {
    AuditedRollout::new(Salt::from_bits(1, 2))
}

fn admin() -> UserId {
    "admin-1".parse().unwrap()
}

fn any_transport() -> impl Strategy<Value = Transport> {
    prop_oneof![Just(Transport::Ably), Just(Transport::Streams)]
}

fn any_map<K: Ord + std::fmt::Debug>(
    key: impl Strategy<Value = K>,
) -> impl Strategy<Value = BTreeMap<K, Transport>> {
    prop::collection::btree_map(key, any_transport(), 0..30)
}

fn any_overrides() -> impl Strategy<Value = Overrides> {
    let users = any_map("[A-Za-z0-9_-]{1,64}".prop_map(|id| id.parse::<UserId>().unwrap()));
    let units = any_map("[A-Za-z0-9_-]{1,64}".prop_map(|id| id.parse::<UnitId>().unwrap()));
    let roles = any_map("[A-Z_]{1,20}".prop_map(|code| Role::new(&code)));
    (users, units, roles).prop_map(|(users, units, roles)| Overrides::try_new(users, units, roles).unwrap())
}

fn any_stages() -> impl Strategy<Value = Stages> {
    let shares = prop::collection::btree_set(1_u32..=10_000, 1..=20);
    (shares, 0_u64..31_622_400_000).prop_map(|(shares, lasts_ms)| {
        let stage = |share| Stage {
            share: Share::try_new(share).unwrap(),
            lasts: Duration::from_millis(lasts_ms),
        };
        Stages::try_new(shares.into_iter().map(stage).collect()).unwrap()
    })
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    prop_oneof![Just(Schedule::Running), Just(Schedule::Stopped)]
}

fn any_why() -> impl Strategy<Value = Why> {
    // Whatever people write: quotes, line ends, other scripts, half of a smile.
    "(?s)\\PC.{0,40}"
        .prop_filter_map("blank", |text| Why::try_new(&text).ok())
        .boxed()
}

/// One thing that somebody does.
#[derive(Debug, Clone)]
enum Act {
    Change(u32, Overrides, Stages, Schedule, Why),
    Kill(Why),
    Release(Option<Why>),
}

fn any_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (
            0_u32..=10_000,
            any_overrides(),
            any_stages(),
            any_schedule(),
            any_why()
        )
            .prop_map(|(share, overrides, stages, schedule, why)| {
                Act::Change(share, overrides, stages, schedule, why)
            }),
        any_why().prop_map(Act::Kill),
        prop::option::of(any_why()).prop_map(Act::Release),
    ]
}

fn after(audited: &AuditedRollout, act: Act, at: Timestamp) -> Option<AuditedRollout> {
    match act {
        Act::Change(share, overrides, stages, schedule, why) => {
            let next = Rollout {
                share: Share::try_new(share).unwrap(),
                overrides,
                stages,
                schedule,
                ..audited.rollout.clone()
            };
            audited.change(next, admin(), Some(why), at)
        }
        Act::Kill(why) => audited.kill(admin(), why, at),
        Act::Release(why) => audited.release(admin(), why, at),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_rollout_reads_back_as_it_was_written(
        acts in prop::collection::vec((any_act(), any::<i64>()), 0..8),
    ) {
        let (mut audited, mut text) = (start(), String::new());
        for (act, at) in acts {
            audited = after(&audited, act, Timestamp::from_millis(at)).unwrap_or(audited);
            text = RolloutJson.write(&audited, &text);
            prop_assert_eq!(RolloutJson.read(&text), Ok(audited.clone()));
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "(?s).{0,80}", cut in 0_usize..400) {
        let _ = RolloutJson.read(&text);
        let whole = RolloutJson.write(&start(), "");
        let _ = RolloutJson.read(whole.get(..cut.min(whole.len())).unwrap_or_default());
    }
}

/// As the first version of the service wrote it: every later one has to read it.
const KEPT: &str = r#"{"format":1,"salt":"00000000000000010000000000000002","share":500,"overrides":{"users":{"u-1":"ably"},"units":{"cras-1":"sse"},"roles":{"TECNICO":"ably"}},"stages":[{"share":500,"lasts_ms":172800000},{"share":10000,"lasts_ms":0}],"kill_switch":{"by":"admin-1","why":"p95 of 4 s","at":7},"changes":[{"by":"admin-1","why":"p95 of 4 s","at":7,"kill_switch":"thrown"},{"by":"admin-1","why":"pilot","at":5,"share":[0,500],"overrides":{"count":1,"named":[{"of":"user","name":"u-1","from":null,"to":"ably"}]},"stages":[{"share":500,"lasts_ms":0}]}]}"#;

#[test]
fn names_and_places_stay_as_they_were_first_written() {
    let audited = RolloutJson.read(KEPT).unwrap();
    assert_eq!(audited.rollout.share, Share::percent(5));
    assert_eq!(audited.changes().len(), 2);
    assert_eq!(audited.rollout.schedule, Schedule::Stopped);
    assert_eq!(RolloutJson.write(&audited, ""), rewritten());
}

/// What came later is written, too.
fn rewritten() -> String {
    KEPT.replacen(r#""changes""#, r#""schedule":"stopped","changes""#, 1)
}

#[test]
fn a_schedule_that_was_stopped_replaces_one_that_ran() {
    let running = Rollout {
        schedule: Schedule::Running,
        ..RolloutJson.read(KEPT).unwrap().rollout
    };
    let audited = RolloutJson.read(KEPT).unwrap();
    let running = audited
        .change(running, admin(), None, Timestamp::from_millis(8))
        .unwrap();
    let text = RolloutJson.write(&running, KEPT);
    assert_eq!(
        RolloutJson.read(&text).unwrap().rollout.schedule,
        Schedule::Running
    );
    let stopped = Rollout {
        schedule: Schedule::Stopped,
        ..running.rollout.clone()
    };
    let stopped = running
        .change(stopped, admin(), None, Timestamp::from_millis(9))
        .unwrap();
    let text = RolloutJson.write(&stopped, &text);
    assert_eq!(RolloutJson.read(&text), Ok(stopped));
    let unknown = text.replace("\"schedule\":\"running\"", "\"schedule\":\"sometimes\"");
    assert_eq!(RolloutJson.read(&unknown).unwrap_err().what, "schedule");
}

#[test]
fn what_a_newer_node_added_is_passed_over_and_kept() {
    let newer = KEPT
        .replacen(r#""format":1,"#, r#""format":1,"progress":{"since":5},"#, 1)
        .replacen(r#""by":"admin-1""#, r#""by":"admin-1","from":"console""#, 1);
    let audited = RolloutJson.read(&newer).unwrap();
    assert_eq!(audited, RolloutJson.read(KEPT).unwrap());

    let released = audited.release(admin(), None, Timestamp::from_millis(9)).unwrap();
    let text = RolloutJson.write(&released, &newer);
    let fields: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fields["progress"]["since"], 5);
    assert_eq!(fields["kill_switch"], Value::Null);
    assert_eq!(RolloutJson.read(&text), Ok(released));
}

#[test]
fn another_format_is_unreadable_and_nothing_of_it_is_kept() {
    let newer = KEPT.replacen(r#""format":1,"#, r#""format":2,"progress":5,"#, 1);
    let error = RolloutJson.read(&newer).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the stored rollout cannot be read: a format of another version of the service"
    );
    let audited = RolloutJson.read(KEPT).unwrap();
    assert_eq!(RolloutJson.write(&audited, &newer), rewritten());
}

#[test]
fn what_breaks_a_rule_is_unreadable_and_says_so_without_its_content() {
    let broken = [
        (
            "\"share\":500,\"overrides\"",
            "\"share\":10001,\"overrides\"",
            "share",
        ),
        ("0000000001", "secret salt", "salt"),
        ("\"u-1\":\"ably\"", "\"u:secret\":\"ably\"", "override of a user"),
        ("\"cras-1\":\"sse\"", "\"cras-1\":\"secret\"", "transport"),
        ("172800000", "172800000000", "stages"),
        (
            "\"by\":\"admin-1\"",
            "\"by\":\"secret:1\"",
            "who threw the kill switch",
        ),
        ("\"kill_switch\":\"thrown\"", "\"kill_switch\":\"secret\"", "Data"),
        ("\"salt\"", "\"pepper\"", "Data"),
    ];
    for (part, by, what) in broken {
        let text = KEPT.replacen(part, by, 1);
        assert_ne!(text, KEPT, "{part}");
        assert_eq!(RolloutJson.read(&text).unwrap_err().what, what, "{part}");
    }
    for text in ["", "null", "[]", "{}", r#"{"format":"1"}"#] {
        assert!(RolloutJson.read(text).is_err(), "{text}");
    }
}
