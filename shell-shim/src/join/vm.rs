//! `stdpkt join vhost-user -- qemu-system-x86_64 ...`: a virtual machine whose network
//! cards are ends of links. It gets the options that make them so, and ends with them.

mod options;

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use cable::Edge;
use edges::program::Program;
use edges::unix::Listener;
use edges::vhost_user::VhostUser;
use rustix::io::FdFlags;
use shmring::PipeEnd;

use crate::stack::keeper::not_started;
use crate::succession::heir;
use options::Card;
pub use options::Machine;

/// A machine that was started, and its cards, in the order of its links.
pub struct Started {
    /// The machine's program.
    pub program: Program,
    /// Its name.
    pub what: String,
    /// Its cards.
    pub cards: Vec<Box<dyn Edge>>,
}

impl Machine {
    /// Starts it with a card for each of `sides` (`left`, `right`).
    ///
    /// # Errors
    /// One line: it cannot be run.
    pub fn start(&self, name: Option<&str>, sides: &[&str]) -> Result<Started> {
        let (ours, theirs) = UnixStream::pair().context("socketpair")?;
        ours.set_nonblocking(true).context("fcntl")?;
        // Nothing else is started before the machine, which inherits it.
        rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).context("fcntl")?;
        let control = Control { socket: ours };
        let (mut cards, mut edges) = (Vec::new(), Vec::<Box<dyn Edge>>::new());
        control.say(r#"{"execute":"qmp_capabilities"}"#);
        for (number, side) in sides.iter().enumerate() {
            let listener = Listener::without_path().context("a socket for the machine")?;
            let card = Card::new(number, listener.name(), self.mac(name, side));
            let (netdev, mut control) = (card.netdev(), control.try_clone()?);
            let what = format!("vhost-user on the {side}");
            let mut on_link = move |up| control.set_link(&netdev, up);
            on_link(false); // there is no neighbour yet
            edges.push(Box::new(VhostUser::of_listener(&what, listener, Box::new(on_link))?));
            cards.push(card);
        }
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(self.more(&cards, &theirs));
        command.env_remove(heir::VARIABLE);
        // It has no use for frames: a link stays with us.
        if PipeEnd::new(std::io::stdin().as_fd().try_clone_to_owned()?, "").is_ok() {
            command.stdin(Stdio::null());
        }
        if PipeEnd::new(std::io::stdout().as_fd().try_clone_to_owned()?, "").is_ok() {
            command.stdout(std::io::stderr().as_fd().try_clone_to_owned()?);
        }
        let what = self.program[0].clone();
        let program = Program::spawn_bound(command)?;
        let program =
            program.map_err(|e| not_started(what.as_ref(), e.raw_os_error().unwrap_or(0)))?;
        Ok(Started { program, what, cards: edges })
    }
}

/// The machine's monitor (QMP): a command a line, whose answers nobody needs.
struct Control {
    socket: UnixStream,
}

impl Control {
    fn try_clone(&self) -> Result<Control> {
        Ok(Control { socket: self.socket.try_clone().context("dup")? })
    }

    fn say(&self, command: &str) {
        let mut socket = &self.socket;
        // What it has said since the last time, so that it never waits for us.
        while socket.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
        // A machine that is gone, or hangs, has no link to be told of.
        let _ = socket.write_all(format!("{command}\n").as_bytes());
    }

    fn set_link(&mut self, netdev: &str, up: bool) {
        self.say(&format!(
            r#"{{"execute":"set_link","arguments":{{"name":"{netdev}","up":{up}}}}}"#
        ));
    }
}
