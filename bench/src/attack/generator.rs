//! The attacker: a process of its own, niced, that asks for what it is refused, at a set rate.
//!
//! First as fast as it can until its limit is used up, so that nothing of what follows is served; then it says so and
//! goes on at the rate for as long as it was told, and ends by itself with an account of what it was answered.

use std::io::{self, BufRead as _, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use rustix::process::nice;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::clock;
use crate::procfs::Process;
use crate::wire::http::Answer;

/// Everybody else goes first.
const NICENESS: i32 = 19;
/// Requests under way at once, at least.
const WORKERS: usize = 16;
/// So many refusals in a row, and the limit is used up.
const USED_UP: usize = 50;
/// A limit that is not used up after this long is no limit.
const LONGEST: Duration = Duration::from_secs(30);
/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer to a handshake that is longer than this says nothing.
const MAX_ANSWER: usize = 64 * 1024;

#[derive(Args)]
pub(crate) struct Arguments {
    target: SocketAddr,
    #[arg(value_enum)]
    kind: Kind,
    /// Attempts a second, once the limit is used up
    rate: u32,
    seconds: u64,
}

/// What is attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Streams from one address, of many people.
    Handshakes,
    /// Calls with good tokens.
    Calls,
    /// Calls with tokens that somebody else signed.
    Forgeries,
}

impl Kind {
    /// Where it comes from: never where the neighbours are.
    fn sources(self) -> Vec<Ipv4Addr> {
        match self {
            Self::Handshakes => vec![Ipv4Addr::new(127, 0, 1, 1)],
            Self::Calls => vec![Ipv4Addr::new(127, 0, 1, 2)],
            Self::Forgeries => (1..=super::FORGERS)
                .map(|n| Ipv4Addr::new(127, 0, 2, n))
                .collect(),
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Handshakes => "/v1/stream",
            Self::Calls | Self::Forgeries => "/v1/notifications/unread-count",
        }
    }
}

/// What became of the attempts at the set rate.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
    /// By status; a refused stream is answered 200 and counted apart.
    pub(crate) served: u64,
    pub(crate) closing: u64,
    pub(crate) too_many: u64,
    pub(crate) forbidden: u64,
    pub(crate) unauthorized: u64,
    pub(crate) others: u64,
    pub(crate) broken: u64,
    /// Percent of one core.
    pub(crate) cpu: f64,
}

impl Account {
    pub(crate) fn refused(&self) -> u64 {
        self.closing + self.too_many + self.forbidden + self.unauthorized
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.closing += other.closing;
        self.too_many += other.too_many;
        self.forbidden += other.forbidden;
        self.unauthorized += other.unauthorized;
        self.others += other.others;
        self.broken += other.broken;
        self.cpu = self.cpu.max(other.cpu);
    }

    fn take(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Closing => &mut self.closing,
            Verdict::Status(429) => &mut self.too_many,
            Verdict::Status(403) => &mut self.forbidden,
            Verdict::Status(401) => &mut self.unauthorized,
            Verdict::Status(200..300) => &mut self.served,
            Verdict::Status(_) => &mut self.others,
            Verdict::Broken => &mut self.broken,
        } += 1;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Status(u16),
    /// A stream that was closed in its first event.
    Closing,
    Broken,
}

impl Verdict {
    fn refuses(self) -> bool {
        matches!(self, Self::Closing | Self::Status(401 | 403 | 429))
    }
}

/// Attacks, with the tokens that stand in standard input, one a line.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    nice(NICENESS)?;
    let tokens: Vec<String> = io::stdin().lock().lines().collect::<io::Result<_>>()?;
    let sources = arguments.kind.sources();
    let workers: Vec<Mutex<Worker>> = (0..WORKERS.max(sources.len()))
        .map(|n| {
            Mutex::new(Worker {
                kind: arguments.kind,
                target: arguments.target,
                source: sources[n % sources.len()],
                kept: None,
            })
        })
        .collect();
    let next = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    let give_up = clock::after(LONGEST);
    everywhere(&workers, |worker| {
        while refused.load(Ordering::Relaxed) < USED_UP && clock::now() < give_up {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if worker.attempt(&tokens[n % tokens.len()]).refuses() {
                refused.fetch_add(1, Ordering::Relaxed);
            } else {
                refused.store(0, Ordering::Relaxed);
            }
        }
    });
    if refused.load(Ordering::Relaxed) < USED_UP {
        bail!("the limit was not used up");
    }
    writeln!(io::stdout(), "used up")?;
    let (began, cpu) = (clock::now(), Process::this().cpu()?);
    let interval = clock::in_nanos(Duration::from_secs(1)) / u64::from(arguments.rate.max(1));
    let until = began + clock::in_nanos(Duration::from_secs(arguments.seconds));
    let slots = AtomicUsize::new(0);
    let account = Mutex::new(Account::default());
    everywhere(&workers, |worker| {
        let mut own = Account::default();
        loop {
            let n = slots.fetch_add(1, Ordering::Relaxed);
            let due = began + interval * n as u64;
            if due >= until || clock::now() >= until {
                break;
            }
            clock::sleep_until(due);
            own.take(worker.attempt(&tokens[n % tokens.len()]));
        }
        account.lock().unwrap_or_else(PoisonError::into_inner).add(&own);
    });
    let mut account = account.into_inner().unwrap_or_else(PoisonError::into_inner);
    let used = Process::this().cpu()?.saturating_sub(cpu);
    account.cpu = 100.0 * used.as_secs_f64() / clock::since(began).as_secs_f64();
    writeln!(io::stdout(), "{}", serde_json::to_string(&account)?)?;
    Ok(())
}

fn everywhere(workers: &[Mutex<Worker>], work: impl Fn(&mut Worker) + Sync) {
    let work = &work;
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(move || work(&mut worker.lock().unwrap_or_else(PoisonError::into_inner)));
        }
    });
}

struct Worker {
    kind: Kind,
    target: SocketAddr,
    source: Ipv4Addr,
    kept: Option<TcpStream>,
}

impl Worker {
    fn attempt(&mut self, token: &str) -> Verdict {
        let kept = self.kept.take();
        let was_kept = kept.is_some();
        match self.ask(kept, token) {
            Ok(verdict) => verdict,
            // A kept connection may have rested too long.
            Err(_) if was_kept => self.ask(None, token).unwrap_or(Verdict::Broken),
            Err(_) => Verdict::Broken,
        }
    }

    fn ask(&mut self, kept: Option<TcpStream>, token: &str) -> Result<Verdict> {
        let mut socket = kept.map_or_else(|| self.connect(), Ok)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nAccept: */*\r\n\r\n",
            self.kind.path(),
            self.target
        );
        socket.write_all(request.as_bytes())?;
        let mut heard = Vec::new();
        let mut buffer = [0; 4_096];
        loop {
            let read = socket.read(&mut buffer)?;
            if read == 0 || heard.len() > MAX_ANSWER {
                bail!("no answer");
            }
            heard.extend_from_slice(&buffer[..read]);
            if self.kind == Kind::Handshakes {
                // What comes after the first event, its end or more of it, is nothing to an attacker.
                for (event, verdict) in [
                    (&b"event: closing"[..], Verdict::Closing),
                    (b"event: ready", Verdict::Status(200)),
                ] {
                    if memchr::memmem::find(&heard, event).is_some() {
                        return Ok(verdict);
                    }
                }
                if heard.starts_with(b"HTTP/1.1 200") {
                    continue;
                }
            }
            if let Some(answer) = Answer::parse(&heard)? {
                self.kept = Some(socket);
                return Ok(Verdict::Status(answer.status));
            }
        }
    }

    fn connect(&self) -> Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.source, 0)).into())?;
        socket
            .connect(&self.target.into())
            .with_context(|| format!("cannot connect to {}", self.target))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket.into())
    }
}
