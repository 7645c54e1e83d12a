//! `-v` tells the story of a link; colours are for terminals.

use std::process::Stdio;

use crate::support::chains::two;
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::terminal::Terminal;

fn story(options: &str, between: &str) -> String {
    let scene = Scene::new();
    let ping = format!("{options} -- ping -c1 -W1 10.0.0.2 {between}");
    let told = scene.sh(&two(&ping, options)).err;
    scene.assert_nothing_left();
    told
}

#[test]
fn a_story_says_who_was_met_and_how_frames_go() {
    need_functions!("ping", "cat", "root");
    for (options, between, words) in [
        ("-v", "", &["right: met left of process ", "by a ring each way", "has ended"][..]),
        ("-v --channel fifo", "", &["through the pipe, since one of the two says --channel fifo"]),
        ("-v --name both", "| cat", &["stdpkt: both: ", "no ring on standard output, where `cat`"]),
    ] {
        let told = story(options, between);
        for word in words {
            assert!(told.contains(word), "{options} {between}: no {word} in {told}");
        }
    }
    let quiet = story("", "");
    assert!(!quiet.contains("stdpkt:"), "{quiet}");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    need!("setsid");
    let scene = Scene::new();
    let shown = |variable: Option<&str>| {
        let mut terminal = Terminal::new();
        let mut command = scene.command("setsid");
        command.args([
            "--ctty",
            "--wait",
            "sh",
            "-c",
            "stdpkt run --help >/dev/tty; echo END >/dev/tty",
        ]);
        command.env("TERM", "xterm").stdin(Stdio::from(terminal.open()));
        if let Some(name) = variable {
            command.env(name, "1");
        }
        let play = scene.start(command);
        let shown = terminal.wait_for("END");
        play.end();
        shown
    };
    assert!(shown(None).contains("\x1b["), "no colour");
    assert!(!shown(Some("NO_COLOR")).contains("\x1b["));
    assert!(!scene.sh("stdpkt run --help").out.contains('\x1b'));
}
