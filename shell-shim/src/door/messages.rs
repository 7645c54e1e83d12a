//! What is said through a door: one message is the request, one the answer to it.
//!
//! A message is a JSON object, `{"version": 1, "body": BODY}`, of up to [`LONGEST`] bytes;
//! descriptors come with it. One connection carries one request. Another version is
//! refused, and so is what a process does not know or does not do: the answer says why.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shmring::Role;

/// Of all messages. Raised when one of them means something else; new ones do not.
pub const VERSION: u32 = 1;
/// Most bytes of a message.
pub const LONGEST: usize = 64 << 10;

/// What a process can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Of a function: where its programs are. The answer brings two descriptors: a pidfd
    /// of a process in its namespaces, and their working directory.
    Inside,
    /// Of a wire: what it does to packets from now on, as options of its command line.
    Conditions {
        /// For instance `--delay=20ms`. What they do not say stays.
        options: Vec<String>,
    },
    /// Of a balancer: no new flows for a target. Its FIFO comes along, as in all requests
    /// about targets; `path` is what to call it.
    Drain {
        /// For people.
        path: String,
    },
    /// Of a balancer: new flows again.
    Undrain {
        /// For people.
        path: String,
    },
    /// Of a balancer: another share of the new flows.
    Weight {
        /// For people.
        path: String,
        /// The share.
        weight: u32,
    },
    /// Of a balancer: one more target.
    Add {
        /// For people.
        path: String,
    },
    /// Of a function: one more interface. For each FIFO two descriptors come along: it, and the
    /// gate by which it is found ([`shmring::PipeEnd::gate`]).
    Link {
        /// The interface's name.
        name: String,
        /// Its addresses, each with the length of its network's prefix.
        ip: Vec<String>,
        /// What the FIFOs are called, for people: one, or one to receive and one to send.
        fifos: Vec<String>,
    },
    /// Of the same: an interface less.
    Unlink {
        /// Its name.
        name: String,
    },
    /// Of a function that another one is to take over from: its standard input and
    /// output. The answer is [`Reply::Place`], and they come along.
    Place,
    /// Of the same, by the other one, which is set up: its links. They come after the
    /// answer over the same connection (`shmring::handover`); with the answer comes the
    /// socket to the process that the shell knows, if that is another.
    HandOver {
        /// `(st_dev, st_ino)` of the pipes that the other has cables for.
        pipes: Vec<(u64, u64)>,
    },
    /// Of `stdpkt swap` or `insert`, by the function that it has started: it is set up, and
    /// waits for the answer before it takes over.
    Ready,
    /// Of a function that another one is to be put beside: where an interface is. The answer is
    /// [`Reply::Interface`], and its pipe comes along.
    Interface {
        /// The interface's name.
        label: String,
    },
    /// Of the same, by the other one, which is set up: the interface's links, and a link to
    /// itself. They come after the answer, which is again [`Reply::Interface`].
    Insert {
        /// The interface's name.
        label: String,
        /// `(st_dev, st_ino)` of the pipes that the other has cables for: that of the
        /// interface, and another one.
        pipes: Vec<(u64, u64)>,
    },
    /// Of one that is to be taken out: to give its link on the other side to the neighbour
    /// at whose door the two connections are that come along.
    Leave {
        /// The ring by which that neighbour sends to it: the inode of its memory.
        ring: u64,
        /// So long it may take to pass on what it has.
        milliseconds: u64,
    },
    /// Of the neighbour of one that is taken out: to send nothing for a while.
    Hold {
        /// By this ring.
        ring: u64,
        /// So long, if nothing else comes.
        milliseconds: u64,
    },
    /// Of the same: the link that goes on where that one ends. It comes after the answer.
    Inherit {
        /// The one.
        ring: u64,
    },
    /// Of the same: nothing comes of it.
    Release {
        /// The one.
        ring: u64,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// Where a function stands.
    Place {
        /// Which of its standard input and output are links.
        links: [bool; 2],
    },
    /// Where an interface is.
    Interface {
        /// Which end of its pipe it has; both are one where a FIFO goes both ways.
        end: End,
        /// Whether that is a `|`, with which the function ends.
        vital: bool,
        /// `(st_dev, st_ino)` of it.
        pipe: (u64, u64),
    },
    /// It is not, and nothing has changed.
    Refused {
        /// A line for the user.
        why: String,
    },
}

/// The end of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It is read, as by the right side of a `|`.
    Reading,
    /// It is written.
    Writing,
    /// Either.
    Both,
}

impl From<Role> for End {
    fn from(role: Role) -> End {
        match role {
            Role::Reader => End::Reading,
            Role::Writer => End::Writing,
            Role::Either => End::Both,
        }
    }
}

impl Request {
    /// What the target is called that it is about, if it is for a balancer.
    pub fn target(&self) -> Option<&str> {
        match self {
            Request::Drain { path }
            | Request::Undrain { path }
            | Request::Weight { path, .. }
            | Request::Add { path } => Some(path),
            _ => None,
        }
    }

    /// The answer of who does not do such things.
    pub fn not_here(&self) -> anyhow::Error {
        match self {
            Request::Inside => {
                anyhow::anyhow!("it has no network stack to be inside of: it is no function")
            }
            Request::Conditions { .. } => anyhow::anyhow!("it is no wire"),
            Request::Link { .. } | Request::Unlink { .. } => anyhow::anyhow!(
                "it has the links that it was started with: only a stdpkt run on the host's stack \
                 gets others, and a balancer targets (stdpkt balance --set)"
            ),
            _ if self.target().is_none() => anyhow::anyhow!(
                "its links stay with it: those of stdpkt run on the host's stack, tee, filter, \
                 wire, balance, dump and feed can change hands"
            ),
            _ => anyhow::anyhow!("it has no targets: it is no balancer"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Message<T> {
    version: u32,
    body: T,
}

/// All that can be read whatever the version.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// A message's bytes.
pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    // Nothing that is said has a form that JSON does not have.
    serde_json::to_vec(&Message { version: VERSION, body }).unwrap_or_default()
}

/// What a message says.
///
/// # Errors
/// A line that says why nobody knows.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let Head { version } = serde_json::from_slice(bytes)
        .map_err(|_| "a message came that is none of stdpkt's".to_owned())?;
    if version != VERSION {
        return Err(format!(
            "it speaks version {VERSION}, not {version}: use the stdpkt that it was started with"
        ));
    }
    let message: Result<Message<T>, _> = serde_json::from_slice(bytes);
    message.map(|message| message.body).map_err(|error| {
        format!("stdpkt {} does not know this request: {error}", env!("CARGO_PKG_VERSION"))
    })
}
