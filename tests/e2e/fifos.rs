//! Further links on named FIFOs.

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

const PING_ALL: &str = "sh -c 'for n in 0 1 2 3; do ping -q -c1 -W5 10.0.$n.1 || exit 1; done'";

#[test]
fn two_functions_share_a_pipe_and_three_fifos_used_both_ways() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    let links = |host: u32| {
        let one = |n: u32| format!("--link x{n},at=f{n},ip=10.0.{n}.{host}/24 ");
        [1, 2, 3].map(one).concat()
    };
    let outcome = scene.sh(&format!(
        "mkfifo f1 f2 f3
         stdpkt run --right 10.0.0.1/24 {} | stdpkt run --left 10.0.0.2/24 {} -- {PING_ALL}",
        links(1),
        links(2)
    ));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(outcome.out.matches(" 0% packet loss").count(), 4, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_link_may_have_a_fifo_each_way() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    let links = |host: u32, rx: &str, tx: &str| {
        let one = |n: u32| format!("--link x{n},at={rx}{n}:{tx}{n},ip=10.0.{n}.{host}/24 ");
        [1, 2, 3].map(one).concat()
    };
    let outcome = scene.sh(&format!(
        "mkfifo a1 a2 a3 b1 b2 b3
         stdpkt run --right 10.0.0.1/24 {} | stdpkt run --left 10.0.0.2/24 {} -- {PING_ALL}",
        links(1, "a", "b"),
        links(2, "b", "a")
    ));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(outcome.out.matches(" 0% packet loss").count(), 4, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn the_same_links_work_as_fifos_of_frames() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    let outcome = scene.sh(
        "mkfifo a b c
         stdpkt run --channel fifo --right 10.0.0.1/24 --link x,at=a:b,ip=10.0.1.1/24 \
             --link y,at=c,ip=10.0.2.1/24 \
         | stdpkt run --channel fifo --left 10.0.0.2/24 --link x,at=b:a,ip=10.0.1.2/24 \
             --link y,at=c,ip=10.0.2.2/24 \
             -- sh -c 'ping -q -c1 -W5 10.0.0.1 && ping -q -c1 -W5 10.0.1.1 && ping -q -c1 -W5 10.0.2.1'",
    );
    assert_eq!(outcome.status, 0, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn standard_input_and_output_may_be_a_named_fifo() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    let outcome = scene.sh("mkfifo f
         stdpkt run --right 10.0.0.1/24 >f &
         stdpkt run --left 10.0.0.2/24 -- ping -q -c1 -W5 10.0.0.1 <f
         status=$?; wait; exit $status");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_function_may_be_joined_by_links_alone() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    let outcome = scene.sh("mkfifo f
         stdpkt run --link x,at=f,ip=10.0.0.1/24 -- sleep 1000 &
         stdpkt run --link x,at=f,ip=10.0.0.2/24 -- ping -q -c1 -W5 10.0.0.1
         status=$?; kill $!; wait; exit $status");
    assert_eq!(outcome.status, 0, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_function_on_fifos_waits_for_the_next_neighbour() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    assert_eq!(scene.sh("mkfifo f a b").status, 0);
    let links = "--link x,at=f,ip=10.0.0.1/24 --link y,at=a:b,ip=10.0.1.1/24";
    let stays = scene.start_sh(&format!("exec stdpkt run {links}"));
    for _ in 0..3 {
        let next = scene
            .sh("stdpkt run --link x,at=f,ip=10.0.0.2/24 --link y,at=b:a,ip=10.0.1.2/24 \
             -- sh -c 'ping -q -c1 -W5 10.0.0.1 && ping -q -c1 -W5 10.0.1.1'");
        assert_eq!(next.status, 0, "{next:#?}");
        assert_eq!(next.out.matches(" 0% packet loss").count(), 2, "{next:#?}");
    }
    stays.signal_group(rustix::process::Signal::TERM);
    let stays = stays.end();
    assert_eq!((stays.status, stays.err.as_str()), (143, ""), "{stays:#?}");
    scene.assert_nothing_left();
}

/// It would put its frames into the link of the two others.
#[test]
fn the_third_holder_of_a_fifo_used_both_ways_is_refused_and_named() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    assert_eq!(scene.sh("mkfifo f").status, 0);
    let one = scene.start_sh("exec stdpkt run --link x,at=f,ip=10.0.0.1/24");
    let two = scene.start_sh("exec stdpkt run --link x,at=f,ip=10.0.0.2/24 -- sh -c 'ping -q -c1 -W5 10.0.0.1 && touch up && exec sleep 60'");
    scene.wait_for_file("up");
    for channel in ["shm", "fifo"] {
        let third =
            scene.sh(&format!("stdpkt run --channel {channel} --link x,at=f,ip=10.0.0.3/24"));
        assert_eq!(third.status, 125, "{third:#?}");
        let line = third.only_line();
        for word in ["stdpkt: x: f already has ", "`stdpkt` (pid ", "another pipe or FIFO"] {
            assert!(line.contains(word), "{channel}: {line}");
        }
    }
    for play in [one, two] {
        play.signal_group(rustix::process::Signal::TERM);
        play.end();
    }
    scene.assert_nothing_left();
}

#[test]
fn a_reader_of_several_goes_on_looking_when_one_of_them_ends() {
    need_functions!("ping", "mkfifo");
    let scene = Scene::new();
    assert_eq!(scene.sh("mkfifo f g h").status, 0);
    let reader = scene.start_sh("exec stdpkt run --link x,at=f:g,ip=10.0.0.1/24");
    let stays = scene.start_sh(
        "exec stdpkt run --link x,at=h:f,ip=10.0.0.2/24 -- sh -c 'touch up; exec sleep 60'",
    );
    scene.wait_for_file("up");
    for _ in 0..2 {
        let next = scene
            .sh("stdpkt run --link x,at=g:f,ip=10.0.0.3/24 -- timeout 20 ping -q -c1 10.0.0.1");
        assert!(next.out.contains("1 received"), "{next:#?}");
    }
    for play in [reader, stays] {
        play.signal_group(rustix::process::Signal::TERM);
        play.end();
    }
    scene.assert_nothing_left();
}
