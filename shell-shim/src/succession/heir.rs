//! The new function: what it does otherwise than one that starts on its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use cable::{Cable, CablePlan};
use shmring::RuntimeDir;
use shmring::board::Identity;
use shmring::handover::{Handed, Taking};
use shmring::observe::Process;

use crate::door::messages::{Reply, Request, encode};
use crate::door::{Connection, connect, socket};

/// Says to a process that it takes over: the process ids of the old function and of
/// `stdpkt swap`. What a function runs does not inherit it.
pub const VARIABLE: &str = "STDPKT_TAKES_OVER";

/// For the answer of `swap`, which has a timeout of its own and moves state meanwhile.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// For the links.
const PATIENCE: Duration = Duration::from_secs(10);

/// At whose doors the new function is.
struct Doors {
    old: Connection,
    swap: Connection,
}

static DOORS: Mutex<Option<Doors>> = Mutex::new(None);
/// Links that have come and have no cable yet.
static HANDED: Mutex<Vec<Handed>> = Mutex::new(Vec::new());
/// The socket to the process that keeps our place in the shell's pipeline.
static PLACE: OnceLock<OwnedFd> = OnceLock::new();

/// Goes to the doors of those who have started this process to take over, if somebody
/// has. Before any namespace is entered: they are not to be found from there.
///
/// # Errors
/// One line that names who is not there.
pub fn prepare() -> Result<()> {
    let Some(word) = std::env::var_os(VARIABLE) else { return Ok(()) };
    let word = word.to_string_lossy().into_owned();
    let pids: Vec<u32> = word.split(' ').filter_map(|pid| pid.parse().ok()).collect();
    let &[old, swap] = &pids[..] else { bail!("{VARIABLE} is for stdpkt itself: unset it") };
    let at = |pid| connect(&Process { pid, identity: Identity::default() });
    *lock(&DOORS) = Some(Doors { old: at(old)?, swap: at(swap).context("stdpkt swap")? });
    Ok(())
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
            "this cannot take a running function's place: that is for stdpkt run on the host's stack, tee, filter, balance, dump and feed"
        ),
    }
}

/// Takes the links over, if there are some to be taken over: all is set up, but for the
/// cables on these pipes.
///
/// # Errors
/// One line: `swap` has changed its mind, or the old function keeps them.
pub fn take_over<'a>(plans: impl Iterator<Item = &'a CablePlan>) -> Result<()> {
    let Some(Doors { old, swap }) = lock(&DOORS).take() else { return Ok(()) };
    let go = swap.ask(&Request::Ready, &[], LONG).context("stdpkt swap")?;
    let pipes = plans.filter_map(|plan| plan.end.pipe()).map(|end| end.id()).collect();
    let mut answer = old.ask(&Request::HandOver { pipes }, &[], PATIENCE)?;
    let taking = Taking::receive(answer.socket, Some(PATIENCE))?;
    let (links, socket) = taking.accept()?;
    // It says that it is gone, or is dead: there are never two of a name afterwards.
    let _ = socket::receive(&socket, &mut [0; 16]);
    let place = answer.fds.pop().unwrap_or(socket);
    // Whoever keeps the place sends signals there from now on.
    let _ = socket::send(&place, format!("pid {}", std::process::id()).as_bytes(), &[]);
    *lock(&HANDED) = links;
    let _ = PLACE.set(place);
    let _ = socket::send(&go.socket, &encode(&Reply::Done), &[]);
    Ok(())
}

/// A cable, with the links that were taken over on its pipe.
///
/// # Errors
/// Those of [`Cable::new`].
pub fn cable(plan: CablePlan, dir: &RuntimeDir) -> Result<Cable> {
    let pipe = plan.end.pipe().map(shmring::PipeEnd::id);
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
