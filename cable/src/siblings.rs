//! Edges that belong to one kernel, as the interfaces of a function do.

use crate::{Edge, Jack};

/// Moves some frames both ways at each of them; `true` when there were any.
pub fn turn<E: Edge>(jacks: &mut [Jack<E>]) -> bool {
    let mut busy = false;
    for at in 0..jacks.len() {
        let before = jacks[at].taken();
        busy |= jacks[at].turn();
        if jacks[at].taken() > before {
            // The kernel forwards a frame while it is written: no need to be told of that.
            let (ahead, behind) = jacks.split_at_mut(at);
            ahead.iter_mut().chain(&mut behind[1..]).for_each(Jack::woken);
        }
    }
    busy
}
