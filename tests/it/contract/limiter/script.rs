//! The arithmetic of limits stands twice, in the domain and in the script that Redis runs: they agree on every step.

use std::time::Duration;

use domain::limit::{Allowance, Log, STEP, Standing, Verdict, WINDOW, take};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::{Connection, Script};

const TAKE: &str = include_str!("../../../../adapters/src/redis/lua/limit/take.lua");

/// The script, with its time as two more arguments.
fn with_time_given() -> Script {
    const OWN: &str = "redis.call('TIME')";
    assert_eq!(TAKE.matches(OWN).count(), 1);
    Script::new(&TAKE.replace(OWN, "{ARGV[#ARGV - 1], ARGV[#ARGV]}"))
}

fn scripted(
    redis: &mut Connection,
    script: &Script,
    budgets: &[(String, Allowance)],
    now: Duration,
) -> Verdict {
    let mut call = script.prepare_invoke();
    call.arg(WINDOW.as_secs() * 1_000).arg(STEP.as_secs() * 1_000);
    for (key, allowance) in budgets {
        call.key(key).arg(allowance.whole());
    }
    call.arg(now.as_secs()).arg(now.subsec_micros());
    let (taken, budget, remaining, reset): (u8, usize, u32, u64) = call.invoke(redis).unwrap();
    let standing = Standing {
        budget,
        limit: budgets[budget].1.whole(),
        remaining,
        reset: Duration::from_millis(reset),
    };
    if taken == 1 {
        Verdict::Taken(standing)
    } else {
        Verdict::Refused(standing)
    }
}

/// How long nothing happens; which budgets are asked for; and how much they allow.
type Step = (i64, Vec<usize>, (u32, u32));

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![
        6 => 0_i64..300,
        3 => 0_i64..6_000,
        1 => 50_000_i64..70_000,
        // A clock is set back.
        1 => -3_000_i64..0,
    ];
    let chosen = prop::sample::subsequence(vec![0_usize, 1, 2], 1..=3).prop_shuffle();
    prop::collection::vec((pause, chosen, (1_u32..9, 0_u32..4)), 1..80)
}

#[tokio::test]
async fn the_script_and_the_domain_agree() {
    let url = tokio::task::spawn_blocking(|| tests::redis::shared().unwrap())
        .await
        .unwrap();
    tokio::task::spawn_blocking(move || agree(&url)).await.unwrap();
}

fn agree(url: &str) {
    let mut redis = redis::Client::open(url).unwrap().get_connection().unwrap();
    let script = with_time_given();
    let mut runner = TestRunner::new(Config {
        cases: 64,
        failure_persistence: None,
        ..Config::default()
    });
    let redis = std::cell::RefCell::new(&mut redis);
    let checked = runner.run(&steps(), |steps| {
        let prefix = format!("t-{:016x}:", tests::port::random());
        let mut logs: [Log; 3] = Default::default();
        let mut now = 1_767_225_600_000_i64;
        for (pause, chosen, (limit, burst)) in steps {
            now += pause;
            let moment = Duration::from_millis(now.unsigned_abs());
            let allowance = |n: usize| Allowance::try_new(limit + u32::try_from(n).unwrap(), burst).unwrap();
            let budgets: Vec<(String, Allowance)> = chosen
                .iter()
                .map(|n| (format!("{prefix}{n}"), allowance(*n)))
                .collect();
            let mut left: Vec<Option<&mut Log>> = logs.iter_mut().map(Some).collect();
            let mut asked: Vec<(&mut Log, Allowance)> = chosen
                .iter()
                .map(|n| (left[*n].take().unwrap(), allowance(*n)))
                .collect();
            let decided = take(&mut asked, moment);
            let answered = scripted(&mut redis.borrow_mut(), &script, &budgets, moment);
            prop_assert_eq!(answered, decided, "at {}", now);
        }
        Ok(())
    });
    checked.unwrap();
}
