//! `--channel veth`: kernel to kernel.

use std::fs;

use serde_json::Value;

use crate::support::SOON;
use crate::support::chains::{NAT, assert_pings, routers, three, two};
use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;
use crate::unprivileged::as_nobody;

const VETH: &str = "--channel veth";

#[test]
fn two_functions_have_a_veth_pair_with_the_names_addresses_and_mtu_of_always() {
    need_functions!("ip");
    let scene = Scene::new();
    let show = "ip -o link show type veth; ip -o addr show dev";
    let options = format!("{VETH} --mtu 9000 -- sh -c");
    let (statuses, outcome) = scene.pipeline(&two(
        &format!(
            "{options} '{{ {show} right; }} >first; while ! test -s second; do sleep 0.01; done'"
        ),
        &format!("{options} '{{ {show} left; }} >second'"),
    ));
    assert_eq!(statuses[1], 0, "{outcome:?}");
    for (file, name, address) in
        [("first", "right", "10.0.0.1/24"), ("second", "left", "10.0.0.2/24")]
    {
        let shown = fs::read_to_string(scene.path(file)).expect("its CMD ran");
        for part in [name, address, "mtu 9000", "LOWER_UP", "state UP"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    scene.assert_nothing_left();
}

/// Where they are the same the kernel looks at the carrier once a second only, and each chain starts
/// after that.
#[test]
fn the_two_ends_have_different_indexes() {
    need_functions!();
    let scene = Scene::new();
    let cat = format!("{VETH} -- cat /sys/class/net/left/ifindex /sys/class/net/left/iflink");
    let outcome = scene.sh(&two(VETH, &cat));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let (own, others) = outcome.out.trim().split_once('\n').expect("two indexes");
    assert_ne!(own, others);
}

#[test]
fn functions_whose_commands_end_at_once_wait_for_nobody() {
    need_functions!();
    let scene = Scene::new();
    let options = format!("{VETH} --linger 60 -- true");
    let play = scene.start_sh(&two(&options, &options));
    let outcome = play.end_within(SOON).expect("an end within ten seconds");
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn either_may_come_first_and_either_may_have_the_command() {
    need_functions!("ping");
    let ping = |to: &str| format!("{VETH} -- ping -i0.2 -c3 10.0.0.{to}");
    assert_pings(&two(&ping("2"), VETH));
    assert_pings(&two(VETH, &ping("1")));
    let late = two(&ping("2"), VETH).replacen("stdpkt", "(sleep 0.3; exec stdpkt", 1);
    assert_pings(&late.replacen(" |", ") |", 1));
}

#[test]
fn rows_of_three_and_of_ten_routers_and_the_nat_chain() {
    need_functions!("ping", "iptables");
    assert_pings(&three(VETH, VETH, &format!("{VETH} -- ping -i0.2 -c3 10.0.1.1")));
    assert_pings(&routers(10, VETH, "ping -i0.2 -c3 10.0.0.1"));
    assert_pings(&NAT.replace("stdpkt run", "stdpkt run --channel veth"));
}

#[test]
fn a_switch_has_veth_pairs_for_ports() {
    need_functions!("ping");
    assert_pings(&format!(
        "stdpkt run {VETH} --right 10.0.0.1/24 \
         | stdpkt run {VETH} --left none --right none --bridge \
         | stdpkt run {VETH} --left 10.0.0.2/24 -- ping -i0.2 -c3 10.0.0.1"
    ));
}

#[test]
fn whoever_is_none_gets_a_ring() {
    need_functions!("ping");
    let ping = format!("{VETH} -- ping -i0.2 -c3 10.0.0.2");
    assert_pings(&two(&ping, ""));
    assert_pings(&two(&ping, "--channel fifo"));
    assert_pings(&two(&ping, VETH).replace(" |", " | stdpkt tee trace.pcap |"));
    // In the middle of a row, of which the other link is a pair.
    assert_pings(&three(VETH, VETH, "-- ping -i0.2 -c3 10.0.1.1"));
    assert_pings(&format!(
        "mkfifo f; stdpkt run {VETH} --link a,at=f,ip=10.0.0.1/24 & \
         stdpkt run {VETH} --link a,at=f,ip=10.0.0.2/24 -- ping -i0.2 -c3 10.0.0.1; \
         status=$?; kill $!; wait; exit $status"
    ));
}

/// What came before the neighbour knew of rings came by this process, and so does the rest.
#[test]
fn a_capture_before_the_neighbour_makes_it_a_ring() {
    need_functions!("ping", "ip");
    let scene = Scene::new();
    let (statuses, outcome) = scene.pipeline(&format!(
        "stdpkt run {VETH} --right 10.0.0.1/24 -- ping -i0.2 -w30 -c3 10.0.0.2 \
         | {{ sleep 1.5; exec stdpkt run {VETH} --left 10.0.0.2/24; }}"
    ));
    assert_eq!(statuses, [0, 0], "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn the_chain_unwinds_as_always() {
    need_functions!("ip");
    let scene = Scene::new();
    let options = |cmd: &str| format!("{VETH} -- {cmd}");
    for (chain, expected) in [
        (two(VETH, &options("sh -c 'exit 7'")), [0, 7]),
        (two(&options("sh -c 'exit 7'"), VETH), [7, 0]),
        (two(&options("sleep 100"), &options("true")), [143, 0]),
        (two(&options("true"), &options("sleep 100")), [0, 143]),
    ] {
        let (statuses, outcome) = scene.pipeline(&chain);
        assert_eq!(statuses, expected, "{chain}: {outcome:?}");
        assert_eq!(outcome.err, "", "{chain}");
    }
    scene.assert_nothing_left();
}

/// All of it is read, though the interface goes with the neighbour.
#[test]
fn an_orderly_end_loses_nothing() {
    need_functions!("socat");
    let scene = Scene::new();
    let (statuses, outcome) = scene.pipeline(&two(
        &format!("{VETH} -- sh -c 'head -c 20000000 /dev/zero | socat -u - TCP:10.0.0.2:7,retry=50,interval=0.1'"),
        &format!("{VETH} -- sh -c 'socat -u TCP-LISTEN:7 - | wc -c >count'"),
    ));
    assert_eq!(statuses, [0, 0], "{outcome:?}");
    assert_eq!(fs::read_to_string(scene.path("count")).unwrap_or_default().trim(), "20000000");
}

#[test]
fn who_fails_says_so_and_the_other_adds_nothing() {
    need_functions!("ip");
    let scene = Scene::new();
    let fails = format!("{VETH} --setup false");
    for chain in [
        two(VETH, &fails),
        two(&fails, VETH),
        two(&fails, &format!("{VETH} -- true")),
        two(&format!("{VETH} -- true"), &fails),
    ] {
        let (statuses, outcome) = scene.pipeline(&chain);
        assert_eq!(statuses, [125, 125], "{chain}: {outcome:?}");
        assert_eq!(outcome.err, "stdpkt: setup command `false` failed with status 1\n", "{chain}");
    }
    scene.assert_nothing_left();
}

#[test]
fn a_neighbour_that_never_was_is_told() {
    need_functions!("ip");
    let scene = Scene::new();
    for (cmd, line) in [
        ("", "stdpkt: the neighbour on standard input ended before the link was up\n"),
        (" -- true", "stdpkt: the neighbour on standard input ended before the link was up\n"),
    ] {
        let outcome = scene.sh(&format!("true | stdpkt run {VETH} --left 10.0.0.2/24{cmd}"));
        assert_eq!((outcome.status, outcome.err.as_str()), (125, line));
    }
}

#[test]
fn the_kernels_counters_are_listed_and_the_links_stay_where_they_are() {
    need_functions!("ping");
    let scene = Scene::new();
    let chain = two(
        &format!("{VETH} --name a -- sh -c 'ping -q -c5 -i0.2 10.0.0.2; touch up; exec sleep 100'"),
        &format!("{VETH} --name b"),
    );
    let play = scene.start_sh(&chain);
    scene.wait_for_file("up");
    let listed = scene.sh("stdpkt ls --json");
    let listed: Value = serde_json::from_str(&listed.out).expect("JSON");
    let pids: Vec<_> = scene.processes().iter().map(|it| Value::from(it.pid)).collect();
    let links = listed["links"].as_array().expect("links").iter();
    let links: Vec<_> = links.filter(|link| pids.contains(&link["from"]["pid"])).collect();
    assert_eq!(links.len(), 2, "{links:#?}");
    for link in links {
        assert_eq!(link["form"], "veth");
        assert!(link["from"]["frames"].as_u64().unwrap() >= 5, "{link:#}");
        assert_eq!(link["from"]["frames"], link["to"]["frames"], "{link:#}");
        assert_eq!(link["from"]["bytes"], link["to"]["bytes"], "{link:#}");
    }
    for change in
        ["swap a -- stdpkt run --right 10.0.0.1/24", "insert a:right -- stdpkt tee t.pcap"]
    {
        let outcome = scene.sh(&format!("stdpkt {change}"));
        assert_eq!(outcome.status, 125, "{change}: {outcome:?}");
        let line = outcome.only_line();
        assert!(line.contains("its frames cross a veth pair (--channel veth)"), "{line}");
    }
    let inside = scene.sh("stdpkt exec b -- ping -c1 10.0.0.1");
    assert_eq!(inside.status, 0, "{inside:?}");
    play.end_all();
}

/// There each would wait for the one before it.
#[test]
fn a_circle_is_refused_by_one_of_it() {
    need_functions!("bash");
    let scene = Scene::new();
    let run = |name: &str| format!("stdpkt run {VETH} --name {name} --left none --right none");
    let outcome = scene.sh(&format!(
        "bash -c 'coproc {{ {} | {}; }}; {} <&${{COPROC[0]}} >&${{COPROC[1]}}'",
        run("a"),
        run("b"),
        run("c"),
    ));
    assert_eq!(outcome.status, 125, "{outcome:?}");
    let line = outcome.only_line();
    assert!(line.contains("circle") && line.contains("--channel veth"), "{line}");
    scene.assert_nothing_left();
}

/// As an ordinary user all functions of a row are in the user namespace of its first.
#[test]
fn an_ordinary_user_has_them_in_one_user_namespace() {
    need_functions!("root", "user namespaces", "ping", "iptables", "setpriv");
    let scene = Scene::new();
    let own = "readlink /proc/self/ns/user";
    let chain = three(
        &format!("{VETH} -- sh -c '{own} >1; exec sleep 100'"),
        &format!("{VETH} --setup '{own} >2'"),
        &format!("{VETH} -- sh -c '{own} >3; exec ping -i0.2 -c3 10.0.1.1'"),
    );
    let outcome = as_nobody(&scene, &chain);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.out.contains(" 0% packet loss"), "{outcome:?}");
    let [first, second, third] =
        ["1", "2", "3"].map(|it| fs::read_to_string(scene.path(it)).expect("its CMD ran"));
    assert!(first == second && second == third, "{first} {second} {third}");
    let host = fs::read_link("/proc/self/ns/user").expect("/proc");
    assert_ne!(first.trim(), host.to_string_lossy());
    scene.assert_nothing_left();
}

/// Who stands in another one already, as in `unshare -r`, cannot leave it.
#[test]
fn from_another_user_namespace_it_is_refused() {
    need_functions!("root", "user namespaces", "setpriv");
    let scene = Scene::new();
    let chain = two(VETH, &format!("{VETH} -- true")).replace("| stdpkt", "| unshare -r stdpkt");
    let outcome = as_nobody(&scene, &chain);
    assert_eq!(outcome.status, 125, "{outcome:?}");
    let line = outcome.only_line();
    assert!(line.contains("--channel veth"), "{line}");
    scene.assert_nothing_left();
}
