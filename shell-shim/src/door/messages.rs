//! What is said through a door: one message is the request, one the answer to it.
//!
//! A message is a JSON object, `{"version": 1, "body": BODY}`, of up to [`LONGEST`] bytes;
//! descriptors come with it. One connection carries one request. Another version is
//! refused, and so is what a process does not know or does not do: the answer says why.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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
    /// Of a function that another one is to take over from: its standard input and
    /// output, which come with the answer.
    Place,
    /// Of the same, by the other one, which is set up: its links. They come after the
    /// answer over the same connection (`shmring::handover`); with the answer comes the
    /// socket to the process that the shell knows, if that is another.
    HandOver {
        /// `(st_dev, st_ino)` of the pipes that the other has cables for.
        pipes: Vec<(u64, u64)>,
    },
    /// Of `stdpkt swap`, by the function that it has started: it is set up, and waits for
    /// the answer before it takes over.
    Ready,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// It is not, and nothing has changed.
    Refused {
        /// A line for the user.
        why: String,
    },
}

impl Request {
    /// What the target is called that it is about, if it is for a balancer.
    pub fn target(&self) -> Option<&str> {
        match self {
            Request::Drain { path }
            | Request::Undrain { path }
            | Request::Weight { path, .. }
            | Request::Add { path } => Some(path),
            Request::Inside
            | Request::Conditions { .. }
            | Request::Place
            | Request::HandOver { .. }
            | Request::Ready => None,
        }
    }

    /// The answer of who does not do such things.
    pub fn not_here(&self) -> anyhow::Error {
        match self {
            Request::Inside => {
                anyhow::anyhow!("it has no network stack to be inside of: it is no function")
            }
            Request::Conditions { .. } => anyhow::anyhow!("it is no wire"),
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
