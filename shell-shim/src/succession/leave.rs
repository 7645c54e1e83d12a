//! A function leaves its chain: what it does, and what the neighbour does that takes its
//! place at the link on the other side.
//!
//! | | the one who leaves | its neighbour |
//! |---|---|---|
//! | 1 | | sends nothing more to it ([`hold`]) |
//! | 2 | passes on what it has got from there, and what is inside | goes on receiving |
//! | 3 | gives its other link: [`shmring::handover`] | has it behind the old one ([`inherit`]) |
//! | 4 | ends | reads the old link to its end, then the new one |
//!
//! A neighbour that hears nothing more goes on as before, after a while.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use cable::Cable;
use shmring::handover::Taking;

use super::member::{Answered, Member, PATIENCE};
use super::place;
use crate::door::messages::{Reply, Request};
use crate::door::{Call, Connection, socket};

/// For an answer of the neighbour, which only has to note what it is asked for.
const ANSWER: Duration = Duration::from_secs(2);
/// So long a neighbour waits at most.
const LONGEST: Duration = Duration::from_secs(60);

/// Gives the link on the other side to the neighbour.
pub fn leave(call: Call, member: &mut impl Member) -> Answered {
    let Call { request, fds, caller } = call;
    let Request::Leave { ring, milliseconds } = request else { return Answered::Done };
    let patience = Duration::from_millis(milliseconds).min(LONGEST);
    let result = go(member, ring, fds, patience);
    let is_gone = result.is_ok();
    let call = Call { request: Request::Leave { ring, milliseconds }, fds: Vec::new(), caller };
    call.answer(result.map(|(socket, far)| {
        // From here on there is nobody of this name.
        shmring::board::retire();
        place::leave_to(socket, far);
        Reply::Done
    }));
    if is_gone { Answered::Gone } else { Answered::Done }
}

fn go(
    member: &mut impl Member,
    ring: u64,
    fds: Vec<OwnedFd>,
    patience: Duration,
) -> Result<(OwnedFd, Option<OwnedFd>)> {
    member.can_leave()?;
    let doors: [OwnedFd; 2] = fds.try_into().map_err(|_| anyhow!("two connections are missing"))?;
    let [first, second] = doors.map(Connection::of);
    let cables: Vec<_> = member.cables().collect();
    let Ok([one, other]) = <[&mut Cable; 2]>::try_from(cables) else {
        bail!("it has not two links, of which the neighbours could make one")
    };
    let near = match (receives(one, ring), receives(other, ring)) {
        (true, false) => 0,
        (false, true) => 1,
        _ => bail!("its links have changed: try again"),
    };
    for cable in [one, other] {
        cable.can_change().map_err(anyhow::Error::msg)?;
        let both_ways = |link: &mut cable::Joined| link.tx.is_some() && link.rx.is_some();
        if cable.links().count() != 1 || !cable.links().all(both_ways) {
            bail!("{}: its links are not one each way, of which one could be made", cable.label());
        }
    }
    let until = Instant::now() + patience;
    first.ask(&Request::Hold { ring, milliseconds: patience.as_millis() as u64 }, &[], ANSWER)?;
    match drain(member, near, until) {
        Ok(()) => {}
        Err(why) => {
            let _ = second.ask(&Request::Release { ring }, &[], ANSWER);
            return Err(why);
        }
    }
    let answer = second.ask(&Request::Inherit { ring }, &[], ANSWER)?;
    let pipe =
        member.cables().nth(1 - near).and_then(|far| far.pipe()?.as_fd().try_clone_to_owned().ok());
    let far = member.cables().nth(1 - near).into_iter();
    let socket = cable::give(far, answer.socket, PATIENCE).map_err(anyhow::Error::msg)?;
    // It says so when the link shows whose it is now, or is dead.
    let _ = socket::receive(&socket, &mut [0; 16]);
    Ok((socket, pipe))
}

/// Whether frames come to this cable by that ring.
fn receives(cable: &mut Cable, ring: u64) -> bool {
    cable.links().any(|link| link.rx.as_ref().and_then(|rx| rx.ring()) == Some(ring))
}

/// Whether frames have come.
fn has_frames(cable: &mut Cable) -> bool {
    cable.links().filter_map(|link| link.rx.as_mut()).any(|rx| rx.has_frame())
}

/// Passes on all that has come from the neighbour that waits, and what is inside.
fn drain(member: &mut impl Member, near: usize, until: Instant) -> Result<()> {
    const NAP: Duration = Duration::from_millis(1);
    let late = || Instant::now() >= until;
    while member.cables().nth(near).is_some_and(has_frames) {
        let busy = member.turn()?;
        if late() {
            bail!("what has come to it does not get on in time: is a neighbour stopped?");
        }
        if !busy {
            std::thread::sleep(NAP);
            member.cables().for_each(Cable::refresh);
        }
    }
    match member.flush(until) {
        true => Ok(()),
        false => bail!("what is inside does not get out in time"),
    }
}

/// Sends nothing more by this ring for a while.
pub fn hold(member: &mut impl Member, ring: u64, patience: Duration) -> Result<Reply> {
    member.can_hold()?;
    let mut why = anyhow!("it has no such link any more");
    for cable in member.cables() {
        match cable.can_hold(ring) {
            Ok(()) => {
                cable.hold(ring, Instant::now() + patience.min(LONGEST));
                return Ok(Reply::Done);
            }
            Err(error) => why = anyhow::Error::msg(error),
        }
    }
    Err(why)
}

/// The cable that waits with this ring.
pub fn held(member: &mut impl Member, ring: u64) -> Option<&mut Cable> {
    member.cables().find(|cable| cable.holds(ring))
}

/// Takes the link that goes on where the one that is held ends.
pub fn inherit(call: Call, cable: &mut Cable) {
    /// Those who have left are told by them when this process ends.
    static LEFT: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());
    call.caller.tell(&Reply::Done, &[]);
    let taken = Taking::receive(call.caller.into_socket(), Some(PATIENCE)).and_then(|taking| {
        // Another number of links is nothing that anybody sends.
        taking.accept()
    });
    match taken {
        Ok((links, socket)) => {
            links.into_iter().for_each(|link| cable.inherit(link));
            let _ = socket::send(&socket, b"here", &[]);
            LEFT.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(socket);
        }
        Err(why) => {
            say::note!("a neighbour was to leave, and did not: {why}");
            cable.release();
        }
    }
}
