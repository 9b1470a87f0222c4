//! What the kernel says about a process and the machine.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};

/// A running process, by its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid }
    }

    pub(crate) fn this() -> Self {
        Self {
            pid: std::process::id(),
        }
    }

    /// Stops it where it stands.
    pub(crate) fn freeze(self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn thaw(self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid)
            .ok()
            .and_then(Pid::from_raw)
            .context("no such process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// User and system time of all its threads, in steps of one clock tick (10 ms).
    pub(crate) fn cpu(self) -> Result<Duration> {
        let ticks = ticks(&self.read("stat")?).context("unreadable /proc stat line")?;
        Ok(Duration::from_nanos(
            ticks * 1_000_000_000 / rustix::param::clock_ticks_per_second(),
        ))
    }

    /// Resident memory in KiB. Kernel memory, socket buffers among it, is in no process's figure.
    pub(crate) fn resident_kib(self) -> Result<u64> {
        // The roll-up counts pages; VmRSS is cached per thread and may lag behind.
        let (text, key) = match self.read("smaps_rollup") {
            Ok(text) => (text, "Rss:"),
            Err(_) => (self.read("status")?, "VmRSS:"),
        };
        kib(&text, key).ok_or_else(|| anyhow!("no {key} for process {}", self.pid))
    }

    /// Open descriptors.
    pub(crate) fn descriptors(self) -> Result<u64> {
        let path = format!("/proc/{}/fd", self.pid);
        // Since Linux 6.2 the size of the directory is the count, which spares listing ten thousand names.
        let size = fs::metadata(&path)
            .with_context(|| format!("cannot read {path}"))?
            .len();
        if size > 0 {
            Ok(size)
        } else {
            Ok(fs::read_dir(&path)?.count() as u64)
        }
    }

    fn read(self, name: &str) -> Result<String> {
        let path = format!("/proc/{}/{name}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    }
}

/// The machine in one line.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let memory = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| kib(&text, "MemTotal:"));
    let memory = memory.map_or(0, |kib| kib / 1024 / 1024);
    format!("{cores} cores ({model}), {memory} GiB, Linux {}", kernel.trim())
}

/// How busy the machine has been in the last minute, in runnable threads.
pub(crate) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg")
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Connection attempts of the whole machine that found a full accept queue: the client's kernel repeats each after
/// a second, which no server can make up for afterwards.
pub(crate) fn listen_overflows() -> Option<u64> {
    counter(
        &fs::read_to_string("/proc/net/netstat").ok()?,
        "TcpExt:",
        "ListenOverflows",
    )
}

/// A counter of a table whose rows come in pairs: names, then values.
fn counter(table: &str, row: &str, name: &str) -> Option<u64> {
    let mut rows = table.lines().filter_map(|line| line.strip_prefix(row));
    let (names, values) = (rows.next()?, rows.next()?);
    let (_, value) = names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(key, _)| *key == name)?;
    value.parse().ok()
}

/// utime + stime of a `stat` line. The name in brackets may hold spaces and brackets itself.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kib(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_hostile_process_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some(300));
    }

    #[test]
    fn memory_is_read_in_kibibytes() {
        assert_eq!(kib("Name: x\nRss:     123 kB\n", "Rss:"), Some(123));
        assert_eq!(kib("Name: x\n", "Rss:"), None);
    }

    #[test]
    fn a_counter_is_found_by_the_name_above_it() {
        let table =
            "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 3 17\nIpExt: ListenOverflows\nIpExt: 9\n";
        assert_eq!(counter(table, "TcpExt:", "ListenOverflows"), Some(17));
        assert_eq!(counter(table, "TcpExt:", "Absent"), None);
    }

    #[test]
    fn this_process_has_memory_time_and_descriptors() {
        let process = Process::this();
        assert!(process.resident_kib().unwrap() > 100);
        assert!(process.descriptors().unwrap() >= 3);
        assert!(process.cpu().unwrap() < Duration::from_hours(1));
    }
}
