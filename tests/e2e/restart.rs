//! `stdpkt run --restart`: CMD ends and begins, the links stay; so they do when the function
//! itself is killed.

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::{SOON, wait_until};

#[test]
fn a_cmd_that_dies_is_started_again_and_its_neighbour_sees_no_end() {
    need_functions!("mkfifo", "ping", "ip");
    let scene = Scene::new();
    let fw = format!("again-{}", std::process::id());
    let cmd =
        "echo $$ >> lives; [ $(wc -l < lives) -lt 3 ] || exec sleep 1000; sleep 0.2; kill -9 $$";
    let play = scene.start_sh(&format!(
        "mkfifo f
         stdpkt run --name {fw} --restart=on-failure --link l,at=f,ip=10.0.0.1/24 -- sh -c '{cmd}' &
         exec stdpkt run --link l,at=f,ip=10.0.0.2/24 -- sh -c '
             ip -o monitor link > changes & ping -q -i0.05 10.0.0.1 > pings'"
    ));
    let shown = |part: &str| {
        wait_until(SOON, || {
            let out = scene.sh(&format!("stdpkt ls --chains {fw}")).out;
            if out.contains(part) {
                Ok(())
            } else {
                Err(format!("{out} {}", scene.everything_said()))
            }
        });
    };
    shown("restarts: 2, last after status 137");
    let report = scene.sh(&format!("stdpkt ls --json {fw}")).out;
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["functions"][0]["restarts"]["count"], 2, "{report:#}");
    let metrics = scene.sh("stdpkt metrics --once").out;
    let sample = format!("stdpkt_restarts_total{{function=\"{fw}\"}} 2");
    assert!(metrics.contains(&sample), "{metrics}");
    play.signal_group(Signal::TERM); // a shell has its background ignore SIGINT
    play.end();
    let changes = std::fs::read_to_string(scene.path("changes")).expect("changes");
    assert!(!changes.contains("NO-CARRIER"), "{changes}");
    scene.assert_nothing_left();
}

#[test]
fn what_ends_well_has_failed_or_was_told_to_end_is_not_started_again() {
    need_functions!("mkfifo");
    let scene = Scene::new();
    let run = |when: &str, cmd: &str| {
        scene.sh(&format!(
            "rm -f f lives; mkfifo f; stdpkt run --link l,at=f & other=$!
             stdpkt run {when} --link l,at=f -- sh -c 'echo >> lives; {cmd}'; status=$?
             kill $other; wait; echo $(wc -l < lives) $status"
        ))
    };
    assert_eq!(run("--restart=on-failure", "exit 0").out, "1 0\n");
    assert_eq!(run("--restart", "exit 125").out, "1 125\n");
    let told = run("--restart=on-failure", "[ $(wc -l < lives) -ge 2 ] || exit 3; exit 0");
    assert_eq!(told.out, "2 0\n");
    assert!(told.err.contains("CMD ended with status 3: again in 0.1 s"), "{told:?}");
    // Between two lives, too.
    let script = "mkfifo g; stdpkt run --link l,at=g & other=$!
         stdpkt run --restart --link l,at=g -- false & function=$!
         sleep 1; kill $function; wait $function; echo $?; kill $other; wait";
    let out = scene.sh(script);
    assert_eq!(out.out, "143\n", "{out:?}");
    for (options, part) in [
        ("--restart --keep --link l,at=f -- true", "--keep"),
        ("--restart --stack lkl --link l,at=f -- true", "the links of an LKL function"),
        ("--restart=sometimes --link l,at=f -- true", "sometimes"),
    ] {
        let out = scene.sh(&format!("stdpkt run {options}"));
        assert_eq!(out.status, 125, "{options}: {out:?}");
        assert!(out.only_line().contains(part), "{options}: {out:?}");
    }
    let out = scene.sh("stdpkt run --restart=on-failure --link l,at=f --print-file -- true");
    assert!(out.out.contains("restart = \"on-failure\""), "{out:?}");
    scene.assert_nothing_left();
}

/// The process that has the links of the function that this one holds.
fn held_by(holder: &str) -> Option<i32> {
    let children = std::fs::read_to_string(format!("/proc/{holder}/task/{holder}/children"));
    children.ok()?.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_router_that_is_killed_goes_on_with_its_links_and_delivers_nothing_twice() {
    need_functions!("mkfifo", "ping", "ip");
    let scene = Scene::new();
    let r = format!("killed-{}", std::process::id());
    let play = scene.start_sh(&format!(
        "mkfifo f g
         stdpkt run --link l,at=g,ip=10.0.1.2/24 --gateway 10.0.1.1 -- sh -c '
             ip -o monitor link > changes-right & exec sleep 1000' &
         stdpkt run --link l,at=f,ip=10.0.0.2/24 --gateway 10.0.0.1 -- sh -c '
             ip -o monitor link > changes-left & touch up
             until [ -e end ]; do ping -q -i0.002 -c100 10.0.1.2 >> pings; done; touch done; sleep 1000' &
         sh -c 'echo $$ > holder; exec \"$@\"' . stdpkt run --name {r} --restart --link l,at=f,ip=10.0.0.1/24 --link r,at=g,ip=10.0.1.1/24 --forward & wait"
    ));
    scene.wait_for_file("up");
    let holder = std::fs::read_to_string(scene.path("holder")).expect("holder");
    let holder = holder.trim();
    let answered = || {
        let pings = std::fs::read_to_string(scene.path("pings")).unwrap_or_default();
        pings.lines().filter(|line| line.contains("received, ") && !line.contains(" 0 rec")).count()
    };
    let more = || {
        let before = answered();
        wait_until(SOON, || match answered() > before + 1 {
            true => Ok(()),
            false => Err(scene.everything_said()),
        });
    };
    for times in 1..=3 {
        more();
        let function = held_by(holder).expect("a function");
        let pid = rustix::process::Pid::from_raw(function).expect("a process");
        rustix::process::kill_process(pid, Signal::KILL).expect("kill");
        let part = format!("restarts: {times}, last after status 137");
        wait_until(SOON, || {
            let out = scene.sh(&format!("stdpkt ls --chains {r}")).out;
            if out.contains(&part) {
                Ok(())
            } else {
                Err(format!("{out} {}", scene.everything_said()))
            }
        });
    }
    more();
    std::fs::write(scene.path("end"), "").expect("scene");
    scene.wait_for_file("done");
    for file in ["changes-left", "changes-right"] {
        let changes = std::fs::read_to_string(scene.path(file)).expect("changes");
        assert!(!changes.contains("NO-CARRIER"), "{file}: {changes}");
    }
    let pings = std::fs::read_to_string(scene.path("pings")).expect("pings");
    assert!(!pings.contains("duplicates"), "{pings}");
    println!("{pings}");
    let said = scene.everything_said();
    assert_eq!(said.matches("the function was killed by signal 9: again in").count(), 3, "{said}");
    play.end_all();
}

#[test]
fn whoever_holds_a_function_ends_as_it_does_and_takes_it_along() {
    need_functions!("bash", "mkfifo", "ping");
    for (signal, status) in [("TERM", 143), ("INT", 130), ("KILL", 137)] {
        let scene = Scene::new();
        // In a `|`, too: the neighbours see the end.
        let (statuses, out) = scene.pipeline(&format!(
            "stdpkt run --right 10.0.0.2/24 -- ping -q 10.0.0.1 \
             | (stdpkt run --restart --left 10.0.0.1/24 <&0 & function=$!
                until stdpkt exec $(ps -o pid= --ppid $function) -- true 2>/dev/null; do sleep 0.05; done
                kill -{signal} $function; wait $function; exit $?)"
        ));
        assert_eq!(statuses[1], status, "{signal}: {out:?}");
        scene.assert_nothing_left();
    }
    let scene = Scene::new();
    let (statuses, out) = scene.pipeline(
        "stdpkt run --right 10.0.0.2/24 -- ping -q -c1 10.0.0.1 | stdpkt run --restart --left 10.0.0.1/24",
    );
    assert_eq!(statuses, [0, 0], "{out:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_held_function_that_was_swapped_leaves_its_place_to_the_new_one() {
    need_functions!("bash", "mkfifo", "ping");
    let scene = Scene::new();
    let r = format!("heldswap-{}", std::process::id());
    let run = format!("stdpkt run --name {r} --restart --link l,at=f,ip=10.0.0.1/24");
    let out = scene
        .start_in(
            &["bash"],
            &format!(
        "mkfifo f; stdpkt run --link l,at=f,ip=10.0.0.2/24 -- ping -q -i0.01 10.0.0.1 & other=$!
         {run} & function=$!
         until stdpkt ls {r} 2>/dev/null | grep -q ring; do sleep 0.05; done
         stdpkt swap {r} -- {run} && echo swapped
         kill $function; wait $function; echo ended $?
         kill -INT $other; wait $other; echo other $?"
    ),
        )
        .end();
    for line in ["swapped", "ended 143", "other 0"] {
        assert!(out.out.lines().any(|it| it == line), "{line}: {out:?}");
    }
    scene.assert_nothing_left();
}
