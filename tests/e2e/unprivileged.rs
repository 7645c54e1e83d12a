//! The NAT chain as an ordinary user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use crate::support::chains::NAT;
use crate::support::need::{need, need_functions};
use crate::support::scene::{Scene, stdpkt};

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// As root, this puts on the dress of `nobody`, with a `/dev/net/tun` that all
/// may open, as usual elsewhere, in a mount namespace of its own. Otherwise
/// the other tests are this one already.
fn the_nat_chain_needs_no_root(iptables: &str) {
    let scene = Scene::new();
    // The build's directory may be closed to others.
    fs::remove_file(scene.path("bin/stdpkt")).expect("scene");
    fs::copy(stdpkt(), scene.path("bin/stdpkt")).expect("scene");
    fs::set_permissions(scene.path("."), Permissions::from_mode(0o755)).expect("scene");
    for path in [scene.path("."), scene.runtime_dir()] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("scene");
    }
    fs::write(scene.path("chain"), NAT.replace("iptables", iptables)).expect("scene");
    let outcome = scene.sh(
        "exec unshare -m sh -c 'umask 0; mknod tun c 10 200 && mount --bind tun /dev/net/tun && \
         exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all sh chain'",
    );
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert_eq!(outcome.err.matches("bytes from 8.8.8.8").count(), 3, "{outcome:?}");
    scene.assert_nothing_left();
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
