//! `stdpkt run --restart`: CMD ends and begins, the links stay.

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
        ("--restart --left 10.0.0.1/24", "CMD"),
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
