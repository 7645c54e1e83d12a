//! An LKL function in the place of a running one (`stdpkt swap`, `insert`): its kernel boots beside
//! that, and CMD's process takes the links from there. What it and this process say to each other
//! is in `heir.rs` of `lkl-netdev`.

use std::io::PipeWriter;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::dup;
use rustix::io::ioctl_fionread;
use rustix::net::{Shutdown, shutdown};
use shmring::handover::socket_pair;

use crate::door::socket;
use crate::stack::keeper::Keeper;
use crate::succession::heir;

/// Between two looks whether CMD has read all of `--setup`, in milliseconds: no event tells of that.
const LOOK: u16 = 10;
/// For an answer of CMD's process, in milliseconds: it has nothing else to do.
const PATIENCE: u16 = 10_000;

/// The socket to CMD's process.
pub struct Newcomer {
    socket: OwnedFd,
    /// Until all is set up: the connection to whoever has started this process.
    starter: Option<OwnedFd>,
    /// A neighbour on a `|` has ended for good.
    pub is_cut: bool,
}

/// What is heard while the function is not there yet.
enum Said {
    /// By CMD's process.
    Word(String),
    CmdEnded,
    StarterEnded,
    Nothing,
}

impl Newcomer {
    /// Where this process is to take over. CMD is to inherit what `kept` gets, and to be told
    /// the second.
    ///
    /// # Errors
    /// Those of socketpair(2) and dup(2).
    pub fn new(kept: &mut Vec<OwnedFd>) -> Result<Option<(Newcomer, String)>> {
        let Some([old, starter]) = heir::connections()? else { return Ok(None) };
        let (socket, theirs) = socket_pair()?;
        // Without close-on-exec.
        let [run, old] = [dup(&theirs).context("dup")?, dup(&old).context("dup")?];
        let told = format!("{} {}", run.as_raw_fd(), old.as_raw_fd());
        kept.extend([run, old]);
        Ok(Some((Newcomer { socket, starter: Some(starter), is_cut: false }, told)))
    }

    /// Waits until CMD's kernel has its interfaces, and CMD has read what is to be set up.
    ///
    /// # Errors
    /// One line: CMD has ended, or whoever waits for this.
    pub fn wait_until_up(&mut self, keeper: &mut Keeper, setup: &PipeWriter) -> Result<()> {
        let mut limit = PollTimeout::NONE;
        while limit.is_none() || ioctl_fionread(setup).context("ioctl")? > 0 {
            match self.hear(keeper, limit) {
                Said::Word(_) => limit = LOOK.into(), // it is up
                Said::CmdEnded => bail!("{}", ended(keeper)?),
                Said::StarterEnded => bail!("whoever started this has ended"),
                Said::Nothing => {}
            }
        }
        self.starter = None;
        Ok(())
    }

    /// Has CMD's process take the links, which come on the connection that it has inherited.
    ///
    /// # Errors
    /// One line: they stay where they are.
    pub fn take(&self, keeper: &mut Keeper) -> Result<()> {
        socket::send(&self.socket, b"go", &[]).context("CMD")?;
        // So that each device hears it.
        shutdown(&self.socket, Shutdown::Write).context("CMD")?;
        match self.hear(keeper, PATIENCE.into()) {
            Said::Word(word) if word == "taken" => Ok(()),
            Said::Word(why) => bail!("{why}"),
            Said::CmdEnded => bail!("{}", ended(keeper)?),
            _ => bail!("CMD's kernel does not answer: is it stopped?"),
        }
    }

    /// Waits until all devices use their links, or CMD has ended.
    ///
    /// # Errors
    /// One line: a device does not.
    pub fn wait_until_here(&mut self, keeper: &Keeper, mut devices: usize) -> Result<()> {
        while devices > 0 {
            match self.hear(keeper, PATIENCE.into()) {
                Said::Word(word) if word == "gone" => self.is_cut = true,
                Said::Word(_) => devices -= 1,
                Said::CmdEnded => break,
                _ => bail!("a device of CMD's kernel does not answer: is it stopped?"),
            }
        }
        Ok(())
    }

    fn hear(&self, keeper: &Keeper, limit: PollTimeout) -> Said {
        let starter = self.starter.as_ref().map(AsFd::as_fd);
        let fds = [Some(self.socket.as_fd()), Some(keeper.as_fd()), starter];
        let mut fds: Vec<_> =
            fds.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, limit);
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let mut bytes = [0; 256];
        if ready[0]
            && let Ok((len, _)) = socket::receive(&self.socket, &mut bytes)
        {
            return Said::Word(String::from_utf8_lossy(&bytes[..len]).into_owned());
        }
        match ready[1..] {
            [true, ..] => Said::CmdEnded,
            [_, true] => Said::StarterEnded,
            _ => Said::Nothing,
        }
    }

    /// Later, CMD's process has something to say: that it is cut.
    pub fn heard(&mut self) {
        let mut bytes = [0; 16];
        let said = socket::receive(&self.socket, &mut bytes);
        self.is_cut |= said.is_ok_and(|(len, _)| &bytes[..len] == b"gone");
    }
}

impl AsFd for Newcomer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Of a CMD that has ended too early.
fn ended(keeper: &mut Keeper) -> Result<String> {
    let status = keeper.status()?;
    Ok(format!("CMD ended with status {status} before it could take over"))
}
