//! What a user can get wrong: one line that names the thing and the way out,
//! exit status 125 (126, 127 for CMD), and nothing half set up.

use std::process::Stdio;

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::support::terminal::Terminal;

/// Runs a script, which must be refused with one line that has all `words`.
fn refused(script: &str, status: i32, words: &[&str]) {
    let scene = Scene::new();
    let outcome = scene.sh(script);
    assert_eq!(outcome.status, status, "{script}: {outcome:?}");
    let line = outcome.only_line();
    println!("{line}");
    assert!(line.starts_with("stdpkt: "), "{line}");
    for word in words {
        assert!(line.contains(word), "{script}: no `{word}` in: {line}");
    }
    scene.assert_nothing_left();
}

/// A first function with these options; a well-behaved reader stands behind it.
fn first_refused(options: &str, words: &[&str]) {
    refused(
        &format!("(stdpkt run {options}; echo $? >status) | cat; exit $(cat status)"),
        125,
        words,
    );
}

#[test]
fn malformed_addresses() {
    first_refused("--right 192.168.0.300/24", &["192.168.0.300/24", "--right", "192.168.0.1/24"]);
    first_refused("--right 192.168.0.1", &["192.168.0.1", "prefix length"]);
    first_refused("--right 192.168.0.1/33", &["192.168.0.1/33"]);
    first_refused("--right fd00::g/64", &["fd00::g/64", "2001:db8::1/64"]);
    first_refused("--right ''", &["--right"]);
    first_refused("--right 10.0.0.1/24 --gateway 10.0.0", &["10.0.0", "--gateway"]);
}

#[test]
fn addresses_of_the_wrong_family() {
    first_refused("--right 10.0.0.1/24 --gateway fd00::1", &["fd00::1", "--right"]);
    first_refused(
        "--right 10.0.0.1/24 --right fd00::1/64 --route 10.9.0.0/16=fd00::2",
        &["10.9.0.0/16", "fd00::2", "family"],
    );
    first_refused("--right 10.0.0.1/24 --route 10.9.0.1/16=10.0.0.2", &["10.9.0.0/16"]);
}

#[test]
fn gateways_that_cannot_be_reached() {
    first_refused("--right 10.0.0.1/24 --gateway 10.0.1.1", &["10.0.1.1", "--right"]);
    first_refused("--right 10.0.0.1/24 --gateway 10.0.0.1", &["10.0.0.1", "own address"]);
}

#[test]
fn mtus_out_of_range() {
    for mtu in ["0", "67", "65522", "4294967295"] {
        first_refused(&format!("--right 10.0.0.1/24 --mtu {mtu}"), &[mtu, "68 to 65521"]);
    }
    first_refused("--right fd00::1/64 --mtu 1279", &["1279", "IPv6", "1280"]);
    first_refused("--right 10.0.0.1/24 --mtu -1", &["-1"]);
}

#[test]
fn interfaces_of_one_name() {
    need!("mkfifo");
    let fifo = "--link right,at=f,ip=10.0.1.1/24";
    refused(
        &format!(
            "mkfifo f; (stdpkt run --right 10.0.0.1/24 {fifo}; echo $? >status) | cat; exit $(cat status)"
        ),
        125,
        &["right", "another name"],
    );
    refused(
        "mkfifo f g; stdpkt run --link x,at=f,ip=10.0.0.1/24 --link x,at=g,ip=10.0.1.1/24",
        125,
        &["x", "another name"],
    );
}

#[test]
fn links_named_badly() {
    need!("mkfifo");
    for name in ["sixteen-bytes-12", "a/b", "a b", "a%d", "..", "a:1"] {
        let script = format!("mkfifo f; stdpkt run --link '{name},at=f,ip=10.0.0.1/24'");
        refused(&script, 125, &[name]);
    }
    refused("stdpkt run --link x", 125, &["--link", "at=PATH"]);
    refused("stdpkt run --link at=f", 125, &["--link", "name"]);
    refused("stdpkt run --link x,at=f,ip=10.0.0", 125, &["10.0.0", "--link"]);
}

#[test]
fn the_name_of_the_loopback_interface() {
    need_functions!("mkfifo");
    refused("mkfifo f; stdpkt run --link lo,at=f,ip=10.0.0.1/24", 125, &["lo", "another name"]);
}

#[test]
fn fifos_that_are_none() {
    let link = |path: &str| format!("stdpkt run --link x,at={path},ip=10.0.0.1/24");
    refused(&link("nowhere"), 125, &["--link x", "nowhere", "mkfifo"]);
    refused(&format!("echo >plain; {}", link("plain")), 125, &["plain", "plain file", "mkfifo"]);
    refused(&link("."), 125, &["directory", "mkfifo"]);
    refused(&link("/dev/null"), 125, &["/dev/null", "character device", "mkfifo"]);
    let made = "`mkdir -p nowhere; mkfifo nowhere/f`";
    refused(&link("nowhere/f"), 125, &["nowhere/f", made]);
    refused(&link("/dev/fd/77"), 125, &["/dev/fd/77", "no such descriptor"]);
    refused(&format!("mkfifo f; {}", link("f:f")), 125, &["f joins", "itself"]);
}

#[test]
fn a_fifo_that_is_joined_twice() {
    need!("mkfifo");
    let links = "--link x,at=f,ip=10.0.0.1/24 --link y,at=./f,ip=10.0.1.1/24";
    refused(&format!("mkfifo f; stdpkt run {links}"), 125, &["f joins", "x and y"]);
    refused(
        "mkfifo f; stdpkt run --left 10.0.0.1/24 --right 10.0.1.1/24 <>f >&0",
        125,
        &["itself"],
    );
}

#[test]
fn a_second_reader_of_a_fifo() {
    need_functions!("mkfifo");
    let scene = Scene::new();
    assert_eq!(scene.sh("mkfifo rx tx").status, 0);
    let first = scene.start_sh("exec stdpkt run --link x,at=rx:tx,ip=10.0.0.1/24");
    scene.wait_for_holder("rx");
    let second = scene.sh("mkfifo tx2; stdpkt run --link y,at=rx:tx2,ip=10.0.0.2/24");
    assert_eq!(second.status, 125, "{second:?}");
    let line = second.only_line();
    assert!(line.contains("rx already has a reader") && line.contains("stdpkt: y"), "{line}");
    // The first is none the worse for it.
    let writer = scene.sh("stdpkt run --link z,at=tx:rx,ip=10.0.0.3/24 -- true");
    assert_eq!(writer.status, 0, "{writer:?}");
    first.signal_group(rustix::process::Signal::TERM);
    first.end();
    scene.assert_nothing_left();
}

#[test]
fn standard_input_that_is_no_link() {
    for (input, what) in [("</dev/null", "character device"), ("<.", "directory")] {
        let script = format!("stdpkt run --left 10.0.0.1/24 {input}");
        refused(&script, 125, &["--left", "standard input", what, "`|`"]);
    }
    refused("stdpkt run --left 10.0.0.1/24 <&-", 125, &["--left", "standard input"]);
    refused(
        "stdpkt run --right 10.0.0.1/24 >/dev/null",
        125,
        &["--right", "standard output", "`|`"],
    );
}

/// A path is a path, whatever its name.
#[test]
fn a_file_called_standard_input_is_no_standard_input() {
    for name in ["standard input", "standard output"] {
        let script =
            format!("printf x >'{name}'; stdpkt run --link a,at='{name}',ip=10.0.0.1/24 -- true");
        refused(&script, 125, &[name, "plain file", "mkfifo"]);
    }
}

#[test]
fn standard_input_that_is_a_terminal() {
    let scene = Scene::new();
    let terminal = Terminal::new();
    let mut command = scene.command("stdpkt");
    command.args(["run", "--left", "10.0.0.1/24"]).stdin(Stdio::from(terminal.open()));
    let outcome = scene.start(command).end();
    assert_eq!(outcome.status, 125, "{outcome:?}");
    let line = outcome.only_line();
    for word in ["--left", "standard input", "terminal", "`|`"] {
        assert!(line.contains(word), "{line}");
    }
    scene.assert_nothing_left();
}

#[test]
fn nothing_to_join() {
    refused("stdpkt run -- true", 125, &["--left", "--right", "--link"]);
    refused("stdpkt run --left", 125, &["--left"]);
    refused("stdpkt fly", 125, &["fly"]);
}

#[test]
fn setup_commands_that_fail() {
    need_functions!();
    let chain = "(stdpkt run --right 10.0.0.1/24 --setup 'exit 3'; echo $? >status) \
                 | cat; exit $(cat status)";
    refused(chain, 125, &["exit 3", "status 3"]);
    first_refused("--right 10.0.0.1/24 --sysctl net.nothing=1", &["net.nothing"]);
    first_refused("--right 10.0.0.1/24 --sysctl net.ipv4.ip_forward", &["net.ipv4.ip_forward"]);
}

#[test]
fn addresses_that_no_interface_can_have() {
    first_refused("--right 10.0.0.0/24", &["right: 10.0.0.0/24", "10.0.0.1/24 would do"]);
    first_refused("--right 10.0.0.255/24", &["right: 10.0.0.255/24", "broadcast"]);
    first_refused("--right 127.0.0.1/8", &["right: 127.0.0.1/8", "machine itself"]);
    first_refused("--right 224.0.0.1/24", &["right: 224.0.0.1/24", "multicast"]);
    first_refused("--right ff02::1/64", &["right: ff02::1/64", "multicast"]);
    first_refused("--right 10.0.0.1/24 --gateway 10.0.0.255", &["gateway 10.0.0.255", "broadcast"]);
    refused("mkfifo f; stdpkt run --link x,at=f,ip=10.0.0.0/24", 125, &["x: 10.0.0.0/24"]);
}

#[test]
fn what_is_given_twice_or_not_needed() {
    let twice = "--right 10.0.0.1/24 --right 10.0.0.1/24";
    first_refused(twice, &["10.0.0.1/24", "given twice"]);
    let route = "--right 10.0.0.1/24 --route 10.0.0.0/24=10.0.0.2";
    first_refused(route, &["10.0.0.0/24", "in that network itself"]);
    let gateways = "--right 10.0.0.1/24 --gateway 10.0.0.2 --gateway 10.0.0.3";
    first_refused(gateways, &["10.0.0.3", "another default gateway"]);
}

#[test]
fn a_program_is_found_without_a_path() {
    need_functions!("bash");
    let scene = Scene::new();
    let stdpkt = scene.path("bin/stdpkt").display().to_string();
    let outcome = scene.sh(&format!(
        "unset PATH; {stdpkt} run --right 10.0.0.1/24 -- bash -c 'exit 3' \
         | {stdpkt} run --left 10.0.0.2/24 -- sleep 1000"
    ));
    assert_eq!((outcome.status, outcome.err.as_str()), (143, ""), "{outcome:?}");
}

#[test]
fn programs_that_cannot_be_started() {
    need_functions!("bash", "mkfifo");
    for (cmd, status, words) in [
        ("nothing-of-this-name", 127, ["nothing-of-this-name", "install"]),
        ("./no/such/path", 127, ["./no/such/path", "path"]),
        ("./plain", 126, ["./plain", "executable"]),
        ("/", 126, ["/", "executable"]),
        ("./lost", 126, ["./lost", "interpreter"]),
        ("''", 127, ["empty word", "no program"]),
    ] {
        let scene = Scene::new();
        // Noticed at once, before a neighbour comes: this one never does.
        let script = format!(
            "echo >plain; echo '#!/no/such' >lost; chmod +x lost; mkfifo p; sleep 1000 <p & \
             stdpkt run --right 10.0.0.1/24 -- {cmd} >p; status=$?; kill $!; exit $status"
        );
        let outcome = scene.start_in(&["bash"], &script).end();
        assert_eq!(outcome.status, status, "{cmd}: {outcome:?}");
        let line = outcome.only_line();
        for word in words {
            assert!(line.contains(word), "{outcome:?}");
        }
        scene.assert_nothing_left();
    }
}
