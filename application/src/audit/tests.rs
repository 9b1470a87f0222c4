use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use domain::audit::{ChainId, Entry, Kind, Note};
use domain::time::Timestamp;

use super::*;
use crate::ports::{
    Audit, AuditError, AuditPage, AuditQuery, Batch, Kept, Observation, Observer, Sealed, Trail,
};
use crate::testing::SimClock;

fn entry(n: usize) -> Entry {
    Entry {
        at: Timestamp::from_millis(i64::try_from(n).unwrap()),
        kind: Kind::Publish,
        who: Some("ana".parse().unwrap()),
        target: Note::new(&format!("POST /v1/notifications {n}")),
        outcome: Note::new("201"),
        request: Note::new("r"),
    }
}

/// Two chains, as they were written in turn.
fn written() -> (Vec<Kept>, Trail) {
    let mut chains = [Chain::begin(ChainId(1)), Chain::begin(ChainId(2))];
    let mut kept: Vec<Kept> = Vec::new();
    for n in 0..12 {
        for sealed in chains[n % 2].seal(vec![entry(2 * n), entry(2 * n + 1)]).records {
            let place = kept.len() as u64 + 1;
            kept.push(Kept { place, sealed });
        }
    }
    let trail = Trail {
        forgotten: 0,
        head: kept.len() as u64,
        begins: Vec::new(),
        ends: chains.iter().map(Chain::end).collect(),
    };
    (kept, trail)
}

fn verified(kept: &[Kept], trail: &Trail) -> Result<Verified, Broken> {
    let mut verifier = Verifier::new(trail);
    for kept in kept {
        verifier.take(kept)?;
    }
    verifier.finish(trail)
}

#[test]
fn what_was_written_is_verified_and_what_was_forgotten_is_not_missed() {
    let (kept, trail) = written();
    assert_eq!(verified(&kept, &trail).unwrap().records, 24);
    let last = |chain: u64| {
        let of = |kept: &&Kept| kept.sealed.record.chain == ChainId(chain);
        kept[..7].iter().rfind(of).unwrap()
    };
    let begin = |chain| crate::ports::Link {
        chain: ChainId(chain),
        sequence: last(chain).sealed.record.sequence,
        hash: last(chain).sealed.hash,
    };
    let trail = Trail {
        forgotten: 7,
        begins: vec![begin(1), begin(2)],
        ..trail
    };
    assert_eq!(verified(&kept[7..], &trail).unwrap().records, 17);
}

#[test]
fn every_way_to_tamper_is_found_and_the_first_broken_record_named() {
    let (kept, trail) = written();
    let tampered = |tamper: &dyn Fn(&mut Vec<Kept>)| {
        let mut changed = kept.clone();
        tamper(&mut changed);
        verified(&changed, &trail).unwrap_err()
    };
    let changed = |place: usize| {
        let record = &kept[place - 1].sealed.record;
        Broken::Changed {
            place: place as u64,
            chain: record.chain,
            sequence: record.sequence,
        }
    };
    let edits: [fn(&mut Sealed); 6] = [
        |s| s.record.entry.who = Some("bia".parse().unwrap()),
        |s| s.record.entry.who = None,
        |s| s.record.entry.outcome = Note::new("403"),
        |s| s.record.entry.kind = Kind::Change,
        |s| s.record.entry.at = Timestamp::MAX,
        |s| s.hash[31] ^= 1,
    ];
    for edit in edits {
        assert_eq!(tampered(&|kept| edit(&mut kept[8].sealed)), changed(9));
    }
    // Changed and sealed anew: the next record of the chain gives it away.
    let resealed = tampered(&|kept| {
        let before = kept[4].sealed.hash;
        let record = &mut kept[5].sealed.record;
        record.entry.outcome = Note::new("403");
        let record = record.clone();
        kept[5].sealed.hash = if record.sequence == 1 {
            link(&genesis(record.chain), &record)
        } else {
            link(&before, &record)
        };
    });
    assert_eq!(resealed, changed(9), "{resealed}");
    let removed = tampered(&|kept| drop(kept.remove(10)));
    assert_eq!(removed, Broken::Missing { place: 11 });
    // Removed, and those behind moved up.
    let closed_up = tampered(&|kept| {
        kept.remove(10);
        kept[10..].iter_mut().for_each(|kept| kept.place -= 1);
    });
    assert!(
        matches!(closed_up, Broken::OutOfOrder { place: 11, .. }),
        "{closed_up}"
    );
    let moved = tampered(&|kept| {
        let (a, b) = (kept[8].sealed.clone(), kept[9].sealed.clone());
        (kept[8].sealed, kept[9].sealed) = (b, a);
    });
    assert!(matches!(moved, Broken::OutOfOrder { place: 9, .. }), "{moved}");
    let cut_off = tampered(&|kept| kept.truncate(20));
    assert_eq!(cut_off, Broken::Missing { place: 21 });
}

#[test]
fn a_chain_that_was_cut_off_with_the_head_moved_back_is_found() {
    let (mut kept, mut trail) = written();
    kept.truncate(20);
    trail.head = 20;
    let found = verified(&kept, &trail);
    assert!(matches!(found, Err(Broken::CutOff { .. })), "{found:?}");
    // A whole chain, with its end and with the places closed up: another chain's end alone cannot tell, the places do.
    let (kept, mut trail) = written();
    let mut rest: Vec<Kept> = kept
        .into_iter()
        .filter(|kept| kept.sealed.record.chain == ChainId(1))
        .collect();
    trail.ends.retain(|end| end.chain == ChainId(1));
    assert_eq!(verified(&rest, &trail), Err(Broken::Missing { place: 3 }));
    for (kept, place) in rest.iter_mut().zip(1..) {
        kept.place = place;
    }
    assert_eq!(verified(&rest, &trail), Err(Broken::Missing { place: 13 }));
}

#[test]
fn time_does_not_go_back_within_a_chain() {
    let mut chain = Chain::begin(ChainId(1));
    let batch = chain.seal(vec![entry(9), entry(3)]);
    let at: Vec<i64> = batch
        .records
        .iter()
        .map(|sealed| sealed.record.entry.at.as_millis())
        .collect();
    assert_eq!(at, [9, 9]);
}

/// A trail that is away for its first answers.
#[derive(Default)]
struct Flaky {
    away: Mutex<usize>,
    batches: Mutex<Vec<Batch>>,
    full: Mutex<usize>,
}

#[async_trait]
impl Audit for Flaky {
    async fn append(&self, batch: &Batch) -> Result<(), AuditError> {
        let mut away = self.away.lock().unwrap();
        if *away > 0 {
            *away -= 1;
            return Err(AuditError::Unavailable);
        }
        self.batches.lock().unwrap().push(batch.clone());
        Ok(())
    }

    async fn read(&self, _: &AuditQuery) -> Result<AuditPage, AuditError> {
        Err(AuditError::Unavailable)
    }

    async fn trail(&self) -> Result<Trail, AuditError> {
        Err(AuditError::Unavailable)
    }

    async fn forget(&self, _: Timestamp, _: usize) -> Result<usize, AuditError> {
        Err(AuditError::Unavailable)
    }
}

impl Observer for Flaky {
    fn saw(&self, observation: &Observation) {
        if *observation == Observation::Full("audit") {
            *self.full.lock().unwrap() += 1;
        }
    }
}

fn records(flaky: &Flaky) -> Vec<Sealed> {
    let batches = flaky.batches.lock().unwrap();
    batches.iter().flat_map(|batch| batch.records.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_handed_over_is_written_in_order_and_what_waits_at_the_end_too() {
    let flaky = Arc::new(Flaky::default());
    *flaky.away.lock().unwrap() = 5;
    let (recorder, sealer) = recorder(
        ChainId(1),
        flaky.clone(),
        Arc::new(SimClock::new()),
        flaky.clone(),
    );
    for n in 0..1_500 {
        recorder.record(entry(n));
    }
    sealer.run(tokio::time::sleep(Duration::from_millis(10))).await;
    let written = records(&flaky);
    assert_eq!(written.len(), 1_500);
    let in_order = written
        .iter()
        .zip(1..)
        .all(|(sealed, n)| sealed.record.sequence == n);
    assert!(in_order);
    assert_eq!(*flaky.full.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_counted_and_the_trail_says_so() {
    let flaky = Arc::new(Flaky::default());
    let (recorder, sealer) = recorder(
        ChainId(1),
        flaky.clone(),
        Arc::new(SimClock::new()),
        flaky.clone(),
    );
    for n in 0..9_000 {
        recorder.record(entry(n));
    }
    assert_eq!(*flaky.full.lock().unwrap(), 9_000 - 8_192);
    drop(recorder);
    sealer.run(std::future::pending()).await;
    let written = records(&flaky);
    let lost = written
        .iter()
        .find(|sealed| sealed.record.entry.kind == Kind::Lost)
        .unwrap();
    assert_eq!(lost.record.entry.target.as_str(), "808 records");
    assert_eq!(written.len(), 8_192 + 1);
}
