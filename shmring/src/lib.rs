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
//! A pair of programs, `questions | answers`:
//!
//! ```no_run
//! # fn questions() -> Result<(), Box<dyn std::error::Error>> {
//! let mut link = shmring::on(std::io::stdout())?; // questions
//! link.send(b"one")?;
//! # Ok(()) }
//! # fn answers() -> Result<(), Box<dyn std::error::Error>> {
//! let mut link = shmring::on(std::io::stdin())?; // answers
//! while let Some(mut frame) = link.recv()? {
//!     println!("{} bytes", frame.bytes().len());
//! }
//! # Ok(()) }
//! ```
//!
//! | to | take | waits |
//! |---|---|---|
//! | join a neighbour | [`on`] a descriptor, [`at`] a FIFO's path | yes |
//! | the same in an event loop | [`Rendezvous::new`], then [`Rendezvous::poll`] when its descriptor is readable | no |
//! | send or receive a frame | [`Link::send`], [`Link::recv`], or those of [`Tx`] and [`Rx`] in a thread each | yes |
//! | many frames for one doorbell | [`Tx::send_all`], [`Rx::recv_all`] | yes |
//! | fill and read frames in place | [`Tx::reserve`], [`Room::fill`], [`Room::stage`], [`Tx::publish`]; [`Rx::borrow`], [`Borrowed::release`] | no |
//! | sleep in poll, epoll, mio, tokio | [`Tx::arm`] or [`Rx::arm`], and if it says so sleep on the descriptor, then `woken` | you do |
//! | a ring in one process | [`loopback`] | no |
//!
//! `examples/` has the pair in two files, the answers in an async runtime, and a
//! side written in C.
#![cfg_attr(loom, allow(dead_code, reason = "a model makes rings by itself"))]

#[cfg(not(loom))]
mod address;
#[cfg(not(loom))]
mod aside;
#[cfg_attr(loom, path = "model/bell.rs")]
mod bell;
#[cfg(not(loom))]
pub mod board;
#[cfg(not(loom))]
mod channel;
mod error;
#[cfg(not(loom))]
mod framed;
#[cfg(not(loom))]
mod front;
#[cfg(all(any(test, fuzzing), not(loom)))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(not(loom))]
pub mod handover;
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
mod role;
#[cfg(not(loom))]
mod runtime_dir;
#[cfg(not(loom))]
mod scm;
#[cfg_attr(loom, path = "model/slot.rs")]
mod slot;
mod spin;
#[cfg(not(loom))]
mod stream;
#[cfg(not(loom))]
mod suited;
mod sync;

#[cfg(not(loom))]
pub use address::PipeEnd;
#[cfg(not(loom))]
pub use aside::Aside;
#[cfg(not(loom))]
pub use channel::{Borrowed, Room, Rx, Tx};
#[cfg(not(loom))]
pub use error::LinkError;
pub use error::{RecvError, SendError};
#[cfg(not(loom))]
pub use framed::enlarge;
#[cfg(not(loom))]
pub use front::{Received, at, on};
#[cfg(not(loom))]
pub use handshake::{Channel, Offer};
#[cfg(not(loom))]
pub use link::{Link, Peer, loopback, pair};
#[cfg(not(loom))]
pub use rendezvous::{Event, PROLOGUE, Rendezvous};
pub use ring::{Batch, Consumer, Counters, Frame, Producer, Reservation};
#[cfg(not(loom))]
pub use role::Role;
#[cfg(not(loom))]
pub use runtime_dir::RuntimeDir;
pub use slot::{Bytes, BytesMut};
pub use spin::Spin;
#[cfg(not(loom))]
pub use stream::{ByteStream, StreamIn, StreamOut};
