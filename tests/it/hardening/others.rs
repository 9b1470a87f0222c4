//! What is somebody else's.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency_key_collision_between_publishers() {
    let target = Target::start();
    let draft = |title: &str| json!({ "audience": { "users": ["u-1"] }, "type": "a", "title": title });
    let (status, first) = target.publish("publisher-1", Some("key"), &draft("one")).await;
    assert_eq!(status, 201);
    // Another publisher's key of the same name is another key: neither a conflict nor a receipt of theirs.
    let (status, second) = target.publish("publisher-2", Some("key"), &draft("two")).await;
    assert_eq!(status, 201);
    assert_ne!(first["id"], second["id"]);
    let (status, again) = target.publish("publisher-2", Some("key"), &draft("two")).await;
    assert_eq!((status, &again["id"]), (201, &second["id"]));
    // And what another published under it cannot be found out by guessing.
    let (status, guessed) = target.publish("publisher-2", Some("key"), &draft("one")).await;
    assert_eq!(status, 409, "{guessed}");
    assert!(!guessed.to_string().contains(first["id"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursor_of_another_person() {
    let target = Target::start();
    let draft = json!({ "audience": { "users": ["victim"] }, "type": "a", "title": "Segredo" });
    let (_, before) = target
        .publish(
            "back-end",
            None,
            &json!({ "audience": { "users": ["victim"] }, "type": "a", "title": "Antes" }),
        )
        .await;
    let (status, _) = target.publish("back-end", None, &draft).await;
    assert_eq!(status, 201);
    let cursor = before["cursor"].as_str().unwrap();
    let thief = target.token("thief", "CIDADAO");
    let replay = format!("/v1/events/replay?after={cursor}");
    let answer = target
        .client
        .get(target.url(&replay))
        .bearer_auth(&thief)
        .send()
        .await
        .unwrap();
    let page: Value = answer.json().await.unwrap();
    assert_eq!(page["events"], json!([]));
    let call = target.client.get(target.url("/v1/stream")).bearer_auth(&thief);
    let mut stream = call.header("last-event-id", cursor).send().await.unwrap();
    let mut heard = String::new();
    while !heard.contains("event: heartbeat") {
        let piece = timeout(DEADLINE, stream.chunk()).await.unwrap().unwrap().unwrap();
        heard.push_str(std::str::from_utf8(&piece).unwrap());
    }
    assert!(!heard.contains("Segredo") && !heard.contains("victim"), "{heard}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_names_with_separators() {
    let target = Target::start();
    let token = target.token("u-1", "CIDADAO");
    let names = [
        "private:user:u-1:notifications:extra",
        "private:user:u-1",
        "private:user:*:notifications",
        "private:user:u-2%3Anotifications",
        "private:user:u-1:notifications%00",
        "private:user:u-1%0d%0aevent:%20x:notifications",
        "PRIVATE:user:u-1:notifications",
        "[meta]private:user:u-1:notifications",
        "staging:private:user:u-1:notifications",
        "private:user:u-2:notifications",
        "private:user:u-1:notifications,private:user:u-2:notifications",
    ];
    for name in names {
        let call = target
            .client
            .get(target.url(&format!("/v1/stream?channels={name}")));
        let answer = call.bearer_auth(&token).send().await.unwrap();
        assert!(
            matches!(answer.status().as_u16(), 400 | 403),
            "{name}: {}",
            answer.status()
        );
    }
    // Nor does a person of such a name get a channel.
    for user in ["u-1:notifications", "*", "u 1", "", "a/b"] {
        let call = target.client.get(target.url("/v1/stream"));
        let answer = call
            .bearer_auth(target.token(user, "CIDADAO"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 401, "{user}");
    }
    target.neighbour_works().await;
}
