//! `stdpkt run --on-demand`: links and nothing else, until the first frame.

use std::fs;
use std::time::Instant;

use crate::support::chains::three;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::{SOON, wait_until};

/// Computes for a while, and only then listens; gives back what it is sent.
pub const SLOW_SERVER: &str = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done
    exec socat TCP-LISTEN:7,fork SYSTEM:cat";

fn network_of(pid: impl std::fmt::Display) -> std::path::PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/net")).expect("a process")
}

#[test]
fn a_function_sleeps_with_its_link_until_a_frame_comes_and_answers_that_frame() {
    need_functions!("mkfifo", "ping");
    let scene = Scene::new();
    let name = format!("sleepy-{}", std::process::id());
    let play = scene.start_sh(&format!(
        "mkfifo f
         stdpkt run --name {name} --on-demand --link l,at=f,ip=10.0.0.2/24 --setup 'touch awake' \
             -- sleep 1000 &
         stdpkt run --link l,at=f,ip=10.0.0.1/24 -- sh -c '
             touch linked; until [ -e go ]; do sleep 0.05; done; ping -c3 -i0.2 -W5 10.0.0.2; touch done; sleep 1000' &
         wait"
    ));
    // Who has started CMD has a link.
    scene.wait_for_file("linked");
    std::thread::sleep(std::time::Duration::from_millis(500));
    let sleeper = scene.function(&name);
    assert!(!scene.path("awake").exists());
    assert_eq!(network_of(sleeper.pid), network_of("self"));
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", sleeper.pid));
    assert_eq!(children.expect("children"), "");
    let asked = scene.sh(&format!("stdpkt exec {name} -- true"));
    assert!(asked.only_line().contains("it sleeps"), "{asked:?}");
    let asked = scene.sh(&format!("stdpkt swap {name} -- stdpkt run --link l,at=f"));
    assert!(asked.only_line().contains("it sleeps"), "{asked:?}");
    let start = Instant::now();
    fs::write(scene.path("go"), "").expect("scene");
    scene.wait_for_file("done");
    println!("awake and pinged after {:?}", start.elapsed());
    assert!(scene.path("awake").exists());
    assert!(scene.everything_said().contains("3 received"), "{}", scene.everything_said());
    assert_ne!(network_of(sleeper.pid), network_of("self"));
    wait_until(SOON, || match scene.sh(&format!("stdpkt exec {name} -- true")).status {
        0 => Ok(()),
        status => Err(status.to_string()),
    });
    play.end_all();
}

#[test]
fn a_whole_chain_wakes_from_left_to_right() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let chain = three("-- ping -c3 -i0.2 -W5 10.0.2.1", "--on-demand", "--on-demand");
    let (statuses, outcome) = scene.pipeline(&chain);
    assert_eq!(statuses, [0, 0, 0], "{outcome:?}");
    assert!(outcome.err.contains("3 received"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn one_that_sleeps_ends_with_its_link_or_a_signal_and_passes_on_no_blocked_one() {
    need_functions!("bash", "mkfifo", "ping");
    let scene = Scene::new();
    let (statuses, outcome) = scene
        .pipeline("stdpkt run --right 10.0.0.1/24 -- true | stdpkt run --on-demand --left none");
    assert_eq!(statuses, [0, 0], "{outcome:?}");
    let out = scene.sh("mkfifo f; stdpkt run --on-demand --link l,at=f & function=$!
         sleep 0.5; kill $function; wait $function; echo $?");
    assert_eq!(out.out, "143\n", "{out:?}");
    let cmd = "grep SigBlk /proc/self/status > blocked; touch up; exec sleep 1000";
    let (statuses, outcome) = scene.pipeline(&format!(
        "stdpkt run --right 10.0.0.1/24 -- sh -c 'ping -q -c1 -W5 10.0.0.2; until [ -e up ]; do sleep 0.05; done' \
         | stdpkt run --on-demand --left 10.0.0.2/24 -- sh -c '{cmd}'"
    ));
    assert_eq!(statuses, [0, 143], "{outcome:?}");
    let blocked = fs::read_to_string(scene.path("blocked")).expect("blocked");
    assert!(blocked.trim_end().ends_with("\t0000000000000000"), "{blocked}");
    for (options, part) in [
        ("--stack lkl --link l,at=f -- true", "leave out --stack lkl"),
        ("--left 10.0.0.1/24,at=frames:unix:s", "is no link that could wait"),
    ] {
        let out = scene.sh(&format!("stdpkt run --on-demand {options} < /dev/zero"));
        assert_eq!(out.status, 125, "{options}: {out:?}");
        assert!(out.only_line().contains(part), "{options}: {out:?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn one_that_is_idle_sleeps_again_and_wakes_again_and_its_link_stays_up() {
    need_functions!("mkfifo", "ping", "ip");
    let scene = Scene::new();
    let name = format!("dozes-{}", std::process::id());
    let play = scene.start_sh(&format!(
        "mkfifo f
         stdpkt run --link l,at=f,ip=10.0.0.1/24 -- sh -c '
             ip -o monitor link > changes & sleep 1000 & touch linked
             for i in 1 2 3; do
                 until [ -e go$i ]; do sleep 0.05; done
                 ping -q -c3 -i0.2 -W5 10.0.0.2 >> pings; touch done$i
             done; wait' &
         exec stdpkt run --name {name} --on-demand --idle 0.7s --link l,at=f,ip=10.0.0.2/24 \
             --setup 'echo >> awake' -- sh -c 'echo $$ >> lives; exec sleep 1000'"
    ));
    scene.wait_for_file("linked");
    let holder = || scene.processes().into_iter().filter(|it| it.args.contains(&name)).count();
    for times in 1..=3 {
        // Nothing but the one that waits.
        wait_until(SOON, || match (holder(), scene.sh(&format!("stdpkt exec {name} -- true"))) {
            (1, asked) if asked.err.contains("it sleeps") => Ok(()),
            (count, asked) => Err(format!("{count}: {asked:?} {}", scene.everything_said())),
        });
        assert!(scene.sh(&format!("stdpkt ls {name}")).out.contains("ring"));
        fs::write(scene.path(&format!("go{times}")), "").expect("scene");
        scene.wait_for_file(&format!("done{times}"));
        let awake = fs::read_to_string(scene.path("awake")).expect("awake");
        // Once more where the machine lets it wait between two pings, or a neighbour asks for its address.
        assert!(awake.lines().count() >= times, "{awake}");
    }
    let pings = fs::read_to_string(scene.path("pings")).expect("pings");
    assert_eq!(pings.matches("3 received, 0% packet loss").count(), 3, "{pings}");
    let changes = fs::read_to_string(scene.path("changes")).expect("changes");
    assert!(!changes.contains("NO-CARRIER"), "{changes}");
    play.end_all();
}

/// Who wakes it is not refused because CMD does not listen yet, however long that takes to be there.
#[test]
fn the_connection_that_wakes_it_is_taken() {
    need_functions!("mkfifo", "socat");
    let scene = Scene::new();
    fs::write(scene.path("server"), SLOW_SERVER).expect("scene");
    let out = scene.sh("mkfifo f
         stdpkt run --on-demand --idle 0.2 --link l,at=f,ip=10.0.0.2/24 -- sh server & function=$!
         stdpkt run --link l,at=f,ip=10.0.0.1/24 -- sh -c '
             for i in 1 2; do echo hello $i | socat -t9 - TCP:10.0.0.2:7; echo $?; sleep 1; done'
         kill $function; wait");
    assert_eq!(out.out, "hello 1\n0\nhello 2\n0\n", "{out:?}");
    scene.assert_nothing_left();
}

/// Whoever holds it gets the signal; the function is about to sleep, or does, or wakes.
#[test]
fn a_signal_ends_it_whenever_it_comes() {
    need_functions!("bash", "mkfifo", "ping");
    let scene = Scene::new();
    let out = scene
        .start_in(
            &["bash"],
            "mkfifo f
             for i in 0 3 6 9 12; do for j in 1 4 7; do
                 stdpkt run --on-demand --idle 0.1 --link l,at=f,ip=10.0.0.2/24 -- sleep 1000 & function=$!
                 stdpkt run --link l,at=f,ip=10.0.0.1/24 -- ping -q -c1 -W5 10.0.0.2 > pinged
                 sleep $(printf 0.%03d $((10 * i + 3 * j)))
                 kill $function; wait $function; echo ended $?
             done; done",
        )
        .end();
    assert_eq!(out.out, "ended 143\n".repeat(15), "{out:?}");
    scene.assert_nothing_left();
}

/// Frames that come while it goes to sleep wake it again.
#[test]
fn no_frame_is_lost_on_the_way_to_sleep_and_back() {
    need_functions!("mkfifo", "ping");
    let scene = Scene::new();
    let out = scene.sh(
        "mkfifo f
         stdpkt run --on-demand --idle 0.5 --link l,at=f,ip=10.0.0.2/24 --setup 'echo >> awake' & function=$!
         stdpkt run --link l,at=f,ip=10.0.0.1/24 -- sh -c '
             for pause in 0.49 0.5 0.505 0.52; do ping -q -W5 -c5 -i$pause 10.0.0.2; done'
         kill $function; wait $function; echo ended $?",
    );
    assert_eq!(out.out.matches("5 received, 0% packet loss").count(), 4, "{out:?}");
    let awake = fs::read_to_string(scene.path("awake")).expect("awake");
    println!("woken {} times", awake.lines().count());
    assert!(awake.lines().count() > 1, "it never slept: {out:?}");
    assert!(out.out.ends_with("ended 143\n"), "{out:?}");
    scene.assert_nothing_left();
}

/// Such links cannot change hands: the function goes on where it has slept.
#[test]
fn one_whose_frames_go_through_the_pipe_wakes_for_good() {
    need_functions!("bash", "ping");
    let scene = Scene::new();
    let (statuses, outcome) = scene.pipeline(
        "stdpkt run --channel fifo --right 10.0.0.1/24 -- sh -c 'ping -q -c2 -W5 10.0.0.2; sleep 1; ping -q -c2 10.0.0.2' \
         | stdpkt run --on-demand --idle 0.2 -v --left 10.0.0.2/24",
    );
    assert_eq!(statuses, [0, 0], "{outcome:?}");
    assert!(outcome.err.contains("it wakes for good"), "{outcome:?}");
    for (options, part) in [("--idle 3s", "--on-demand"), ("--on-demand --idle 0", "30s")] {
        let out = scene.sh(&format!("stdpkt run {options} --link l,at=f"));
        assert_eq!(out.status, 125, "{out:?}");
        assert!(out.only_line().contains(part), "{options}: {out:?}");
    }
    scene.assert_nothing_left();
}
