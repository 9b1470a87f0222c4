//! Several buses as one: whatever rings first is heard first, and what rings twice may be heard twice.

use std::sync::Arc;
use std::time::Duration;

use application::ports::{Bus, Doorbell, Listener, Reply, Rung};
use async_trait::async_trait;
use domain::cursor::Cursor;
use futures_util::future::select_all;
use tokio::sync::watch;
use tokio::time::Instant;

/// A copy takes a fraction of a millisecond from node to node; whoever is told how far the log has grown and waits this
/// long for it usually saves a read.
const COPY_WAIT: Duration = Duration::from_millis(5);

/// Rings on every bus and hears them all.
///
/// A node hears itself through the memory bus at once; other nodes through whichever of the others is faster. A bus
/// that is away costs the others nothing. It holds nothing back but one head, so it needs no bound of its own.
pub struct Buses {
    buses: Vec<Arc<dyn Bus>>,
    copying: Option<Copying>,
}

/// A bus that carries copies, and whether it does at present.
struct Copying {
    bus: Arc<dyn Bus>,
    hears: watch::Receiver<bool>,
}

impl Buses {
    /// Joins buses, at least one.
    pub const fn new(buses: Vec<Arc<dyn Bus>>) -> Self {
        Self { buses, copying: None }
    }

    /// Adds the bus that carries copies between nodes.
    ///
    /// While it hears, replies travel over it alone, and a head that another bus rings is held back for 5 ms: when the
    /// copies come meanwhile, nobody has to read the log.
    #[must_use]
    pub fn with_copies(mut self, bus: Arc<dyn Bus>, hears: watch::Receiver<bool>) -> Self {
        self.copying = Some(Copying { bus, hears });
        self
    }

    fn all(&self) -> impl Iterator<Item = &Arc<dyn Bus>> {
        let copying = self.copying.iter().map(|copying| &copying.bus);
        self.buses.iter().chain(copying)
    }
}

#[async_trait]
impl Bus for Buses {
    async fn announce(&self, doorbell: Doorbell) {
        for bus in self.all() {
            bus.announce(doorbell.clone()).await;
        }
    }

    fn forward(&self, reply: Reply) {
        match &self.copying {
            Some(copying) if *copying.hears.borrow() => copying.bus.forward(reply),
            _ => self.all().for_each(|bus| bus.forward(reply.clone())),
        }
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(Listeners {
            parts: self.all().map(|bus| bus.listen()).collect(),
            copying: self.copying.as_ref().map(|copying| copying.hears.clone()),
            first: 0,
            told: None,
            held: None,
        })
    }
}

struct Listeners {
    /// One for each bus; the last is that of the bus that carries copies, where there is one.
    parts: Vec<Box<dyn Listener>>,
    copying: Option<watch::Receiver<bool>>,
    /// Who is asked first, in turn: a bus that rings all the time drowns no other.
    first: usize,
    /// The last copy that was passed on.
    told: Option<Cursor>,
    /// How far the log has grown, and when that is passed on unless copies come before.
    held: Option<(Cursor, Instant)>,
}

#[async_trait]
impl Listener for Listeners {
    async fn next(&mut self) -> Rung {
        loop {
            let held = self.held;
            tokio::select! {
                (listener, rung) = self.any() => {
                    if let Some(rung) = self.pass(listener, rung) {
                        return rung;
                    }
                }
                cursor = over(held) => {
                    self.held = None;
                    return Rung::Head(cursor);
                }
            }
        }
    }
}

impl Listeners {
    /// Waits for whoever rings next. Waits that are given up lose nothing.
    async fn any(&mut self) -> (usize, Rung) {
        let count = self.parts.len();
        if count == 0 {
            return std::future::pending().await;
        }
        self.first = (self.first + 1) % count;
        let (later, sooner) = self.parts.split_at_mut(self.first);
        let waits = sooner.iter_mut().chain(later).map(|listener| listener.next());
        let (rung, nth, _) = select_all(waits).await;
        ((self.first + nth) % count, rung)
    }

    /// Passes a ring on, unless it is a head that copies have reached, or may reach in a moment.
    fn pass(&mut self, listener: usize, rung: Rung) -> Option<Rung> {
        match &rung {
            Rung::Doorbell(doorbell) => {
                self.tell(doorbell);
                Some(rung)
            }
            Rung::Head(head) | Rung::Ours(head) if self.told >= Some(*head) => None,
            Rung::Ours(head) => {
                self.hold(*head);
                None
            }
            Rung::Head(head) if self.may_come_as_copies(listener) => {
                self.hold(*head);
                None
            }
            Rung::Head(_) | Rung::Replies(_) | Rung::Missed => Some(rung),
        }
    }

    fn tell(&mut self, doorbell: &Doorbell) {
        let last = doorbell.events.last().map(|last| Cursor {
            epoch: doorbell.epoch,
            position: last.position,
        });
        self.told = self.told.max(last);
        if self.held.is_some_and(|(head, _)| self.told >= Some(head)) {
            self.held = None;
        }
    }

    fn may_come_as_copies(&self, listener: usize) -> bool {
        let others = listener + 1 < self.parts.len();
        others && self.copying.as_ref().is_some_and(|hears| *hears.borrow())
    }

    fn hold(&mut self, head: Cursor) {
        self.held = match self.held {
            Some((before, over)) => Some((before.max(head), over)),
            None => Some((head, Instant::now() + COPY_WAIT)),
        };
    }
}

async fn over(held: Option<(Cursor, Instant)>) -> Cursor {
    match held {
        Some((cursor, over)) => {
            tokio::time::sleep_until(over).await;
            cursor
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use domain::cursor::{Epoch, Position};
    use domain::event::{Change, Event};
    use domain::time::Timestamp;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

    use super::*;

    /// A bus whose rings a test decides.
    struct Scripted {
        rings: Mutex<Option<UnboundedReceiver<Rung>>>,
        forwarded: Mutex<usize>,
    }

    struct Heard(UnboundedReceiver<Rung>);

    #[async_trait]
    impl Listener for Heard {
        async fn next(&mut self) -> Rung {
            match self.0.recv().await {
                Some(rung) => rung,
                None => std::future::pending().await,
            }
        }
    }

    #[async_trait]
    impl Bus for Scripted {
        async fn announce(&self, _: Doorbell) {}

        fn forward(&self, _: Reply) {
            *self.forwarded.lock().unwrap() += 1;
        }

        fn listen(&self) -> Box<dyn Listener> {
            Box::new(Heard(self.rings.lock().unwrap().take().unwrap()))
        }
    }

    fn bell() -> (Arc<Scripted>, UnboundedSender<Rung>) {
        let (ring, rings) = unbounded_channel();
        let bell = Scripted {
            rings: Mutex::new(Some(rings)),
            forwarded: Mutex::default(),
        };
        (Arc::new(bell), ring)
    }

    const fn cursor(position: u64) -> Cursor {
        Cursor {
            epoch: Epoch(7),
            position: Position(position),
        }
    }

    fn head(position: u64) -> Rung {
        Rung::Head(cursor(position))
    }

    fn copies(positions: std::ops::RangeInclusive<u64>) -> Rung {
        let event = |position| {
            Arc::new(Event {
                position: Position(position),
                at: Timestamp::from_millis(0),
                change: Change::Erased,
            })
        };
        Rung::Doorbell(Doorbell {
            epoch: Epoch(7),
            events: positions.map(event).collect(),
        })
    }

    struct World {
        buses: Buses,
        heads: (Arc<Scripted>, UnboundedSender<Rung>),
        copies: (Arc<Scripted>, UnboundedSender<Rung>),
        up: watch::Sender<bool>,
    }

    fn world() -> World {
        let (heads, copies, up) = (bell(), bell(), watch::Sender::new(true));
        let buses = Buses::new(vec![heads.0.clone()]).with_copies(copies.0.clone(), up.subscribe());
        World {
            buses,
            heads,
            copies,
            up,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_waits_for_its_copies() {
        let world = world();
        let mut listener = world.buses.listen();
        world.heads.1.send(head(2)).unwrap();
        tokio::select! {
            biased;
            rung = listener.next() => panic!("{rung:?}"),
            () = tokio::time::sleep(Duration::from_millis(4)) => {}
        }
        world.copies.1.send(copies(1..=2)).unwrap();
        assert_eq!(listener.next().await, copies(1..=2));
        world.heads.1.send(head(1)).unwrap();
        world.copies.1.send(Rung::Missed).unwrap();
        assert_eq!(listener.next().await, Rung::Missed, "and is not rung after them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_whose_copies_do_not_come_rings_after_five_milliseconds() {
        let world = world();
        let mut listener = world.buses.listen();
        let started = Instant::now();
        world.heads.1.send(head(2)).unwrap();
        world.copies.1.send(copies(1..=1)).unwrap();
        assert_eq!(listener.next().await, copies(1..=1));
        world.heads.1.send(head(3)).unwrap();
        assert_eq!(listener.next().await, head(3));
        assert!(started.elapsed() <= COPY_WAIT + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_this_node_wrote_waits_for_its_own_copies_whoever_else_copies() {
        let world = world();
        let mut listener = world.buses.listen();
        world.up.send_replace(false);
        let started = Instant::now();
        world.heads.1.send(Rung::Ours(cursor(2))).unwrap();
        world.copies.1.send(copies(1..=2)).unwrap();
        assert_eq!(listener.next().await, copies(1..=2));
        assert_eq!(started.elapsed(), Duration::ZERO);
        // Its answer was lost, so that nobody announces it.
        world.heads.1.send(Rung::Ours(cursor(3))).unwrap();
        assert_eq!(listener.next().await, head(3));
        assert!(started.elapsed() >= COPY_WAIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_waits_for_nothing_when_no_copies_come() {
        let world = world();
        let mut listener = world.buses.listen();
        world.up.send_replace(false);
        let started = Instant::now();
        world.heads.1.send(head(2)).unwrap();
        assert_eq!(listener.next().await, head(2));
        world.up.send_replace(true);
        // A batch that is too large for a copy.
        world.copies.1.send(head(3)).unwrap();
        assert_eq!(listener.next().await, head(3));
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn replies_travel_over_the_fast_bus_while_it_hears() {
        let world = world();
        let reply = Reply {
            connection: "00000001-0000000000000001".parse().unwrap(),
            user: "u-1".parse().unwrap(),
            sequence: 1,
        };
        world.buses.forward(reply.clone());
        world.up.send_replace(false);
        world.buses.forward(reply);
        let counts = [&world.heads.0, &world.copies.0].map(|bus| *bus.forwarded.lock().unwrap());
        assert_eq!(counts, [1, 2]);
    }
}
