//! This process is to take the place of another function (`stdpkt swap`, `insert`). The kernel boots
//! beside that one, with devices that have no links yet, until `stdpkt run`, which has started this,
//! says that they come. They come from the other function itself, on a connection to it
//! ([`shmring::handover`]).
//!
//! What is said over a socket to `stdpkt run`, a message each:
//!
//! | from | message | |
//! |---|---|---|
//! | this process | `up` | the kernel runs, with its interfaces |
//! | `stdpkt run` | `go` | the links come |
//! | this process | `taken`, or a line | whose they are now, or why they stay |
//! | this process | `here` | a device has its cables; once for each |
//! | this process | `gone` | a neighbour on a `\|` has ended for good, whenever that is |

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::sockopt::socket_type;
use rustix::net::{RecvFlags, SendFlags, SocketType, recv, send};
use shmring::handover::{Handed, Taking};

use crate::inherited;
use crate::sync::lock;

/// For links that are on their way.
const PATIENCE: Duration = Duration::from_secs(10);

static HEIR: OnceLock<Heir> = OnceLock::new();

/// Who is to take over.
pub(crate) struct Heir {
    run: OwnedFd,
    links: Mutex<Links>,
}

enum Links {
    /// The function at the other end has them.
    There(OwnedFd),
    /// They are here; those that no device has taken yet.
    Here(Vec<Handed>),
    /// None will come.
    Nowhere,
}

/// What a device hears of its links.
pub(crate) enum Heard {
    /// They are to come.
    NotYet,
    Links(Vec<Handed>),
    /// They are not.
    Nothing,
}

/// Says, where somebody waits for that, that the kernel runs and has its interfaces.
pub fn up() {
    if let Some(heir) = HEIR.get() {
        heir.say("up");
    }
}

/// That of this process; `sockets` are the numbers of those to `stdpkt run` and to the other function.
pub(crate) fn of(sockets: [i32; 2]) -> Result<&'static Heir> {
    // Each device asks.
    if HEIR.get().is_none() {
        let [run, old] = sockets.map(inherited::take);
        let (run, old) = (run.context("STDPKT_HEIR")?, old.context("STDPKT_HEIR")?);
        // A program that CMD starts has the variable, and under these numbers what it likes.
        if [&run, &old].into_iter().any(|it| socket_type(it) != Ok(SocketType::SEQPACKET)) {
            bail!("STDPKT_HEIR: it is for the process that stdpkt has started");
        }
        let _ = HEIR.set(Heir { run, links: Mutex::new(Links::There(old)) });
    }
    HEIR.get().context("STDPKT_HEIR")
}

impl Heir {
    /// The links that came up on these pipes. As a descriptor the heir is readable when there is
    /// something to hear, for each device until it has heard it.
    pub fn links(&self, pipes: &[(u64, u64)]) -> Heard {
        let mut links = lock(&self.links);
        if matches!(*links, Links::There(_)) {
            let mut word = [0; 16];
            let go = match recv(&self.run, &mut word, RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN | Errno::INTR) => return Heard::NotYet,
                said => said.is_ok_and(|(_, len)| &word[..len] == b"go"),
            };
            if let (Links::There(old), true) = (std::mem::replace(&mut *links, Links::Nowhere), go)
            {
                *links = self.take(old);
            }
        }
        match &mut *links {
            Links::Here(all) => {
                let is_its = |it: &Handed| pipes.contains(&it.pipe);
                let (its, others) = std::mem::take(all).into_iter().partition(is_its);
                *all = others;
                Heard::Links(its)
            }
            _ => Heard::Nothing,
        }
    }

    fn take(&self, old: OwnedFd) -> Links {
        match Taking::receive(old, Some(PATIENCE)).and_then(Taking::accept) {
            Ok((links, _)) => {
                self.say("taken");
                Links::Here(links)
            }
            Err(why) => {
                self.say(&why.to_string());
                Links::Nowhere
            }
        }
    }

    pub fn say(&self, word: &str) {
        // Without `stdpkt run` this process is about to end.
        let _ = send(&self.run, word.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

impl AsFd for Heir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.run.as_fd()
    }
}
