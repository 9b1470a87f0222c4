//! Publishes at a steady rate, and what was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::tests::server::now;
use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use crate::publisher::{Endpoint, Publisher};

/// Every so many is for everybody; the others are for one person each.
const EVERYBODY: usize = 20;

/// Something that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) cursor: String,
    /// For whom, by number; everybody where there is none.
    person: Option<usize>,
    /// When.
    pub(super) at: Instant,
}

impl Told {
    pub(super) fn is_for(&self, person: usize) -> bool {
        self.person.is_none_or(|one| one == person)
    }
}

/// Publishers at work, one for each node.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    publishers: Vec<JoinHandle<Result<Vec<Told>>>>,
}

impl Load {
    pub(super) fn begin(nodes: &[Endpoint], people: &[String], rate: u32) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let pause = Duration::from_secs(1) * u32::try_from(nodes.len())? / rate;
        let begin = |(turn, node): (usize, &Endpoint)| {
            let mut publisher = Publisher::connect(node)?;
            let (people, stop) = (people.to_vec(), Arc::clone(&stop));
            Ok(thread::spawn(move || {
                let mut told = Vec::new();
                let (mut number, began) = (turn, now());
                let mut due = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    told.push(publish(&mut publisher, &people, number)?);
                    number += 2;
                    due += pause;
                    thread::sleep(due.saturating_sub(began.elapsed()));
                }
                Ok(told)
            }))
        };
        Ok(Self {
            publishers: nodes.iter().enumerate().map(begin).collect::<Result<_>>()?,
            stop,
        })
    }

    /// Ends it, and returns what was acknowledged.
    pub(super) fn end(self) -> Result<Vec<Told>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        for publisher in self.publishers {
            told.extend(publisher.join().map_err(|_| anyhow!("a publisher panicked"))??);
        }
        Ok(told)
    }
}

fn publish(publisher: &mut Publisher, people: &[String], number: usize) -> Result<Told> {
    // A walk that comes to everybody before it comes to anybody again.
    let person = (!number.is_multiple_of(EVERYBODY)).then(|| number.wrapping_mul(7_919) % people.len());
    let audience = match person {
        Some(person) => json!({ "users": [people[person]] }),
        None => json!({ "everyone": true }),
    };
    let draft = json!({ "audience": audience, "type": "drill", "title": format!("{number}") });
    let answer = publisher.request("POST", "/v1/notifications", draft.to_string().as_bytes())?;
    anyhow::ensure!(answer.status == 201, "a publish was answered {}", answer.status);
    let receipt: Value = serde_json::from_slice(&answer.body)?;
    let cursor = receipt["cursor"].as_str().context("no cursor")?.to_owned();
    Ok(Told {
        cursor,
        person,
        at: now(),
    })
}
