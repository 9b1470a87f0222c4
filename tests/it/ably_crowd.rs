//! A crowd that comes at once, as after a deployment, is answered over Postgres: nobody is told to come back.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::ably_delivery::Site;
use crate::cluster::http;

const CROWD: usize = 500;
/// A debug build answers five hundred in some seconds; nobody is to be refused before.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everybody asks the first node at once. Returns how many were answered with which status.
async fn ask(site: &Site, path: &str) -> BTreeMap<u16, usize> {
    let client = http(PATIENCE);
    let tokens = (0..CROWD).map(|n| site.setup.issuer.token(&format!("crowd-{n}"), "CIDADAO", &[]));
    let asking = tokens.map(|token| {
        let call = client.get(format!("{}{path}", site.nodes[0].url()));
        let call = call.bearer_auth(token.unwrap());
        async move { call.send().await.unwrap().status().as_u16() }
    });
    let mut answered = BTreeMap::new();
    for status in join_all(asking).await {
        *answered.entry(status).or_default() += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_who_ask_at_once_are_all_answered() {
    let site = Site::open().await;
    let everybody = BTreeMap::from([(200, CROWD)]);
    let publish = |title: &'static str| {
        let draft = json!({ "type": "t", "title": title, "audience": { "everyone": true } });
        site.call(
            &site.nodes[0],
            "SERVICE",
            (Method::POST, "/v1/notifications", draft),
        )
    };
    let first: Value = publish("before").await;
    publish("after").await;
    assert_eq!(ask(&site, "/v1/transport").await, everybody);
    assert_eq!(ask(&site, "/v1/ably/token").await, everybody);
    // Everybody's cursor is behind: the log and the deliveries are looked at for each.
    let after = first["cursor"].as_str().unwrap();
    assert_eq!(
        ask(&site, &format!("/v1/transport?after={after}")).await,
        everybody
    );

    let database = site.database.connect().await.unwrap();
    let query = "SELECT count(*) FROM token_holders WHERE user_id LIKE 'crowd-%'";
    let held: i64 = database.query_one(query, &[]).await.unwrap().get(0);
    assert_eq!(
        usize::try_from(held).unwrap(),
        CROWD,
        "whoever has a token is remembered"
    );
}
