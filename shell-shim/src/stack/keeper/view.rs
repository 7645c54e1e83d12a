//! The keeper's `/proc` and `/sys`, which show the function and nothing else.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// Mounts a fresh `/proc` and `/sys` over the host's.
///
/// Both are a comfort for `ps` and the like, and each may fail: without
/// privileges the kernel allows a mount only where the present one hides
/// nothing (`mount_too_revealing` in `fs/namespace.c`), as it does in many
/// containers. Then the host's stays. This process must have a mount
/// namespace of its own.
pub(super) fn mount_own() {
    // First of all, nothing may propagate to the host.
    if mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)
        .is_ok()
    {
        let _ = overmount("proc", "/proc");
        let _ = overmount("sysfs", "/sys");
    }
}

fn overmount(kind: &str, place: &str) -> Result<(), Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(kind), place, Some(kind), flags, None::<&str>)
}
