//! Whether programs do something, or wait for something to do.

use std::fs;

/// Whether any of the processes below `pid` runs, waits for a processor, or waits for a disk
/// or the kernel. Where `/proc` does not tell, nobody does.
pub(super) fn is_any_child(pid: i32) -> bool {
    children(pid).into_iter().any(|child| is_busy(child) || is_any_child(child))
}

/// The children of a process with one thread, the dead that nobody has buried among them.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn is_busy(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Its name, in brackets, may have anything in it.
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('R' | 'D'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use super::*;

    /// Waits until it is so.
    fn becomes(busy: bool, pid: i32) {
        let start = Instant::now();
        while is_any_child(pid) != busy {
            assert!(start.elapsed() < Duration::from_secs(60), "{pid}: never {busy}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_program_that_computes_is_busy_and_one_that_waits_is_not() {
        for (script, busy) in [("while :; do :; done", true), ("sleep 1000 & wait", false)] {
            // Below a shell, as a child of a child.
            let script = format!("sh -c '{script}' & wait");
            let mut shell =
                Command::new("sh").arg("-c").arg(script).process_group(0).spawn().unwrap();
            let pid = shell.id() as i32;
            becomes(busy, pid);
            let group = rustix::process::Pid::from_child(&shell);
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
            shell.wait().unwrap();
        }
    }
}
