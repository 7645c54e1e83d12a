//! A function that another process holds: the side of the function.
//!
//! What the two say to each other is in `holder`.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cable::Cable;
use edges::inherited;
use rustix::net::SocketType;
use shmring::handover::Kept;

use super::signals::Arrived;
use crate::counted;
use crate::door::socket;
use crate::succession::heir;

/// Says to a process that it is held: the number of the socket to the holder, how often it was
/// started again so far, and the status after which it was so last. What a function runs does not
/// inherit it.
pub const VARIABLE: &str = "STDPKT_HELD";
/// More than any message has.
pub(super) const LONGEST: usize = 512;

static HELD: OnceLock<()> = OnceLock::new();

/// What a holder has given to its function.
#[derive(Default)]
pub struct Held {
    /// How often it was started again, and after which status last.
    restarts: Option<[u64; 2]>,
    links: Vec<Kept>,
}

/// What this process was given, if a holder has started it.
///
/// # Errors
/// One line; also where the holder is gone.
pub fn prepare() -> Result<Option<Held>> {
    let Some(word) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let word = word.to_string_lossy().into_owned();
    let numbers: Vec<u32> = word.split(' ').filter_map(|it| it.parse().ok()).collect();
    let &[fd, count, status] = &numbers[..] else {
        bail!("{VARIABLE} is for stdpkt itself: unset it")
    };
    let holder = inherited::socket(fd as i32, SocketType::SEQPACKET).context(VARIABLE)?;
    let mut links = Vec::new();
    loop {
        let mut bytes = [0; LONGEST];
        let (len, fds) = socket::receive(&holder, &mut bytes).context(VARIABLE)?;
        match &bytes[..len] {
            b"" => bail!("whoever held this function's links has ended"),
            b"go" => break,
            link => links.push(Kept::receive(link, fds)?),
        }
    }
    rustix::io::ioctl_fionbio(&holder, true).context("ioctl")?;
    heir::be_held(holder);
    let _ = HELD.set(());
    Ok(Some(Held { restarts: Some([count.into(), status.into()]), links }))
}

impl Held {
    /// Takes the links into use: all is set up, but for the cables. Restarts, which are counted under
    /// this name, go on from those of the function before, since they are the holder's.
    pub fn take_over(self, name: &str) {
        if let Some([count, status]) = self.restarts {
            let holder = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
            counted::goes_on(name, [count, status, 0, 0], holder.cast_unsigned());
        }
        for link in self.links {
            match link.adopt() {
                Ok(link) => heir::is_given(link),
                Err(why) => say::note!("a link could not be taken up again: {why}"),
            }
        }
    }
}

/// Whether a holder has started this process.
pub fn is_held() -> bool {
    HELD.get().is_some()
}

/// Tells the holder that CMD was started again.
pub fn restarted([count, status]: [u64; 2]) {
    tell(&format!("restarts {count} {status}"));
}

fn tell(what: &str) {
    if let (true, Some(holder)) = (is_held(), heir::place()) {
        let _ = socket::send(holder, what.as_bytes(), &[]);
    }
}

/// What ties a function to its holder. Without one nothing comes of it.
pub struct Tie {
    /// How often each signal came to this process, and how often the holder says that it
    /// came to it. One that was sent to both is one.
    signals: HashMap<i32, [u32; 2]>,
    /// Without frames for so long, it goes to sleep...
    idle: Option<Duration>,
    /// ...counted from here.
    moved: Instant,
}

impl Tie {
    /// To the holder, if there is one; `idle` is `--idle`.
    pub fn new(idle: Option<Duration>) -> Tie {
        let idle = idle.filter(|_| is_held());
        Tie { signals: HashMap::new(), idle, moved: Instant::now() }
    }

    /// Whether a signal that came to this process is one that it does not know of yet.
    pub fn is_new(&mut self, signal: Arrived) -> bool {
        self.count(signal.number, 0)
    }

    fn count(&mut self, number: i32, by: usize) -> bool {
        let counts = self.signals.entry(number).or_default();
        let before = counts[0].max(counts[1]);
        counts[by] += 1;
        counts[by] > before
    }

    /// Signals that the holder got. One that is gone means the end.
    pub fn heard(&mut self) -> Vec<Arrived> {
        const GONE: Arrived = Arrived { number: libc::SIGTERM, from_terminal: false };
        let Some(place) = heir::place() else { return Vec::new() };
        let mut signals = Vec::new();
        let mut bytes = [0; LONGEST];
        while is_held() {
            match socket::receive(place, &mut bytes) {
                Ok((len @ 1.., _)) => {
                    let said = std::str::from_utf8(&bytes[..len]).unwrap_or_default();
                    let number = said.strip_prefix("signal ").and_then(|it| it.parse().ok());
                    if let Some(number) = number.filter(|&number| self.count(number, 1)) {
                        signals.push(Arrived { number, from_terminal: false });
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return signals,
                Err(rustix::io::Errno::INTR) => {}
                _ => break,
            }
        }
        signals.push(GONE);
        signals
    }

    /// Gives the holder what it needs to keep the links that have come.
    ///
    /// # Errors
    /// Those of duplicating descriptors.
    pub fn keep<'a>(&self, cables: impl Iterator<Item = &'a mut Cable>) -> Result<()> {
        let (true, Some(holder)) = (is_held(), heir::place()) else { return Ok(()) };
        for cable in cables {
            for link in cable.newly_kept()? {
                // A link that it does not get ends with this process.
                let _ = socket::send(holder, &link.message(), &link.fds());
            }
        }
        Ok(())
    }

    /// Whether frames moved.
    #[inline]
    pub fn moved(&mut self, busy: bool) {
        if busy && self.idle.is_some() {
            self.moved = Instant::now();
        }
    }

    /// When it is time to sleep.
    pub fn deadline(&self) -> Option<Instant> {
        self.idle.map(|idle| self.moved + idle)
    }

    /// Whether it is.
    pub fn is_due(&self) -> bool {
        self.deadline().is_some_and(|at| Instant::now() >= at)
    }

    /// Goes to sleep if nothing speaks against it: from then on the links are the holder's.
    ///
    /// # Errors
    /// Those of duplicating descriptors.
    pub fn sleeps<'a>(&mut self, cables: impl Iterator<Item = &'a mut Cable>) -> Result<bool> {
        self.moved = Instant::now();
        let mut cables: Vec<_> = cables.collect();
        if let Err(why) = cables.iter_mut().try_for_each(|cable| cable.can_lend()) {
            say::detail!("it stays awake: {why}");
            return Ok(false);
        }
        self.keep(cables.iter_mut().map(|cable| &mut **cable))?;
        cables.into_iter().for_each(Cable::let_go);
        tell("sleep");
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_both_got_is_one_and_two_are_two() {
        let mut tie = Tie::new(None);
        let term = Arrived { number: libc::SIGTERM, from_terminal: false };
        assert!(tie.is_new(term));
        assert!(!tie.count(libc::SIGTERM, 1), "the holder's copy of it");
        assert!(tie.count(libc::SIGTERM, 1), "one for the holder alone");
        assert!(!tie.is_new(term), "that one, late");
        assert!(tie.is_new(Arrived { number: libc::SIGINT, from_terminal: false }));
    }
}
