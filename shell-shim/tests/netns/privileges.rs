//! The whole stack, as an ordinary user.

use std::path::Path;

use anyhow::{Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use shell_shim::stack::keeper::Links;
use shell_shim::stack::network::Network;
use shell_shim::stack::{netlink, sysctl};

use super::network::{interface, source_for, tap};
use super::{Lacks, inside, run};

/// As the user 65534, with a `/dev/net/tun` that all may open, as usual
/// elsewhere, in a mount namespace of this case.
pub fn without_privileges() -> Result<()> {
    if geteuid().is_root() {
        let scratch = tempfile::tempdir()?;
        let node = scratch.path().join("tun");
        umask(Mode::empty());
        let all = Mode::from_bits_truncate(0o666);
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        let with_node = unshare(CloneFlags::CLONE_NEWNS)
            .and_then(|()| mount(None::<&str>, "/", None::<&str>, private, None::<&str>))
            .and_then(|()| mknod(&node, SFlag::S_IFCHR, all, makedev(10, 200)))
            .and_then(|()| {
                mount(Some(&node), "/dev/net/tun", None::<&str>, MsFlags::MS_BIND, None::<&str>)
            });
        if let Err(errno) = with_node {
            say::line!("note: no open /dev/net/tun can be made here: {errno}");
        }
        drop(scratch); // the mount keeps the node
        setgroups(&[])?;
        setresgid(Gid::from_raw(65534), Gid::from_raw(65534), Gid::from_raw(65534))?;
        setresuid(Uid::from_raw(65534), Uid::from_raw(65534), Uid::from_raw(65534))?;
        // Or /proc/self would belong to root, as that of no ordinary program.
        nix::sys::prctl::set_dumpable(true)?;
        std::env::set_current_dir("/")?;
    }
    let mut keeper = inside(Links::default())?;
    ensure!(run(&mut keeper, "test $(id -u):$(id -g) = 0:0")? == 0, "not root inside");
    ensure!(
        run(&mut keeper, "test \"$(cat /proc/1/comm)\" = stdpkt-keeper")? == 0,
        "no fresh /proc"
    );
    let _left = tap("left")?;
    sysctl::forward(None)?;
    netlink::configure(&Network {
        interfaces: vec![interface("left", &["10.0.0.1/24"])],
        ..Network::default()
    })?;
    if !Path::new("/sys/class/net").exists() {
        return Err(Lacks("a /sys, without which a function has none of its own".to_owned()).into());
    }
    ensure!(
        run(&mut keeper, "test -e /sys/class/net/left && ! test -e /sys/class/net/eth0")? == 0,
        "the host's /sys"
    );
    ensure!(source_for("10.0.0.2:9")? == "10.0.0.1");
    drop(keeper);
    Ok(())
}
