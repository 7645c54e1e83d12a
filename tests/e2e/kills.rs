//! Signals from outside: kill -9 of any function, SIGINT, SIGTERM and SIGHUP
//! to all of a chain.

use rustix::process::Signal;

use crate::support::chains::three;
use crate::support::need::{need, need_functions};
use crate::support::scene::{Play, Scene, statuses_of, with_statuses};

/// Addresses on the command line of the first, middle and last function.
const FUNCTIONS: [&str; 3] = ["10.0.1.1/24", "10.0.1.2/24", "10.0.2.1/24"];

/// Three functions, each with a CMD that has daemons and does not want to end.
fn start(scene: &Scene, options: &str) -> String {
    let _ = scene;
    let cmd = |number: u32, peer: &str| {
        format!(
            "{options} -- sh -c 'setsid sleep 1000 & setsid -f sleep 1000; (sleep 1000 &); \
             ping -q -c1 -W5 {peer} >/dev/null && touch up{number}; exec sleep 1000'"
        )
    };
    let chain = three(&cmd(1, "10.0.2.1"), &cmd(2, "10.0.1.1"), &cmd(3, "10.0.1.1"));
    with_statuses(&chain)
}

fn wait_for_all(scene: &Scene) {
    for file in ["up1", "up2", "up3"] {
        scene.wait_for_file(file);
    }
}

/// Kills one function of a chain; returns the exit status of each.
fn statuses_after_kill(which: usize, options: &str) -> Vec<i32> {
    let scene = Scene::new();
    let play = scene.start_in(&["bash"], &start(&scene, options));
    wait_for_all(&scene);
    scene.signal(&scene.function(FUNCTIONS[which]), Signal::KILL);
    let (statuses, outcome) = statuses_of(play.end());
    println!("{outcome:?}");
    scene.assert_nothing_left();
    statuses
}

#[test]
fn killing_the_first_function_unwinds_the_chain() {
    need_functions!("bash", "ping", "setsid");
    assert_eq!(statuses_after_kill(0, ""), [137, 143, 143]);
}

#[test]
fn killing_the_middle_function_unwinds_the_chain() {
    need_functions!("bash", "ping", "setsid");
    assert_eq!(statuses_after_kill(1, ""), [143, 137, 143]);
}

#[test]
fn killing_the_last_function_unwinds_the_chain() {
    need_functions!("bash", "ping", "setsid");
    assert_eq!(statuses_after_kill(2, ""), [143, 143, 137]);
}

#[test]
fn killing_a_function_unwinds_a_chain_over_pipes() {
    need_functions!("bash", "ping", "setsid");
    for which in 0..3 {
        let mut expected = [143; 3];
        expected[which] = 137;
        assert_eq!(statuses_after_kill(which, "--channel fifo"), expected);
    }
}

#[test]
fn killing_a_keeper_is_an_error_of_its_function_and_unwinds_the_chain() {
    need_functions!("bash", "ping", "setsid");
    let scene = Scene::new();
    let play = scene.start_in(&["bash"], &start(&scene, ""));
    wait_for_all(&scene);
    let is_its = |word: &str| word == FUNCTIONS[1];
    let keeper = scene
        .processes()
        .into_iter()
        .find(|p| p.name == "stdpkt-keeper" && p.args.iter().any(|arg| is_its(arg)))
        .expect("a keeper");
    scene.signal(&keeper, Signal::KILL);
    let (statuses, outcome) = statuses_of(play.end());
    assert_eq!(statuses, [143, 125, 143], "{outcome:?}");
    assert!(outcome.err.contains("stdpkt: the function's keeper was killed"), "{outcome:?}");
    scene.assert_nothing_left();
}

/// Signals the whole process group, as a terminal does. The shell ignores it,
/// so that it can tell the statuses.
fn statuses_after(signal: Signal, name: &str, chain: &str) -> Vec<i32> {
    let scene = Scene::new();
    // A trap that is not "" is reset in what the shell starts.
    let script = format!("trap : {name}\n{}", with_statuses(chain));
    let play: Play<'_> = scene.start_in(&["bash"], &script);
    scene.wait_for_file("up");
    play.signal_group(signal);
    let (statuses, outcome) = statuses_of(play.end());
    println!("{outcome:?}");
    scene.assert_nothing_left();
    statuses
}

const TELLS: &str = "-- sh -c 'ping -q -c1 -W5 10.0.2.1 >/dev/null && touch up; exec sleep 1000'";

#[test]
fn an_interrupt_unwinds_the_chain() {
    need_functions!("bash", "ping");
    assert_eq!(statuses_after(Signal::INT, "INT", &three(TELLS, "", "")), [130, 130, 130]);
}

#[test]
fn a_termination_unwinds_the_chain() {
    need_functions!("bash", "ping");
    assert_eq!(statuses_after(Signal::TERM, "TERM", &three(TELLS, "", "")), [143, 143, 143]);
}

#[test]
fn a_hangup_unwinds_the_chain() {
    need_functions!("bash", "ping");
    assert_eq!(statuses_after(Signal::HUP, "HUP", &three(TELLS, "", "")), [129, 129, 129]);
}

#[test]
fn the_cmd_decides_what_an_interrupt_means() {
    need_functions!("bash", "ping");
    let cmd = "-- sh -c 'trap \"exit 9\" INT; ping -q -c1 -W5 10.0.2.1 >/dev/null && touch up; while :; do sleep 0.05; done'";
    assert_eq!(statuses_after(Signal::INT, "INT", &three(cmd, "", "")), [9, 130, 130]);
}

#[test]
fn functions_that_still_wait_for_a_neighbour_can_be_interrupted() {
    need_functions!("bash", "mkfifo");
    let scene = Scene::new();
    assert_eq!(scene.sh("mkfifo f").status, 0);
    let script = "exec stdpkt run --link x,at=f,ip=10.0.0.1/24 -- true";
    let play = scene.start_in(&["bash"], script);
    scene.wait_for_holder("f");
    play.signal_group(Signal::INT);
    assert_eq!(play.end().status, 130);
    scene.assert_nothing_left();
}
