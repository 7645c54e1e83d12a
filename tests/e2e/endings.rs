//! How chains end by themselves, and with which exit statuses.
//!
//! - A function with a CMD exits with CMD's status, 128 + n after signal n.
//! - One without exits with 0 when its links end.
//! - A CMD that still runs when its link has ended gets SIGTERM, as a program
//!   gets SIGPIPE in an ordinary pipeline: 143.

use crate::support::chains::{three, two};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// The exit status of each function of a chain that unwinds by itself.
fn statuses(chain: &str) -> Vec<i32> {
    let scene = Scene::new();
    let (statuses, outcome) = scene.pipeline(chain);
    println!("{outcome:?}");
    assert!(!outcome.err.contains("stdpkt:"), "{outcome:?}");
    scene.assert_nothing_left();
    statuses
}

/// A CMD that ends only when told to.
const STAYS: &str = "-- sleep 1000";

#[test]
fn a_chain_ends_with_the_cmd_of_its_first_function() {
    need_functions!("bash");
    assert_eq!(statuses(&three("-- sh -c 'exit 3'", "", "")), [3, 0, 0]);
}

#[test]
fn a_chain_ends_with_the_cmd_of_its_middle_function() {
    need_functions!("bash");
    assert_eq!(statuses(&three("", "-- sh -c 'exit 4'", "")), [0, 4, 0]);
}

#[test]
fn a_chain_ends_with_the_cmd_of_its_last_function() {
    need_functions!("bash");
    assert_eq!(statuses(&three("", "", "-- sh -c 'exit 5'")), [0, 0, 5]);
}

#[test]
fn other_cmds_are_terminated_when_the_first_ends() {
    need_functions!("bash");
    assert_eq!(statuses(&three("-- sleep 0.5", STAYS, STAYS)), [0, 143, 143]);
}

#[test]
fn other_cmds_are_terminated_when_the_middle_ends() {
    need_functions!("bash");
    assert_eq!(statuses(&three(STAYS, "-- sleep 0.5", STAYS)), [143, 0, 143]);
}

#[test]
fn other_cmds_are_terminated_when_the_last_ends() {
    need_functions!("bash");
    assert_eq!(statuses(&three(STAYS, STAYS, "-- sleep 0.5")), [143, 143, 0]);
}

#[test]
fn a_cmd_may_decide_what_the_end_of_its_link_means() {
    need_functions!("bash");
    let cmd = "-- sh -c 'trap \"exit 7\" TERM; while :; do sleep 0.05; done'";
    assert_eq!(statuses(&two("-- sleep 0.5", cmd)), [0, 7]);
}

#[test]
fn a_cmd_that_ignores_the_end_is_killed() {
    need_functions!("bash");
    let cmd = "-- sh -c 'trap \"\" TERM; while :; do sleep 0.05; done'";
    assert_eq!(statuses(&two("-- sleep 0.5", cmd)), [0, 137]);
}

#[test]
fn daemons_of_a_cmd_end_with_it() {
    need_functions!("bash", "setsid");
    let cmd = "-- sh -c 'setsid sleep 1000 & (sleep 1000 &) ; setsid -f sleep 1000; exit 6'";
    assert_eq!(statuses(&three("", cmd, "")), [0, 6, 0]);
}

#[test]
fn daemons_of_a_setup_command_end_with_the_function() {
    need_functions!("bash", "setsid");
    let setup = "--setup 'setsid -f sleep 1000; sleep 1000 &'";
    assert_eq!(statuses(&three("-- true", setup, setup)), [0, 0, 0]);
}

#[test]
fn a_cmd_that_dies_of_a_signal_ends_the_chain_with_its_number() {
    need_functions!("bash");
    assert_eq!(statuses(&two("", "-- sh -c 'kill -SEGV $$'")), [0, 128 + 11]);
}

#[test]
fn what_was_sent_before_the_end_arrives() {
    need_functions!("bash", "ping", "tcpdump");
    // The last function's capture sees the request although the first has ended.
    let scene = Scene::new();
    let send = "-- bash -c 'for n in {1..50}; do echo $n >/dev/udp/10.0.0.2/9; done'";
    let receive = "--setup 'ip neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev left; \
                   tcpdump -lnni left --immediate-mode udp port 9 >seen 2>/dev/null & sleep 0.5'";
    let (statuses, outcome) = scene.pipeline(&two(send, receive));
    assert_eq!(statuses, [0, 0], "{outcome:?}");
    scene.assert_nothing_left();
}
