//! Requests for tokens, JWTs, and taking them back.

use std::sync::Arc;
use std::time::Duration;

use adapters::ably::{Key, Unsigned};
use application::ports::Clock as _;
use application::testing::SimClock;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tests::standin::{PUBLISH_KEY, Setup, StandIn, TOKEN_KEY};

use super::{CHANNEL, client, refused, told, with_key};

const ASKED: &str = r#"{"system:notifications":["history","subscribe"]}"#;

struct Scene {
    ably: StandIn,
    clock: Arc<SimClock>,
}

fn scene() -> Scene {
    let clock = Arc::new(SimClock::new());
    let ably = Setup::new().unwrap().clock(clock.clone()).start().unwrap();
    Scene { ably, clock }
}

impl Scene {
    fn now_ms(&self) -> i64 {
        self.clock.now().as_millis()
    }

    fn asking(&self, body: &Value) -> RequestBuilder {
        let name = TOKEN_KEY.split(':').next().unwrap();
        client()
            .post(format!("{}/keys/{name}/requestToken", self.ably.url()))
            .json(body)
    }

    fn reading(&self, token: &str) -> RequestBuilder {
        client()
            .get(format!("{}/channels/{CHANNEL}/messages", self.ably.url()))
            .bearer_auth(token)
    }

    fn claims(&self, seconds: i64) -> Value {
        let iat = self.now_ms() / 1_000;
        json!({ "iat": iat, "exp": iat + seconds, "x-ably-capability": ASKED, "x-ably-clientId": "ana",
            "x-ably-revocation-key": "session.1" })
    }
}

fn jwt(claims: &Value, secret: &str) -> String {
    let name = TOKEN_KEY.split(':').next().unwrap();
    let header = Header {
        kid: Some(name.to_owned()),
        ..Header::default()
    };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn signed(timestamp_ms: i64, nonce: &str, ttl_ms: u64) -> Value {
    let unsigned = Unsigned {
        ttl_ms: Some(ttl_ms),
        capability: ASKED,
        client_id: Some("ana"),
        timestamp_ms,
        nonce,
    };
    let key = Key::parse(TOKEN_KEY).unwrap();
    json!({ "keyName": key.name(), "ttl": ttl_ms, "capability": ASKED, "clientId": "ana", "timestamp": timestamp_ms,
        "nonce": nonce, "mac": unsigned.mac(&key) })
}

const NONCE: &str = "0123456789abcdef";
const SECRET: &str = "for-development-only-tokens";

#[tokio::test]
async fn a_signed_request_is_exchanged_once() {
    let scene = scene();
    let request = signed(scene.now_ms(), NONCE, 60_000);
    let (status, details) = told(scene.asking(&request)).await;
    assert_eq!(
        (status, &details["clientId"], &details["capability"]),
        (201, &json!("ana"), &json!(ASKED))
    );
    assert_eq!(details["expires"], scene.now_ms() + 60_000);
    assert_eq!(
        refused(scene.asking(&request)).await,
        (401, 40105),
        "the nonce was used"
    );
    let token = details["token"].as_str().unwrap();
    assert_eq!(told(scene.reading(token)).await.0, 200);
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(refused(scene.reading(token)).await, (401, 40142));
}

#[tokio::test]
async fn a_request_counts_for_two_minutes_around_its_time() {
    for (late_s, expected) in [(119, 201), (-119, 201), (121, 401), (-121, 401)] {
        let scene = scene();
        let request = signed(scene.now_ms() - late_s * 1_000, NONCE, 60_000);
        let (status, body) = told(scene.asking(&request)).await;
        assert_eq!(status, expected, "{late_s} s late: {body}");
        assert!(status == 201 || body["error"]["code"] == 40104, "{body}");
    }
}

#[tokio::test]
async fn what_was_changed_after_signing_is_refused() {
    let scene = scene();
    for (field, value) in [
        ("clientId", json!("root")),
        ("capability", json!(r#"{"*":["*"]}"#)),
        ("ttl", json!(3_600_000)),
        ("nonce", json!("fedcba9876543210")),
    ] {
        let mut request = signed(scene.now_ms(), NONCE, 60_000);
        request[field] = value;
        assert_eq!(refused(scene.asking(&request)).await, (401, 40101), "{field}");
    }
    let too_long = signed(scene.now_ms(), NONCE, 3_600_001);
    assert_eq!(
        refused(scene.asking(&too_long)).await,
        (400, 40003),
        "tokens that can be revoked live for an hour"
    );
}

#[tokio::test]
async fn a_jwt_counts_until_its_end_and_only_with_its_keys_signature() {
    let scene = scene();
    let good = jwt(&scene.claims(60), SECRET);
    assert_eq!(told(scene.reading(&good)).await.0, 200);
    assert_eq!(
        refused(scene.reading(&jwt(&scene.claims(60), "another"))).await,
        (401, 40144)
    );
    let publishing = client().post(format!("{}/channels/{CHANNEL}/messages", scene.ably.url()));
    assert_eq!(
        refused(publishing.bearer_auth(&good).json(&json!({}))).await,
        (401, 40160)
    );
    scene.clock.advance(Duration::from_secs(60));
    assert_eq!(refused(scene.reading(&good)).await, (401, 40142));
    let mut endless = scene.claims(60);
    endless.as_object_mut().unwrap().remove("exp");
    assert_eq!(refused(scene.reading(&jwt(&endless, SECRET))).await, (401, 40144));
}

#[tokio::test]
async fn a_jwt_never_has_more_than_its_key() {
    let scene = scene();
    let mut claims = scene.claims(60);
    claims["x-ably-capability"] = json!(r#"{"*":["*"]}"#);
    let token = jwt(&claims, SECRET);
    assert_eq!(told(scene.reading(&token)).await.0, 200);
    let publishing = client().post(format!("{}/channels/{CHANNEL}/messages", scene.ably.url()));
    assert_eq!(
        refused(publishing.bearer_auth(&token).json(&json!({}))).await,
        (401, 40160)
    );
}

#[tokio::test]
async fn tokens_are_taken_back_by_the_key_that_issued_them() {
    let scene = scene();
    let token = jwt(&scene.claims(60), SECRET);
    let revoking = |key: &str, of: &str| {
        let name = of.split(':').next().unwrap();
        let request = client().post(format!("{}/keys/{name}/revokeTokens", scene.ably.url()));
        let targets = ["revocationKey:session.1", "nonsense"];
        with_key(request, key).json(&json!({ "targets": targets }))
    };
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(refused(revoking(PUBLISH_KEY, TOKEN_KEY)).await, (401, 40133));
    assert_eq!(refused(revoking(PUBLISH_KEY, PUBLISH_KEY)).await, (401, 40163));
    assert_eq!(told(scene.reading(&token)).await.0, 200);
    let (status, body) = told(revoking(TOKEN_KEY, TOKEN_KEY)).await;
    assert_eq!(
        (status, &body["successCount"], &body["failureCount"]),
        (201, &json!(1), &json!(1))
    );
    assert_eq!(refused(scene.reading(&token)).await, (401, 40141));
    let later = jwt(&scene.claims(60), SECRET);
    assert_eq!(
        told(scene.reading(&later)).await.0,
        200,
        "issued after the revocation"
    );
}

#[tokio::test]
async fn a_native_token_is_forgotten_with_everything_else() {
    let scene = scene();
    let (_, details) = told(scene.asking(&signed(scene.now_ms(), NONCE, 60_000))).await;
    let token = details["token"].as_str().unwrap();
    scene.ably.restart(tests::standin::Remembers::Everything).unwrap();
    assert_eq!(told(scene.reading(token)).await.0, 200);
    scene.ably.restart(tests::standin::Remembers::Nothing).unwrap();
    assert_eq!(refused(scene.reading(token)).await, (401, 40143));
}
