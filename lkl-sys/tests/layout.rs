//! The hand-written declarations against C headers, field by field.

#[path = "../bindings.rs"]
mod bindings;

use std::fs;
use std::mem::{offset_of, size_of};
use std::path::Path;

use lkl_sys::*;

/// Ours by the names of LKL.
fn ours() -> Vec<(String, usize)> {
    let mut all = Vec::new();
    macro_rules! layout {
        ($ours:ty as $theirs:ident: $($field:ident),*) => {
            $(all.push((
                concat!("Offset of field: ", stringify!($theirs), "::", stringify!($field)).to_owned(),
                offset_of!($ours, $field),
            ));)*
            all.push((concat!("Size of ", stringify!($theirs)).to_owned(), size_of::<$ours>()));
        };
    }
    layout!(Netdev as lkl_netdev: ops, id);
    layout!(NetOps as lkl_dev_net_ops: tx, rx, poll, poll_hup, free);
    layout!(NetdevArgs as lkl_netdev_args: mac, offload);
    layout!(Iovec as iovec: iov_base, iov_len);
    layout!(HostOperations as lkl_host_operations:
        virtio_devices, print, panic, sem_alloc, sem_free, sem_up, sem_down, mutex_alloc,
        mutex_free, mutex_lock, mutex_unlock, thread_create, thread_detach, thread_exit,
        thread_join, thread_self, thread_equal, tls_alloc, tls_free, tls_set, tls_get,
        mem_alloc, mem_free, page_alloc, page_free, time, timer_alloc, timer_set_oneshot,
        timer_free, ioremap, iomem_access, gettid, jmp_buf_set, jmp_buf_longjmp, memcpy, pci_ops);
    all
}

/// bindgen's own checks say what it found:
/// `["Offset of field: lkl_netdev::id"][::std::mem::offset_of!(lkl_netdev, id) - 8usize];`
fn theirs(bindings: &str, what: &str) -> Option<usize> {
    let check = bindings.split_once(&format!("\"{what}\""))?.1.split(';').next()?;
    check.rsplit('-').next()?.split("usize").next()?.trim().parse().ok()
}

/// The first difference between `src/lib.rs` and the bindings of a header.
fn compare(bindings: &str) -> Result<(), String> {
    let way_out = "take the LKL that lkl-sys/src/lib.rs describes, or mend that file";
    for (what, ours) in ours() {
        match theirs(bindings, &what) {
            Some(theirs) if theirs == ours => {}
            Some(theirs) => {
                return Err(format!("LKL_DIR: {what}: {theirs}, and {ours} here; {way_out}"));
            }
            None => return Err(format!("LKL_DIR: {what}: not in its headers; {way_out}")),
        }
    }
    // A bit-field has no offset: its setter says which bits it is.
    let squeezed: String = bindings.split_whitespace().collect();
    let setter = squeezed.split_once("fnset_has_vnet_hdr(").map_or("", |(_, rest)| rest);
    let bits = setter.split_once(".set(").map_or("", |(_, rest)| rest);
    let lines = [
        ("has_vnet_hdr", bits.starts_with(&format!("0usize,{HAS_VNET_HDR}u8,"))),
        ("LKL_DEV_NET_POLL_RX", squeezed.contains(&format!("POLL_RX:u32={POLL_RX};"))),
        ("LKL_DEV_NET_POLL_TX", squeezed.contains(&format!("POLL_TX:u32={POLL_TX};"))),
        ("LKL_DEV_NET_POLL_HUP", squeezed.contains(&format!("POLL_HUP:u32={POLL_HUP};"))),
    ];
    match lines.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(format!("LKL_DIR: {what}: not as here; {way_out}")),
        None => Ok(()),
    }
}

fn skipped(why: &str) {
    say::line!("layout: skipped, for want of {why}");
}

/// What CI has: there it must not be missing.
fn lacking(what: &str) {
    let all = std::env::var_os("STDPKT_TESTS_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!all, "for want of {what}");
    skipped(what);
}

#[test]
fn lkl_has_what_is_declared_here() {
    let dir = std::env::var_os("LKL_DIR").filter(|dir| !dir.is_empty());
    let Some(dir) = dir else { return skipped("LKL_DIR") };
    match bindings::of(&Path::new(&dir).join("include")) {
        Some(made) => made.and_then(|made| compare(&made)).unwrap_or_else(|line| panic!("{line}")),
        None => lacking("libclang"),
    }
}

/// The same ABI in words of our own.
const HEADER: &str = "
    struct iovec { void *iov_base; unsigned long iov_len; };
    struct lkl_dev_net_ops;
    struct lkl_netdev { struct lkl_dev_net_ops *ops; int id; unsigned char has_vnet_hdr: 1; };
    struct lkl_netdev_args { void *mac; unsigned int offload; };
    struct lkl_dev_net_ops {
        int (*tx)(struct lkl_netdev *, struct iovec *, int);
        int (*rx)(struct lkl_netdev *, struct iovec *, int);
        int (*poll)(struct lkl_netdev *);
        void (*poll_hup)(struct lkl_netdev *);
        void (*free)(struct lkl_netdev *);
    };
    struct lkl_host_operations {
        void *virtio_devices, *print, *panic, *sem_alloc, *sem_free, *sem_up, *sem_down,
             *mutex_alloc, *mutex_free, *mutex_lock, *mutex_unlock, *thread_create,
             *thread_detach, *thread_exit, *thread_join, *thread_self, *thread_equal,
             *tls_alloc, *tls_free, *tls_set, *tls_get, *mem_alloc, *mem_free, *page_alloc,
             *page_free, *time, *timer_alloc, *timer_set_oneshot, *timer_free, *ioremap,
             *iomem_access, *gettid, *jmp_buf_set, *jmp_buf_longjmp, *memcpy, *pci_ops;
    };
    #define LKL_DEV_NET_POLL_RX 1
    #define LKL_DEV_NET_POLL_TX 2
    #define LKL_DEV_NET_POLL_HUP 4
";

#[test]
fn another_version_is_told_by_its_first_difference() {
    let dir = tempfile::tempdir().unwrap();
    let told = |from: &str, to: &str| {
        assert!(HEADER.contains(from), "{from}");
        fs::write(dir.path().join("lkl_host.h"), HEADER.replace(from, to)).unwrap();
        bindings::of(dir.path()).map(|made| compare(&made.unwrap()).err().unwrap_or_default())
    };
    match told("int id;", "int id;") {
        Some(line) => assert_eq!(line, ""),
        None => return lacking("libclang"),
    }
    let other_versions = [
        ("int id;", "int id, users;", "lkl_netdev: 24, and 16 here"),
        ("int id;", "long id;", "lkl_netdev: 24, and 16 here"),
        ("int id;", "", "lkl_netdev::id: not in"),
        (
            "int id; unsigned char has_vnet_hdr: 1;",
            "unsigned char has_vnet_hdr: 1; int id;",
            "id: 12",
        ),
        ("has_vnet_hdr: 1", "other: 1, has_vnet_hdr: 1", "has_vnet_hdr: not as here"),
        ("has_vnet_hdr: 1", "other: 1", "has_vnet_hdr: not as here"),
        ("void (*poll_hup)(struct lkl_netdev *);", "", "lkl_dev_net_ops::poll_hup: not in"),
        ("int (*tx)", "void *priv; int (*tx)", "lkl_dev_net_ops::tx: 8, and 0 here"),
        ("void *mac;", "void *mac; int mtu;", "lkl_netdev_args::offload: 12, and 8 here"),
        ("POLL_HUP 4", "POLL_HUP 8", "LKL_DEV_NET_POLL_HUP: not as here"),
        ("*sem_down,", "*sem_down, *sem_try,", "lkl_host_operations::mutex_alloc: 64, and 56 here"),
        ("*memcpy, *pci_ops", "*pci_ops", "lkl_host_operations::memcpy: not in"),
        ("struct lkl_netdev_args {", "struct lkl_args {", "lkl_netdev_args::mac: not in"),
    ];
    for (from, to, what) in other_versions {
        let line = told(from, to).unwrap();
        assert!(line.contains(what), "no `{what}` in `{line}`");
        assert!(line.lines().count() == 1 && line.starts_with("LKL_DIR: "), "{line}");
    }
}

#[test]
fn headers_that_are_none_are_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["#error no", "#include <not_there.h>", "struct {{{"] {
        fs::write(dir.path().join("lkl_host.h"), text).unwrap();
        let Some(made) = bindings::of(dir.path()) else { return lacking("libclang") };
        let why = made.unwrap_err();
        assert!(why.lines().count() == 1, "{why}");
    }
}
