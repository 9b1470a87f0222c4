//! What Linux says of this process, in `/proc` and in its control group. On other systems it says nothing.

use std::fs;
use std::time::Duration;

/// `/proc/self/stat` counts in hundredths of a second on every Linux there is (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: u32 = 100;
/// Control groups without a bound show one that no machine has.
const NO_BOUND: u64 = 1 << 60;

/// Returns the share that the process has of the memory that it may take.
pub(super) fn memory() -> Option<f64> {
    let taken = resident()?;
    let bounds = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let bounds = bounds
        .into_iter()
        .filter_map(|path| bound(&fs::read_to_string(path).ok()?));
    let machine = kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(super::share(taken, bounds.chain([machine]).min()?))
}

/// Returns the bytes of the process that are resident.
pub(crate) fn resident() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Returns the share of its descriptors that the process has open.
pub(super) fn descriptors() -> Option<f64> {
    let most = open_files(&fs::read_to_string("/proc/self/limits").ok()?)?;
    Some(super::share(open()?, most))
}

/// Returns how many descriptors the process has open; the one that is looked with is not among them.
pub(crate) fn open() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(listed).ok()?.checked_sub(1)
}

/// Returns the processor time that the process has taken.
pub(super) fn processor_time() -> Option<Duration> {
    ticks(&fs::read_to_string("/proc/self/stat").ok()?)
        .map(|ticks| Duration::from_secs(ticks) / TICKS_PER_SECOND)
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1_024)
}

fn bound(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < NO_BOUND)
}

fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The name in brackets may hold anything; user and system time are the twelfth and thirteenth number after it.
fn ticks(stat: &str) -> Option<u64> {
    let mut numbers = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = numbers.next()?.parse().ok()?;
    let system: u64 = numbers.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 900 0 0 0 250 50 0 0 20 0 9 0 100 1 2";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(
            kibibytes("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"),
            Some(12_288)
        );
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files   1024   4096   files\n";
        assert_eq!(open_files(limits), Some(1_024));
        assert_eq!((bound("max\n"), bound("1048576\n")), (None, Some(1_048_576)));
        assert_eq!(bound("9223372036854771712"), None);
    }

    #[test]
    fn what_is_cut_off_or_foreign_says_nothing() {
        for text in [
            "",
            "7 (a) S 1",
            "x",
            "Max open files unlimited unlimited files",
            "VmRSS: x kB",
        ] {
            assert_eq!(
                (ticks(text), open_files(text), kibibytes(text, "VmRSS:")),
                (None, None, None)
            );
        }
    }
}
