//! The few things that only Ably itself can show, against Ably itself: where `ARAUTO_SMOKE_ABLY_PUBLISH_KEY` and
//! `ARAUTO_SMOKE_ABLY_TOKEN_KEY` are given. What is asked there is always asked of the stand-in, so that the questions are
//! known to be right before anybody spends an account on them.

use std::sync::Arc;

use adapters::ably::{Endpoint, Key, Publisher, PublisherConfig, TokenSigner};
use adapters::system::{SystemClock, SystemEntropy};
use application::ports::{
    AblyFormat, AblyGrant, AblySigner as _, AblyToken, Clock, Entropy, Parcel, Transport as _,
};
use application::rights::Past;
use application::testing::Unobserved;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::channel::Channel;
use domain::ids::UserId;
use domain::outbox::Outcome;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tests::process::given;
use tests::standin::{PUBLISH_KEY, StandIn, TOKEN_KEY};

/// An account, and people of its own for this run.
struct Account {
    endpoint: Endpoint,
    url: String,
    publish_key: Key,
    token_key: Key,
    clock: Arc<dyn Clock>,
    run: u64,
}

impl Account {
    fn new(endpoint: &str, publish_key: &str, token_key: &str) -> Self {
        let endpoint = match endpoint {
            "main" => Endpoint::Main,
            url if url.starts_with("http://") => Endpoint::Address(url.to_owned()),
            policy => Endpoint::Policy(policy.to_owned()),
        };
        let url = match &endpoint {
            Endpoint::Main => "https://main.realtime.ably.net".to_owned(),
            Endpoint::Address(url) => url.clone(),
            Endpoint::Policy(policy) => match policy.strip_prefix("nonprod:") {
                Some(policy) => format!("https://{policy}.realtime.ably-nonprod.net"),
                None => format!("https://{policy}.realtime.ably.net"),
            },
        };
        Self {
            endpoint,
            url,
            publish_key: Key::parse(publish_key).unwrap(),
            token_key: Key::parse(token_key).unwrap(),
            clock: Arc::new(SystemClock::start()),
            run: SystemEntropy.bits(),
        }
    }

    fn person(&self, name: &str) -> UserId {
        format!("smoke-{:016x}-{name}", self.run).parse().unwrap()
    }

    fn publisher(&self) -> Publisher {
        let config = PublisherConfig {
            endpoint: self.endpoint.clone(),
            ..PublisherConfig::default()
        };
        let entropy = Arc::new(SystemEntropy);
        Publisher::new(&self.publish_key, config, Arc::clone(&self.clock), entropy).unwrap()
    }

    fn parcel(&self, person: &UserId, number: u32) -> Parcel {
        Parcel {
            id: format!("{:x}-{number}", self.run),
            channel: Channel::User(person.clone()),
            event: "notification",
            data: json!({ "cursor": number, "text": "ação <b>&</b>" })
                .to_string()
                .into(),
        }
    }

    fn sign(&self, person: &UserId, format: AblyFormat) -> AblyToken {
        let (entropy, observer) = (Arc::new(SystemEntropy), Arc::new(Unobserved));
        let signer = TokenSigner::new(self.token_key.clone(), None, entropy, observer);
        let now = self.clock.now();
        let grant = AblyGrant {
            person: person.clone(),
            channels: vec![(Channel::User(person.clone()), Past::Given)],
            session: format!("smoke.{:x}", self.run),
            issued_at: now,
            expires_at: now.plus(std::time::Duration::from_secs(600)),
        };
        signer.sign(&grant, format).unwrap()
    }

    fn jwt(&self, person: &UserId) -> String {
        let AblyToken::Jwt(jwt) = self.sign(person, AblyFormat::Jwt) else {
            panic!("no JWT was signed")
        };
        jwt
    }

    /// Exchanges a signed request for a token.
    async fn exchanged(&self, person: &UserId) -> String {
        let AblyToken::Request(signed) = self.sign(person, AblyFormat::Request) else {
            panic!("no request was signed")
        };
        let body = json!({
            "keyName": signed.key_name,
            "ttl": u64::try_from(signed.ttl.as_millis()).unwrap(),
            "capability": signed.capability,
            "clientId": signed.client_id,
            "timestamp": signed.timestamp.as_millis(),
            "nonce": signed.nonce,
            "mac": signed.mac,
        });
        let path = format!("/keys/{}/requestToken", signed.key_name);
        let asked = Client::new().post(format!("{}{path}", self.url)).json(&body);
        let given = ask(asked).await;
        assert!(
            given.status().is_success(),
            "the signed request was refused: {}",
            text(given).await
        );
        let details: Value = given.json().await.unwrap();
        STANDARD.encode(details["token"].as_str().unwrap())
    }

    fn messages_of(&self, person: &UserId) -> String {
        format!(
            "{}/channels/private%3Auser%3A{person}%3Anotifications/messages",
            self.url
        )
    }
}

async fn ask(request: RequestBuilder) -> Response {
    request.header("x-ably-version", "6").send().await.unwrap()
}

async fn text(response: Response) -> String {
    response.text().await.unwrap_or_default()
}

async fn code(response: Response) -> u64 {
    let body: Value = response.json().await.unwrap();
    body["error"]["code"]
        .as_u64()
        .unwrap_or_else(|| panic!("no code in {body}"))
}

/// What is asked of an account.
async fn smoke(account: &Account) {
    let (maria, joana) = (account.person("maria"), account.person("joana"));
    let publisher = account.publisher();
    let first = account.parcel(&maria, 1);
    for _ in 0..2 {
        let sent = publisher.deliver(std::slice::from_ref(&first)).await;
        assert_eq!(
            sent,
            [Outcome::Accepted],
            "a publish, and its repeat under the same id"
        );
    }
    let batch = [account.parcel(&maria, 2), account.parcel(&joana, 3)];
    assert_eq!(publisher.deliver(&batch).await, [Outcome::Accepted; 2], "a batch");

    let client = Client::new();
    for token in [account.jwt(&maria), account.exchanged(&maria).await] {
        let own = ask(client.get(account.messages_of(&maria)).bearer_auth(&token)).await;
        assert_eq!(own.status(), 200, "her own channel: {}", text(own).await);
        let own: Vec<Value> = own.json().await.unwrap();
        let ids: Vec<&str> = own.iter().filter_map(|message| message["id"].as_str()).collect();
        assert_eq!(
            ids,
            [batch[0].id.as_str(), first.id.as_str()],
            "newest first, each once"
        );
        let foreign = ask(client.get(account.messages_of(&joana)).bearer_auth(&token)).await;
        assert_eq!(code(foreign).await, 40_160, "another person's channel");
        let forged = client.post(account.messages_of(&maria)).bearer_auth(&token);
        let forged = ask(forged.json(&json!({ "name": "notification", "data": "{}" }))).await;
        assert_eq!(code(forged).await, 40_160, "a browser's token publishes nothing");
    }
}

#[tokio::test]
async fn what_is_asked_of_ably_is_answered_by_the_stand_in() {
    let stand_in = StandIn::start().unwrap();
    smoke(&Account::new(&stand_in.url(), PUBLISH_KEY, TOKEN_KEY)).await;
}

#[tokio::test]
#[expect(
    clippy::print_stderr,
    reason = "whoever runs it is told that nothing was asked"
)]
async fn ably_itself_answers_the_same() {
    let keys = (
        given("ARAUTO_SMOKE_ABLY_PUBLISH_KEY"),
        given("ARAUTO_SMOKE_ABLY_TOKEN_KEY"),
    );
    let (Some(publish_key), Some(token_key)) = keys else {
        eprintln!("not asked: no keys of an Ably account are given");
        return;
    };
    let endpoint = given("ARAUTO_SMOKE_ABLY_ENDPOINT").unwrap_or_else(|| "main".to_owned());
    smoke(&Account::new(&endpoint, &publish_key, &token_key)).await;
}
