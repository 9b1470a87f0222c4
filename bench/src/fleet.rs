//! Thousands of readers on one thread: non-blocking sockets over epoll, one read per event in the usual case.

mod reader;
mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use mio::{Events, Interest, Poll, Token};

use crate::clock;
use reader::Reader;
pub(crate) use reader::position;
pub(crate) use tally::Tally;

/// How a stream is asked for: the reader's index and, on resume, the last id it saw.
pub(crate) type Request = Box<dyn Fn(usize, Option<&str>) -> Result<Vec<u8>> + Send>;

/// The transport a fleet speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    EventStream,
    WebSocket,
}

/// Longest sleep in the kernel: conditions that other threads fulfil are looked at this often.
const NAP: Duration = Duration::from_millis(20);
/// Handshakes under way at once in an unhurried opening.
const WINDOW: usize = 256;
/// Room for a read. A backlog of many frames arrives in one.
const BUFFER: usize = 64 * 1024;

/// How fast connections are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// A few hundred handshakes at a time, as on an ordinary day.
    Steady,
    /// All connections before the first answer is read, as after a deploy.
    AtOnce,
}

/// Readers of one server. It makes progress only inside its methods, on the caller's thread.
pub(crate) struct Fleet {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    address: SocketAddr,
    protocol: Protocol,
    request: Request,
    readers: Vec<Reader>,
    /// Readers whose stream ended since they were last asked for.
    fallen: Vec<usize>,
    tally: Tally,
}

impl Fleet {
    pub(crate) fn new(
        address: SocketAddr,
        protocol: Protocol,
        size: usize,
        request: Request,
    ) -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            buffer: vec![0; BUFFER],
            address,
            protocol,
            request,
            readers: (0..size).map(|_| Reader::default()).collect(),
            fallen: Vec::new(),
            tally: Tally::default(),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.readers.len()
    }

    /// Counts since the last [`Fleet::reset`].
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Starts counting from zero.
    pub(crate) fn reset(&mut self) {
        self.tally = Tally::default();
        self.fallen.clear();
    }

    /// Keeps the next notification as it came off the wire, framing and all.
    pub(crate) fn record_frame(&mut self) {
        self.tally.recorded = None;
        self.tally.recording = true;
    }

    /// The last id each reader saw and the positions of its notifications since it was opened.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (Option<&str>, &[u64])> {
        self.readers
            .iter()
            .map(|reader| (reader.last_id(), reader.positions()))
    }

    /// Opens every stream and waits until each one said `ready`. Counts from zero.
    pub(crate) fn open(&mut self, pace: Pace, patience: Duration) -> Result<()> {
        self.reset();
        let deadline = clock::after(patience);
        let size = self.readers.len();
        let window = match pace {
            Pace::Steady => WINDOW,
            Pace::AtOnce => size,
        };
        let mut started = 0;
        while self.tally.ready < size {
            while started < size && started - self.tally.ready < window {
                self.connect(started)?;
                started += 1;
            }
            self.turn(NAP)?;
            self.check()?;
            if clock::now() > deadline {
                let ready = self.tally.ready;
                bail!(
                    "only {ready} of {size} streams were ready after {} s",
                    patience.as_secs()
                );
            }
        }
        Ok(())
    }

    /// Reads until `enough`. A fault of any stream or the end of `patience` is an error that names `what`.
    pub(crate) fn until(
        &mut self,
        what: &str,
        patience: Duration,
        enough: impl Fn(&Tally) -> bool,
    ) -> Result<()> {
        if self.within(patience, enough)? {
            return Ok(());
        }
        bail!(
            "waited {} s for {what}; arrived: {}",
            patience.as_secs(),
            self.tally
        )
    }

    /// Reads until `enough`, false when `patience` ends first. A fault of any stream is an error.
    pub(crate) fn within(&mut self, patience: Duration, enough: impl Fn(&Tally) -> bool) -> Result<bool> {
        let deadline = clock::after(patience);
        while !enough(&self.tally) {
            if clock::now() > deadline {
                return Ok(false);
            }
            self.turn(NAP)?;
            self.check()?;
        }
        Ok(true)
    }

    /// Reads for `time`, so that pings are answered and heartbeats do not pile up.
    pub(crate) fn linger(&mut self, time: Duration) -> Result<()> {
        let deadline = clock::after(time);
        while clock::now() < deadline {
            self.turn(NAP.min(clock::until(deadline)))?;
            self.check()?;
        }
        Ok(())
    }

    /// Reads what has come, and returns the readers whose stream ended. Here that is no error.
    pub(crate) fn glance(&mut self) -> Result<Vec<usize>> {
        self.turn(Duration::ZERO)?;
        Ok(std::mem::take(&mut self.fallen))
    }

    /// Closes a reader's stream, if it has one, and asks for a new one that goes on behind the last id it saw. Returns
    /// the positions of the notifications that came over the old one.
    pub(crate) fn reconnect(&mut self, index: usize) -> Result<Vec<u64>> {
        let seen = self.readers[index].take_positions();
        self.readers[index].cut();
        self.connect(index)?;
        Ok(seen)
    }

    /// How many readers have a connection.
    pub(crate) fn connected(&self) -> usize {
        self.readers.iter().filter(|reader| reader.is_connected()).count()
    }

    fn connect(&mut self, index: usize) -> Result<()> {
        let request = (self.request)(index, self.readers[index].last_id())?;
        self.readers[index].connect(
            self.address,
            self.protocol,
            request,
            self.poll.registry(),
            Token(index),
        )
    }

    /// Closes every socket, without a word to the server and without reading what was left.
    pub(crate) fn cut(&mut self) {
        for reader in &mut self.readers {
            reader.cut();
        }
    }

    fn check(&self) -> Result<()> {
        match &self.tally.fault {
            Some(fault) => bail!("{fault} ({} streams in all)", self.tally.faults),
            None => Ok(()),
        }
    }

    fn turn(&mut self, wait: Duration) -> Result<()> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &self.events {
            let Token(index) = event.token();
            if let Err(fault) = self.readers[index].handle(event, &mut self.buffer, &mut self.tally) {
                self.tally.fault(index, &fault);
                self.readers[index].cut();
                self.fallen.push(index);
            }
        }
        Ok(())
    }
}

/// What a reader waits for; edge-triggered, so writability costs nothing once the request is out.
const INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);
