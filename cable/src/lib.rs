//! A plug for frames: links that come and go on a pipe, what they are joined to,
//! and the one event loop.
//!
//! - [`Cable`]: a pipe, and the links that come and go on it; a link's halves are a
//!   [`Sender`] and a [`Receiver`], whatever is at the other end.
//! - [`Edge`]: something that has frames. A [`Jack`] joins one to cables.
//! - [`Switch`]: the event loop, for whoever has cables (a [`Driver`]).

mod audience;
pub mod bytes;
pub mod cable;
pub mod capture_in;
pub mod edge;
mod finished;
pub mod half;
mod jack;
pub mod lane;
pub mod neighbour;
mod notice;
mod outlet;
mod row;
mod seat;
mod shown;
pub mod siblings;
pub mod stream_rx;
pub mod stream_tx;
mod switch;

pub use audience::Audience;
pub use cable::{Cable, CablePlan, Fallback, Wake, give, insert};
pub use edge::Edge;
pub use half::{Half, Joined, Receiver, Sender};
pub use jack::Jack;
pub use outlet::Outlet;
pub use switch::{Driver, Step, Switch, WatchNumbered};

/// Frames moved in one direction before another has its turn.
pub const BATCH: usize = 64;
/// Staged bytes after which the neighbour is told: enough to keep small frames
/// from costing a publication each, little enough that both sides work at once.
pub const PUBLISH_EVERY: usize = 16 << 10;
