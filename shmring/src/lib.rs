//! A lock-free ring of variable-size frames in shared memory, reached through
//! the pipe that two processes already share.
//!
//! - [`Producer`] and [`Consumer`] are the two ends of one ring: whole frames,
//!   written and read in place, batches, a pollable descriptor to sleep on.
//! - [`Rendezvous`] turns a pipe, FIFO or Unix socket that two processes hold
//!   into a [`Link`]: no name, no daemon, no byte in the pipe. The pipe's
//!   `(st_dev, st_ino)` is the address.
//! - [`observe`] lists the rings of other processes with their counters, and what
//!   a process shows on its [`board`] of links that have no ring; [`holders`] lists
//!   the processes that have a pipe open.
//!
//! The neighbour is never trusted: whatever it writes into the shared memory or
//! sends over the socket, this side gets an error and nothing worse.
//!
//! ```
//! use shmring::{Offer, PipeEnd, Rendezvous, RuntimeDir};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let dir = RuntimeDir::at(&scratch.path().join("run"))?;
//! // Usually: RuntimeDir::for_user()? and the two ends in two processes.
//! let (read, write) = std::io::pipe()?;
//! let offer = Offer { label: "example".into(), ..Offer::default() };
//! let mut right = Rendezvous::new(PipeEnd::new(write, "standard output")?, &dir, offer.clone())?;
//! let mut left = Rendezvous::new(PipeEnd::new(read, "standard input")?, &dir, offer)?;
//! let reader = std::thread::spawn(move || left.wait());
//! let mut to = right.wait()?.tx.expect("a writer's link has a sender");
//! let mut from = reader.join().unwrap()?.rx.expect("a reader's link has a receiver");
//!
//! let mut room = to.reserve(5)?;
//! room.fill(|bytes| bytes.copy_from(0, b"hello"));
//! room.stage(5);
//! to.publish();
//! from.wait(None)?;
//! let mut frame = from.borrow()?;
//! assert_eq!(frame.bytes().to_vec(), b"hello");
//! frame.release();
//! # Ok(())
//! # }
//! ```
#![cfg_attr(loom, allow(dead_code, reason = "a model makes rings by itself"))]

#[cfg(not(loom))]
mod address;
#[cfg_attr(loom, path = "model/bell.rs")]
mod bell;
#[cfg(not(loom))]
pub mod board;
#[cfg(not(loom))]
mod channel;
mod error;
#[cfg(not(loom))]
mod framed;
#[cfg(all(any(test, fuzzing), not(loom)))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(not(loom))]
mod handshake;
#[cfg(not(loom))]
pub mod holders;
pub mod layout;
#[cfg(not(loom))]
mod link;
#[cfg(all(loom, test))]
mod model;
#[cfg(not(loom))]
pub mod observe;
#[cfg(not(loom))]
mod peer;
#[cfg_attr(loom, path = "model/region.rs")]
mod region;
#[cfg(not(loom))]
mod rendezvous;
mod ring;
#[cfg(not(loom))]
mod runtime_dir;
#[cfg(not(loom))]
mod scm;
#[cfg_attr(loom, path = "model/slot.rs")]
mod slot;
mod spin;
mod sync;

#[cfg(not(loom))]
pub use address::{PipeEnd, Role};
#[cfg(not(loom))]
pub use channel::{Borrowed, Room, Rx, Tx};
#[cfg(not(loom))]
pub use error::LinkError;
pub use error::{RecvError, SendError};
#[cfg(not(loom))]
pub use handshake::{Channel, Offer};
#[cfg(not(loom))]
pub use link::{Link, Peer, loopback};
#[cfg(not(loom))]
pub use rendezvous::{PROLOGUE, Rendezvous};
pub use ring::{Batch, Consumer, Counters, Frame, Producer, Reservation};
#[cfg(not(loom))]
pub use runtime_dir::RuntimeDir;
pub use slot::{Bytes, BytesMut};
pub use spin::Spin;
