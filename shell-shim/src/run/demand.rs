//! `--on-demand`: links and nothing else, until the first frame comes; and what a function
//! does before it has a network otherwise ([`Until`]).
//!
//! The cables that have waited go to the function as they are, with the event loop that
//! watches them and the frames that lie in them.

use std::os::fd::AsFd;

use anyhow::{Result, anyhow, bail};
use cable::{Cable, Driver, Switch, WatchNumbered};
use nix::sys::epoll::EpollFlags;
use shmring::RuntimeDir;

use super::plan::Plug;
use super::signals::Signals;
use crate::door::Door;
use crate::door::messages::Request;
use crate::succession::heir;

/// The cables of each interface, with the links that there are already.
///
/// # Errors
/// One line that names the pipe, or an edge on which nothing can wait.
pub fn cables(plugs: &mut [Plug], dir: &RuntimeDir) -> Result<Vec<Vec<Cable>>> {
    let cables = |plug: &mut Plug| match plug {
        Plug::Cables(plans) => {
            std::mem::take(plans).into_iter().map(|plan| heir::cable(plan, dir)).collect()
        }
        Plug::Edge(what, _) => {
            bail!(
                "--on-demand: {what} is no link that could wait for a frame: leave one of them out"
            )
        }
    };
    plugs.iter_mut().map(cables).collect()
}

/// What a function without a network waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// A frame on any cable (`--on-demand`).
    Frame,
    /// A neighbour on each (`--channel veth`).
    Neighbours,
}

/// Waits on the cables of each interface. `Some` is the end before that comes: the exit
/// status.
///
/// # Errors
/// One line that names the link.
pub fn sleep(cables: &mut [Vec<Cable>], switch: &mut Switch, until: Until) -> Result<Option<u8>> {
    let (signals, door) = (Signals::new()?, Door::open());
    let mut sleeper = Sleeper { cables, signals, door, until, awake: false, over: None };
    switch.run(&mut sleeper)?;
    let Sleeper { awake, signals, over, .. } = sleeper;
    // What runs inside is not to inherit that they are blocked.
    signals.release()?;
    // Also where a frame came at the same moment as a signal.
    Ok(over.or((!awake).then_some(0)))
}

/// Drives a [`Switch`] that has nothing to do yet.
struct Sleeper<'a> {
    cables: &'a mut [Vec<Cable>],
    signals: Signals,
    door: Option<Door>,
    until: Until,
    /// What is waited for is there.
    awake: bool,
    over: Option<u8>,
}

const SIGNALS: u32 = 0;
const DOOR: u32 = 1;

impl Driver for Sleeper<'_> {
    fn cables(&mut self) -> impl Iterator<Item = &mut Cable> {
        self.cables.iter_mut().flatten()
    }

    fn turn(&mut self) -> Result<bool> {
        if self.until == Until::Neighbours {
            self.awake = self.cables.iter().flatten().all(|cable| cable.was_up);
            return Ok(false);
        }
        for cable in self.cables.iter_mut().flatten() {
            let awake = &mut self.awake;
            cable.retain(|joined| {
                match joined.rx.as_mut().map(|rx| rx.receive(|_| (false, ()))) {
                    Some(Ok(())) => *awake = true,
                    Some(Err(error)) if error != shmring::RecvError::Empty => joined.end_rx(&error),
                    _ => {}
                }
                joined.is_alive()
            });
        }
        Ok(false)
    }

    fn arm(&mut self) -> bool {
        let links = self.cables.iter_mut().flatten().flat_map(Cable::links);
        links.filter_map(|joined| joined.rx.as_mut()).all(|rx| rx.arm())
    }

    fn watch(&self, watch: &mut WatchNumbered<'_>) -> Result<()> {
        watch(SIGNALS, self.signals.as_fd(), EpollFlags::EPOLLIN)?;
        if let Some(door) = &self.door {
            watch(DOOR, door.as_fd(), EpollFlags::EPOLLIN)?;
        }
        Ok(())
    }

    fn ready(&mut self, number: u32) -> Result<Option<u8>> {
        match number {
            SIGNALS => {
                self.over = self.signals.next()?.map(|signal| 128 + signal.number as u8);
                return Ok(self.over);
            }
            _ => self.door.iter_mut().flat_map(Door::calls).for_each(|call| {
                let what_for = match self.until {
                    Until::Frame => "it sleeps until somebody sends it a frame (--on-demand)",
                    Until::Neighbours => "it waits for its neighbours (--channel veth)",
                };
                let why = match &call.request {
                    other @ Request::Conditions { .. } => other.not_here(),
                    other if other.target().is_some() => other.not_here(),
                    _ => anyhow!("{what_for}"),
                };
                call.answer(Err(why));
            }),
        }
        Ok(None)
    }

    fn parted(&mut self) -> Result<()> {
        if self.cables.iter().flatten().any(Cable::is_gone) {
            self.over = Some(0);
        }
        Ok(())
    }

    fn over(&mut self) -> Option<u8> {
        self.over.or(self.awake.then_some(0))
    }
}
