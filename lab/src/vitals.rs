//! What the kernel tells about a running process: processor time, memory, and whether it has ended.

use std::fs;
use std::time::Duration;

/// Processor time and memory of a process at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// Time on processors so far, in user and kernel mode, over all threads. The kernel counts it in
    /// hundredths of a second.
    pub cpu: Duration,
    /// False once it has ended and only waits for its parent to look.
    pub runs: bool,
}

/// The kernel's clock ticks in a second, as everywhere on Linux since 2.6.
const TICKS: u64 = 100;

/// Of a process that exists. An ended child keeps its processor time until its parent has looked.
pub fn of(id: u32) -> Option<Vitals> {
    let stat = Stat::of(id)?;
    Some(Vitals { cpu: time(stat.own), runs: stat.runs })
}

/// Processor time of a process, its children and those that have ended before and were looked at: what a
/// server costs that gives each connection a process.
pub fn family_cpu(id: u32) -> Option<Duration> {
    let ended = || Some(Stat::of(id)?.ended);
    let all = || Some(fs::read_dir("/proc").ok()?.filter_map(|entry| ticks_under(&entry.ok()?, id)).sum());
    undisturbed(ended, all).map(time)
}

/// Sums until none of a server's children ends during one.
const SUMS_MAX: usize = 100;

/// The first sum during which no child ended, as the ticks of ended ones tell: a child that ends while others
/// are read is lost, or counted twice.
fn undisturbed(ended: impl Fn() -> Option<u64>, sum: impl Fn() -> Option<u64>) -> Option<u64> {
    let mut before = ended()?;
    for _ in 0..SUMS_MAX {
        let sum = sum()?;
        let after = ended()?;
        if after == before {
            return Some(sum);
        }
        before = after;
    }
    None
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Ticks of the process in a folder of /proc, where it is `parent` or a child of it.
fn ticks_under(folder: &fs::DirEntry, parent: u32) -> Option<u64> {
    let id: u32 = folder.file_name().to_str()?.parse().ok()?;
    let stat = Stat::of(id)?;
    match (id == parent, stat.parent == parent) {
        (true, _) => Some(stat.own + stat.ended),
        (false, true) => Some(stat.own),
        (false, false) => None,
    }
}

/// What /proc/…/stat tells of a process (proc(5)).
pub(crate) struct Stat {
    /// Whether it hasn't ended.
    pub(crate) runs: bool,
    /// The id of its parent.
    pub(crate) parent: u32,
    /// Ticks of its own.
    own: u64,
    /// Ticks of its children that have ended and were looked at.
    ended: u64,
}

impl Stat {
    /// Of a process that exists.
    pub(crate) fn of(id: u32) -> Option<Stat> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may hold anything; the fields after its end are plain.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let both =
            |at: usize| Some(fields.get(at)?.parse::<u64>().ok()? + fields.get(at + 1)?.parse::<u64>().ok()?);
        Some(Stat {
            runs: !matches!(fields.first(), Some(&"Z" | &"X")),
            parent: fields.get(1)?.parse().ok()?,
            own: both(11)?,
            ended: both(13)?,
        })
    }
}

/// The most memory that a running process has had resident, in KiB (VmHWM).
pub fn peak_memory_kib(id: u32) -> Option<u64> {
    status(id, "VmHWM:")
}

/// The memory that a running process has resident now, in KiB (VmRSS).
pub fn memory_kib(id: u32) -> Option<u64> {
    status(id, "VmRSS:")
}

fn status(id: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::process::{Command, Stdio};

    #[test]
    fn an_ended_child_still_tells_its_processor_time_until_it_is_waited_for() {
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let mut child = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn().unwrap();
        let ended = loop {
            let vitals = of(child.id()).expect("the child hasn't been waited for");
            if !vitals.runs {
                break vitals;
            }
            std::thread::yield_now();
        };
        assert!(ended.cpu > Duration::ZERO);
        child.wait().unwrap();
        assert_eq!(of(child.id()), None);
    }

    #[test]
    fn a_family_s_time_holds_that_of_its_children() {
        let me = std::process::id();
        let before = family_cpu(me).unwrap();
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        assert!(Command::new("sh").args(["-c", script]).status().unwrap().success());
        assert!(family_cpu(me).unwrap() > before);
    }

    #[test]
    fn a_sum_during_which_a_child_ended_is_taken_again() {
        let ended = RefCell::new([1, 8, 8].into_iter());
        let sums = RefCell::new([3, 10].into_iter());
        let next = |from: &RefCell<dyn Iterator<Item = u64>>| from.borrow_mut().next();
        assert_eq!(undisturbed(|| next(&ended), || next(&sums)), Some(10));
    }

    #[test]
    fn this_process_runs_and_has_memory() {
        let me = std::process::id();
        assert!(of(me).unwrap().runs);
        assert!(peak_memory_kib(me).unwrap() >= 1024);
        assert!(memory_kib(me).unwrap() <= peak_memory_kib(me).unwrap());
    }
}
