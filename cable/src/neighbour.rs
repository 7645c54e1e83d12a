//! Who is at the other end of a pipe, and whether it is one like us.

use std::fmt;

use shmring::Role;
use shmring::holders::{Holder, exe, holders, nearest};

/// What somebody who holds a pipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nobody yet, a shell that may become either, or not ours to look at.
    Unknown,
    /// A program like this one, which will be ready in a moment.
    Aware,
    /// Another program.
    Other,
}

/// Who is at the other end of a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// What it is; where there are several, one that is aware counts.
    pub kind: Kind,
    /// The one to name.
    who: Option<Holder>,
    /// It may be one that is not ours to look at.
    hidden: bool,
}

/// Looks who is at the other end of a pipe of which we hold the end for `role`.
pub fn neighbour(pipe: (u64, u64), role: Role) -> Neighbour {
    let us = exe(std::process::id());
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let parent = exe(parent as u32);
    let kind = |holder: &Holder| match holder.exe {
        exe if exe.is_none() || exe == parent => Kind::Unknown,
        // Or another file of that name, as in a container.
        exe if exe == us || holder.program == "stdpkt" => Kind::Aware,
        _ => Kind::Other,
    };
    let is_opposite = |holder: &Holder| match role {
        Role::Writer => holder.reads,
        Role::Reader => holder.writes,
        Role::Either => true,
    };
    // Where many functions start at once they cannot all look at all processes.
    let aware = |holder: &Holder| is_opposite(holder) && kind(holder) == Kind::Aware;
    if let Some(holder) = nearest(pipe, aware) {
        return Neighbour { kind: Kind::Aware, who: Some(holder), hidden: false };
    }
    let all = holders(pipe);
    let opposite = all.found.into_iter().filter(is_opposite);
    let opposite: Vec<_> = opposite.map(|holder| (kind(&holder), holder)).collect();
    let aware = opposite.iter().any(|(kind, _)| *kind == Kind::Aware);
    let best = opposite.into_iter().max_by_key(|(kind, _)| *kind);
    let (kind, who) = best.map_or((Kind::Unknown, None), |(kind, who)| (kind, Some(who)));
    Neighbour { kind: if aware { Kind::Aware } else { kind }, who, hidden: all.hidden }
}

impl Neighbour {
    /// Whether anything is known of it.
    pub fn is_known(&self) -> bool {
        self.who.is_some()
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Some(Holder { pid, program, .. }) => write!(f, "`{program}` (pid {pid})"),
            None if self.hidden => f.write_str("a process that is not ours to look at"),
            None => f.write_str("a program that is no stdpkt"),
        }
    }
}
