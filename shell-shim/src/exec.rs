//! `stdpkt exec`: a command inside a running function.
//!
//! It gets the function's namespaces and working directory, and keeps the caller's
//! descriptors, terminal and environment. It stays in the caller's process group, so that
//! the terminal's signals reach both; a shell makes groups of its own, and the terminal
//! is taken back from the last of them.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::stat;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use crate::door::ask;
use crate::door::messages::Request;
use crate::name::find;
use crate::run::signals::Signals;
use crate::stack::keeper::{not_started, search_path};

/// A function answers at once, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// `stdpkt exec`.
#[derive(Debug, Args)]
#[command(after_help = r"Examples:
  stdpkt exec fw
  stdpkt exec fw -- ip -s addr
  stdpkt exec nat -- conntrack -L
  stdpkt exec 1234 -- sh -c 'ss -tn; cat /proc/net/dev'")]
pub struct ExecArgs {
    /// Name or process id of the function
    #[arg(value_name = "NAME")]
    pub name: String,

    /// The program to run in it [default: a shell, SHELL or sh]
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

/// Runs CMD inside a function; returns its exit status.
///
/// # Errors
/// One line: nobody is called that, it cannot be entered, or CMD does not start.
pub fn run(args: &ExecArgs) -> Result<u8> {
    let function = find(&args.name)?;
    let answer = ask(&function, &Request::Inside, &[], PATIENCE)?;
    let [inside, directory] = &answer.fds[..] else {
        bail!("{}: it does not say where its programs are", args.name)
    };
    enter(inside).with_context(|| format!("{} cannot be entered", args.name))?;
    // From inside its mounts: a path would be another one there.
    rustix::process::fchdir(directory).context("its working directory")?;
    let terminal = Terminal::of_ours();
    let mut child = start(&args.command)?;
    // Only now: CMD inherits no blocked signals.
    let signals = Signals::new()?;
    let status = wait(&mut child, inside, &signals)?;
    drop(terminal);
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()) as u8)
}

/// Enters those namespaces of a process that are not ours already.
fn enter(process: &OwnedFd) -> Result<()> {
    const ALL: [(&str, ThreadNameSpaceType); 5] = [
        ("user", ThreadNameSpaceType::USER),
        ("net", ThreadNameSpaceType::NETWORK),
        ("mnt", ThreadNameSpaceType::MOUNT),
        ("pid", ThreadNameSpaceType::PROCESS_ID),
        ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ];
    let pid = pid_of(process).context("it has ended")?;
    let mut foreign = ThreadNameSpaceType::empty();
    for (name, kind) in ALL {
        let theirs = stat(format!("/proc/{pid}/ns/{name}")).context("its namespaces")?;
        let ours = stat(format!("/proc/self/ns/{name}")).context("namespaces")?;
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino) {
            foreign |= kind;
        }
    }
    if foreign.is_empty() {
        return Ok(());
    }
    Ok(move_into_thread_name_spaces(process.as_fd(), foreign)?)
}

/// As we see it; none where it has ended, or is out of sight.
fn pid_of(process: &OwnedFd) -> Option<u32> {
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", process.as_raw_fd())).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

fn start(words: &[String]) -> Result<Child> {
    let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
    let program = match words.first() {
        Some(program) => program.into(),
        None => shell.unwrap_or_else(|| OsString::from("sh")),
    };
    let path = search_path();
    let mut command = Command::new(&program);
    command.args(words.iter().skip(1)).env("PATH", path);
    command.spawn().map_err(|error| match error.raw_os_error() {
        // No process is begun in a pid namespace whose first one has ended.
        Some(libc::ENOMEM) => anyhow::anyhow!("the function is ending"),
        errno => not_started(&program, errno.unwrap_or(0)).into(),
    })
}

/// Waits for its end, and brings it about where the function ends first.
fn wait(child: &mut Child, function: &OwnedFd, signals: &Signals) -> Result<ExitStatus> {
    let ended = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).context("pidfd_open")?;
    loop {
        let mut fds = [ended.as_fd(), signals.as_fd(), function.as_fd()]
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("poll"),
        }
        while let Some(signal) = signals.next()? {
            // From the terminal it has it already.
            if let (false, Some(number)) =
                (signal.from_terminal, rustix::process::Signal::from_named_raw(signal.number))
            {
                let _ = rustix::process::pidfd_send_signal(&ended, number);
            }
        }
        if fds[0].any() == Some(true) {
            return child.wait().context("wait");
        }
        if fds[2].any() == Some(true) {
            // Inside a pid namespace of the function's the kernel has done so.
            let _ = child.kill();
            return child.wait().context("wait");
        }
    }
}

/// The terminal that we have the foreground of, and want back.
struct Terminal(Option<Pid>);

impl Terminal {
    fn of_ours() -> Terminal {
        let ours = rustix::process::getpgrp();
        let front = tcgetpgrp(std::io::stdin()).ok();
        Terminal(front.filter(|front| *front == ours))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let Some(ours) = self.0 else { return };
        // Whoever asks from the background is stopped, unless it blocks the signal.
        let _ = SigSet::from(Signal::SIGTTOU).thread_block();
        let _ = tcsetpgrp(std::io::stdin(), ours);
    }
}
