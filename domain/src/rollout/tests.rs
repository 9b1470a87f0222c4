use super::*;

const STEPS: [u8; 5] = [0, 5, 25, 75, 100];

fn rollout(percent: u8) -> Rollout {
    Rollout {
        share: Share::percent(percent),
        ..Rollout::new("ably-1".parse().unwrap())
    }
}

fn nobody_special(user: &UserId) -> Person<'_> {
    Person {
        user,
        units: &[],
        roles: &[],
    }
}

fn transport(rollout: &Rollout, user: &UserId) -> Transport {
    rollout.transport_for(&nobody_special(user)).0
}

#[test]
fn raising_the_share_moves_each_of_100_000_people_at_most_once_and_lowering_undoes_it() {
    let steps = STEPS.map(rollout);
    for number in 0..100_000_u32 {
        let user: UserId = format!("u-{number}").parse().unwrap();
        let way = steps.each_ref().map(|step| transport(step, &user));
        assert_eq!(way[0], Transport::Streams, "{user}");
        assert_eq!(way[4], Transport::Ably, "{user}");
        let moves = way.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(moves, 1, "{user} moves {moves} times: {way:?}");
        // On the way down everybody is, at each share, where they were on the way up.
        let down = [4, 3, 2, 1, 0].map(|step: usize| transport(&rollout(STEPS[step]), &user));
        assert!(down.iter().eq(way.iter().rev()), "{user}");
    }
}

#[test]
fn a_cohort_is_as_large_as_its_share_whatever_the_salt() {
    let users: Vec<UserId> = (0..100_000).map(|n| format!("u-{n}").parse().unwrap()).collect();
    // A linear congruential generator (Knuth's MMIX), so that the salts have nothing in common.
    let mut seed = 42_u64;
    for _ in 0..20 {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let salt: Salt = format!("{seed:x}").parse().unwrap();
        let buckets: Vec<Bucket> = users.iter().map(|user| Bucket::of(&salt, user)).collect();
        for percent in [5, 25, 50, 75] {
            let share = Share::percent(percent);
            let reached = buckets.iter().filter(|bucket| share.reaches(**bucket)).count();
            let off = reached.abs_diff(usize::from(percent) * 1_000);
            assert!(
                off <= 700,
                "salt {}: {reached} of 100,000 at {percent} %",
                salt.as_str()
            );
        }
    }
}

#[test]
fn two_salts_deal_people_independently() {
    let (one, two): (Salt, Salt) = ("ably-1".parse().unwrap(), "ably-2".parse().unwrap());
    let half = Share::percent(50);
    let both = (0..100_000)
        .map(|n| format!("u-{n}").parse::<UserId>().unwrap())
        .filter(|user| half.reaches(Bucket::of(&one, user)) && half.reaches(Bucket::of(&two, user)))
        .count();
    assert!(both.abs_diff(25_000) <= 700, "{both}");
}

#[test]
fn the_most_particular_override_wins_and_the_kill_switch_beats_all() {
    use Transport::{Ably, Streams};
    let user: UserId = "u-1".parse().unwrap();
    let units: [UnitId; 2] = ["cras-1".parse().unwrap(), "cras-2".parse().unwrap()];
    let roles = [Role::new("TECNICO"), Role::new("gestor")];
    let person = Person {
        user: &user,
        units: &units,
        roles: &roles,
    };
    let table: [(&[_], &[_], &[_], u8, _); 9] = [
        (&[], &[], &[], 0, (Streams, Reason::OutsideCohort)),
        (&[], &[], &[], 100, (Ably, Reason::InCohort)),
        (&[], &[], &[("TECNICO", Ably)], 0, (Ably, Reason::OverrideRole)),
        (
            &[],
            &[],
            &[("TECNICO", Ably), ("GESTOR", Streams)],
            100,
            (Streams, Reason::OverrideRole),
        ),
        (&[], &[], &[("ADMIN", Streams)], 100, (Ably, Reason::InCohort)),
        (
            &[],
            &[("cras-2", Ably)],
            &[("TECNICO", Streams)],
            0,
            (Ably, Reason::OverrideUnit),
        ),
        (
            &[],
            &[("cras-1", Streams), ("cras-2", Ably)],
            &[],
            100,
            (Streams, Reason::OverrideUnit),
        ),
        (
            &[("u-1", Ably)],
            &[("cras-1", Streams)],
            &[],
            0,
            (Ably, Reason::OverrideUser),
        ),
        (&[("u-2", Ably)], &[], &[], 0, (Streams, Reason::OutsideCohort)),
    ];
    for (users, units, roles, percent, expected) in table {
        let overrides = Overrides::try_new(
            users.iter().map(|(id, to)| (id.parse().unwrap(), *to)).collect(),
            units.iter().map(|(id, to)| (id.parse().unwrap(), *to)).collect(),
            roles.iter().map(|(code, to)| (Role::new(code), *to)).collect(),
        );
        let mut rollout = Rollout {
            overrides: overrides.unwrap(),
            ..rollout(percent)
        };
        assert_eq!(
            rollout.transport_for(&person),
            expected,
            "{users:?} {units:?} {roles:?} {percent} %"
        );
        let killed = KillSwitch::try_new(user.clone(), "Ably repeats messages", Timestamp::from_millis(5));
        rollout.kill_switch = Some(killed.unwrap());
        assert_eq!(rollout.transport_for(&person), (Streams, Reason::KillSwitch));
        assert!(!rollout.reaches_anybody());
    }
}

#[test]
fn a_rollout_reaches_somebody_by_its_share_or_by_an_override_to_ably() {
    assert!(!rollout(0).reaches_anybody());
    assert!(
        Rollout {
            share: Share::try_new(1).unwrap(),
            ..rollout(0)
        }
        .reaches_anybody()
    );
    for (to, reaches) in [(Transport::Ably, true), (Transport::Streams, false)] {
        let units = [("cras-1".parse().unwrap(), to)].into();
        let overrides = Overrides::try_new(BTreeMap::new(), units, BTreeMap::new()).unwrap();
        assert_eq!(
            Rollout {
                overrides,
                ..rollout(0)
            }
            .reaches_anybody(),
            reaches
        );
    }
}

#[test]
fn a_kill_switch_says_who_why_and_when() {
    let by: UserId = "admin-1".parse().unwrap();
    let at = Timestamp::from_millis(7);
    let thrown = KillSwitch::try_new(by.clone(), "  p95 of 4 s  ", at).unwrap();
    assert_eq!((thrown.by(), thrown.why(), thrown.at()), (&by, "p95 of 4 s", at));
    assert_eq!(
        KillSwitch::try_new(by.clone(), " \n", at),
        Err(InvalidWhy { given: 0 })
    );
    assert!(KillSwitch::try_new(by.clone(), &"é".repeat(500), at).is_ok());
    assert_eq!(
        KillSwitch::try_new(by, &"é".repeat(501), at),
        Err(InvalidWhy { given: 501 })
    );
}

#[test]
fn overrides_are_bounded() {
    let users = |n: usize| {
        (0..n)
            .map(|i| (format!("u{i}").parse().unwrap(), Transport::Ably))
            .collect()
    };
    let of = |n| Overrides::try_new(users(n), BTreeMap::new(), BTreeMap::new());
    assert!(of(OVERRIDES_MAX).is_ok());
    assert_eq!(
        of(OVERRIDES_MAX + 1),
        Err(TooManyOverrides {
            given: OVERRIDES_MAX + 1
        })
    );
}

#[test]
fn stages_lead_up_and_down() {
    let stages = Stages::default();
    let percent = Share::percent;
    for (from, to) in [
        (100, 75),
        (80, 75),
        (75, 25),
        (25, 5),
        (10, 5),
        (5, 0),
        (3, 0),
        (0, 0),
    ] {
        assert_eq!(stages.below(percent(from)), percent(to), "down from {from}");
    }
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let table = [
        (0, None),
        (3, None),
        (5, Some((hours(48), 25))),
        (10, Some((hours(48), 25))),
        (25, Some((hours(72), 75))),
        (75, Some((hours(168), 100))),
        (100, None),
    ];
    for (from, expected) in table {
        let next = stages.above(percent(from)).map(|(stage, to)| (stage.lasts, to));
        assert_eq!(
            next,
            expected.map(|(lasts, to)| (lasts, percent(to))),
            "up from {from}"
        );
    }
}

#[test]
fn stages_that_lead_nowhere_are_refused() {
    let stage = |percent| Stage {
        share: Share::percent(percent),
        lasts: Duration::from_secs(60),
    };
    let of = |percents: &[u8]| Stages::try_new(percents.iter().copied().map(stage).collect());
    for bad in [
        &[][..],
        &[0, 5],
        &[5, 5],
        &[25, 5],
        &(1..=21).collect::<Vec<u8>>(),
    ] {
        assert_eq!(of(bad), Err(InvalidStages), "{bad:?}");
    }
    assert!(of(&[100]).is_ok());
    assert!(of(&[1, 2, 100]).is_ok());
    let long = Stage {
        lasts: Duration::MAX,
        ..stage(5)
    };
    assert_eq!(Stages::try_new(vec![long]), Err(InvalidStages));
}
