//! `stdpkt check`: here, and on hosts that lack something.

use serde_json::Value;

use crate::support::need::{need, need_functions};
use crate::support::scene::{Outcome, Scene};

/// Runs it on a host prepared by `prepare`, as in `refused_by_host`.
fn on(prepare: &str, wrapper: &str, options: &str) -> Outcome {
    let scene = Scene::new();
    scene.sh(&format!("unshare -rm sh -c '{prepare}; exec {wrapper} stdpkt check {options}'"))
}

fn item<'a>(report: &'a Value, what: &str) -> &'a Value {
    let items = report["items"].as_array().expect("items");
    items.iter().find(|item| item["what"] == what).unwrap_or_else(|| panic!("{what}: {report:#}"))
}

#[test]
fn where_functions_can_run_it_says_so() {
    need_functions!();
    let scene = Scene::new();
    let outcome = scene.sh("stdpkt check");
    assert_eq!((outcome.status, outcome.err.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(outcome.out.lines().last(), Some("functions can run here"));
    for what in ["namespaces", "TUN", "netlink", "runtime directory", "pipes", "inotify", "ping"] {
        let line = outcome.out.lines().find(|line| line.contains(&format!("  {what}  ")));
        assert!(line.is_some(), "{what}: {}", outcome.out);
    }
    let report: Value = serde_json::from_str(&scene.sh("stdpkt check --json").out).expect("JSON");
    assert_eq!((&report["version"], &report["can_run"]), (&1.into(), &true.into()));
    assert_eq!(item(&report, "TUN")["state"], "ok");
    scene.assert_nothing_left();
}

#[test]
fn what_is_missing_has_its_way_out() {
    need_functions!("user namespaces", "unshare", "setpriv");
    let powerless = "setpriv --bounding-set=-all --inh-caps=-all --no-new-privs";
    for (prepare, wrapper, what, way_out) in [
        ("mount -t tmpfs none /dev/net", "", "TUN", "modprobe tun"),
        (
            "echo 0 >/proc/sys/user/max_user_namespaces",
            powerless,
            "namespaces",
            "sysctl user.max_user_namespaces=",
        ),
        ("export SHMRING_RUNTIME_DIR=/etc", "", "runtime directory", "unset SHMRING_RUNTIME_DIR"),
    ] {
        let outcome = on(prepare, wrapper, "--json");
        assert_eq!(outcome.status, 1, "{outcome:?}");
        let report: Value = serde_json::from_str(&outcome.out).expect("JSON");
        assert_eq!(report["can_run"], false);
        let item = item(&report, what);
        assert_eq!(item["state"], "missing", "{report:#}");
        let told = item["way_out"].as_str().expect("a way out");
        assert!(told.contains(way_out), "{told}");
        let text = on(prepare, wrapper, "").out;
        assert!(text.contains(told) && text.contains("functions cannot run here"), "{text}");
    }
}

/// One that is no mount of its own, as debootstrap makes them.
#[test]
fn a_chroot_is_named_and_not_a_container() {
    need_functions!("root", "user namespaces", "unshare", "setpriv", "chroot", "mount");
    let scene = Scene::new();
    let outcome = scene.sh(
        "unshare -m sh -c 'mkdir -p all/root run && mount --rbind / all/root 2>/dev/null
         mkdir -p small/usr small/proc small/tmp small/dev/net small/bin small/etc
         mount --bind /usr small/usr && mount --rbind /proc small/proc
         mount --rbind /dev small/dev
         for link in bin lib lib64 sbin; do [ -e small/$link ] && rmdir small/$link; ln -s usr/$link small/$link; done
         chmod 1777 small/tmp; chmod 755 . small
         cp \"$(readlink -f bin/stdpkt)\" small/stdpkt; chmod 755 small/stdpkt
         exec env -u SHMRING_RUNTIME_DIR chroot small setpriv --reuid=65534 --regid=65534 --clear-groups \
           sh -c \"/stdpkt check; /stdpkt run --right 10.0.0.1/24 | cat\"'",
    );
    assert!(outcome.out.contains("a chroot forbids user namespaces"), "{outcome:?}");
    assert!(!outcome.out.contains("containers"), "{outcome:?}");
    assert!(outcome.err.contains("a chroot forbids user namespaces"), "{outcome:?}");
    assert!(outcome.err.contains("see stdpkt check"), "{outcome:?}");
}
