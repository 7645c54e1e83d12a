//! The NAT chain as an ordinary user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::support::chains::NAT;
use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene, stdpkt};

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// As root, this puts on the dress of `nobody` and runs `script`, with a `/dev/net/tun` that all
/// may open, as usual elsewhere, in a mount namespace of its own. Otherwise
/// the other tests are this one already.
pub fn as_nobody(scene: &Scene, script: &str) -> Outcome {
    // The build's directory may be closed to others.
    fs::remove_file(scene.path("bin/stdpkt")).expect("scene");
    fs::copy(stdpkt(), scene.path("bin/stdpkt")).expect("scene");
    fs::set_permissions(scene.path("."), Permissions::from_mode(0o755)).expect("scene");
    chown(scene.path("."), Some(NOBODY), Some(NOBODY)).expect("scene");
    fs::write(scene.path("chain"), script).expect("scene");
    scene.sh(
        "exec unshare -m sh -c 'umask 0; mknod tun c 10 200 && mount --bind tun /dev/net/tun && \
         exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all sh chain'",
    )
}

fn the_nat_chain_needs_no_root(iptables: &str) {
    let scene = Scene::new();
    let outcome = as_nobody(&scene, &NAT.replace("iptables", iptables));
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(outcome.err.matches("bytes from 8.8.8.8").count(), 3, "{outcome:?}");
    scene.assert_nothing_left();
}

/// As in `podman run --cap-add SYS_ADMIN,NET_ADMIN`.
#[test]
fn root_with_some_of_its_rights_is_no_worse_off_than_an_ordinary_user() {
    need_functions!("root", "user namespaces", "ping", "iptables", "setpriv");
    for lacks in ["net_raw", "net_admin", "net_bind_service", "sys_admin", "all"] {
        let lacks = format!("-{lacks},+setfcap,+dac_override");
        let scene = Scene::new();
        fs::write(scene.path("chain"), NAT).expect("scene");
        let rights = format!("--bounding-set={lacks} --inh-caps={lacks}");
        let outcome = scene.sh(&format!("exec setpriv {rights} sh chain"));
        assert_eq!(outcome.status, 0, "{lacks}: {outcome:?}");
        assert_eq!(outcome.err.matches("bytes from 8.8.8.8").count(), 3, "{lacks}: {outcome:?}");
        scene.assert_nothing_left();
    }
}

#[test]
fn root_that_may_not_have_a_user_namespace_is_told_what_it_takes() {
    need_functions!("root", "user namespaces", "setpriv");
    let scene = Scene::new();
    let outcome = scene.sh("exec setpriv --bounding-set=-all --inh-caps=-all sh -c \
         '(stdpkt run --right 10.0.0.1/24; echo $? >status) | cat; exit $(cat status)'");
    assert_eq!(outcome.status, 125, "{outcome:?}");
    let line = outcome.only_line();
    assert!(line.contains("uid_map") && line.contains("--cap-add SETFCAP"), "{line}");
}

#[test]
fn the_nat_chain_needs_no_root_with_nftables() {
    need_functions!("root", "user namespaces", "ping", "iptables-nft", "unshare", "setpriv");
    the_nat_chain_needs_no_root("iptables-nft");
}

/// It takes a lock in `/run`, which ordinary users may not write to.
#[test]
fn the_nat_chain_needs_no_root_with_legacy_tables() {
    need_functions!("root", "user namespaces", "ping", "iptables-legacy", "unshare", "setpriv");
    if !Path::new("/proc/net/ip_tables_names").exists() {
        return say::line!("the legacy tables: skipped, for want of ip_tables in this kernel");
    }
    the_nat_chain_needs_no_root("iptables-legacy");
}
