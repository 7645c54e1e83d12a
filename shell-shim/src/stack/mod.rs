//! The stacks. [`lkl`] is a kernel inside CMD; all else is the `netns` stack:
//! the host kernel's network stack, in a network namespace of the function's own.
//!
//! In the order `stdpkt run` uses them: [`namespace::enter`] makes the
//! process a stranger to the host's network, [`keeper::Keeper`] is forked to
//! run what the user asks for, an [`edges::tap::Tap`] per interface carries the
//! frames, or the end of a [`veth`] pair, [`network::Network`] says what shall be configured and
//! [`netlink`] tells the kernel, [`sysctl`] sets the rest. At the end [`backlog`]
//! says what the kernel still has to send.
//!
//! The first two need a process with a single thread.

pub mod addresses;
mod ask;
pub mod backlog;
pub mod bpf;
pub mod conntrack;
pub mod device;
pub mod keeper;
pub mod lent;
pub mod lkl;
pub mod namespace;
pub mod netlink;
pub mod network;
pub mod next_hops;
pub mod sysctl;
mod tcp;
pub mod veth;
pub mod whose;
