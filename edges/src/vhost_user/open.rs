//! Where front ends come from, when an edge is made.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags};
use shmring::board::Way;

use super::device::Device;
use super::neighbour::Neighbour;
use super::place::Place;
use super::{OnLink, PLACE, VhostUser};
use crate::patience::Patience;
use crate::shown::meter;
use crate::unix::Listener;

impl VhostUser {
    /// Front ends at a path.
    ///
    /// # Errors
    /// One line that names the path and the way out.
    pub fn at(path: &Path) -> Result<VhostUser> {
        let what = format!("vhost-user:unix:{}", path.display());
        let epoll = new_epoll()?;
        let (place, first) = Place::open(path.to_owned(), &epoll, PLACE)?;
        let mut edge = VhostUser::new(what, epoll, place)?;
        if let Some(socket) = first {
            edge.begin(socket)?;
        }
        Ok(edge)
    }

    /// A front end that has connected.
    ///
    /// # Errors
    /// Those of epoll_create1(2) and epoll_ctl(2).
    pub fn of_socket(what: &str, socket: OwnedFd) -> Result<VhostUser> {
        let epoll = new_epoll()?;
        let place = Place::of_one(&epoll);
        let mut edge = VhostUser::new(what.to_owned(), epoll, place)?;
        edge.begin(socket)?;
        Ok(edge)
    }

    /// A front end that will connect, and is told by `on_link` whether there is a neighbour.
    ///
    /// # Errors
    /// As [`VhostUser::of_socket`].
    pub fn of_listener(what: &str, listener: Listener, on_link: OnLink) -> Result<VhostUser> {
        let epoll = new_epoll()?;
        let place = Place::of_listener(listener, &epoll, PLACE)?;
        let edge = VhostUser::new(what.to_owned(), epoll, place)?;
        Ok(VhostUser { on_link: Some(on_link), ..edge })
    }

    fn new(what: String, epoll: Rc<Epoll>, place: Place) -> Result<VhostUser> {
        let [came, went] = [Way::In, Way::Out].map(|way| meter(&what, "vhost-user", way));
        Ok(VhostUser {
            what,
            epoll,
            place,
            channel: None,
            owes: None,
            device: Device::new(),
            neighbour: Neighbour::default(),
            unread: false,
            short: None,
            idle: false,
            patience: Patience::default(),
            on_link: None,
            was_plugged: false,
            is_left: false,
            came: came?,
            went: went?,
            told: String::new(),
        })
    }
}

fn new_epoll() -> Result<Rc<Epoll>> {
    Ok(Rc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll_create1")?))
}
