//! Keys of an address: rotation, outage, and tokens that try to drive the fetching.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::super::remote::{MAX_AGE, REFETCH_MIN, STALE_MAX};
use super::*;

/// An issuer on a loopback port.
struct Issuer {
    answer: Mutex<Vec<u8>>,
    asked: AtomicUsize,
    /// How many answers may be given.
    gate: Semaphore,
}

/// A verifier of that issuer's tokens.
struct Service {
    issuer: Arc<Issuer>,
    verifier: Arc<Verifier>,
    tasks: TaskTracker,
    _serving: JoinSet<()>,
}

const OPEN: usize = 1_000;

impl Issuer {
    fn serves(&self, jwks: &[Value]) {
        let body = json!({ "keys": jwks }).to_string();
        self.answers("200 OK", "", body.as_bytes());
    }

    fn answers(&self, status: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
        *self.answer.lock().unwrap() = [head.as_bytes(), body].concat();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn answer(self: Arc<Self>, mut socket: TcpStream) {
        let mut request = vec![0; 4_096];
        let _ = socket.read(&mut request).await;
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        let answer = self.answer.lock().unwrap().clone();
        let _ = socket.write_all(&answer).await;
        let _ = socket.shutdown().await;
    }
}

impl Service {
    /// Serves these keys; `answers` says how often before the gate is opened again.
    async fn start(jwks: &[Value], answers: usize) -> Self {
        let issuer = Arc::new(Issuer {
            answer: Mutex::default(),
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(answers),
        });
        issuer.serves(jwks);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let serving = issuer.clone();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut answering = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                answering.spawn(serving.clone().answer(socket));
            }
        });
        let (clock, tasks) = (Arc::new(SimClock::new()), TaskTracker::new());
        let keys = Keys::address(&url, clock.clone(), tasks.clone()).unwrap();
        let tokens = JwtTokens::new(keys, Expected::default(), clock.clone());
        Self {
            issuer,
            verifier: Arc::new(Verifier { tokens, clock }),
            tasks,
            _serving: server,
        }
    }

    /// Verifies in real time that is bounded: a fetch that hangs fails the case.
    async fn verify(&self, signer: &Signer, kid: &str) -> Result<(), TokenError> {
        let claims = claims_with(&json!({ "exp": start() + 1_000_000 }));
        let token = signer.token(kid, &claims);
        let verifying = self.verifier.verify(&token);
        tokio::time::timeout(after(20), verifying)
            .await
            .expect("in time")
            .map(drop)
    }

    fn advance(&self, by: Duration) {
        self.verifier.clock.advance(by);
    }

    /// Waits until no fetch is under way.
    async fn landed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

#[tokio::test]
async fn keys_are_fetched_once_and_kept() {
    let signer = Signer::p256();
    let service = Service::start(&[signer.jwk("k-1")], OPEN).await;
    assert_eq!(service.issuer.asked(), 0, "not before a token needs them");
    for _ in 0..10 {
        assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    }
    service.advance(MAX_AGE.saturating_sub(after(1)));
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    assert_eq!(service.issuer.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_when_a_token_names_it() {
    let (old, new) = (Signer::p256(), Signer::ed25519());
    let service = Service::start(&[old.jwk("k-1")], OPEN).await;
    assert_eq!(service.verify(&old, "k-1").await, Ok(()));
    service.issuer.serves(&[old.jwk("k-1"), new.jwk("k-2")]);
    service.advance(REFETCH_MIN);
    assert_eq!(service.verify(&new, "k-2").await, Ok(()));
    assert_eq!(service.verify(&old, "k-1").await, Ok(()));
    assert_eq!(service.issuer.asked(), 2);
}

#[tokio::test]
async fn a_key_taken_back_counts_until_the_keys_are_old() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let service = Service::start(&[old.jwk("k-1")], OPEN).await;
    assert_eq!(service.verify(&old, "k-1").await, Ok(()));
    service.issuer.serves(&[new.jwk("k-2")]);
    service.advance(MAX_AGE);
    assert_eq!(service.verify(&old, "k-1").await, Err(TokenError::UnknownKey));
    assert_eq!(service.issuer.asked(), 2);
}

#[tokio::test]
async fn made_up_key_ids_ask_no_more_often_than_every_ten_seconds() {
    let (own, attacker) = (Signer::p256(), Signer::p256());
    let service = Service::start(&[own.jwk("k-1")], OPEN).await;
    assert_eq!(service.verify(&own, "k-1").await, Ok(()));
    for n in 0..50 {
        let outcome = service.verify(&attacker, &format!("made-up-{n}")).await;
        assert_eq!(outcome, Err(TokenError::UnknownKey));
    }
    assert_eq!(service.issuer.asked(), 1, "the first fetch was just now");
    service.advance(REFETCH_MIN);
    for n in 0..50 {
        let outcome = service.verify(&attacker, &format!("made-up-{n}")).await;
        assert_eq!(outcome, Err(TokenError::UnknownKey));
    }
    assert_eq!(service.issuer.asked(), 2);
    assert_eq!(
        service.verify(&own, "k-1").await,
        Ok(()),
        "nobody else is troubled"
    );
}

#[tokio::test]
async fn nothing_but_an_unknown_key_id_asks() {
    let own = Signer::p256();
    let service = Service::start(&[own.jwk("k-1"), Signer::p256().jwk("k-2")], OPEN).await;
    assert_eq!(service.verify(&own, "k-1").await, Ok(()));
    service.advance(REFETCH_MIN);
    let shared = Signer::shared(SECRET);
    assert_eq!(
        service.verify(&shared, "new").await,
        Err(TokenError::AlgorithmNotAccepted)
    );
    assert_eq!(
        service.verify(&Signer::p384(), "new").await,
        Err(TokenError::AlgorithmNotAccepted)
    );
    assert_eq!(
        service.verify(&Signer::p256(), "k-1").await,
        Err(TokenError::BadSignature)
    );
    assert_eq!(
        service.verify(&Signer::ed25519(), "k-1").await,
        Err(TokenError::AlgorithmNotAccepted)
    );
    let anonymous = own.token_with(&json!({ "alg": "ES256" }), &claims());
    assert_eq!(
        service.verifier.verify(&anonymous).await,
        Err(TokenError::UnknownKey)
    );
    assert_eq!(service.issuer.asked(), 1);
}

#[tokio::test]
async fn all_who_wait_share_one_fetch() {
    let signer = Signer::p256();
    let service = Service::start(&[signer.jwk("k-1")], 0).await;
    let token = signer.token("k-1", &claims());
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let (verifier, token) = (service.verifier.clone(), token.clone());
        waiting.spawn(async move { verifier.verify(&token).await.map(drop) });
    }
    service.issuer.gate.add_permits(OPEN);
    assert_eq!(waiting.join_all().await, vec![Ok(()); 100]);
    assert_eq!(service.issuer.asked(), 1);
}

#[tokio::test]
async fn a_fetch_goes_on_when_whoever_caused_it_has_left() {
    let signer = Signer::p256();
    let service = Service::start(&[signer.jwk("k-1")], 0).await;
    {
        let token = signer.token("k-1", &claims());
        let mut verifying = std::pin::pin!(service.verifier.verify(&token));
        let polled = polled_once(&mut verifying).await;
        assert!(polled.is_none(), "it waits for the fetch");
    }
    service.issuer.gate.add_permits(OPEN);
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    assert_eq!(service.issuer.asked(), 1);
}

/// Polls once.
async fn polled_once<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        std::task::Poll::Ready(match polled {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn without_keys_a_token_cannot_be_judged() {
    let signer = Signer::p256();
    let service = Service::start(&[signer.jwk("k-1")], OPEN).await;
    service.issuer.answers("503 Service Unavailable", "", b"");
    assert_eq!(
        service.verify(&signer, "k-1").await,
        Err(TokenError::KeysUnavailable)
    );
    service.issuer.serves(&[signer.jwk("k-1")]);
    assert_eq!(
        service.verify(&signer, "k-1").await,
        Err(TokenError::KeysUnavailable)
    );
    assert_eq!(service.issuer.asked(), 1, "ten seconds have not passed");
    service.advance(REFETCH_MIN);
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_outlived_for_an_hour() {
    let (signer, new) = (Signer::p256(), Signer::p256());
    let service = Service::start(&[signer.jwk("k-1")], OPEN).await;
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    service.issuer.answers("500 Internal Server Error", "", b"");
    service.advance(MAX_AGE);
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    assert_eq!(service.issuer.asked(), 2);
    assert_eq!(
        service.verify(&new, "k-2").await,
        Err(TokenError::KeysUnavailable),
        "it cannot be told"
    );
    service.advance(STALE_MAX.saturating_sub(MAX_AGE + after(1)));
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    service.landed().await;
    service.advance(REFETCH_MIN);
    assert_eq!(
        service.verify(&signer, "k-1").await,
        Err(TokenError::KeysUnavailable),
        "an hour is over"
    );
    service.issuer.serves(&[signer.jwk("k-1")]);
    service.advance(REFETCH_MIN);
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
}

#[tokio::test]
async fn nobody_waits_for_an_issuer_that_failed_before() {
    let signer = Signer::p256();
    let service = Service::start(&[signer.jwk("k-1")], OPEN).await;
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    service.issuer.answers("500 Internal Server Error", "", b"");
    service.advance(MAX_AGE);
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    service.issuer.gate.forget_permits(OPEN);
    service.advance(REFETCH_MIN);
    let token = signer.token("k-1", &claims());
    let mut verifying = std::pin::pin!(service.verifier.verify(&token));
    assert!(
        matches!(polled_once(&mut verifying).await, Some(Ok(_))),
        "at once, while the issuer is asked"
    );
    service.issuer.serves(&[signer.jwk("k-1")]);
    service.issuer.gate.add_permits(OPEN);
    service.landed().await;
    assert_eq!(service.issuer.asked(), 3);
    service.advance(MAX_AGE.saturating_sub(REFETCH_MIN));
    assert_eq!(service.verify(&signer, "k-1").await, Ok(()));
    assert_eq!(service.issuer.asked(), 3, "the keys are fresh again");
}

#[tokio::test]
async fn answers_that_are_no_key_set_are_an_outage() {
    let signer = Signer::p256();
    let (good, elsewhere) = (
        json!({ "keys": [signer.jwk("k-1")] }).to_string(),
        "location: http://127.0.0.1:9/\r\n",
    );
    let long = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(256 * 1_024));
    for (status, headers, body) in [
        ("404 Not Found", "", good.as_str()),
        ("302 Found", elsewhere, ""),
        ("201 Created", "", good.as_str()),
        ("200 OK", "", "<html>"),
        ("200 OK", "", "{\"keys\":[]}"),
        ("200 OK", "", ""),
        ("200 OK", "", long.as_str()),
    ] {
        let service = Service::start(&[], OPEN).await;
        service.issuer.answers(status, headers, body.as_bytes());
        let outcome = service.verify(&signer, "k-1").await;
        assert_eq!(outcome, Err(TokenError::KeysUnavailable), "{status} {body:.20}");
        assert_eq!(service.issuer.asked(), 1, "{status}");
    }
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_an_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    drop(listener);
    let clock = Arc::new(SimClock::new());
    let keys = Keys::address(&url, clock.clone(), TaskTracker::new()).unwrap();
    let tokens = JwtTokens::new(keys, Expected::default(), clock);
    let outcome = tokens.verify(&Signer::p256().token("k-1", &claims())).await;
    assert_eq!(outcome, Err(TokenError::KeysUnavailable));
}

#[tokio::test]
async fn a_token_that_was_shown_before_counts_no_longer_than_its_key() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let claims = claims_with(&json!({ "exp": start() + 1_000_000 }));
    // The key is taken back, or another stands under its name.
    for after in [new.jwk("k-2"), new.jwk("k-1")] {
        let service = Service::start(&[old.jwk("k-1")], OPEN).await;
        let token = old.token("k-1", &claims);
        for _ in 0..3 {
            assert!(service.verifier.verify(&token).await.is_ok());
        }
        service.issuer.serves(std::slice::from_ref(&after));
        service.advance(MAX_AGE);
        let refused = service.verifier.verify(&token).await.unwrap_err();
        let expected = if after["kid"] == "k-1" {
            TokenError::BadSignature
        } else {
            TokenError::UnknownKey
        };
        assert_eq!(refused, expected);
        // The same key, served again, counts again.
        service.issuer.serves(&[old.jwk("k-1")]);
        service.advance(MAX_AGE);
        assert!(service.verifier.verify(&token).await.is_ok());
    }
}
