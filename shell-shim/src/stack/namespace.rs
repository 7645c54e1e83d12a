//! Entry into a private network namespace, with or without privileges.
//!
//! Only the network (and, without privileges, the user namespace that owns
//! it) changes here. Processes, mounts and the host's name are the business of the
//! [keeper](super::keeper), which is cloned into namespaces of its own: after
//! `unshare(CLONE_NEWPID)` the kernel refuses this process any further thread
//! (`kernel/fork.c`, `copy_process`), and a fresh `/proc` would take
//! `/proc/self`, thus `/dev/stdout`, away from it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, anyhow, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{Gid, Uid, getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

use super::{sysctl, tcp};

/// Moves this process into a new network namespace, in which it may do
/// anything, and whose TCP suits a chain.
///
/// With all `POWERS` nothing else changes. Without, the process also enters
/// a new user namespace, where the caller appears as root, has them all, and no
/// other user or group exists.
///
/// # Errors
/// Where the host forbids this: one line with the setting and the way out.
/// With more than one thread, `EINVAL`.
pub fn enter() -> Result<()> {
    let here = CloneFlags::CLONE_NEWNET;
    let alone = here | CloneFlags::CLONE_NEWUSER;
    let has = |what| capabilities(None).is_ok_and(|it| it.effective.contains(what));
    let has_all = has(POWERS);
    // Afterwards these would be the overflow ids.
    let (user, group) = (geteuid(), getegid());
    // Since Linux 5.12 root needs this one to be root in the other, too.
    let may_map = !user.is_root() || has(CapabilitySet::SETFCAP);
    let [first, second] = if has_all || !may_map { [here, alone] } else { [alone, here] };
    let entered = match unshare(first) {
        Ok(()) => first,
        Err(errno) => {
            unshare(second).map_err(|_| anyhow!(way_out(errno, sysctl::read)))?;
            second
        }
    };
    if entered == alone {
        map_user(user, group)?;
    } else if !has_all {
        say::detail!("without a user namespace, which is refused here, some rights are missing");
    }
    tcp::suit_chain();
    Ok(())
}

/// Whether this process may make interfaces and addresses in the namespace that it is in.
pub fn may_be_changed() -> bool {
    capabilities(None).is_ok_and(|it| it.effective.contains(CapabilitySet::NET_ADMIN))
}

/// As [`enter`], but where a user namespace is needed it is this one, a neighbour's: who is in
/// the same as the neighbour may give it interfaces.
///
/// # Errors
/// As [`enter`], and where the neighbour's may not be entered.
pub fn enter_beside(neighbour: &OwnedFd) -> Result<()> {
    if capabilities(None).is_ok_and(|it| it.effective.contains(POWERS)) {
        return enter();
    }
    match setns(neighbour, CloneFlags::CLONE_NEWUSER) {
        // The one where this process is.
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => bail!(
            "--channel veth: the neighbour's user namespace may not be entered ({}): start both \
             from one shell, or leave out --channel veth",
            errno.desc()
        ),
    }
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| anyhow!(way_out(errno, sysctl::read)))?;
    tcp::suit_chain();
    Ok(())
}

/// What is needed to set up a network and to use it, by ping or iptables for instance.
/// Root in a container may have some of it only.
const POWERS: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::NET_BIND_SERVICE);

fn map_user(user: Uid, group: Gid) -> Result<()> {
    // user_namespaces(7): without privileges, gid_map is refused until
    // setgroups(2) is given up.
    for (file, line) in [
        ("setgroups", "deny".to_owned()),
        ("gid_map", format!("0 {group} 1")),
        ("uid_map", format!("0 {user} 1")),
    ] {
        fs::write(format!("/proc/self/{file}"), line).map_err(|error| {
            let way_out = match user.is_root() {
                true => "as root in a container it takes CAP_SETFCAP (`--cap-add SETFCAP`); or run it as an ordinary user".into(),
                false => way_out(Errno::EPERM, sysctl::read),
            };
            anyhow!("user namespace: {file}: {error}: {way_out}")
        })?;
    }
    Ok(())
}

/// Whether this process sees a part of the tree only, as after chroot(2): then `/` is
/// no mount, or another one than that of the first process, if that may be seen.
fn is_chroot() -> bool {
    let id = |path: &str| fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let is_mount = mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"));
    let is_other = id("/proc/1/root").is_some_and(|root| Some(root) != id("/"));
    !mounts.is_empty() && !is_mount || is_other
}

/// Why no namespace can be had, and what to do, from the settings that can
/// forbid it.
fn way_out(errno: Errno, setting: impl Fn(&str) -> Option<String>) -> String {
    const FORBIDDING: [(&str, &str, &str); 3] = [
        ("user.max_user_namespaces", "0", "15000"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ];
    for (key, forbids, allows) in FORBIDDING {
        if setting(key).as_deref() == Some(forbids) {
            return format!(
                "{key}={forbids} forbids user namespaces to ordinary users: run as root, or have root run `sysctl {key}={allows}`"
            );
        }
    }
    if matches!(errno, Errno::EPERM | Errno::EACCES) {
        if is_chroot() {
            return "a chroot forbids user namespaces to ordinary users: run it as root, or outside of the chroot"
                .to_owned();
        }
        if fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|it| it.trim() == "1") {
            return "network namespaces are forbidden here, by SELinux perhaps: look for `user_namespace` in the audit log (ausearch -m avc), or run as root on the host"
                .to_owned();
        }
    }
    match errno {
        Errno::ENOSPC | Errno::EUSERS => "no more namespaces allowed: raise user.max_user_namespaces and \
             user.max_net_namespaces, or nest fewer (32 levels at most)"
            .to_owned(),
        Errno::EPERM | Errno::EACCES => "network namespaces are forbidden here, as in many containers and in every chroot: allow them \
             (`--privileged`, or a seccomp and AppArmor profile that permits unshare), or run as root on the host"
            .to_owned(),
        Errno::EINVAL => "network namespace: this process has several threads, or the kernel lacks CONFIG_NET_NS \
             or CONFIG_USER_NS"
            .to_owned(),
        errno => format!("network namespace: {}", errno.desc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &'static str, value: &'static str) -> impl Fn(&str) -> Option<String> {
        move |asked| (asked == key).then(|| value.to_owned())
    }

    #[test]
    fn a_forbidding_setting_is_named_with_its_remedy() {
        for (key, value, remedy) in [
            ("user.max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
            ("kernel.unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
            (
                "kernel.apparmor_restrict_unprivileged_userns",
                "1",
                "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
            ),
        ] {
            for errno in [Errno::EPERM, Errno::ENOSPC, Errno::EACCES] {
                let text = way_out(errno, with(key, value));
                assert!(text.contains(remedy), "{text}");
                assert!(text.contains("run as root"), "{text}");
            }
        }
    }

    #[test]
    fn a_harmless_setting_is_not_blamed() {
        for errno in [Errno::EPERM, Errno::ENOSPC, Errno::EINVAL, Errno::ENOMEM] {
            let text = way_out(errno, with("kernel.unprivileged_userns_clone", "1"));
            assert!(!text.contains("userns_clone") && !text.contains('\n'), "{text}");
        }
    }
}
