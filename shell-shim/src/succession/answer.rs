//! What each function of a chain answers that is asked to change its links.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use cable::Cable;
use shmring::PipeEnd;

use super::member::{Answered, FLUSH, Member, PATIENCE};
use super::{heir, leave, place};
use crate::counted;
use crate::door::messages::{Reply, Request};
use crate::door::{Call, socket};

/// Whether all answer this request alike.
pub fn is_for_all(request: &Request) -> bool {
    matches!(
        request,
        Request::Place
            | Request::HandOver { .. }
            | Request::Interface { .. }
            | Request::Insert { .. }
            | Request::Leave { .. }
            | Request::Hold { .. }
            | Request::Inherit { .. }
            | Request::Release { .. }
    )
}

/// Answers requests that are the same for all.
pub fn answer(call: Call, member: &mut impl Member) -> Answered {
    match &call.request {
        Request::Place => {
            let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
            let fds = [stdin.as_fd(), stdout.as_fd()];
            let links = fds.map(|fd| is_link(member, fd));
            call.caller.answer(&Reply::Place { links }, &fds);
        }
        Request::HandOver { pipes } => match check(member, pipes) {
            Ok(()) => return hand_over(call, member),
            Err(why) => call.answer(Err(why)),
        },
        Request::Interface { label } => match interface(member, label) {
            Ok((reply, cable)) => {
                let pipe: Vec<BorrowedFd<'_>> = cable.pipe().map(AsFd::as_fd).into_iter().collect();
                call.caller.answer(&reply, &pipe);
            }
            Err(why) => call.answer(Err(why)),
        },
        Request::Insert { label, pipes } => match beside(member, label, pipes) {
            Ok((reply, near, cable)) => {
                call.caller.tell(&reply, &[]);
                match cable::insert(cable, near, call.caller.into_socket(), PATIENCE) {
                    Ok(socket) => drop(socket::send(&socket, b"stays", &[])),
                    Err(why) => say::note!("a function was to be put in, and was not: {why}"),
                }
            }
            Err(why) => call.answer(Err(why)),
        },
        Request::Leave { .. } => return leave::leave(call, member),
        Request::Hold { ring, milliseconds } => {
            let result = leave::hold(member, *ring, Duration::from_millis(*milliseconds));
            call.answer(result);
        }
        Request::Inherit { ring } => match leave::held(member, *ring) {
            Some(cable) => leave::inherit(call, cable),
            None => call.answer(Err(anyhow!("it has not waited for so long"))),
        },
        Request::Release { ring } => {
            leave::held(member, *ring).into_iter().for_each(Cable::release);
            call.answer(Ok(Reply::Done));
        }
        request => {
            let refusal = request.not_here();
            call.answer(Err(refusal));
        }
    }
    Answered::Done
}

/// Whether one of the cables is on this pipe.
fn is_link(member: &mut impl Member, fd: BorrowedFd<'_>) -> bool {
    let end = fd.try_clone_to_owned().ok().and_then(|fd| PipeEnd::new(fd, "").ok());
    let pipe = end.map(|end| end.id());
    pipe.is_some() && member.cables().any(|cable| cable.pipe().map(PipeEnd::id) == pipe)
}

/// Whether the other one has a cable for each of ours.
fn check(member: &mut impl Member, pipes: &[(u64, u64)]) -> Result<()> {
    member.can_hand_over()?;
    for cable in member.cables() {
        cable.can_lend().map_err(anyhow::Error::msg)?;
        if cable.pipe().map(PipeEnd::id).is_none_or(|pipe| !pipes.contains(&pipe)) {
            bail!(
                "{}: the new function has no interface there: give it the same --left, --right \
                 and --link at=",
                cable.what()
            );
        }
    }
    Ok(())
}

fn hand_over(call: Call, member: &mut impl Member) -> Answered {
    let place: Vec<BorrowedFd<'_>> = heir::place().into_iter().collect();
    call.caller.tell(&heir::between().unwrap_or(Reply::Done), &place);
    // What is inside would be lost.
    member.flush(Instant::now() + FLUSH);
    match cable::give(member.cables(), call.caller.into_socket(), PATIENCE) {
        Ok(socket) => {
            // From here on the name is the other's.
            shmring::board::retire();
            let _ = socket::send(&socket, &counted::will(), &[]);
            place::give_to(socket);
            Answered::Gone
        }
        Err(why) => {
            say::note!("another function was to take over, and did not: {why}");
            Answered::Done
        }
    }
}

/// The cable of an interface, which can be given away.
fn interface<'a>(member: &'a mut impl Member, label: &str) -> Result<(Reply, &'a mut Cable)> {
    let mut found: Vec<&mut Cable> = member.cables().filter(|it| it.label() == label).collect();
    let cable = match found.len() {
        0 => bail!("it has no interface {label}"),
        1 => found.remove(0),
        _ => bail!("{label}: frames go one way by each of two FIFOs there, and stay together"),
    };
    cable.can_change().map_err(anyhow::Error::msg)?;
    let Some(end) = cable.pipe() else { bail!("{label}: it is no pipe") };
    let reply =
        Reply::Interface { end: end.role().into(), vital: cable.is_vital(), pipe: end.id() };
    Ok((reply, cable))
}

/// The same for one who has cables on `pipes`: that of the interface, and the one that is
/// returned.
fn beside<'a>(
    member: &'a mut impl Member,
    label: &str,
    pipes: &[(u64, u64)],
) -> Result<(Reply, (u64, u64), &'a mut Cable)> {
    let (reply, cable) = interface(member, label)?;
    let own = cable.pipe().map(PipeEnd::id);
    match pipes {
        [near, far] | [far, near] if Some(*far) == own && Some(*near) != own => {
            Ok((reply, *near, cable))
        }
        _ => bail!(
            "what goes between two has one interface on standard input and one on standard output, \
             as stdpkt tee, filter and wire, or stdpkt run with --left and --right"
        ),
    }
}
