//! Chains at a terminal: Ctrl-C, and the window that is closed.

use std::process::Stdio;

use crate::support::chains::{three, two};
use crate::support::need::{need, need_functions};
use crate::support::scene::{Play, Scene, statuses_of, with_statuses};
use crate::support::terminal::Terminal;

const TELLS: &str = "-- sh -c 'ping -q -c1 -W5 10.0.2.1 >/dev/null && touch up; exec sleep 1000'";

/// A script in a session of its own at `terminal`.
fn start_at<'a>(scene: &'a Scene, terminal: &Terminal, shell: &[&str], script: &str) -> Play<'a> {
    let mut command = scene.command("setsid");
    // setsid itself does not say which signal ended the shell.
    command.args(["--ctty", "--wait"]).args(shell).arg("-c").arg(script);
    command.stdin(Stdio::from(terminal.open()));
    scene.start(command)
}

#[test]
fn ctrl_c_unwinds_the_chain() {
    need_functions!("bash", "ping", "setsid");
    let scene = Scene::new();
    let mut terminal = Terminal::new();
    let script = format!("trap : INT\n{}", with_statuses(&three(TELLS, "", "")));
    let play = start_at(&scene, &terminal, &["bash"], &script);
    scene.wait_for_file("up");
    terminal.type_keys("\x03");
    let (statuses, outcome) = statuses_of(play.end());
    assert_eq!(statuses, [130, 130, 130], "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn ctrl_c_ends_a_ping_with_its_summary() {
    need_functions!("bash", "ping", "setsid");
    let scene = Scene::new();
    let mut terminal = Terminal::new();
    let ping = "-- sh -c 'ping -q -c1 -W5 10.0.2.1 >/dev/null && touch up; exec ping -q 10.0.2.1'";
    let script = format!("trap : INT\n{}", with_statuses(&three(ping, "", "")));
    let play = start_at(&scene, &terminal, &["bash"], &script);
    scene.wait_for_file("up");
    // The first of the second ping's echoes.
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.type_keys("\x03");
    let (statuses, outcome) = statuses_of(play.end());
    assert_eq!(statuses, [0, 130, 130], "{outcome:?}");
    assert!(outcome.err.contains("packets transmitted"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn ctrl_c_in_an_interactive_shell_unwinds_the_chain_and_leaves_the_shell() {
    need_functions!("bash", "ping", "setsid");
    let scene = Scene::new();
    let mut terminal = Terminal::new();
    let mut command = scene.command("setsid");
    command.args(["--ctty", "--wait", "bash", "--norc", "-i"]);
    command.stdin(Stdio::from(terminal.open()));
    let play = scene.start(command);
    terminal.type_keys(&format!("{}\n", three(TELLS, "", "")));
    scene.wait_for_file("up");
    terminal.type_keys("\x03");
    terminal.type_keys("echo status: $?; exit 0\n");
    let outcome = play.end();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.out.contains("status: 130"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn closing_the_terminal_unwinds_the_chain() {
    need_functions!("bash", "ping", "setsid");
    for shell in [&["bash"][..], &["sh"][..]] {
        let scene = Scene::new();
        let terminal = Terminal::new();
        let play = start_at(&scene, &terminal, shell, &format!("{}\n:", three(TELLS, "", "")));
        scene.wait_for_file("up");
        drop(terminal);
        play.end();
        scene.assert_nothing_left();
    }
}

#[test]
fn closing_the_terminal_takes_daemons_along() {
    need_functions!("bash", "ping", "setsid");
    let scene = Scene::new();
    let terminal = Terminal::new();
    let cmd = "-- sh -c 'setsid -f sleep 1000; trap \"\" HUP; \
               ping -q -c1 -W5 10.0.2.1 >/dev/null && touch up; exec sleep 1000'";
    let play = start_at(&scene, &terminal, &["bash"], &format!("{}\n:", three(cmd, "", "")));
    scene.wait_for_file("up");
    drop(terminal);
    play.end();
    scene.assert_nothing_left();
}

/// Standard error is the link then: what is said goes to the terminal.
#[test]
fn what_is_said_when_standard_error_is_the_link() {
    need_functions!("bash", "fish", "ping", "setsid");
    let cases = [
        ("--mtu x", "not a whole number"),
        ("--setup 'exit 3'", "exit 3"),
        ("--setup 'ping nowhere.invalid; exit 3'", "nowhere.invalid"),
        ("-- nothing-of-this-name", "nothing-of-this-name"),
        ("-- ping -c1 10.0.0.2", "1 received"),
    ];
    for shell in ["bash", "fish"] {
        let both = if shell == "fish" { "&|" } else { "|&" };
        for (options, words) in cases {
            let scene = Scene::new();
            let mut terminal = Terminal::new();
            let chain = two(options, "").replace(" | ", &format!(" {both} "));
            let outcome = start_at(&scene, &terminal, &[shell], &chain).end();
            let shown = terminal.shown();
            assert!(shown.contains(words), "{shell}: {chain}: {shown} {outcome:?}");
            assert_eq!(outcome.err, "", "{shell}: {chain}");
            scene.assert_nothing_left();
        }
    }
    // No terminal: nowhere, and not between the frames either.
    let scene = Scene::new();
    let chain = two("-- ping -qc1 10.0.0.2", "").replace(" | ", " |& ");
    let mut command = scene.command("setsid");
    command.args(["--wait", "bash", "-o", "pipefail", "-c", &chain]);
    let outcome = scene.start(command).end();
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""));
}
