//! The scripts of the paper and the talks, with one change: `./bin/lkl-hijack.sh` is
//! `stdpkt run --lkl-config env --`. (And nat.sh gets the `-j MASQUERADE` that it forgets,
//! ping counts, and FIFOs are in the scene's directory instead of /tmp.)

use std::os::unix::fs::PermissionsExt;

use crate::support::need::{lkl_dir, need, need_functions};
use crate::support::scene::{Scene, statuses_of, with_statuses};

/// The first talk: variables before the command.
const PING: &str = r#"LKL_HIJACK_NET_IFTYPE0=fifo \
 LKL_HIJACK_NET_IFPARAMS0="/tmp/fifo1|/dev/stdout" \
 LKL_HIJACK_NET_IP0=192.168.0.1 \
 LKL_HIJACK_NET_GATEWAY=192.168.0.254 \
 LKL_HIJACK_NET_NETMASK_LEN0=24 \
 ./bin/lkl-hijack.sh \
 ping 8.8.8.8
"#;
const NAT: &str = r#"LKL_HIJACK_DEBUG=0x100 \
 LKL_HIJACK_SYSCTL="net.ipv4.ip_forward=1" \
 LKL_HIJACK_NET_IFTYPE0=fifo \
 LKL_HIJACK_NET_IFPARAMS0="/dev/stdin|/tmp/fifo1" \
 LKL_HIJACK_NET_IP0=192.168.0.254 LKL_HIJACK_NET_NETMASK_LEN0=24 \
 LKL_HIJACK_NET_IFTYPE1=fifo LKL_HIJACK_NET_IFPARAMS1="/tmp/fifo3|/dev/stdout" \
 LKL_HIJACK_NET_IP1=8.8.8.4 LKL_HIJACK_NET_NETMASK_LEN1=24 \
 ./bin/lkl-hijack.sh \
 iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -d 8.8.8.0/24 
"#;
const DEST: &str = r#"LKL_HIJACK_DEBUG=0x100 \
 LKL_HIJACK_NET_IFTYPE0=fifo LKL_HIJACK_NET_IFPARAMS0="/dev/stdin|/tmp/fifo3" \
 LKL_HIJACK_NET_IP0=8.8.8.8 LKL_HIJACK_NET_NETMASK_LEN0=24 LKL_HIJACK_NET_GATEWAY=8.8.8.4 \
 ./bin/lkl-hijack.sh /bin/true
"#;
/// Backups: two servers, and a ping whose frames go to both.
const SRV1: &str = r#"LKL_HIJACK_NET_IFTYPE0=fifo LKL_HIJACK_NET_IFPARAMS0="atob|btoa" \
   LKL_HIJACK_NET_IP0=192.168.0.2 LKL_HIJACK_NET_NETMASK_LEN0=24 \
   LKL_HIJACK_DEBUG=0x100 \
   ./bin/lkl-hijack.sh /bin/true
"#;
const SRV2: &str = r#"LKL_HIJACK_NET_IFTYPE0=fifo LKL_HIJACK_NET_IFPARAMS0="atoc|btoa" \
   LKL_HIJACK_NET_IP0=192.168.0.3 LKL_HIJACK_NET_NETMASK_LEN0=24 \
   LKL_HIJACK_DEBUG=0x100 \
   ./bin/lkl-hijack.sh /bin/true
"#;
const FPING: &str = r#"LKL_HIJACK_NET_IFTYPE0=fifo LKL_HIJACK_NET_IFPARAMS0="btoa|stdout" \
   LKL_HIJACK_NET_IP0=192.168.0.1 LKL_HIJACK_NET_NETMASK_LEN0=24 \
   ./bin/lkl-hijack.sh fping 192.168.0.2 192.168.0.3 \
"#;

/// As the user changes it.
fn changed(scene: &Scene, script: &str, options: &str) -> String {
    let tmp = format!("{}/", scene.path("").display().to_string().trim_end_matches('/'));
    script
        .replace("./bin/lkl-hijack.sh", &format!("stdpkt run {options} --lkl-config env --"))
        .replace("-d 8.8.8.0/24 ", "-d 8.8.8.0/24 -j MASQUERADE")
        .replace("ping 8.8.8.8", "ping -c3 -W5 8.8.8.8")
        .replace("/tmp/", &tmp)
}

fn write(scene: &Scene, name: &str, text: &str) {
    let path = scene.path(name);
    std::fs::write(&path, text).expect("scene");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("scene");
}

fn nat(options: &str) {
    let scene = Scene::new();
    for (name, script) in [("ping.sh", PING), ("nat.sh", NAT), ("dest.sh", DEST)] {
        write(&scene, name, &format!("#!/bin/sh\n{}", changed(&scene, script, options)));
    }
    let play = scene.start_in(
        &["bash"],
        &with_statuses("mkfifo fifo1 fifo3; ./ping.sh | ./nat.sh | ./dest.sh"),
    );
    let (statuses, outcome) = statuses_of(play.end());
    assert_eq!(statuses, [0, 0, 0], "{outcome:?}");
    assert!(outcome.err.contains("3 received"), "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn ping_nat_dest() {
    need_functions!("ping", "iptables", "bash", "mkfifo");
    nat("");
}

#[test]
fn ping_nat_dest_on_lkl() {
    need_functions!("ping", "iptables-nft-restore", "bash", "mkfifo", "LKL_DIR");
    nat(&format!("--stack lkl --lkl {}", lkl_dir().expect("LKL_DIR").display()));
}

/// The second talk: variables in files.
#[test]
fn ping_nat_dest_with_their_variables_in_files() {
    need_functions!("ping", "iptables", "bash", "mkfifo");
    let scene = Scene::new();
    for (name, conf, script) in
        [("ping.sh", "1st.conf", PING), ("nat.sh", "2nd.conf", NAT), ("dest.sh", "3rd.conf", DEST)]
    {
        let script = changed(&scene, script, "");
        let (variables, command) = script.split_once(" stdpkt").expect("a command");
        std::fs::write(scene.path(conf), variables).expect("scene");
        write(&scene, name, &format!("#!/bin/sh\nLKL_CONFIG={conf} \\\n stdpkt{command}"));
    }
    let chain = "mkfifo fifo1 fifo3; ./ping.sh | ./nat.sh | ./dest.sh";
    let (statuses, outcome) = scene.pipeline(chain);
    assert_eq!(statuses, [0, 0, 0], "{outcome:?}");
    assert!(outcome.err.contains("3 received"), "{outcome:?}");
    scene.assert_nothing_left();
}

fn two_servers(shell: &str, copies: &str) {
    let scene = Scene::new();
    let [one, two, ping] = [SRV1, SRV2, FPING].map(|script| changed(&scene, script, ""));
    let script = format!(
        "mkfifo atob atoc btoa\n{one} &\n one=$!\n{two} &\n two=$!\n{ping}   {copies}\n\
         kill $one $two; wait; true"
    )
    .replace("\n &", " &");
    let outcome = scene.start_in(&[shell], &script).end();
    assert_eq!(outcome.status, 0, "{outcome:?}");
    for server in ["192.168.0.2 is alive", "192.168.0.3 is alive"] {
        assert!(outcome.err.contains(server) || outcome.out.contains(server), "{outcome:?}");
    }
    scene.assert_nothing_left();
}

#[test]
fn one_ping_and_two_servers() {
    need_functions!("fping", "bash", "mkfifo", "tee");
    two_servers("bash", "| tee atob > atoc");
}

#[test]
fn one_ping_and_two_servers_as_zsh_has_it() {
    need_functions!("fping", "zsh", "mkfifo", "tee");
    two_servers("zsh", "| tee atob | > atoc");
}

/// The paper's line: a NAT and a firewall between a client and a server.
#[test]
fn nat_and_firewall_by_the_papers_variables() {
    need_functions!("ping", "iptables", "bash", "mkfifo");
    let scene = Scene::new();
    let chain = "mkfifo f1 f2 f3
        GATEWAY=10.0.0.1 IF0='f1|stdout' IP0=10.0.0.2 NETMASK0=24 HIJACK ping -c3 -W5 10.0.2.2 \
        | LKL_HIJACK_DEBUG=0x100 LKL_HIJACK_SYSCTL=net.ipv4.ip_forward=1 \
          IF0='stdin|f1' IP0=10.0.0.1 NETMASK0=24 IF1='f2|stdout' IP1=10.0.1.1 NETMASK1=24 GATEWAY=10.0.1.2 \
          HIJACK iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE \
        | LKL_HIJACK_DEBUG=0x100 LKL_HIJACK_SYSCTL=net.ipv4.ip_forward=1 \
          IF0='stdin|f2' IP0=10.0.1.2 NETMASK0=24 IF1='f3|stdout' IP1=10.0.2.1 NETMASK1=24 \
          HIJACK iptables -A FORWARD -i eth1 -m state --state NEW -j DROP \
        | LKL_HIJACK_DEBUG=0x100 GATEWAY=10.0.2.1 IF0='stdin|f3' IP0=10.0.2.2 NETMASK0=24 HIJACK true";
    let chain = chain.replace("HIJACK ", "stdpkt run --lkl-config env -- ");
    let chain = chain.replace("LKL_stdpkt run --lkl-config env -- ", "LKL_HIJACK_");
    let (statuses, outcome) = scene.pipeline(&chain);
    assert_eq!(statuses, [0, 0, 0, 0], "{outcome:?}");
    // iptables is CMD here, not `--setup`: what passes before it has run is not translated.
    let received = ["3 received", "2 received"].iter().any(|some| outcome.err.contains(some));
    assert!(received, "{outcome:?}");
    scene.assert_nothing_left();
}

#[test]
fn a_function_that_stays_has_its_cmds_status() {
    need_functions!("ping", "bash");
    let scene = Scene::new();
    let chain = "stdpkt run --right 10.0.0.1/24 -- ping -c1 10.0.0.2 \
                 | stdpkt run --left 10.0.0.2/24 --keep -- sh -c 'exit 3'";
    let (statuses, outcome) = scene.pipeline(chain);
    assert_eq!(statuses, [0, 3], "{outcome:?}");
    assert!(outcome.err.contains("1 received"), "{outcome:?}");
    assert!(outcome.err.contains("CMD ended with status 3, and the function stays"), "{outcome:?}");
    scene.assert_nothing_left();
}
