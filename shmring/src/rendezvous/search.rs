//! Every order in which holders of one pipe can start, speak, die and be replaced.
//!
//! A world is a few processes with a [`Meeting`] each, and what the kernel has of
//! them: the locks, the gates with what lies before them, the socket pairs with what
//! is on its way. Each step of each process is a step of the search; its lock, its
//! gate and its conversations are given up by an ending process in any order. There
//! are no clocks: whatever is reached here is reached by events.

mod scene;
mod world;

use crate::role::Role;
use scene::Scene;

/// A process of a scene.
#[derive(Clone, Copy)]
struct Part {
    role: Role,
    /// May be killed at any moment.
    mortal: bool,
    /// Starts only when that one is dying.
    replaces: Option<usize>,
}

const fn part(role: Role) -> Part {
    Part { role, mortal: false, replaces: None }
}

const fn mortal(role: Role) -> Part {
    Part { mortal: true, ..part(role) }
}

const fn instead_of(which: usize, role: Role) -> Part {
    Part { replaces: Some(which), ..part(role) }
}

const R: Role = Role::Reader;
const W: Role = Role::Writer;
const E: Role = Role::Either;

/// All orders of the numbers from `first` on.
fn orders(first: u64, count: u64) -> Vec<Vec<u64>> {
    if count == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in orders(first + 1, count - 1) {
        for at in 0..count as usize {
            let mut one = shorter.clone();
            one.insert(at, first);
            all.push(one);
        }
    }
    all
}

fn search(parts: &[Part]) {
    let mut states = 0;
    // Who makes and who gives way depends on the order of nonces, but not of writers'.
    let ordered = parts.iter().filter(|part| part.role != W).count() as u64;
    for order in orders(0, ordered) {
        let (mut order, mut writers) = (order.into_iter(), ordered..);
        let nonce = |part: &Part| if part.role == W { writers.next() } else { order.next() };
        let nonces = parts.iter().filter_map(nonce).collect();
        states += Scene { parts: parts.to_vec(), nonces }.search();
    }
    println!("{states} states");
}

#[test]
fn a_reader_and_two_writers() {
    search(&[part(R), part(W), part(W)]);
}

#[test]
fn a_reader_is_killed_and_replaced() {
    search(&[mortal(R), instead_of(0, R), part(W)]);
}

#[test]
fn a_writer_is_killed_and_replaced() {
    search(&[part(R), mortal(W), instead_of(1, W)]);
}

#[test]
#[ignore = "takes long without --release: ci/search.sh"]
fn two_readers_come_at_once() {
    search(&[part(R), part(R), part(W)]);
}

#[test]
#[ignore = "takes long without --release: ci/search.sh"]
fn one_of_two_readers_is_killed() {
    search(&[mortal(R), part(R), part(W)]);
}

#[test]
fn two_without_a_role() {
    search(&[part(E), part(E)]);
    search(&[mortal(E), part(E), instead_of(0, E)]);
}

#[test]
#[ignore = "takes long without --release: ci/search.sh"]
fn three_without_a_role() {
    search(&[part(E), part(E), part(E)]);
}

#[test]
#[ignore = "millions of states: ci/search.sh four"]
fn four_both_killed_and_replaced() {
    search(&[mortal(R), instead_of(0, R), mortal(W), instead_of(2, W)]);
}

#[test]
#[ignore = "millions of states: ci/search.sh four"]
fn four_two_readers_killed_one_after_the_other() {
    search(&[mortal(R), Part { mortal: true, ..instead_of(0, R) }, instead_of(1, R), part(W)]);
}

#[test]
#[ignore = "millions of states: ci/search.sh four"]
fn four_three_writers() {
    search(&[part(R), part(W), part(W), part(W)]);
}

#[test]
#[ignore = "millions of states: ci/search.sh four"]
fn four_a_writer_beside_others_is_replaced() {
    search(&[part(R), mortal(W), instead_of(1, W), part(W)]);
}

#[test]
#[ignore = "millions of states: ci/search.sh four"]
fn four_both_without_a_role_are_replaced() {
    search(&[mortal(E), instead_of(0, E), mortal(E), instead_of(2, E)]);
}
