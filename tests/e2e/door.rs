//! The door of functions and elements: who may use it, and who is meant.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};
use crate::support::{SOON, wait_until};

/// A name that nobody else on this machine has.
fn name(kind: &str) -> String {
    format!("{kind}-{}", std::process::id())
}

/// Waits until `stdpkt ls NAME` finds somebody.
fn wait_for(scene: &Scene, name: &str) {
    wait_until(SOON, || {
        let looked = scene.sh(&format!("stdpkt ls {name}"));
        if looked.status == 0 { Ok(()) } else { Err(looked.err) }
    });
}

fn refused(outcome: &Outcome, part: &str) {
    assert_eq!(outcome.status, 125, "{outcome:?}");
    assert!(outcome.only_line().contains(part), "{part}: {outcome:?}");
}

/// A connection to the door of a process.
fn knock(pid: i32) -> rustix::io::Result<OwnedFd> {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("/proc");
    let is_door = |path: &PathBuf| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("/.stdpkt-door-"))
    };
    let door = fds.flatten().map(|fd| fd.path()).find(is_door).expect("a door");
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(door)?)?;
    Ok(socket)
}

#[test]
fn a_balancer_gets_targets_and_loses_them_while_flows_pass() {
    need_functions!("bash", "mkfifo");
    let scene = Scene::new();
    let lb = name("lb");
    // A flow at a time: how many each server has got says where new ones go.
    let script = format!(
        r#"mkfifo f1 f2; : > s1; : > s2
        stdpkt run --link l,at=f1,ip=10.0.0.2/24 -- stdpkt perf server 2> s1 & one=$!
        stdpkt run --link l,at=f2,ip=10.0.0.2/24 -- stdpkt perf server 2> s2 & two=$!
        stdpkt run --right 10.0.0.1/24 -- sh -c '
            until [ -e end ]; do stdpkt perf client 10.0.0.2 --seconds 0.05 || exit; done' \
        | stdpkt balance --name {lb} f1 & chain=$!
        flows() {{ grep -c stream: s$1 || true; }}
        more() {{ # of server $1
            had=$(flows $1)
            until [ $(flows $1) -gt $((had + 1)) ]; do kill -0 $chain || exit; sleep 0.05; done
        }}
        set -e
        more 1
        # Where a name stands for something else, the FIFO is what counts.
        (mkdir -p d; cd d; ln -s ../f2 again; stdpkt balance --set {lb} --add again)
        stdpkt balance --set {lb} --drain f1
        more 2
        before=$(flows 1); more 2; echo drained $(( $(flows 1) - before ))
        stdpkt balance --set {lb} --undrain f1 --drain ./f2 --weight f1=5
        more 1
        set +e
        stdpkt balance --set {lb} --add f1; echo again $?
        stdpkt balance --set {lb} --drain end; echo none $?
        stdpkt balance --set {lb} --drain s1; echo other $?
        stdpkt balance --set {lb}; echo nothing $?
        touch end
        wait $chain; echo chain $?
        kill $one $two; wait"#
    );
    let run = scene.start_in(&["bash"], &script).end();
    for said in ["drained 0", "again 125", "none 125", "other 125", "nothing 125", "chain 0"] {
        assert!(run.out.lines().any(|line| line == said), "{said}: {run:#?}");
    }
    for why in ["is one of its links already", "is none of its targets, which are f1, again"] {
        assert!(run.err.contains(why), "{why}: {run:#?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn who_is_meant_must_be_clear_and_must_do_such_things() {
    need_functions!("mkfifo");
    let scene = Scene::new();
    let (twin, tee) = (name("twin"), name("tee"));
    let play = scene.start_sh(&format!(
        "mkfifo f g h k; for f in f g; do stdpkt run --name {twin} --link l,at=$f & done
         stdpkt tee --name {tee} t.pcap <> h 1<> k"
    ));
    wait_for(&scene, &tee);
    wait_until(SOON, || {
        match scene.sh(&format!("stdpkt ls --chains {twin}")).out.lines().count() {
            2.. => Ok(()),
            _ => Err("not both".to_owned()),
        }
    });
    let ask = |who: &str| scene.sh(&format!("stdpkt balance --set {who} --drain f"));
    refused(&ask(&twin), "several are called that: ");
    refused(&ask("nobody-at-all"), "no function is called nobody-at-all");
    let pid = scene.processes().into_iter().find(|p| p.is_function()).expect("a function").pid;
    refused(&ask(&pid.to_string()), "it is no balancer");
    refused(&ask(&tee), "it is no balancer");
    play.end_all();
}

/// The kernel keeps others from `/proc/PID/fd`; root gets in, and is sent away.
#[test]
fn another_users_door_stays_shut() {
    need!("root", "mkfifo", "setpriv");
    let scene = Scene::new();
    let (theirs, ours) = (name("theirs"), name("ours"));
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups env SHMRING_RUNTIME_DIR=";
    let play = scene.start_sh(&format!(
        "chmod 777 .; mkfifo f h h1 h2; chmod 666 f h1 h2
         {nobody} stdpkt tee --name {theirs} t.pcap <> h1 1<> h2 &
         exec stdpkt balance --name {ours} f <> h"
    ));
    wait_for(&scene, &theirs);
    wait_for(&scene, &ours);
    refused(&scene.sh(&format!("stdpkt balance --set {theirs} --drain f")), "sudo -u '#65534'");
    refused(
        &scene.sh(&format!("{nobody} stdpkt balance --set {ours} --drain f")),
        &format!("no function is called {ours}"),
    );
    // Whoever does not ask who is there is sent away by the one who is.
    let theirs = scene.processes().into_iter().find(|it| it.args.contains(&theirs));
    let pid = theirs.expect("theirs").pid;
    let socket = knock(pid).expect("root gets in");
    send(&socket, br#"{"version":1,"body":{"drain":{"path":"f"}}}"#, SendFlags::empty()).unwrap();
    let mut answer = [0; 512];
    let (len, _) = recv(&socket, &mut answer, RecvFlags::empty()).unwrap();
    let answer = String::from_utf8_lossy(&answer[..len]).into_owned();
    assert!(answer.contains("another user's"), "{answer}");
    play.end_all();
}

#[test]
fn a_wire_becomes_worse_and_better_while_packets_pass() {
    need_functions!("ping");
    let scene = Scene::new();
    let wire = name("wire");
    let play = scene.start_sh(&format!(
        "stdpkt run --right 10.0.0.1/24 -- sh -c '
             until [ -e end ]; do ping -c1 -W1 10.0.0.2 | sed -n s/.*time=//p >> times; done' \
         | stdpkt wire --name {wire} --delay 1ms | stdpkt run --left 10.0.0.2/24"
    ));
    let answered = || std::fs::read_to_string(scene.path("times")).unwrap_or_default();
    let last_ms = || {
        let times = answered();
        let last = times.lines().last().and_then(|line| line.split(' ').next()?.parse().ok());
        last.unwrap_or(0.0_f64)
    };
    let until = |done: &dyn Fn() -> bool| {
        wait_until(SOON, || if done() { Ok(()) } else { Err(answered()) });
    };
    until(&|| answered().lines().count() > 1);
    let set = |options: &str| {
        let outcome = scene.sh(&format!("stdpkt wire --set {wire} {options}"));
        assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{options}");
    };
    set("--delay right-to-left=200ms");
    until(&|| last_ms() > 200.0);
    // The delay of the other direction stays, and so does this one's.
    set("--loss=left-to-right=100%");
    let count = answered().lines().count();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert!(answered().lines().count() <= count + 1, "{}", answered());
    set("--loss 0%");
    let count = answered().lines().count();
    until(&|| answered().lines().count() > count + 1);
    assert!(last_ms() > 200.0, "{}", answered());
    for (options, part) in [("--jitter 1s", "--jitter: more than the delay"), ("", "say what, as")]
    {
        refused(&scene.sh(&format!("stdpkt wire --set {wire} {options}")), part);
    }
    std::fs::write(scene.path("end"), "").expect("scene");
    play.end();
    scene.assert_nothing_left();
}
