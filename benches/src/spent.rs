//! What processes cost while one looks at them.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// Of all threads of some processes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// Context switches.
    pub switches: u64,
    /// Clock ticks of processor time.
    pub ticks: u64,
}

impl Spent {
    /// What the processes spend during the next `time`.
    pub fn during(time: Duration, pids: &[u32]) -> Spent {
        let before = Spent::so_far(pids);
        sleep(time);
        let after = Spent::so_far(pids);
        Spent {
            switches: after.switches.saturating_sub(before.switches),
            ticks: after.ticks.saturating_sub(before.ticks),
        }
    }

    fn so_far(pids: &[u32]) -> Spent {
        let mut spent = Spent::default();
        let tasks = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
        for thread in tasks.flatten().flatten() {
            let read = |name| fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            let status = read("status");
            let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
            spent.switches += sum(switches.filter_map(|line| line.split_whitespace().last()));
            // Behind the name in brackets: fields 14 and 15 of proc_pid_stat(5).
            let stat = read("stat");
            let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            spent.ticks += sum(fields.skip(11).take(2));
        }
        spent
    }
}

fn sum<'a>(words: impl Iterator<Item = &'a str>) -> u64 {
    words.filter_map(|word| word.parse::<u64>().ok()).sum()
}
