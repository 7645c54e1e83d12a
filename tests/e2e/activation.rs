//! A service manager waits in the place of a function, and starts it with what it has waited
//! on: sockets, and FIFOs.

use rustix::process::Signal;

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::{SOON, wait_until};

/// Waits until the socket `name` is there.
const UNTIL: &str = "until [ -S s ]; do sleep 0.02; done";
const PING: &str = "ping -q -c3 -i0.2 -W5 10.0.0.2";

#[test]
fn a_socket_is_passed_by_systemd_and_known_by_its_name() {
    need_functions!("systemd-socket-activate", "ping");
    for (options, fd) in [("", "3"), ("", "unknown"), ("--fdname=wire", "wire"), ("--accept", "3")]
    {
        let scene = Scene::new();
        let play = scene.start_sh(&format!(
            "exec systemd-socket-activate -E PATH -l $PWD/s {options} stdpkt run --left 10.0.0.2/24,at=frames:fd:{fd}"
        ));
        let out = scene
            .sh(&format!("{UNTIL}; stdpkt run --right 10.0.0.1/24,at=frames:unix:s -- {PING}"));
        assert!(
            out.out.contains("3 received, 0% packet loss"),
            "{options}: {out:?} {}",
            scene.everything_said()
        );
        play.end_all();
    }
    let scene = Scene::new();
    for (variables, fd, part) in [
        ("", "wire", "no service manager has passed anything"),
        ("LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=wire", "wire", "no service manager"),
    ] {
        let out = scene.sh(&format!("{variables} stdpkt run --left none,at=frames:fd:{fd}"));
        assert_eq!(out.status, 125, "{out:?}");
        assert!(out.only_line().contains(part), "{out:?}");
    }
    let play = scene.start_sh(
        "exec systemd-socket-activate -E PATH -l $PWD/s --fdname=one stdpkt run --left none,at=frames:fd:two",
    );
    scene.sh(&format!("{UNTIL}; stdpkt run --right none,at=frames:unix:s -- true"));
    let out = play.end();
    assert!(out.err.contains("the service manager has passed one, and nothing"), "{out:?}");
    scene.assert_nothing_left();
}

/// As a manager does with `ListenFIFO=`: it has the FIFO open both ways, waits for bytes, and
/// passes the descriptor as number 3 or, with `StandardInput=fd:...`, as standard input.
const MANAGER: &str = r#"
import os, select, sys
fifo = os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK)
os.dup2(fifo, 3)
os.set_inheritable(3, True)
poll = select.poll()
poll.register(3, select.POLLIN)
open("waits", "w").close()
poll.poll()
open("woken", "w").close()
if os.fork() == 0:
    if sys.argv[2] == "stdin":
        os.dup2(3, 0)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.execvp(sys.argv[3], sys.argv[3:])
os.wait()
"#;

/// The manager is no reader: the first frames flow as a capture. Nor does it keep the
/// function, which takes these first and goes over to the ring.
#[test]
fn a_fifo_wakes_its_function_which_takes_the_first_frames_and_goes_over_to_a_ring() {
    need_functions!("python3", "mkfifo", "ping");
    for (how, options) in
        [("stdin", "--left 10.0.0.2/24"), ("number", "--link left,at=/dev/fd/3,ip=10.0.0.2/24")]
    {
        let scene = Scene::new();
        std::fs::write(scene.path("manager.py"), MANAGER).expect("scene");
        let name = format!("woken-{}", std::process::id());
        let play = scene.start_sh(&format!(
            "mkfifo f; exec python3 manager.py f {how} stdpkt run --name {name} {options} -- sleep 1000"
        ));
        scene.wait_for_file("waits");
        assert!(!scene.path("woken").exists());
        let other = scene.start_sh(&format!(
            "exec stdpkt run --right 10.0.0.1/24 -- sh -c '{PING} > pings; touch pinged; sleep 1000' > f"
        ));
        scene.wait_for_file("pinged");
        let pings = std::fs::read_to_string(scene.path("pings")).expect("pings");
        assert!(pings.contains("3 received, 0% packet loss"), "{how}: {pings}");
        let shown = scene.sh(&format!("stdpkt ls {name}")).out;
        assert_eq!(shown.matches(" ring ").count(), 2, "{how}: {shown}");
        // The manager counts as nobody: its end is heard of, another may come.
        other.signal_group(Signal::TERM);
        other.end();
        wait_until(SOON, || match scene.sh(&format!("stdpkt ls {name}")).out {
            shown if shown.contains("waiting") => Ok(()),
            shown => Err(shown),
        });
        play.end_all();
    }
}
