//! Edges as people write them: `FORMAT[:PLACE]`.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use cable::Edge;
use frames::{Framing, capture};
use rustix::fs::OFlags;
use rustix::net::SocketType;
use shmring::{LinkError, PipeEnd};

use crate::codec::Coding;
use crate::inherited;
use crate::messages::MessageEdge;
use crate::stream::StreamEdge;
use crate::tap::Tap;
use crate::unix::{self, Listener, Socket};
use crate::vhost_user::VhostUser;

/// What an edge is, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeSpec {
    /// How frames are written there.
    pub format: Format,
    /// Where they are written.
    pub place: Place,
}

/// How frames are written at an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// On a byte stream.
    Stream(Coding),
    /// In messages, one each.
    Packet,
    /// As a TAP has them.
    Tap,
    /// In the memory of a virtual machine.
    VhostUser,
}

/// Where an edge is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Standard input and output of a program that is started for it.
    Command,
    /// This process's own standard input and output.
    Stdio,
    /// A Unix socket: of who listens there, else of who connects.
    Unix(PathBuf),
    /// Unix datagrams, received at one path and sent to another.
    Datagrams {
        /// Received here.
        rx: PathBuf,
        /// Sent there.
        tx: PathBuf,
    },
    /// A socket that was passed, by number.
    Fd(i32),
    /// One that a service manager has passed, by the name that it has there.
    Passed(String),
    /// An interface of the host.
    Interface(String),
}

const FORMATS: &str = "frames, qemu, vde, packet, pcap, pcapng, hex, tap:NAME or vhost-user";
const PLACES: &str = "unix:PATH, dgram:RX:TX, fd:N, fd:NAME or stdio";

impl EdgeSpec {
    /// Whether a text begins as an edge does, and not as a path.
    pub fn looks_like(text: &str) -> bool {
        let (format, place) = text.split_once(':').unwrap_or((text, ""));
        let place = place.split(':').next().unwrap_or_default();
        format == "tap" && !place.is_empty()
            || format_of(format).is_some()
                && matches!(place, "" | "unix" | "dgram" | "fd" | "stdio")
    }

    /// Reads `FORMAT[:PLACE]`.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<EdgeSpec, String> {
        if text == "tap:" {
            return Err("`tap:` names no interface: tap:NAME".to_owned());
        }
        if let Some(name) = text.strip_prefix("tap:") {
            return Ok(EdgeSpec { format: Format::Tap, place: Place::Interface(name.to_owned()) });
        }
        let (format, place) = match text.split_once(':') {
            Some((format, place)) => (format, Some(place)),
            None => (text, None),
        };
        let format = match format_of(format) {
            Some(format) => format,
            None if place_of(text).is_ok() => {
                return Err(format!(
                    "before the place stands how frames are written, as in frames:{text}"
                ));
            }
            None => return Err(format!("`{format}` is no format of frames, take {FORMATS}")),
        };
        let place = place.map_or(Ok(Place::Command), place_of)?;
        match (format, &place) {
            (Format::Packet, Place::Command) => Err(
                "packet needs a socket, which keeps messages apart: packet:unix:PATH, or frames -- CMD"
                    .to_owned(),
            ),
            (Format::Stream(coding), Place::Datagrams { .. }) => Err(format!(
                "dgram keeps frames apart and needs no length before each: packet:{}, not {}",
                &text[coding.name().len() + 1..],
                coding.name()
            )),
            (Format::VhostUser, Place::Datagrams { .. } | Place::Stdio) => Err(
                "vhost-user needs a socket that passes memory on: vhost-user:unix:PATH".to_owned(),
            ),
            _ => Ok(EdgeSpec { format, place }),
        }
    }

    /// The edge, unless a program has to be started for it.
    ///
    /// # Errors
    /// One line that names the place and the way out.
    pub fn open(&self) -> Result<Box<dyn Edge>> {
        let what = self.to_string();
        match &self.place {
            Place::Unix(path) if self.format == Format::VhostUser => {
                Ok(Box::new(VhostUser::at(path)?))
            }
            Place::Command => {
                bail!("{what} needs a place ({PLACES}), or stdpkt join {what} -- CMD")
            }
            Place::Stdio => self.of_stdio(&what),
            Place::Unix(path) => match unix::meet(path, self.socket_type())? {
                Socket::Connected(socket) => self.of_socket(&what, socket),
                Socket::Listening(listener) => self.of_listener(listener),
            },
            Place::Datagrams { rx, tx } => {
                let (socket, to) = unix::datagrams(rx, tx)?;
                Ok(Box::new(MessageEdge::new(&what, socket, Some(to))?))
            }
            Place::Interface(name) => Ok(Box::new(Tap::attach(name)?)),
            Place::Fd(number) => self.of_passed(&what, *number),
            Place::Passed(name) => self.of_passed(&what, inherited::number(name)?),
        }
    }

    fn socket_type(&self) -> SocketType {
        match self.format {
            Format::Stream(_) | Format::VhostUser => SocketType::STREAM,
            _ => SocketType::SEQPACKET,
        }
    }

    /// Of a socket that was passed: of who is at its other end, or of who connects.
    fn of_passed(&self, what: &str, number: i32) -> Result<Box<dyn Edge>> {
        let socket = inherited::socket(number, self.socket_type())?;
        match rustix::net::sockopt::socket_acceptconn(&socket) {
            Ok(true) if self.format == Format::VhostUser => {
                bail!("{what} listens: name its path instead, as vhost-user:unix:PATH")
            }
            Ok(true) => self.of_listener(Listener::passed(what, socket)?),
            _ => self.of_socket(what, socket),
        }
    }

    fn of_listener(&self, listener: Listener) -> Result<Box<dyn Edge>> {
        Ok(match self.format {
            Format::Stream(coding) => Box::new(StreamEdge::listen(coding, listener)?),
            _ => Box::new(MessageEdge::listen(listener)?),
        })
    }

    fn of_socket(&self, what: &str, socket: OwnedFd) -> Result<Box<dyn Edge>> {
        Ok(match self.format {
            Format::Stream(coding) => {
                let (input, output) = unix::twice(socket)?;
                Box::new(StreamEdge::new(what, coding, input, output)?)
            }
            Format::VhostUser => Box::new(VhostUser::of_socket(what, socket)?),
            _ => Box::new(MessageEdge::new(what, socket, None)?),
        })
    }

    fn of_stdio(&self, what: &str) -> Result<Box<dyn Edge>> {
        let Format::Stream(coding) = self.format else {
            let socket = inherited::socket(0, SocketType::SEQPACKET)?;
            return self.of_socket(what, socket);
        };
        let input = standard(
            std::io::stdin().as_fd().try_clone_to_owned(),
            "standard input",
            OFlags::RDONLY,
        )?;
        let output = standard(
            std::io::stdout().as_fd().try_clone_to_owned(),
            "standard output",
            OFlags::WRONLY,
        )?;
        Ok(Box::new(StreamEdge::new(what, coding, input, output)?))
    }
}

/// A descriptor that does not block and that nobody shares: a pipe opened anew, a
/// socket as it is (see [`cable::bytes`]). The pipe of another user, as sudo(8) passes it
/// on, cannot be opened anew: it is taken as it is, from who passed it and waits.
fn standard(fd: std::io::Result<OwnedFd>, what: &str, access: OFlags) -> Result<OwnedFd> {
    let fd = fd.with_context(|| format!("{what} is closed"))?;
    let end = PipeEnd::new(fd, what).map_err(|error| {
        anyhow!("{error}: frames on standard input and output are for the other end of ssh, a pipe or a socket")
    })?;
    let own = match access {
        OFlags::RDONLY => end.reopen_to_read(),
        _ => end.reopen_to_write(),
    };
    if let Ok(fd) = &own {
        let _ = shmring::enlarge(fd); // a smaller one is slower, and does as well
    }
    match own {
        Err(LinkError::NotOurs { .. }) => {
            let fd = end.as_fd().try_clone_to_owned()?;
            rustix::fs::fcntl_setfl(&fd, access | OFlags::NONBLOCK)?;
            Ok(fd)
        }
        own => Ok(own?),
    }
}

fn format_of(name: &str) -> Option<Format> {
    let framed = [Framing::Frames, Framing::Qemu, Framing::Vde].map(Coding::Framed);
    let captures = [capture::Format::Pcap, capture::Format::Pcapng, capture::Format::Hex];
    let mut codings = framed.into_iter().chain(captures.map(Coding::Capture));
    match codings.find(|coding| coding.name() == name) {
        Some(coding) => Some(Format::Stream(coding)),
        None => match name {
            "packet" => Some(Format::Packet),
            "vhost-user" => Some(Format::VhostUser),
            _ => None,
        },
    }
}

fn place_of(text: &str) -> Result<Place, String> {
    let path = |path: &str| match path {
        "" => Err(format!("`{text}` names no path")),
        path => Ok(PathBuf::from(path)),
    };
    match text.split_once(':') {
        None if text == "stdio" => Ok(Place::Stdio),
        Some(("unix", rest)) => Ok(Place::Unix(path(rest)?)),
        Some(("dgram", rest)) => {
            let (rx, tx) = rest.split_once(':').ok_or("dgram needs two paths, dgram:RX:TX")?;
            Ok(Place::Datagrams { rx: path(rx)?, tx: path(tx)? })
        }
        Some(("fd", word)) => match word.parse() {
            Ok(number @ 0..) => Ok(Place::Fd(number)),
            Err(_) if !word.is_empty() && !word.contains(':') => Ok(Place::Passed(word.to_owned())),
            _ => Err(format!("fd:{word}: write the number of a descriptor, as in fd:3")),
        },
        _ => Err(format!("`{text}` is no place for frames, take {PLACES}")),
    }
}

impl fmt::Display for EdgeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.format {
            Format::Stream(coding) => coding.name(),
            Format::Packet => "packet",
            Format::Tap => "tap",
            Format::VhostUser => "vhost-user",
        })?;
        match &self.place {
            Place::Command => Ok(()),
            Place::Stdio => f.write_str(":stdio"),
            Place::Unix(path) => write!(f, ":unix:{}", path.display()),
            Place::Datagrams { rx, tx } => write!(f, ":dgram:{}:{}", rx.display(), tx.display()),
            Place::Fd(number) => write!(f, ":fd:{number}"),
            Place::Passed(name) => write!(f, ":fd:{name}"),
            Place::Interface(name) => write!(f, ":{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in [
            "tap:tap0",
            "frames",
            "qemu:unix:/tmp/s",
            "packet:dgram:a:b",
            "vde:fd:3",
            "frames:fd:web",
            "frames:stdio",
            "vhost-user:unix:/tmp/vm",
        ] {
            assert!(EdgeSpec::looks_like(text), "{text}");
            assert_eq!(EdgeSpec::parse(text).unwrap().to_string(), text);
        }
        for path in ["/tmp/fifo", "frames/x", "./frames", "a:b", "qemu:b"] {
            assert!(!EdgeSpec::looks_like(path), "{path}");
        }
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        for (text, part) in [
            ("frame", "`frame` is no format"),
            ("frames:tcp:1", "`tcp:1` is no place"),
            ("frames:unix:", "names no path"),
            ("frames:unix", "is no place"),
            ("packet", "packet needs a socket"),
            ("unix:/tmp/s", "as in frames:unix:/tmp/s"),
            ("tap:", "tap:NAME"),
            ("qemu:dgram:a:b", "packet:dgram:a:b, not qemu"),
            ("packet:dgram:a", "two paths"),
            ("vde:fd:", "fd:3"),
            ("vde:fd:-1", "fd:3"),
        ] {
            let error = EdgeSpec::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
