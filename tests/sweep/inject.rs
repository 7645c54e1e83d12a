//! A tracer that makes one system call of one process fail.
//!
//! By ptrace(2), from outside: the process is one of a scene, its parent and its
//! process id are those that it has anyway. Once the fault has been made, everybody is let
//! go and runs as fast as ever.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::calls::{Occasion, is_plausible};

/// One call of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Point {
    /// The process or thread: 0 for the function itself, then in the order in which
    /// they come.
    pub task: usize,
    /// Number of the system call.
    pub call: i64,
    /// Which of these calls of that task, from 1.
    pub nth: u32,
}

/// What is to happen there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    pub at: Point,
    /// The error.
    pub errno: i32,
    /// The call has its effect nevertheless.
    pub takes_effect: bool,
}

/// What the tracer saw.
#[derive(Debug, Default)]
pub struct Trace {
    /// How often each task made each call.
    pub counts: HashMap<(usize, i64), u32>,
    /// The fault was made.
    pub injected: bool,
    /// What the call was about, if it was about a descriptor.
    pub object: String,
}

/// A process or thread that is traced.
struct Task {
    number: usize,
    /// Which call it is in.
    inside: Option<i64>,
    /// What that call is to come to, instead of what it came to.
    outcome: Option<i32>,
}

struct Tracer {
    fault: Option<Fault>,
    tasks: HashMap<Pid, Task>,
    /// How many there were.
    seen: usize,
    /// The program under test is executed.
    executed: bool,
    /// Its own code has begun, after that of the dynamic linker.
    begun: bool,
    trace: Trace,
}

/// Traces `pid`, which is about to execute the program under test, and what that
/// forks until it executes something else. `go` lets it. To be called in a
/// thread that has no children.
///
/// # Errors
/// Those of ptrace(2) and wait(2).
pub fn trace(pid: Pid, fault: Option<Fault>, go: impl FnOnce() -> Result<()>) -> Result<Trace> {
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(pid, options).context("PTRACE_SEIZE")?;
    go()?;
    let mut tracer = Tracer {
        fault,
        tasks: HashMap::new(),
        seen: 0,
        executed: false,
        begun: false,
        trace: Trace::default(),
    };
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        match waitpid(None, Some(flags)) {
            Ok(status) => tracer.on_stop(status)?,
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(tracer.trace),
            Err(errno) => return Err(errno).context("wait"),
        }
    }
}

impl Tracer {
    fn on_stop(&mut self, status: WaitStatus) -> Result<()> {
        match status {
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.tasks.remove(&pid);
                Ok(())
            }
            WaitStatus::PtraceSyscall(pid) => {
                gone(self.on_syscall(pid))?;
                self.resume(pid, None)
            }
            WaitStatus::PtraceEvent(pid, _, libc::PTRACE_EVENT_EXEC) => {
                if std::mem::replace(&mut self.executed, true) {
                    self.tasks.remove(&pid); // it is another program now
                    return gone(ptrace::detach(pid, None));
                }
                self.resume(pid, None)
            }
            WaitStatus::PtraceEvent(pid, ..) => self.resume(pid, None),
            WaitStatus::Stopped(pid, signal) => self.resume(pid, Some(signal)),
            other => bail!("wait says {other:?}"),
        }
    }

    /// A task is about to make a call, or has made it.
    fn on_syscall(&mut self, pid: Pid) -> nix::Result<()> {
        let task = self.tasks.entry(pid).or_insert_with(|| {
            self.seen += 1;
            Task { number: self.seen - 1, inside: None, outcome: None }
        });
        let mut registers = ptrace::getregs(pid)?;
        if task.inside.take().is_some() {
            if let Some(errno) = task.outcome.take() {
                registers.rax = -i64::from(errno) as u64;
                ptrace::setregs(pid, registers)?;
            }
            return Ok(());
        }
        let call = registers.orig_rax as i64;
        task.inside = Some(call);
        // The last thing that Rust does before it calls `main` is to have a stack for
        // the handler that tells of an overflow; without it, it panics.
        self.begun |= call == libc::SYS_sigaltstack && registers.rdi != 0;
        if !self.begun {
            return Ok(());
        }
        let count = self.trace.counts.entry((task.number, call)).or_default();
        *count += 1;
        let point = Point { task: task.number, call, nth: *count };
        if let Some(fault) = self.fault.filter(|fault| fault.at == point) {
            let when = occasion(pid, &registers);
            if !is_plausible(call, fault.errno, &when) {
                self.fault = None; // it cannot happen here
                return Ok(());
            }
            self.trace.object = when.object;
            task.outcome = Some(fault.errno);
            self.trace.injected = true;
            if !fault.takes_effect {
                registers.orig_rax = u64::MAX; // no call has this number
                ptrace::setregs(pid, registers)?;
            }
        }
        Ok(())
    }

    /// Lets a task go on; for good, once there is nothing left to do.
    fn resume(&self, pid: Pid, signal: Option<Signal>) -> Result<()> {
        let waits = self.tasks.get(&pid).is_some_and(|task| task.outcome.is_some());
        gone(match self.trace.injected && !waits {
            true => ptrace::detach(pid, signal),
            false => ptrace::syscall(pid, signal),
        })
    }
}

fn occasion(pid: Pid, registers: &libc::user_regs_struct) -> Occasion {
    let fd = registers.rdi;
    let object = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or("0");
    let flags = i32::from_str_radix(flags.trim(), 8).unwrap_or_default();
    Occasion {
        object: object.to_string_lossy().into_owned(),
        blocks: flags & libc::O_NONBLOCK == 0,
        third: registers.rdx as i64,
        fourth: registers.r10 as i64,
    }
}

/// Somebody may kill a task while it is stopped.
fn gone(result: nix::Result<()>) -> Result<()> {
    match result {
        Err(Errno::ESRCH) => Ok(()),
        result => result.context("ptrace"),
    }
}
