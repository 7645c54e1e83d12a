//! Processes of a scene, found by a variable in their environment.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The variable; its value tells scenes apart.
pub const MARK: &str = "STDPKT_TESTS_SCENE";

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    /// `/proc/PID/comm`.
    pub name: String,
    /// Its command line.
    pub args: Vec<String>,
}

impl Process {
    /// Whether this is a network function itself, not its keeper or CMD.
    pub fn is_function(&self) -> bool {
        self.args.get(1).is_some_and(|arg| arg == "run")
            && self.args[0].rsplit('/').next() == Some("stdpkt")
            && self.name != "stdpkt-keeper"
    }

    /// Context switches of all its threads so far, of both kinds.
    pub fn context_switches(&self) -> u64 {
        self.context_switches_of_threads().values().sum()
    }

    /// The same, by thread.
    pub fn context_switches_of_threads(&self) -> BTreeMap<String, u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("a live process");
        tasks
            .flatten()
            .filter_map(|task| {
                let status = fs::read_to_string(task.path().join("status")).ok()?;
                let of_both_kinds = status
                    .lines()
                    .filter(|line| line.contains("ctxt_switches"))
                    .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
                Some((task.file_name().to_string_lossy().into_owned(), of_both_kinds.sum()))
            })
            .collect()
    }

    /// Sends a signal to just this process.
    pub fn signal(&self, mark: &str, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        // The descriptor pins the process, so that it is the one looked at next.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if is_marked(self.pid, mark) {
            let _ = pidfd_send_signal(pidfd, signal);
        }
    }
}

fn is_marked(pid: i32, mark: &str) -> bool {
    let wanted = format!("{MARK}={mark}");
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|all| all.split(|&byte| byte == 0).any(|one| one == wanted.as_bytes()))
}

/// The live processes of the scene `mark`.
pub fn marked(mark: &str) -> Vec<Process> {
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|&pid| is_marked(pid, mark))
        .filter_map(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned();
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let args = line.split(|&byte| byte == 0);
            let args = args.map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
            Some(Process { pid, name, args })
        })
        .collect()
}
