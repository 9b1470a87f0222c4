use std::sync::Mutex;

use async_trait::async_trait;
use domain::cursor::Position;

use super::*;
use crate::ports::{Batch, MockTally};
use crate::testing::{SimClock, Unobserved};

/// A log to which somebody publishes whenever it is looked at, a stretch of ten at a time.
#[derive(Default)]
struct Busy {
    head: Mutex<u64>,
    recorded: Mutex<Vec<Stretch>>,
}

const STRETCH: u64 = 10;

#[async_trait]
impl PublishTrail for Busy {
    async fn unrecorded(&self) -> Result<Option<Unrecorded>, AuditError> {
        let from = self.recorded.lock().unwrap().last().map_or(0, |last| last.to.0);
        let mut head = self.head.lock().unwrap();
        *head += 1;
        let to = (from + STRETCH).min(*head);
        Ok(Some(Unrecorded {
            stretch: Stretch {
                from: Position(from),
                to: Position(to),
            },
            entries: Vec::new(),
            gone: 0,
            more: to < *head,
        }))
    }

    async fn record(&self, _batch: &Batch, stretch: Stretch) -> Result<bool, AuditError> {
        self.recorded.lock().unwrap().push(stretch);
        Ok(true)
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_takes_what_is_there_and_does_not_follow_each_publish() {
    let busy = Arc::new(Busy {
        head: Mutex::new(34),
        ..Busy::default()
    });
    let mut tally = MockTally::new();
    tally.expect_lead().returning(|_, _, _| Ok(true));
    let sealer = PublishSealer {
        trail: busy.clone(),
        tally: Arc::new(tally),
        node: NodeId(1),
        chain: Chain::begin(ChainId(1)),
        clock: Arc::new(SimClock::new()),
        observer: Arc::new(Unobserved),
    };
    // Two looks by the clock, and one at the end.
    sealer.run(sleep(LOOK * 3 / 2)).await;
    let ends: Vec<u64> = busy
        .recorded
        .lock()
        .unwrap()
        .iter()
        .map(|stretch| stretch.to.0)
        .collect();
    assert_eq!(ends, [10, 20, 30, 38, 39, 40]);
}
