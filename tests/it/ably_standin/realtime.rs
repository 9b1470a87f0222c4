//! What depends on time in the realtime protocol, frame by frame.

use std::sync::Arc;
use std::time::Duration;

use application::ports::Clock as _;
use application::testing::SimClock;
use futures_util::{SinkExt as _, StreamExt as _};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tests::standin::{Setup, StandIn, TOKEN_KEY};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::CHANNEL;

const WITHIN: Duration = Duration::from_secs(10);
const RESUMED: u64 = 4;

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(ably: &StandIn, clock: &SimClock, query: &str) -> Self {
        let token = jwt(clock);
        let url = format!(
            "ws://{}/?v=6&format=json&access_token={token}{query}",
            ably.address()
        );
        Self(connect_async(url).await.unwrap().0)
    }

    async fn say(&mut self, frame: &Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame, or null at the end.
    async fn hear(&mut self) -> Value {
        loop {
            match timeout(WITHIN, self.0.next()).await.expect("a frame") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Value::Null,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn attach(&mut self, serial: Option<&Value>) -> Value {
        self.say(&json!({ "action": 10, "channel": CHANNEL, "channelSerial": serial }))
            .await;
        self.hear().await
    }
}

/// Counts for a minute.
fn jwt(clock: &SimClock) -> String {
    let (name, secret) = TOKEN_KEY.split_once(':').unwrap();
    let header = Header {
        kid: Some(name.to_owned()),
        ..Header::default()
    };
    let iat = clock.now().as_millis() / 1_000;
    let claims = json!({ "iat": iat, "exp": iat + 60, "x-ably-clientId": "ana",
        "x-ably-capability": format!("{{\"{CHANNEL}\":[\"subscribe\"]}}") });
    jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

#[tokio::test]
async fn a_token_is_asked_for_before_the_end_of_the_last_one() {
    let clock = Arc::new(SimClock::new());
    let setup = Setup::new()
        .unwrap()
        .clock(clock.clone())
        .asks_before_expiry(Duration::from_secs(30));
    let ably = setup.start().unwrap();
    let mut socket = Socket::open(&ably, &clock, "").await;
    let greeting = socket.hear().await;
    assert_eq!(
        (&greeting["action"], &greeting["connectionDetails"]["clientId"]),
        (&json!(4), &json!("ana"))
    );
    clock.advance(Duration::from_secs(30));
    assert_eq!(socket.hear().await, json!({ "action": 17 }));
    socket
        .say(&json!({ "action": 17, "auth": { "accessToken": jwt(&clock) } }))
        .await;
    assert_eq!(socket.hear().await["connectionId"], greeting["connectionId"]);
    clock.advance(Duration::from_secs(30));
    assert_eq!(socket.hear().await, json!({ "action": 17 }));
    // Nobody answers this time.
    clock.advance(Duration::from_secs(30));
    let over = socket.hear().await;
    assert_eq!(
        (&over["action"], &over["error"]["code"]),
        (&json!(6), &json!(40142))
    );
    assert_eq!(socket.hear().await, Value::Null);
}

#[tokio::test]
async fn a_connection_and_its_place_can_be_taken_up_for_two_minutes() {
    let clock = Arc::new(SimClock::new());
    let ably = Setup::new().unwrap().clock(clock.clone()).start().unwrap();
    let mut first = Socket::open(&ably, &clock, "").await;
    let greeting = first.hear().await;
    let attached = first.attach(None).await;
    assert_eq!(
        (&attached["action"], attached["flags"].as_u64().unwrap() & RESUMED),
        (&json!(11), 0)
    );
    drop(first);
    ably.publish(CHANNEL, "n", &json!("gap")).unwrap();
    clock.advance(Duration::from_secs(119));

    let key = greeting["connectionDetails"]["connectionKey"].as_str().unwrap();
    let mut second = Socket::open(&ably, &clock, &format!("&resume={key}")).await;
    let resumed = second.hear().await;
    assert_eq!(resumed["connectionId"], greeting["connectionId"]);
    assert_eq!(resumed["error"], Value::Null);
    let again = second.attach(Some(&attached["channelSerial"])).await;
    assert_eq!(again["flags"].as_u64().unwrap() & RESUMED, RESUMED);
    assert_eq!(second.hear().await["messages"][0]["data"], "gap");
    assert_eq!(ably.connections()[0].channels.len(), 1);
    let key = resumed["connectionDetails"]["connectionKey"].as_str().unwrap();
    ably.cut();
    assert_eq!(second.hear().await, Value::Null);
    clock.advance(Duration::from_secs(121));

    let mut third = Socket::open(&ably, &clock, &format!("&resume={key}")).await;
    let lost = third.hear().await;
    assert_ne!(lost["connectionId"], greeting["connectionId"]);
    assert_eq!(lost["error"]["code"], 80008);
    let late = third.attach(Some(&attached["channelSerial"])).await;
    assert_eq!(
        late["flags"].as_u64().unwrap() & RESUMED,
        0,
        "the gap is forgotten"
    );
}

#[tokio::test]
async fn a_connection_that_comes_back_takes_the_place_of_its_older_socket() {
    let clock = Arc::new(SimClock::new());
    let ably = Setup::new().unwrap().clock(clock.clone()).start().unwrap();
    let mut first = Socket::open(&ably, &clock, "").await;
    let key = first.hear().await["connectionDetails"]["connectionKey"].clone();
    let mut second = Socket::open(&ably, &clock, &format!("&resume={}", key.as_str().unwrap())).await;
    assert_eq!(second.hear().await["action"], 4);
    assert_eq!(first.hear().await, Value::Null);
    assert_eq!(ably.connections().len(), 1);
    second.say(&json!({ "action": 0, "id": "ping" })).await;
    assert_eq!(second.hear().await, json!({ "action": 0, "id": "ping" }));
    second.say(&json!({ "action": 7 })).await;
    assert_eq!(second.hear().await, json!({ "action": 8 }));
    assert!(ably.connections().is_empty());
}
