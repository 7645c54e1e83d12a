//! The old function: it hands its links over, and what is left of it then.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use cable::Cable;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use shmring::PipeEnd;

use super::heir;
use crate::door::messages::{Reply, Request};
use crate::door::{Call, socket};

/// So long the new function may take for the links. It has nothing else to do.
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket to the function that has the links now.
static HEIR: OnceLock<OwnedFd> = OnceLock::new();

/// What came of a request.
pub enum Answered {
    /// It was answered, and life goes on.
    Done,
    /// Another function has the links: this one is to end at once.
    Gone,
}

/// Whether all answer this request alike.
pub fn is_for_all(request: &Request) -> bool {
    matches!(request, Request::Place | Request::HandOver { .. })
}

/// Answers requests that are the same for all.
pub fn answer<'a>(call: Call, cables: impl Iterator<Item = &'a mut Cable>) -> Answered {
    match &call.request {
        Request::Place => {
            let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
            call.caller.answer(&Reply::Done, &[stdin.as_fd(), stdout.as_fd()]);
        }
        Request::HandOver { pipes } => {
            let cables: Vec<_> = cables.collect();
            if let Err(why) = check(&cables, pipes) {
                call.answer(Err(why));
                return Answered::Done;
            }
            return hand_over(call, cables);
        }
        request => {
            let refusal = request.not_here();
            call.answer(Err(refusal));
        }
    }
    Answered::Done
}

/// Whether the other one has a cable for each of ours.
fn check(cables: &[&mut Cable], pipes: &[(u64, u64)]) -> Result<()> {
    for cable in cables {
        cable.can_lend().map_err(anyhow::Error::msg)?;
        if cable.pipe().map(PipeEnd::id).is_none_or(|pipe| !pipes.contains(&pipe)) {
            return Err(anyhow!(
                "{}: the new function has no interface there: give it the same --left, --right \
                 and --link at=",
                cable.what()
            ));
        }
    }
    Ok(())
}

fn hand_over(call: Call, cables: Vec<&mut Cable>) -> Answered {
    let place: Vec<BorrowedFd<'_>> = heir::place().into_iter().collect();
    call.caller.tell(&Reply::Done, &place);
    match cable::give(cables.into_iter(), call.caller.into_socket(), PATIENCE) {
        Ok(socket) => {
            // From here on the name is the other's.
            shmring::board::retire();
            let _ = socket::send(&socket, b"gone", &[]);
            let _ = HEIR.set(socket);
            Answered::Gone
        }
        Err(why) => {
            say::note!("another function was to take over, and did not: {why}");
            Answered::Done
        }
    }
}

/// Whether this process has handed its links over.
pub fn is_given() -> bool {
    HEIR.get().is_some()
}

/// Keeps the place of this process where the shell has it, as long as the function lives
/// that has the links; returns its status. One that had only taken another's place ends.
///
/// # Errors
/// Where signals or the socket cannot be waited for.
pub fn keep() -> Result<Option<u8>> {
    let Some(heir) = HEIR.get() else { return Ok(None) };
    if heir::place().is_some() {
        return Ok(None);
    }
    keep_for(heir, None).map(Some)
}

/// Keeps it for the process at the other end of a socket, which is this one if that is known already.
///
/// # Errors
/// As [`keep`].
pub fn keep_for(heir: &OwnedFd, mut process: Option<OwnedFd>) -> Result<u8> {
    // A copy of an end of a pipe would look as if somebody were there.
    let nothing = File::options().read(true).write(true).open("/dev/null").context("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing).context("dup2")?;
    rustix::stdio::dup2_stdout(&nothing).context("dup2")?;
    let mut set = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTSTP,
    ] {
        set.add(signal);
    }
    set.thread_block().context("sigprocmask")?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&set, flags).context("signalfd")?;
    loop {
        let known = if process.is_some() { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds =
            [PollFd::new(heir.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), known)];
        let _ = poll(&mut fds, PollTimeout::NONE);
        if fds[0].any().unwrap_or(false)
            && let Some(status) = hear(heir, &mut process)
        {
            return Ok(status);
        }
        // Signals wait until it is known who is to get them.
        while let Some(process) = &process
            && let Ok(Some(info)) = signals.read_signal()
        {
            if let Ok(signal) = Signal::try_from(info.ssi_signo as i32) {
                pass_on(signal, process);
            }
        }
    }
}

/// What the function that has the links says; its status at the end.
fn hear(heir: &OwnedFd, process: &mut Option<OwnedFd>) -> Option<u8> {
    /// Of one that was killed.
    const KILLED: u8 = 128 + libc::SIGKILL as u8;
    let mut bytes = [0; 64];
    let (len, _) = match socket::receive(heir, &mut bytes) {
        Ok(received) => received,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return None,
        Err(_) => return Some(KILLED),
    };
    let said = std::str::from_utf8(&bytes[..len]).unwrap_or_default();
    match said.split_once(' ') {
        Some(("pid", pid)) => {
            *process = self::process(pid);
            None
        }
        Some(("end", status)) => Some(status.parse().unwrap_or(KILLED)),
        _ => Some(KILLED),
    }
}

/// The process of that number.
pub fn process(pid: &str) -> Option<OwnedFd> {
    let pid = pid.parse().ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// As if it had been sent there. A stop takes both.
fn pass_on(signal: Signal, process: &OwnedFd) {
    let send = |signal: Signal| {
        let signal = rustix::process::Signal::from_named_raw(signal as i32);
        let _ = signal.map(|signal| pidfd_send_signal(process, signal));
    };
    match signal {
        Signal::SIGTSTP => {
            send(Signal::SIGSTOP);
            let _ = raise(Signal::SIGSTOP);
            send(Signal::SIGCONT); // somebody has continued us
        }
        signal => send(signal),
    }
}
