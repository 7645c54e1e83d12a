//! Every channel that comes without a dependency.

mod front;
mod ring;
mod splice;
mod stream;

use crate::harness::Kind;

/// What the others are measured against.
pub const BASELINE: &str = "pipe-64k";

/// All of them.
pub fn all() -> Vec<Kind> {
    let mut kinds = stream::kinds();
    kinds.extend(splice::kinds());
    kinds.extend(ring::kinds());
    kinds.push(front::kind());
    kinds
}
