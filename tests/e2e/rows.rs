//! Where the functions of a row run that is longer than there are processors.

use crate::support::chains::{routers, two};
use crate::support::need::{need, need_functions};
use crate::support::scene::{Play, Scene};
use crate::support::wait_until;
use std::fs;
use std::time::Duration;

const MARK: &str = "Cpus_allowed_list:\t";

/// The processors that a process may use, as the kernel writes them.
fn allowed(pid: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    status.lines().find_map(|line| line.strip_prefix(MARK)).expect(MARK).to_owned()
}

/// Two of the processors that are ours, as taskset takes them.
fn two_processors() -> Option<[String; 2]> {
    let ours = rustix::thread::sched_getaffinity(None).expect("sched_getaffinity");
    let mut cpus = (0..rustix::thread::CpuSet::MAX_CPU).filter(|&cpu| ours.is_set(cpu));
    Some([cpus.next()?.to_string(), cpus.next()?.to_string()])
}

/// The chain on two processors, once its last CMD has made the file `up`.
fn start<'a>(scene: &'a Scene, [one, other]: &[String; 2], chain: &str) -> Play<'a> {
    let play = scene.start_sh(&format!("taskset -p -c {one},{other} $$ >taken; {chain}"));
    scene.wait_for_file("up");
    play
}

fn where_they_are(scene: &Scene, words: &[&str]) -> Vec<String> {
    words.iter().map(|word| allowed(&scene.function(word).pid.to_string())).collect()
}

#[test]
fn a_row_longer_than_the_processors_has_a_piece_on_each() {
    need_functions!("ping", "taskset", "two processors");
    let cpus = two_processors().expect("needed");
    let scene = Scene::new();
    let busy = "sh -c 'ping -q -c1 -W5 10.0.0.1 && touch up; exec ping -q -i0.2 10.0.0.1'";
    let play = start(&scene, &cpus, &routers(2, "", busy));
    let words = ["10.0.0.1/24", "10.0.1.1/24", "10.0.2.1/24", "10.0.2.2/24"];
    // Word gets around with the frames.
    wait_until(Duration::from_secs(20), || {
        let rows = where_they_are(&scene, &words);
        let pieces = [&cpus[0], &cpus[0], &cpus[1], &cpus[1]];
        let other_way_round = [&cpus[1], &cpus[1], &cpus[0], &cpus[0]];
        let is = |pieces: [&String; 4]| rows.iter().eq(pieces);
        if is(pieces) || is(other_way_round) { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    // What a function runs is not the function.
    let cmd = scene.processes().into_iter().find(|process| process.name == "ping").expect("ping");
    let list = allowed(&cmd.pid.to_string());
    assert!(!cpus.contains(&list), "{list}");
    play.end_all();
}

#[test]
fn a_row_for_which_there_are_processors_is_left_where_it_is() {
    need_functions!("ping", "taskset", "two processors");
    let cpus = two_processors().expect("needed");
    let scene = Scene::new();
    let busy = "-- sh -c 'ping -q -c20 -i0.1 -W5 10.0.0.1 && touch up; exec sleep 1000'";
    let play = start(&scene, &cpus, &two("", busy));
    for list in where_they_are(&scene, &["10.0.0.1/24", "10.0.0.2/24"]) {
        assert!(!cpus.contains(&list), "{list}");
    }
    play.end_all();
}
