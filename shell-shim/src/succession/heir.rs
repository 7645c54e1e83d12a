//! The new function: what it does otherwise than one that starts on its own.

use std::fmt::{Display, Formatter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use cable::{Cable, CablePlan, Fallback, Outlet};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shmring::board::Identity;
use shmring::handover::{Handed, Taking};
use shmring::observe::Process;
use shmring::{Role, RuntimeDir};

use crate::counted;
use crate::door::messages::{End, Reply, Request, encode};
use crate::door::{Asked, Connection, Door, connect, socket};

/// Says to a process that it takes over: an [`Errand`]. What it runs does not inherit it.
pub const VARIABLE: &str = "STDPKT_TAKES_OVER";

/// What a process is told that takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errand {
    /// The process id of the old function.
    pub old: u32,
    /// That of `stdpkt swap` or `insert`.
    pub starter: u32,
    /// Which of standard input and output are links.
    pub links: [bool; 2],
    /// The interface at which it is to be put in between, if it is.
    pub interface: Option<String>,
}

impl Display for Errand {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Errand { old, starter, links: [stdin, stdout], interface } = self;
        write!(f, "{old} {starter} {stdin} {stdout}")?;
        interface.iter().try_for_each(|interface| write!(f, " {interface}"))
    }
}

impl Errand {
    fn parse(text: &str) -> Option<Errand> {
        let mut words = text.splitn(5, ' ');
        let mut word = || words.next();
        let (old, starter) = (word()?.parse().ok()?, word()?.parse().ok()?);
        let links = [word()?.parse().ok()?, word()?.parse().ok()?];
        Some(Errand { old, starter, links, interface: word().map(str::to_owned) })
    }

    /// That of this process, if it has one.
    fn of_ours() -> Result<Option<Errand>> {
        let Some(text) = std::env::var_os(VARIABLE) else { return Ok(None) };
        match Errand::parse(&text.to_string_lossy()) {
            None => bail!("{VARIABLE} is for stdpkt itself: unset it"),
            errand => Ok(errand),
        }
    }
}

/// For the answer of `swap`, which has a timeout of its own and moves state meanwhile.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// For the links.
const PATIENCE: Duration = Duration::from_secs(10);

/// At whose doors the new function is.
struct Doors {
    old: Connection,
    swap: Connection,
    /// The interface at which it is to be put in between.
    interface: Option<String>,
}

/// The place in between, where this process has one.
struct Between {
    /// The pipe of the old function's interface.
    pipe: (u64, u64),
    end: End,
    vital: bool,
}

static DOORS: Mutex<Option<Doors>> = Mutex::new(None);
/// Links that have come and have no cable yet.
static HANDED: Mutex<Vec<Handed>> = Mutex::new(Vec::new());
/// The socket to the process that keeps our place in the shell's pipeline.
static PLACE: OnceLock<OwnedFd> = OnceLock::new();
/// The socket to `swap` or `insert`, which wait.
static STARTER: Mutex<Option<OwnedFd>> = Mutex::new(None);
static BETWEEN: OnceLock<Between> = OnceLock::new();

/// Goes to the doors of those who have started this process to take over, if somebody
/// has. Before any namespace is entered: they are not to be found from there.
///
/// # Errors
/// One line that names who is not there.
pub fn prepare() -> Result<()> {
    let Some(Errand { old, starter, interface, .. }) = Errand::of_ours()? else { return Ok(()) };
    let at = |pid| connect(&Process { pid, identity: Identity::default() });
    let (old, swap) = (at(old)?, at(starter).context("who started this")?);
    *lock(&DOORS) = Some(Doors { old, swap, interface });
    Ok(())
}

/// Whether standard input (0) or output (1) can be a link of this process. Where it takes another
/// one's place that is known: the other descriptors of that one are nobody's to send frames by.
pub fn may_be_link(fd: usize) -> bool {
    Errand::of_ours().ok().flatten().is_none_or(|errand| errand.links[fd])
}

/// Whether this process is to take over from another one.
pub fn takes_over() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// For those who cannot take over from anybody.
///
/// # Errors
/// Where this process is to.
pub fn refuse() -> Result<()> {
    match std::env::var_os(VARIABLE) {
        None => Ok(()),
        Some(_) => bail!(
            "this cannot take a running function's place, or go between two: that is for stdpkt run, join, tee, filter, wire, balance, dump and feed"
        ),
    }
}

/// Whether this process is to take over and has not yet: its standard input and output
/// are another's still.
pub fn is_waiting() -> bool {
    std::env::var_os(VARIABLE).is_some() && PLACE.get().is_none() && BETWEEN.get().is_none()
}

/// Where it was put between two functions, if it was: no shell knows it then.
pub fn between() -> Option<Reply> {
    BETWEEN.get().map(|&Between { pipe, end, vital }| Reply::Interface { end, vital, pipe })
}

/// Copies of the connections to the old function, by which the links come, and to whoever has started
/// this process to take over, if somebody has.
///
/// # Errors
/// Those of dup(2).
pub fn connections() -> Result<Option<[OwnedFd; 2]>> {
    let doors = lock(&DOORS);
    let Some(Doors { old, swap, .. }) = &*doors else { return Ok(None) };
    let copy = |connection: &Connection| connection.as_fd().try_clone_to_owned().context("dup");
    Ok(Some([copy(old)?, copy(swap)?]))
}

/// Takes the links over, if there are some to be taken over: all is set up, but for the
/// cables on these pipes. Whoever asks at the door meanwhile where this function's programs
/// are gets `inside`.
///
/// # Errors
/// One line: `swap` has changed its mind, or the old function keeps them.
pub fn take_over<'a>(
    plans: impl Iterator<Item = &'a CablePlan>,
    door: Option<&mut Door>,
    inside: impl Fn() -> Result<[OwnedFd; 2]>,
) -> Result<()> {
    take_over_by(plans, door, inside, |old| {
        let (links, socket) = Taking::receive(old, Some(PATIENCE))?.accept()?;
        *lock(&HANDED) = links;
        Ok(socket)
    })
}

/// The same, where `take` does with the connection by which the links come what is to be done.
///
/// # Errors
/// As [`take_over`].
pub fn take_over_by<'a>(
    plans: impl Iterator<Item = &'a CablePlan>,
    door: Option<&mut Door>,
    inside: impl Fn() -> Result<[OwnedFd; 2]>,
    take: impl FnOnce(OwnedFd) -> Result<OwnedFd>,
) -> Result<()> {
    let Some(Doors { old, swap, interface }) = lock(&DOORS).take() else { return Ok(()) };
    let swap = swap.begin(&Request::Ready, LONG).context("who started this")?;
    if let Some(door) = door {
        serve(door, &swap, inside);
    }
    let go = swap.answer(LONG).context("who started this")?;
    let pipes: Vec<_> =
        plans.filter_map(|plan| plan.end.pipe()).map(shmring::PipeEnd::id).collect();
    let request = match interface {
        None => Request::HandOver { pipes },
        Some(label) => Request::Insert { label, pipes },
    };
    let mut answer = old.ask(&request, &[], PATIENCE)?;
    let socket = take(answer.socket)?;
    // It says that it is gone and what it has counted, or is dead: there are never two of a name
    // afterwards.
    let mut bytes = [0; 1024];
    let said = socket::receive(&socket, &mut bytes).map_or(0, |(len, _)| len);
    match answer.reply {
        Reply::Interface { end, vital, pipe } => {
            let _ = BETWEEN.set(Between { pipe, end, vital });
        }
        _ => {
            let place = answer.fds.pop().unwrap_or(socket);
            // Whoever keeps the place sends signals there from now on.
            let pid = format!("pid {}", std::process::id());
            let _ = socket::send(&place, pid.as_bytes(), &[]);
            let _ = PLACE.set(place);
            counted::inherit(&bytes[..said]);
        }
    }
    *lock(&STARTER) = Some(go.socket);
    Ok(())
}

/// All links that were taken over have their cables, and show whose they are: whoever
/// started this process to take over goes on.
pub fn arrived() {
    if let Some(starter) = lock(&STARTER).take() {
        let _ = socket::send(&starter, &encode(&Reply::Done), &[]);
    }
}

/// Answers who is at the door until `swap` has answered.
fn serve(door: &mut Door, swap: &Asked, inside: impl Fn() -> Result<[OwnedFd; 2]>) {
    loop {
        let mut fds = [swap.as_fd(), door.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = poll(&mut fds, PollTimeout::NONE);
        if fds[0].any().unwrap_or(true) {
            return;
        }
        for call in door.calls() {
            match call.request {
                Request::Inside => call.answer_with(inside()),
                _ => call.answer(Err(anyhow!("it is about to take over: ask again"))),
            }
        }
    }
}

/// A cable, with the links that were taken over on its pipe.
///
/// # Errors
/// Those of [`Cable::new`].
pub fn cable(mut plan: CablePlan, dir: &RuntimeDir) -> Result<Cable> {
    let pipe = plan.end.pipe().map(shmring::PipeEnd::id);
    if let Some(Between { end, vital, .. }) = BETWEEN.get().filter(|it| Some(it.pipe) == pipe) {
        plan.vital = *vital;
        plan.fallback = if *vital { plan.fallback } else { Fallback::Never };
        plan.end = match plan.end {
            Outlet::Pipe(it) if *end == End::Both => it.with_role(Role::Either).into(),
            other => other,
        };
    }
    let mut handed = lock(&HANDED);
    let (ours, others): (Vec<_>, Vec<_>) =
        handed.drain(..).partition(|link| Some(link.pipe) == pipe);
    *handed = others;
    Cable::adopt(plan, ours, dir)
}

/// A process holds this one, and keeps its place.
pub fn be_held(place: OwnedFd) {
    let _ = PLACE.set(place);
}

/// A link to be taken up, see [`cable()`].
pub fn is_given(link: Handed) {
    lock(&HANDED).push(link);
}

/// The socket to the process that keeps our place: readable when that is gone, with
/// which this one ends, too.
pub fn place() -> Option<BorrowedFd<'static>> {
    PLACE.get().map(OwnedFd::as_fd)
}

/// Tells the process that keeps our place how this one ends.
pub fn report(status: u8) {
    if let Some(place) = place() {
        let _ = socket::send(place, format!("end {status}").as_bytes(), &[]);
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errand_is_what_it_was() {
        for (links, interface) in [([true, false], None), ([true; 2], Some("a b".to_owned()))] {
            let errand = Errand { old: 7, starter: 8, links, interface };
            assert_eq!(Errand::parse(&errand.to_string()), Some(errand));
        }
        for bad in ["", "7", "7 8", "7 8 true", "7 x true true", "7 8 1 0"] {
            assert_eq!(Errand::parse(bad), None, "{bad}");
        }
    }
}
