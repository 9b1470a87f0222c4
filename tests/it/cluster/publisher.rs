//! A back end that publishes with idempotency keys and repeats what was not acknowledged, at any node, until it is.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use tests::server::now;
use tokio_util::sync::CancellationToken;

use super::ledger::{Audience, Ledger, Place, Published};
use super::{Dice, Person};

/// No answer in this time counts as none: a frozen node finds, when it wakes, that its request was served elsewhere.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// The largest batch, in items.
const BATCH: usize = 20;

/// How hard a publisher works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The longest rest between two requests.
    pub(crate) rest: Duration,
    /// How many requests in a hundred are batches.
    pub(crate) batches: u64,
}

/// What happened to publishers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How often a request was answered with a status; 0 for none.
    pub(crate) answers: BTreeMap<u16, usize>,
    /// How many publishes needed that many attempts.
    pub(crate) attempts: BTreeMap<usize, usize>,
    /// Repeats of what was acknowledged, to see that they get the same receipt.
    pub(crate) repeats: usize,
    /// Whatever must not happen.
    pub(crate) complaints: Vec<String>,
}

/// Publishes one after the other.
pub(crate) struct Publisher {
    pub(crate) name: String,
    pub(crate) token: String,
    pub(crate) doors: Vec<String>,
    pub(crate) client: reqwest::Client,
    pub(crate) people: Arc<Vec<Person>>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tally: Arc<Mutex<Tally>>,
    pub(crate) pace: Pace,
    /// Nobody rests while this is set.
    pub(crate) hurry: Arc<AtomicBool>,
    /// The door that it uses until one is closed to it.
    pub(crate) door: usize,
}

struct Item {
    number: u64,
    audience: Audience,
}

/// An answer's status, `Retry-After` and body.
type Answer = (u16, Option<Duration>, Value);

impl Publisher {
    /// Publishes until it is told to stop; what it has begun it brings to its acknowledgement.
    pub(crate) async fn run(mut self, mut dice: Dice, stop: CancellationToken) {
        self.door = dice.below(self.doors.len());
        while !stop.is_cancelled() {
            if dice.chance(self.pace.batches) {
                self.batch(&mut dice).await;
            } else {
                let audience = self.audience(&mut dice);
                self.one(&mut dice, audience).await;
            }
            let hurry = self.hurry.load(Ordering::Relaxed);
            let longest = if hurry { Duration::ZERO } else { self.pace.rest };
            let rest = dice.millis(0, 1 + u64::try_from(longest.as_millis()).unwrap());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Publishes one notification.
    pub(crate) async fn one(&mut self, dice: &mut Dice, audience: Audience) {
        let item = self.item(audience);
        let body = self.draft(&item);
        let mut attempts = 0;
        let receipt = loop {
            attempts += 1;
            let (status, after, answer) = self.send("", &body, Some(item.number)).await;
            match status {
                201 => break answer,
                _ => self.rest(dice, status, after, &answer).await,
            }
        };
        *self.tally().attempts.entry(attempts).or_default() += 1;
        self.acknowledged(item, &receipt);
        if dice.chance(2) {
            self.again(dice, &body, &receipt).await;
        }
    }

    /// Publishes several, and repeats those that were not acknowledged.
    async fn batch(&mut self, dice: &mut Dice) {
        let count = 1 + dice.below(BATCH);
        let mut open: Vec<Item> = (0..count).map(|_| self.item(self.audience(dice))).collect();
        let mut attempts = 0;
        while !open.is_empty() {
            let drafts: Vec<Value> = open.iter().map(|item| self.keyed(item)).collect();
            let body = json!({ "items": drafts });
            attempts += 1;
            let (status, after, answer) = self.send("/batch", &body, None).await;
            if status != 200 {
                self.rest(dice, status, after, &answer).await;
                continue;
            }
            let results = answer["results"].as_array().cloned().unwrap_or_default();
            if results.len() != open.len() {
                self.complain(format!("{} items got {} results", open.len(), results.len()));
                return;
            }
            let mut left = Vec::new();
            for (item, result) in open.into_iter().zip(results) {
                let status = result["status"]
                    .as_u64()
                    .and_then(|status| u16::try_from(status).ok());
                match status.unwrap_or_default() {
                    201 => self.acknowledged(item, &result["receipt"]),
                    503 => left.push(item),
                    other => self.complain(format!("an item was answered {other}: {result}")),
                }
            }
            open = left;
            if !open.is_empty() {
                self.rest(dice, 503, None, &Value::Null).await;
            }
        }
        *self.tally().attempts.entry(attempts).or_default() += 1;
    }

    /// What was acknowledged is acknowledged again in the same words, by whichever node.
    async fn again(&mut self, dice: &mut Dice, body: &Value, receipt: &Value) {
        let number = body["data"]["number"].as_u64();
        self.door = dice.below(self.doors.len());
        let (status, _, answer) = self.send("", body, number).await;
        if status == 201 {
            self.tally().repeats += 1;
            if answer != *receipt {
                self.complain(format!("{receipt} was {answer} when asked again"));
            }
        }
    }

    fn audience(&self, dice: &mut Dice) -> Audience {
        let mut anybody = || &self.people[dice.below(self.people.len())];
        let (first, second, third) = (anybody().clone(), anybody().clone(), anybody().clone());
        match dice.below(100) {
            0..5 => Audience::Everyone,
            5..20 => Audience::Unit(first.unit),
            20..30 => {
                let mut users = vec![first.user, second.user, third.user];
                users.sort();
                users.dedup();
                Audience::Users(users)
            }
            _ => Audience::Users(vec![first.user]),
        }
    }

    fn item(&self, audience: Audience) -> Item {
        let number = self.ledger.number();
        Item { number, audience }
    }

    fn draft(&self, item: &Item) -> Value {
        let number = item.number;
        json!({
            "audience": item.audience.to_json(),
            "type": "sistema.comunicado",
            "title": format!("Aviso {number}"),
            "body": "Manutenção hoje, das <b>22h</b> às 23h.",
            "data": { "number": number, "from": self.name },
        })
    }

    fn keyed(&self, item: &Item) -> Value {
        let mut draft = self.draft(item);
        draft["idempotency_key"] = json!(key(item.number));
        draft
    }

    fn acknowledged(&self, item: Item, receipt: &Value) {
        match Place::parse(receipt["cursor"].as_str().unwrap_or_default()) {
            Ok(at) => self.ledger.acknowledged(Published {
                number: item.number,
                audience: item.audience,
                at,
                acknowledged: now(),
            }),
            Err(error) => self.complain(format!("{error}: {receipt}")),
        }
    }

    async fn send(&self, path: &str, body: &Value, number: Option<u64>) -> Answer {
        let door = &self.doors[self.door];
        let mut request = self
            .client
            .post(format!("{door}/v1/notifications{path}"))
            .bearer_auth(&self.token)
            .json(body);
        if let Some(number) = number {
            request = request.header("idempotency-key", key(number));
        }
        let ask = async {
            let answer = request.send().await?;
            let after = answer
                .headers()
                .get("retry-after")
                .and_then(|value| value.to_str().ok());
            let after = after.and_then(|text| text.parse().ok()).map(Duration::from_secs);
            let status = answer.status().as_u16();
            // What nginx says of a node that is away is no JSON.
            let text = answer.text().await?;
            reqwest::Result::Ok((status, after, serde_json::from_str(&text).unwrap_or_default()))
        };
        let answer = match tokio::time::timeout(ANSWERS_WITHIN, ask).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => (0, None, Value::Null),
        };
        *self.tally().answers.entry(answer.0).or_default() += 1;
        answer
    }

    /// Waits before the next attempt, which goes to the next door. Only a node that is away, or says that its store is, excuses one.
    async fn rest(&mut self, dice: &mut Dice, status: u16, after: Option<Duration>, answer: &Value) {
        match status {
            0 | 502 | 504 => {}
            503 if after.is_some() || answer.is_null() => {}
            _ => self.complain(format!("answered {status}, Retry-After {after:?}: {answer}")),
        }
        self.door = (self.door + 1) % self.doors.len();
        tokio::time::sleep(dice.millis(50, 300)).await;
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap()
    }

    fn complain(&self, complaint: impl Display) {
        self.tally()
            .complaints
            .push(format!("{}: {complaint}", self.name));
    }
}

fn key(number: u64) -> String {
    format!("aviso-{number}")
}
