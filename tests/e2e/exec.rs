//! `stdpkt exec`: a command inside a running function.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::{Scene, stdpkt};
use crate::support::terminal::Terminal;
use crate::support::{SOON, wait_until};

/// A name that nobody else on this machine has.
fn name(kind: &str) -> String {
    format!("{kind}-{}", std::process::id())
}

/// Waits until the function is there, and so ready.
fn wait_for(scene: &Scene, name: &str) {
    wait_until(SOON, || {
        let looked = scene.sh(&format!("stdpkt ls {name}"));
        if looked.status == 0 { Ok(()) } else { Err(looked.err) }
    });
}

#[test]
fn a_command_runs_in_the_functions_namespaces_and_directory() {
    need_functions!("mkfifo", "ip", "hostname");
    let scene = Scene::new();
    let fw = name("fw");
    let play = scene.start_sh(&format!(
        "mkfifo f; mkdir d; cd d
         exec stdpkt run --name {fw} --link l,at=../f,ip=10.3.0.1/24 --setup 'hostname inside' -- sleep 1000"
    ));
    wait_for(&scene, &fw);
    let out = scene.sh(&format!(
        "cd /; HERE=yes; export HERE
         echo typed | stdpkt exec {fw} -- sh -c '
             ip -o addr show l; pwd; cat /proc/1/comm; hostname; cat; echo $HERE; echo said >&2'"
    ));
    assert_eq!(out.status, 0, "{out:?}");
    let directory = scene.path("d").display().to_string();
    for part in ["10.3.0.1/24", &directory, "stdpkt-keeper", "inside", "typed", "yes"] {
        assert!(out.out.contains(part), "{part}: {out:?}");
    }
    assert_eq!(out.err, "said\n");
    for (command, status) in [
        ("sh -c 'exit 7'", 7),
        ("sh -c 'kill -TERM $$'", 143),
        ("/nonexistent", 127),
        ("/etc/passwd", 126),
        ("no-such-program", 127),
    ] {
        let out = scene.sh(&format!("stdpkt exec {fw} -- {command}"));
        assert_eq!(out.status, status, "{command}: {out:?}");
        assert_eq!(out.err.lines().count(), usize::from(status == 126 || status == 127), "{out:?}");
    }
    // A signal for it goes to the command; and the function's end is the command's.
    let traps = "trap 'echo got it; exit 3' TERM; touch ready; while :; do sleep 0.05; done";
    let out = scene.sh(&format!(
        "stdpkt exec {fw} -- sh -c \"{traps}\" & until [ -e d/ready ]; do sleep 0.05; done
         kill $!; wait $!; echo $?"
    ));
    assert_eq!(out.out, "got it\n3\n", "{out:?}");
    let long = scene.start_sh(&format!("exec stdpkt exec {fw} -- sh -c 'touch long; sleep 1000'"));
    scene.wait_for_file("d/long");
    play.signal_group(Signal::TERM);
    assert_eq!(long.end().status, 137);
    play.end();
    scene.assert_nothing_left();
}

#[test]
fn a_function_without_programs_has_an_inside_and_an_element_has_none() {
    need_functions!("mkfifo", "ip");
    let scene = Scene::new();
    let (router, tee) = (name("router"), name("mirror"));
    let play = scene.start_sh(&format!(
        "mkfifo f g h
         stdpkt run --name {router} --forward --link l,at=f,ip=10.4.0.1/24 &
         stdpkt tee --name {tee} t.pcap <> g 1<> h"
    ));
    wait_for(&scene, &router);
    wait_for(&scene, &tee);
    let out = scene.sh(&format!("stdpkt exec {router} -- ip -o addr show l"));
    assert!(out.status == 0 && out.out.contains("10.4.0.1/24"), "{out:?}");
    let out = scene.sh(&format!("stdpkt exec {tee} -- true"));
    assert_eq!(out.status, 125, "{out:?}");
    assert!(out.only_line().contains("it has no network stack to be inside of"), "{out:?}");
    let long = scene
        .start_sh(&format!("exec stdpkt exec {router} -- sh -c 'touch long; exec sleep 1000'"));
    scene.wait_for_file("long");
    play.signal_group(Signal::TERM);
    assert_eq!(long.end().status, 137);
    play.end();
    scene.assert_nothing_left();
}

#[test]
fn an_lkl_function_says_why_it_has_no_inside() {
    need_functions!("LKL_DIR", "mkfifo");
    let scene = Scene::new();
    let lkl = name("lkl");
    let play = scene.start_sh(&format!(
        "mkfifo f; exec stdpkt run --stack lkl --name {lkl} --link l,at=f,ip=10.5.0.1/24 -- sleep 1000"
    ));
    wait_for(&scene, &lkl);
    let out = scene.sh(&format!("stdpkt exec {lkl}"));
    assert_eq!(out.status, 125, "{out:?}");
    assert!(out.only_line().contains("inside the process of CMD"), "{out:?}");
    play.end_all();
}

#[test]
fn a_shell_at_a_terminal_has_job_control_and_gives_the_terminal_back() {
    need_functions!("mkfifo", "bash", "setsid");
    let scene = Scene::new();
    let fw = name("shell");
    let play = scene.start_sh(&format!(
        "mkfifo f; exec stdpkt run --name {fw} --link l,at=f --setup 'hostname inside'"
    ));
    wait_for(&scene, &fw);
    let mut terminal = Terminal::new();
    let mut command = scene.command("setsid");
    command.args(["--ctty", "--wait", "bash", "--norc", "-i"]);
    command.stdin(Stdio::from(terminal.open()));
    let session = scene.start(command);
    // Of itself it is interactive only where standard error is the terminal, too.
    terminal.type_keys(&format!("stdpkt exec {fw} -- bash --norc -i\n"));
    terminal.type_keys("hostname; sleep 1000 & jobs; touch at-work; sleep 1000\n");
    scene.wait_for_file("at-work");
    // What the terminal interrupts is the second sleep, once that has its foreground.
    std::thread::sleep(Duration::from_millis(500));
    terminal.type_keys("\x03");
    std::thread::sleep(Duration::from_millis(500));
    terminal.type_keys("kill %1; exit 5\n");
    terminal.type_keys("echo status: $?; exit 0\n");
    let outcome = session.end();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    for part in ["inside", "status: 5", "sleep 1000 &"] {
        assert!(outcome.out.contains(part), "{part}: {outcome:?}");
    }
    assert!(!outcome.err.contains("no job control"), "{outcome:?}");
    play.end_all();
}

/// As in `the_nat_chain_needs_no_root`: root puts on the dress of `nobody`.
#[test]
fn an_ordinary_user_gets_into_its_own_functions() {
    need_functions!("root", "user namespaces", "mkfifo", "ip", "unshare", "setpriv");
    const NOBODY: u32 = 65534;
    let scene = Scene::new();
    fs::remove_file(scene.path("bin/stdpkt")).expect("scene");
    fs::copy(stdpkt(), scene.path("bin/stdpkt")).expect("scene");
    fs::set_permissions(scene.path("."), Permissions::from_mode(0o755)).expect("scene");
    chown(scene.path("."), Some(NOBODY), Some(NOBODY)).expect("scene");
    let fw = name("own");
    let script = format!(
        "mkfifo f g
         stdpkt run --name {fw} --link l,at=f,ip=10.6.0.1/24 -- sleep 1000 & function=$!
         stdpkt run --link l,at=f,ip=10.6.0.2/24 & other=$!
         until stdpkt exec {fw} -- true 2>/dev/null; do kill -0 $function || exit; sleep 0.05; done
         stdpkt exec {fw} -- sh -c 'id -u; ip -o addr show l; cat /proc/1/comm'; echo $?
         kill $function $other; wait"
    );
    fs::write(scene.path("script"), script).expect("scene");
    let outcome = scene.sh(
        "exec unshare -m sh -c 'umask 0; mknod tun c 10 200 && mount --bind tun /dev/net/tun && \
         exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all sh script'",
    );
    let lines: Vec<&str> = outcome.out.lines().collect();
    assert!(lines.first() == Some(&"0") && lines.last() == Some(&"0"), "{outcome:?}");
    assert!(outcome.out.contains("10.6.0.1/24"), "{outcome:?}");
    assert!(outcome.out.contains("stdpkt-keeper"), "{outcome:?}");
    scene.assert_nothing_left();
}
