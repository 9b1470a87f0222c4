//! Each fault does what it says.

use std::time::Duration;

use serde_json::json;
use tests::server::now;
use tests::standin::{Fault, Outcome, Remembers, Rule, StandIn};

use super::{CHANNEL, batch, client, message, publishing, refused, told};

const WHILE: Duration = Duration::from_millis(300);

fn outcomes(ably: &StandIn) -> Vec<Outcome> {
    ably.ledger()
        .requests()
        .into_iter()
        .map(|seen| seen.outcome)
        .collect()
}

#[tokio::test]
async fn errors_are_answered_as_often_as_told() {
    let ably = StandIn::start().unwrap();
    for (status, code) in [
        (500, 50000),
        (503, 50003),
        (429, 42913),
        (401, 40142),
        (400, 40000),
    ] {
        ably.faults()
            .set([Rule::from(Fault::answer(status, code)).times(2)]);
        for _ in 0..2 {
            assert_eq!(
                refused(publishing(&ably, &message("evt-1"))).await,
                (status, code.into())
            );
        }
        assert_eq!(
            told(publishing(&ably, &message(&format!("evt-{code}")))).await.0,
            201
        );
    }
    assert_eq!(
        ably.ledger().accepted(CHANNEL).len(),
        5,
        "what was refused is not there"
    );
}

#[tokio::test]
async fn a_pause_is_asked_for_in_the_header() {
    let ably = StandIn::start().unwrap();
    let Fault::Answer { error, .. } = Fault::answer(429, 42910) else {
        unreachable!()
    };
    ably.faults().add(Fault::Answer {
        error,
        retry_after: Some(7),
    });
    let response = publishing(&ably, &message("evt-1")).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(response.headers()["x-ably-errorcode"], "42910");
}

#[tokio::test]
async fn the_edge_answers_without_json() {
    let ably = StandIn::start().unwrap();
    ably.faults().add(Fault::edge(502, 50002));
    let response = publishing(&ably, &message("evt-1")).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["server"]),
        (502, &"CloudFront".parse().unwrap())
    );
    assert_eq!(response.headers()["x-ably-errorcode"], "50002");
    assert!(response.json::<serde_json::Value>().await.is_err());
}

#[tokio::test]
async fn a_refused_connection_ends_before_anything_is_read() {
    let ably = StandIn::start().unwrap();
    ably.faults().add(Rule::from(Fault::Refuse).once());
    assert!(publishing(&ably, &message("evt-1")).send().await.is_err());
    assert!(ably.ledger().requests().is_empty());
    assert_eq!(ably.ledger().counts().resets, 1);
    assert_eq!(told(publishing(&ably, &message("evt-1"))).await.0, 201);
}

#[tokio::test]
async fn a_cut_request_did_nothing_and_a_cut_answer_everything() {
    let ably = StandIn::start().unwrap();
    ably.faults().set([Rule::from(Fault::Cut).once()]);
    assert!(publishing(&ably, &message("evt-1")).send().await.is_err());
    assert!(ably.ledger().accepted(CHANNEL).is_empty());
    ably.faults().set([Rule::from(Fault::CutAnswer).once()]);
    assert!(publishing(&ably, &message("evt-1")).send().await.is_err());
    assert_eq!(ably.ledger().accepted(CHANNEL).len(), 1);
    assert_eq!(outcomes(&ably), [Outcome::Cut, Outcome::Cut]);
    assert_eq!(
        told(publishing(&ably, &message("evt-1"))).await.0,
        201,
        "the same id again"
    );
    assert_eq!(ably.ledger().accepted(CHANNEL).len(), 1, "it counted once");
}

#[tokio::test]
async fn a_hanging_request_is_never_answered() {
    let ably = StandIn::start().unwrap();
    ably.faults().add(Rule::from(Fault::Hang).once());
    let error = publishing(&ably, &message("evt-1"))
        .timeout(WHILE)
        .send()
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(outcomes(&ably), [Outcome::Hung]);
    assert!(ably.ledger().accepted(CHANNEL).is_empty());
}

#[tokio::test]
async fn a_slow_answer_is_late_and_right() {
    let ably = StandIn::start().unwrap();
    ably.faults().add(Rule::from(Fault::Slow(WHILE)).once());
    let started = now();
    assert_eq!(told(publishing(&ably, &message("evt-1"))).await.0, 201);
    assert!(started.elapsed() >= WHILE);
}

#[tokio::test]
async fn some_items_of_a_batch_fail() {
    let ably = StandIn::start().unwrap();
    ably.faults()
        .add(Rule::from(Fault::fail_items(429, 42913)).on_channel("b").once());
    let (status, body) = told(batch(&ably, &["a", "b", "c"])).await;
    assert_eq!(status, 201);
    assert_eq!(body[1]["results"][0]["error"]["code"], 42913);
    assert_eq!(
        (&body[0]["successCount"], &body[2]["successCount"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(ably.ledger().counts().accepted, 2);
}

#[tokio::test]
async fn what_is_swallowed_is_acknowledged_and_never_there() {
    let ably = StandIn::start().unwrap();
    ably.faults().add(Rule::from(Fault::Swallow).once());
    assert_eq!(told(publishing(&ably, &message("evt-1"))).await.0, 201);
    let accepted = ably.ledger().accepted(CHANNEL);
    assert!(accepted.len() == 1 && accepted[0].swallowed, "{accepted:?}");
    let path = format!("{}/channels/{CHANNEL}/messages", ably.url());
    let history = super::with_key(client().get(path), tests::standin::PUBLISH_KEY);
    assert_eq!(told(history).await, (200, json!([])));
}

#[tokio::test]
async fn a_killed_stand_in_is_not_there_and_comes_back_on_its_port() {
    let ably = StandIn::start().unwrap();
    told(publishing(&ably, &message("evt-1"))).await;
    ably.kill().unwrap();
    assert!(
        publishing(&ably, &message("evt-2"))
            .send()
            .await
            .unwrap_err()
            .is_connect()
    );
    ably.restart(Remembers::Everything).unwrap();
    told(publishing(&ably, &message("evt-1"))).await;
    assert_eq!(ably.ledger().counts().repeated, 1);
    ably.restart(Remembers::Nothing).unwrap();
    told(publishing(&ably, &message("evt-1"))).await;
    assert_eq!(
        ably.ledger().accepted(CHANNEL).len(),
        2,
        "the id was forgotten with the rest"
    );
}

#[tokio::test]
async fn the_switches_take_faults_as_json_and_say_what_is_wrong_with_them() {
    let ably = StandIn::start().unwrap();
    let url = format!("{}/standin/faults", ably.url());
    let rules = json!([
        { "fault": "answer", "status": 503, "code": 50003, "times": 1, "path": "/channels" },
        { "fault": "slow", "ms": 1, "channel": "elsewhere" },
    ]);
    let (status, body) = told(client().put(&url).json(&rules)).await;
    assert_eq!((status, body.as_array().map(Vec::len)), (200, Some(2)), "{body}");
    assert_eq!(refused(publishing(&ably, &message("evt-1"))).await, (503, 50003));
    assert_eq!(told(publishing(&ably, &message("evt-1"))).await.0, 201);
    assert_eq!(
        told(client().get(&url)).await.1.as_array().map(Vec::len),
        Some(1),
        "one was used up"
    );
    for wrong in [
        json!([{ "fault": "explode" }]),
        json!([{ "fault": "slow" }]),
        json!([{ "fault": "answer", "status": 200 }]),
        json!([{ "fault": "cut", "chanel": "x" }]),
    ] {
        let (status, body) = told(client().put(&url).json(&wrong)).await;
        assert!(
            status == 400 && body["error"].as_str().is_some_and(|why| !why.is_empty()),
            "{body}"
        );
    }
    assert_eq!(told(client().delete(&url)).await, (200, json!([])));
}
