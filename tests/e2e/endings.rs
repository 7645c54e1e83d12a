//! How chains end by themselves, and with which exit statuses.
//!
//! - A function with a CMD exits with CMD's status, 128 + n after signal n.
//! - One without exits with 0 when its links end.
//! - A CMD that still runs when its link has ended gets SIGTERM, as a program
//!   gets SIGPIPE in an ordinary pipeline: 143.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::chains::{three, two};
use crate::support::need::{need, need_functions};
use crate::support::procs::Process;
use crate::support::scene::Scene;
use crate::support::{SOON, wait_until};

/// The exit status of each function of a chain that unwinds by itself.
fn statuses(chain: &str) -> Vec<i32> {
    let scene = Scene::new();
    let (statuses, outcome) = scene.pipeline(chain);
    println!("{outcome:?}");
    assert!(!outcome.err.contains("stdpkt:"), "{outcome:?}");
    scene.assert_nothing_left();
    statuses
}

/// A CMD that does something once the whole chain is up.
fn up_then(what: &str) -> String {
    format!(
        "-- sh -c 'ping -q -c1 -W5 10.0.1.1 >/dev/null; ping -q -c1 -W5 10.0.2.1 >/dev/null; {what}'"
    )
}

/// A CMD that ends only when told to.
fn stays(number: u32) -> String {
    format!("-- sh -c 'touch up{number}; exec sleep 1000'")
}

/// A CMD that ends when others have started.
fn ends_after(others: &[u32]) -> String {
    let files: String = others.iter().map(|number| format!(" up{number}")).collect();
    format!("-- sh -c 'until ls{files} >/dev/null 2>&1; do sleep 0.02; done'")
}

#[test]
fn a_chain_ends_with_the_cmd_of_its_first_function() {
    need_functions!("bash", "ping");
    assert_eq!(statuses(&three(&up_then("exit 3"), "", "")), [3, 0, 0]);
}

#[test]
fn a_chain_ends_with_the_cmd_of_its_middle_function() {
    need_functions!("bash");
    assert_eq!(statuses(&three("", "-- sh -c 'exit 4'", "")), [0, 4, 0]);
}

#[test]
fn a_chain_ends_with_the_cmd_of_its_last_function() {
    need_functions!("bash", "ping");
    assert_eq!(statuses(&three("", "", &up_then("exit 5"))), [0, 0, 5]);
}

#[test]
fn a_function_whose_neighbour_never_was_one_says_so() {
    need_functions!("bash");
    let scene = Scene::new();
    let (statuses, outcome) = scene.pipeline("true | stdpkt run --left 10.0.0.1/24");
    assert_eq!(statuses, [0, 125], "{outcome:?}");
    assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
    assert!(outcome.err.contains("standard input ended before the link was up"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn other_cmds_are_terminated_when_the_first_ends() {
    need_functions!("bash");
    assert_eq!(statuses(&three(&ends_after(&[2, 3]), &stays(2), &stays(3))), [0, 143, 143]);
}

#[test]
fn other_cmds_are_terminated_when_the_middle_ends() {
    need_functions!("bash");
    assert_eq!(statuses(&three(&stays(1), &ends_after(&[1, 3]), &stays(3))), [143, 0, 143]);
}

#[test]
fn other_cmds_are_terminated_when_the_last_ends() {
    need_functions!("bash");
    assert_eq!(statuses(&three(&stays(1), &stays(2), &ends_after(&[1, 2]))), [143, 143, 0]);
}

#[test]
fn a_cmd_may_decide_what_the_end_of_its_link_means() {
    need_functions!("bash");
    let cmd = "-- sh -c 'trap \"exit 7\" TERM; touch up2; while :; do sleep 0.05; done'";
    assert_eq!(statuses(&two(&ends_after(&[2]), cmd)), [0, 7]);
}

#[test]
fn a_cmd_that_ignores_the_end_is_killed() {
    need_functions!("bash");
    let cmd = "-- sh -c 'trap \"\" TERM; touch up2; while :; do sleep 0.05; done'";
    assert_eq!(statuses(&two(&ends_after(&[2]), cmd)), [0, 137]);
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
    assert_eq!(statuses(&three(&up_then("exit 0"), setup, setup)), [0, 0, 0]);
}

#[test]
fn a_cmd_that_dies_of_a_signal_ends_the_chain_with_its_number() {
    need_functions!("bash");
    assert_eq!(statuses(&two("", "-- sh -c 'kill -SEGV $$'")), [0, 128 + 11]);
}

#[test]
fn what_was_sent_before_the_end_arrives() {
    need_functions!("bash", "tcpdump");
    // The last function's capture sees all of it although the first has ended.
    let scene = Scene::new();
    let send = "-- bash -c 'for n in {1..50}; do echo $n >/dev/udp/10.0.0.2/9; done'";
    let receive = "--setup 'ip neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev left; \
                   tcpdump -lnni left -s 100 --immediate-mode udp port 9 >seen 2>/dev/null & sleep 0.5' -- sleep 1000";
    let (statuses, outcome) = scene.pipeline(&two(send, receive));
    assert_eq!(statuses, [0, 143], "{outcome:?}");
    let seen = std::fs::read_to_string(scene.path("seen")).expect("a capture");
    assert_eq!(seen.lines().count(), 50, "{seen}");
    scene.assert_nothing_left();
}

/// Who writes a capture comes after the frames, but not after everybody on a busy machine.
#[test]
fn a_tee_ends_where_others_want_the_processor() {
    need_functions!("ping", "taskset");
    let scene = Scene::new();
    let play = scene.start_sh(
        "cpu=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//'); taskset -cp $cpu $$ >/dev/null
         until [ -e up ]; do sleep 0.02; done && for n in $(seq 40); do
             (until [ -e over ]; do :; done) &
         done &
         stdpkt run --right 10.0.0.1/24 -- sh -c '
             until ping -q -c1 -W1 10.0.0.2 >/dev/null; do :; done; touch up
             ping -q -c20 -i0.1 10.0.0.2; touch end' \
         | stdpkt tee x.pcap | stdpkt run --left 10.0.0.2/24; touch over",
    );
    scene.wait_for_file("end");
    let over = scene.path("over");
    let took = wait_until(SOON, || over.exists().then_some(()).ok_or(scene.everything_said()));
    println!("over after {took:?}");
    play.end();
    scene.assert_nothing_left();
}

/// A CMD that is there until `file` is.
fn until(file: &str) -> String {
    format!("-- sh -c 'touch up-{file}; until [ -e {file} ]; do sleep 0.02; done'")
}

/// Waits until none of these is there any more.
fn gone(scene: &Scene, is_it: impl Fn(&Process) -> bool) {
    wait_until(SOON, || match scene.processes().iter().find(|process| is_it(process)) {
        Some(process) => Err(format!("{process:?} is there")),
        None => Ok(()),
    });
}

/// The first function and `second` have run until there are these files. The second is stopped
/// while `ends` ends what there is to end, and hears of all of that in one moment: it is over at once.
fn is_over_at_once(second: &str, up: &[&str], ends: impl FnOnce(&Scene)) {
    let scene = Scene::new();
    let play =
        scene.start_sh(&format!("stdpkt run --right 10.0.0.1/24 {} | {second}", until("first")));
    up.iter().for_each(|file| scene.wait_for_file(file));
    let name = second.split(' ').nth(1).expect("a command");
    let has = |it: &Process, word: &str| it.args.iter().any(|arg| arg == word);
    let found = |it: &&Process| it.name != "sh" && has(it, name) && !has(it, "10.0.0.1/24");
    let all = scene.processes();
    // Its keeper has the same command line, and came later.
    let stopped = all.iter().filter(found).min_by_key(|it| it.pid).expect("the second");
    scene.signal(stopped, Signal::STOP);
    ends(&scene);
    std::fs::write(scene.path("first"), "").expect("scene");
    gone(&scene, |it| has(it, "10.0.0.1/24"));
    scene.signal(stopped, Signal::CONT);
    let outcome = play.end_within(Duration::from_millis(900)).expect("an end at once");
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{outcome:?}");
    scene.assert_nothing_left();
}

/// They waited for a second in which another neighbour might have come.
#[test]
fn whoever_hears_of_several_ends_at_once_waits_for_nobody() {
    need_functions!();
    let second = format!("stdpkt run --left 10.0.0.2/24 {}", until("second"));
    is_over_at_once(&second, &["up-first", "up-second"], |scene| {
        std::fs::write(scene.path("second"), "").expect("scene");
        let is_cmd = |arg: &String| arg.starts_with("touch up-second");
        gone(scene, |it| it.args.iter().any(is_cmd) && !it.args.iter().any(|arg| arg == "run"));
    });
    is_over_at_once("stdpkt join frames -- cat", &["up-first"], |_| {});
}
