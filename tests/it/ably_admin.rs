//! What administrators see and do about deliveries over Ably, on real nodes.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::server::now;
use tests::standin::{Fault, Rule};

use crate::ably_delivery::Site;

const UNIT: &str = "private:unit:norte:notifications";
const PATIENCE: Duration = Duration::from_secs(30);
const DEAD: &str = "/v1/admin/deliveries?status=dead";

async fn get(site: &Site, node: usize, path: &str) -> Value {
    site.call(&site.nodes[node], "ADMIN", (Method::GET, path, Value::Null))
        .await
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_delivery_is_listed_explained_and_sent_once_more_by_hand() {
    let site = Site::open().await;
    site.ably
        .faults()
        .add(Rule::from(Fault::answer(400, 40_000)).on_channel(UNIT).once());
    let draft = json!({ "type": "t", "title": "t", "audience": { "unit": "norte" } });
    let publish = (Method::POST, "/v1/notifications", draft);
    let receipt = site.call(&site.nodes[0], "SERVICE", publish).await;
    let (id, cursor) = (receipt["id"].as_str().unwrap(), &receipt["cursor"]);

    let listed = until("the dead delivery", async || {
        let page = get(&site, 1, DEAD).await;
        page["items"].get(0).cloned()
    })
    .await;
    assert_eq!(
        (
            &listed["id"],
            &listed["status"],
            &listed["reason"],
            &listed["code"]
        ),
        (cursor, &json!("dead"), &json!("refused"), &json!(40_000))
    );

    let question = format!("/v1/admin/explain?user=ana&notification={id}");
    let explained = get(&site, 1, &question).await;
    assert_eq!(explained["now"]["transport"], "ably");
    let way = &explained["notification"];
    // Nobody knows whether Ana belongs to the unit: she never asked for a token.
    assert_eq!(
        (&explained["token"], &way["addressed"]),
        (&Value::Null, &json!("unknown"))
    );
    assert_eq!(way["events"][0]["delivery"], listed);
    assert_eq!(way["events"][0]["ably"], "missed");

    let replay = format!("/v1/admin/deliveries/{}/replay", cursor.as_str().unwrap());
    let call = || (Method::POST, replay.as_str(), Value::Null);
    let revived = site.call(&site.nodes[0], "ADMIN", call()).await;
    assert_eq!(
        (&revived["status"], &revived["revived"]),
        (&json!("pending"), &json!(true))
    );
    until("Ably's acceptance", async || {
        let accepted = site.ably.ledger().accepted(UNIT);
        (accepted.len() == 1).then_some(())
    })
    .await;
    let done = until("the end", async || {
        let explained = get(&site, 0, &question).await;
        let event = explained["notification"]["events"][0].clone();
        (event["delivery"]["status"] == "done").then_some(event)
    })
    .await;
    // It came out of its order: whoever is behind it is still sent to the replay.
    assert_eq!(
        (&done["ably"], &done["delivery"]["revived"]),
        (&json!("missed"), &json!(true))
    );
    assert_eq!(get(&site, 1, DEAD).await, json!({ "items": [], "next": null }));
}
