//! What is said on standard error: each line whole, by one write(2), so that the
//! lines of a chain do not mix.

use std::process::Stdio;

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

/// Each write(2) to standard error while `script` runs: a packet each.
fn writes_of(scene: &Scene, script: &str) -> Vec<String> {
    let kind = SocketType::SEQPACKET;
    let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.expect("a socket pair");
    let mut command = scene.command("bash");
    command.args(["-c", script]).stdout(Stdio::null()).stderr(theirs);
    let mut child = command.spawn().expect("bash starts");
    drop(command); // and with it our copy of their end
    let mut writes = Vec::new();
    let mut bytes = vec![0; 1 << 16];
    // Nothing: all who could write have ended.
    while let Ok((len @ 1.., _)) = recv(&ours, &mut *bytes, RecvFlags::empty()) {
        writes.push(String::from_utf8_lossy(&bytes[..len]).into_owned());
    }
    child.wait().expect("bash ends");
    writes
}

#[test]
fn each_line_is_one_write() {
    need_functions!("bash");
    for script in [
        "stdpkt run --left 192.168.0.300/24",
        "stdpkt run --link x,at=nowhere,ip=10.0.0.1/24",
        "stdpkt run --right 10.0.0.1/24 --setup 'exit 3' | cat",
        "stdpkt run --left 10.0.0.1/24 < <(sleep 3.5)",
        "echo nothing | stdpkt run --left 10.0.0.1/24",
        "cat /bin/ls | stdpkt dump",
        "sleep 1 | stdpkt balance nowhere",
        "timeout 1 stdpkt perf server",
        "stdpkt run --right 10.0.0.1/24 | stdpkt run --left 10.0.0.2/24 -- nothing-of-this-name",
    ] {
        let scene = Scene::new();
        let writes = writes_of(&scene, script);
        println!("{script}: {writes:?}");
        assert!(!writes.is_empty(), "{script}: nothing was said");
        for write in writes {
            assert!(write.starts_with("stdpkt"), "{script}: {write:?}");
            assert_eq!(write.find('\n'), Some(write.len() - 1), "{script}: {write:?}");
        }
    }
}

/// The status of the last in a chain whose middle fails at once: 0 where the two had
/// met before, 125 where they had not.
const LINKED_OR_NOT: i32 = -1;

/// Whoever says an error ends with 125; what is told only changes no status.
#[test]
fn an_error_line_is_in_the_status() {
    need_functions!("bash", "mkfifo");
    let broken = "printf '\\xd4\\xc3\\xb2\\xa1 and nothing of a capture behind it'";
    for (script, statuses) in [
        ("false | stdpkt run --left 10.0.0.1/24", &[1, 125][..]),
        ("cat /bin/ls | stdpkt run --left 10.0.0.1/24", &[141, 125]),
        ("cat /bin/ls | stdpkt run --left 10.0.0.1/24 -- sleep 1000", &[141, 125]),
        ("cat /bin/ls | stdpkt dump -w d", &[141, 125]),
        ("cat /bin/ls | stdpkt filter ip | stdpkt dump -w d", &[141, 125, LINKED_OR_NOT]),
        ("cat /bin/ls | stdpkt tee x | stdpkt dump -w d", &[141, 125, LINKED_OR_NOT]),
        ("cat /bin/ls | stdpkt feed | stdpkt dump -w d", &[141, 125, 125]),
        (&format!("{broken} | stdpkt dump -w d"), &[0, 125]),
        (&format!("{broken} | stdpkt run --left 10.0.0.1/24"), &[0, 125]),
        // A copy that was missed, by a reader that never came.
        (
            "mkfifo m; stdpkt run --right 10.0.0.1/24 -- ping -qc1 10.0.0.2 \
             | stdpkt tee m | stdpkt run --left 10.0.0.2/24",
            &[0, 0, 0],
        ),
    ] {
        let scene = Scene::new();
        let (seen, outcome) = scene.pipeline(script);
        println!("{script}: {seen:?}: {}", outcome.err);
        let as_expected = seen.len() == statuses.len()
            && seen.iter().zip(statuses).all(|(seen, expected)| match *expected {
                LINKED_OR_NOT => [0, 125].contains(seen),
                expected => *seen == expected,
            });
        assert!(as_expected, "{script}: {seen:?}, not {statuses:?}: {outcome:?}");
        assert!(!outcome.err.is_empty(), "{script}");
    }
}

/// One function has the cause, the others have nothing to add.
#[test]
fn where_one_function_fails_one_line_is_said() {
    need_functions!("bash");
    let three = |a: &str, b: &str, c: &str| {
        format!(
            "stdpkt run --right 10.0.1.1/24 {a} \
             | stdpkt run --left 10.0.1.2/24 --right 10.0.2.2/24 {b} \
             | stdpkt run --left 10.0.2.1/24 {c}"
        )
    };
    let sleep = "-- sleep 1000";
    for (chain, (who, status), words) in [
        (three("--mtu x", "", sleep), (0, 125), "'x' for '--mtu <BYTES>'"),
        (three("", "", "--mtu x"), (2, 125), "'x' for '--mtu <BYTES>'"),
        (three(sleep, "--setup 'exit 3'", sleep), (1, 125), "exit 3"),
        (three("-- nosuch", sleep, sleep), (0, 127), "nosuch: no such program"),
        (three(sleep, "", "-- /etc/passwd"), (2, 126), "/etc/passwd: may not be run"),
        (three("", "--sysctl net.no=1", ""), (1, 125), "net.no"),
    ] {
        let scene = Scene::new();
        let (seen, outcome) = scene.pipeline(&chain);
        assert_eq!(seen[who], status, "{chain}: {outcome:?}");
        assert_eq!(outcome.err.lines().count(), 1, "{chain}: {outcome:?}");
        assert!(outcome.err.contains(words), "{outcome:?}");
        scene.assert_nothing_left();
    }
    // With commands that have no network stack, and where nobody else says a word.
    let scene = Scene::new();
    for chain in [
        "stdpkt filter ip no sense | stdpkt tee x | stdpkt dump -w y",
        "stdpkt feed nosuch | stdpkt tee x | stdpkt dump -w y",
        "false | stdpkt tee x | stdpkt dump -w y",
    ] {
        let (statuses, outcome) = scene.pipeline(&format!("true | {chain}"));
        assert_eq!(outcome.err.lines().count(), 1, "{chain}: {outcome:?}");
        assert!(statuses.contains(&125), "{chain}: {outcome:?}");
    }
}

#[test]
fn what_stands_in_a_line_cannot_end_it() {
    need!("bash");
    let scene = Scene::new();
    for script in [
        "stdpkt run --left $'10.0.0.1/24\\nroot: all is well'",
        "stdpkt run --link $'x,at=no\\nwhere,ip=10.0.0.1/24'",
        "stdpkt feed $'no\\e[31m\\nwhere' | cat",
        "stdpkt $'no\\rsuch'",
    ] {
        let writes = writes_of(&scene, script);
        let [line] = &writes[..] else { panic!("{script}: {writes:?}") };
        let line = line.strip_suffix('\n').unwrap_or_default();
        assert!(line.starts_with("stdpkt: ") && !line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn nobody_listens() {
    need!("bash");
    let scene = Scene::new();
    for nowhere in ["2>&-", "2>/dev/full", "2> >(true); sleep 0.1; stdpkt run --left x"] {
        let outcome = scene.start_in(&["bash"], &format!("stdpkt run --left x {nowhere}")).end();
        assert_eq!((outcome.status, outcome.out.as_str()), (125, ""), "{outcome:?}");
    }
}
