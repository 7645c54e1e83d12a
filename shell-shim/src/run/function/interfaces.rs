//! Interfaces that a function gets while it runs, and those that it loses.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use cable::{Audience, Cable, CablePlan, Jack};
use edges::tap::Tap;
use ipnet::IpNet;
use shmring::{PipeEnd, Role};

use super::Function;
use crate::door::Call;
use crate::door::messages::{Reply, Request};
use crate::run::held;
use crate::run::plan::interface;
use crate::run::stage::Why;
use crate::stack::device::Device;
use crate::stack::netlink;
use crate::succession::member::{FLUSH, Member};

impl Function {
    /// One more interface.
    pub(super) fn link(&mut self, mut call: Call) {
        let fds = std::mem::take(&mut call.fds);
        let result = match &call.request {
            Request::Link { name, ip, fifos } => self.add(name, ip, fifos, fds),
            other => Err(other.not_here()),
        };
        call.answer(result.map(|()| Reply::Done));
    }

    fn add(
        &mut self,
        name: &str,
        ip: &[String],
        fifos: &[String],
        fds: Vec<OwnedFd>,
    ) -> Result<()> {
        self.can_change()?;
        let plans = self.plans(name, fifos, fds)?;
        let no_address = |text: &String| format!("ip={text} is no address");
        let parse = |text: &String| text.parse::<IpNet>().with_context(|| no_address(text));
        let addresses: Vec<IpNet> = ip.iter().map(parse).collect::<Result<_>>()?;
        ensure!(
            addresses.is_empty() || !self.bridges,
            "ip=: it is a switch, and {name} would be a port of it: leave the address out"
        );
        let interface = interface(name, self.further.mtu, addresses);
        let tap = Tap::create(name)?;
        netlink::add(&interface, self.bridges)?;
        let cables = plans.into_iter().map(|plan| Cable::new(plan, &self.further.dir));
        let mut jack = Jack::new(name.to_owned(), Device::Tap(tap), cables.collect::<Result<_>>()?);
        jack.audience = self.jacks.first().map_or(Audience::Nobody, |first| first.audience);
        self.jacks.push(jack);
        self.linger.add(interface.addresses.iter().map(|it| it.addr()).collect::<Vec<IpAddr>>());
        self.further.add(name);
        Ok(())
    }

    /// The cables on these FIFOs, which come with their gates.
    fn plans(&mut self, name: &str, fifos: &[String], fds: Vec<OwnedFd>) -> Result<Vec<CablePlan>> {
        let roles: &[Role] = match fifos.len() {
            1 => &[Role::Either],
            2 => &[Role::Reader, Role::Writer],
            _ => bail!("a link is on one FIFO, or on two"),
        };
        ensure!(fds.len() == 2 * roles.len(), "a FIFO is missing");
        let mut fds = fds.into_iter();
        let mut plans: Vec<CablePlan> = Vec::new();
        for (what, &role) in fifos.iter().zip(roles) {
            let (Some(fifo), Some(gate)) = (fds.next(), fds.next()) else { break };
            let end = PipeEnd::of(fifo, gate, what)?.with_role(role);
            let own = |cable: &Cable| cable.pipe().map(PipeEnd::id) == Some(end.id());
            if let Some(jack) = self.jacks.iter().find(|jack| jack.cables.iter().any(own)) {
                bail!(
                    "{what}: {} is on it already: give each interface a FIFO of its own",
                    jack.name
                );
            }
            plans.push(self.further.terms.cable(name, end.into(), role == Role::Either, false));
        }
        Ok(plans)
    }

    /// An interface less. CMD may be what has waited for it.
    ///
    /// # Errors
    /// Those of starting CMD.
    pub(super) fn unlink(&mut self, call: Call) -> Result<()> {
        let result = match &call.request {
            Request::Unlink { name } => self.take_away(name),
            other => Err(other.not_here()),
        };
        let device = match result {
            Ok(device) => device,
            Err(why) => {
                call.answer(Err(why));
                return Ok(());
            }
        };
        // Frames of the others go on meanwhile. Without a thread the caller hears that nobody
        // answers, and the interface is gone all the same.
        let _ = std::thread::Builder::new().spawn(move || {
            device.take_down();
            call.answer(Ok(Reply::Done));
        });
        self.let_in();
        self.start_command()
    }

    fn take_away(&mut self, name: &str) -> Result<Device> {
        self.can_change()?;
        let Some(at) = self.jacks.iter().position(|jack| jack.name == name) else {
            let all: Vec<_> = self.jacks.iter().map(|jack| jack.name.as_str()).collect();
            bail!("it has no interface {name}: it has {}", all.join(", "));
        };
        let jack = &self.jacks[at];
        ensure!(!self.further.given.contains(&jack.name), "{name} was there before the function");
        for cable in &jack.cables {
            ensure!(
                cable.pipe().is_some(),
                "{name} is joined to {}: what ends with that is the function",
                cable.what()
            );
            ensure!(
                !cable.is_vital(),
                "{name} is on {}, with which the function ends: stdpkt unlink is for interfaces on FIFOs",
                cable.what()
            );
            ensure!(!cable.is_held(), "{name}: its neighbour is being taken out: try again");
        }
        ensure!(self.jacks.len() > 1, "{name} is its only interface: end the function instead");
        let jack = &mut self.jacks[at];
        // What has come, and what is to go.
        jack.turn();
        jack.empty(Instant::now() + FLUSH);
        Ok(self.forget(at))
    }

    /// Somebody has deleted an interface of theirs, which is told: as where a link ends.
    pub(super) fn interface_gone(&mut self) {
        if self.running { self.stop(Why::LinkEnded) } else { self.leave(crate::FAILED) }
    }

    /// An interface that came later has no neighbour that it could have.
    pub(super) fn lose(&mut self, name: &str, why: &Error) {
        if let Some(at) = self.jacks.iter().position(|jack| jack.name == name) {
            say::note!("{name}: {why:#}: the interface is taken away");
            self.forget(at).take_down();
        }
    }

    fn forget(&mut self, at: usize) -> Device {
        let mut jack = self.jacks.remove(at);
        self.linger.remove(at);
        self.further.forget(&jack.name);
        jack.close();
        jack.into_edge()
    }

    fn can_change(&self) -> Result<()> {
        self.can_hold()?;
        match held::is_held() {
            false => Ok(()),
            true => Err(anyhow!(
                "it is held (--restart, --idle), and would be started again with the interfaces that \
                 it had from the start"
            )),
        }
    }
}
