//! The rest of CMD: what it started and did not wait for.

use std::collections::HashMap;
use std::fs;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The processes that were there before CMD, by their number, with their time of
/// start: those of `--setup`, through which what CMD sends may have to go.
pub(super) struct Before(HashMap<i32, u64>);

/// What `/proc` tells of a process.
struct Process {
    parent: i32,
    started: u64,
}

impl Before {
    pub fn now() -> Before {
        let started = |(pid, process): (i32, Process)| (pid, process.started);
        Before(processes().unwrap_or_default().into_iter().map(started).collect())
    }

    /// Kills all that came with CMD; `true` once nothing of it is left. Each end
    /// is a SIGCHLD for the keeper, to which all orphans fall.
    pub fn kill_the_rest(&self) -> bool {
        // Without a /proc of its own the keeper cannot tell who is whose.
        let Some(processes) = processes() else {
            return kill(Pid::from_raw(-1), Signal::SIGKILL) == Err(Errno::ESRCH);
        };
        let rest = processes.keys().filter(|&&pid| self.came_later(pid, &processes));
        rest.fold(true, |_, &pid| {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            false
        })
    }

    /// Whether no process from before is among its ancestors, the keeper apart.
    fn came_later(&self, mut pid: i32, processes: &HashMap<i32, Process>) -> bool {
        // No line of ancestors is longer, whatever changed while it was read.
        for _ in 0..processes.len() {
            match processes.get(&pid) {
                _ if pid == 1 => return true,
                Some(process) if self.0.get(&pid) == Some(&process.started) => return false,
                Some(process) => pid = process.parent,
                // Its parent has just ended, so it will be seen again.
                None => return true,
            }
        }
        true
    }
}

/// All living processes of this pid namespace but the keeper and those that came
/// in from outside, as by nsenter(1).
fn processes() -> Option<HashMap<i32, Process>> {
    if fs::read_link("/proc/self").ok()?.as_os_str() != "1" {
        return None;
    }
    let all = fs::read_dir("/proc").ok()?.flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Some(pids.filter(|&pid| pid != 1).filter_map(|pid| Some((pid, process(pid)?))).collect())
}

fn process(pid: i32) -> Option<Process> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let at = text.iter().rposition(|&byte| byte == b')')?;
    let text = String::from_utf8_lossy(&text[at + 1..]).into_owned();
    let mut words = text.split_whitespace();
    let (state, parent) = (words.next()?, words.next()?.parse().ok()?);
    let started = words.nth(17)?.parse().ok()?; // field 22 of proc_pid_stat(5)
    (!matches!(state, "Z" | "X") && parent != 0).then_some(Process { parent, started })
}
