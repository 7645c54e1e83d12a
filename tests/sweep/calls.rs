//! System calls and the errors that they can have.

use libc::{
    E2BIG, EACCES, EAGAIN, EBUSY, EINTR, EINVAL, EIO, EMFILE, ENFILE, ENOBUFS, ENODEV, ENOENT,
    ENOMEM, ENOSPC, ENOSYS, EPERM, EROFS, ESRCH,
};

/// A system call.
pub struct Call {
    pub name: &'static str,
    pub number: i64,
    /// What it can come to where a host, a limit or a neighbour is the cause.
    pub errors: &'static [i32],
}

impl Call {
    /// Whether it has its effect although it fails: a descriptor is gone after
    /// close(2), whatever that says.
    pub fn takes_effect(&self) -> bool {
        self.number == libc::SYS_close
    }
}

/// What there is to know of a call that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasion {
    /// What `/proc/PID/fd` shows of the descriptor that is its first argument.
    pub object: String,
    /// Whether that waits.
    pub blocks: bool,
    /// Its third and fourth arguments.
    pub third: i64,
    pub fourth: i64,
}

/// Whether `call` can come to `errno` then.
pub fn is_plausible(call: i64, errno: i32, when: &Occasion) -> bool {
    match call {
        // What does not wait is not interrupted.
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => when.fourth as i32 != 0,
        libc::SYS_wait4 => when.third & i64::from(libc::WNOHANG) == 0,
        libc::SYS_read | libc::SYS_write | libc::SYS_writev | libc::SYS_pread64 => match errno {
            EINTR => when.blocks,
            // A frame that a TAP does not take is lost, as on any network.
            _ => when.object.starts_with('/') && when.object != "/dev/net/tun",
        },
        libc::SYS_recvfrom | libc::SYS_recvmsg | libc::SYS_sendto | libc::SYS_sendmsg => {
            errno != EINTR || when.blocks
        }
        _ => true,
    }
}

/// Calls that no program can do without, or that cannot fail. An allocation that
/// fails is an abort by the allocator; a futex(2) of the standard library is not ours.
pub const LEFT_OUT: &[i64] = &[
    libc::SYS_brk,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_geteuid,
    libc::SYS_getuid,
    libc::SYS_getegid,
    libc::SYS_getgid,
    libc::SYS_munmap,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_umask,
    libc::SYS_rseq,
    libc::SYS_restart_syscall,
    libc::SYS_clock_gettime,
    libc::SYS_newfstatat, // of files that are there
    libc::SYS_prlimit64,  // of one's own
    libc::SYS_unlink,     // what cannot be removed stays
    libc::SYS_unlinkat,
    libc::SYS_mprotect, // of threads and their stacks
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_getsockopt,
    libc::SYS_kill, // of children of one's own
    libc::SYS_arch_prctl,
    libc::SYS_alarm,
];

const fn call(name: &'static str, number: i64, errors: &'static [i32]) -> Call {
    Call { name, number, errors }
}

/// Those that there are errors for.
pub static CALLS: &[Call] = &[
    call("openat", libc::SYS_openat, &[ENOENT, EACCES, EMFILE, ENFILE]),
    call("open", libc::SYS_open, &[ENOENT, EACCES, EMFILE]),
    call("openat2", libc::SYS_openat2, &[ENOENT, EACCES, EMFILE, ENOSYS]),
    call("read", libc::SYS_read, &[EINTR, EIO]),
    call("pread64", libc::SYS_pread64, &[EINTR, EIO]),
    call("write", libc::SYS_write, &[EINTR, EIO, ENOSPC]),
    call("writev", libc::SYS_writev, &[EINTR, EIO, ENOSPC]),
    call("close", libc::SYS_close, &[EINTR]),
    call("fstat", libc::SYS_fstat, &[EIO, ENOMEM]),
    call("stat", libc::SYS_stat, &[ENOENT, EACCES]),
    call("lstat", libc::SYS_lstat, &[ENOENT]),
    call("statx", libc::SYS_statx, &[ENOENT, EACCES, EIO, ENOSYS]),
    call("fstatfs", libc::SYS_fstatfs, &[EIO, ENOSYS]),
    call("statfs", libc::SYS_statfs, &[ENOENT, EIO]),
    call("getdents64", libc::SYS_getdents64, &[EIO, ENOENT]),
    call("readlink", libc::SYS_readlink, &[ENOENT, EACCES]),
    call("readlinkat", libc::SYS_readlinkat, &[ENOENT, EACCES]),
    call("access", libc::SYS_access, &[ENOENT, EACCES]),
    call("faccessat2", libc::SYS_faccessat2, &[ENOENT, EACCES]),
    call("ioctl", libc::SYS_ioctl, &[EPERM, EBUSY, EINVAL, ENODEV, ENOMEM]),
    call("fcntl", libc::SYS_fcntl, &[EINVAL, EMFILE, EPERM]),
    call("dup", libc::SYS_dup, &[EMFILE]),
    call("dup2", libc::SYS_dup2, &[EMFILE, EBUSY]),
    call("dup3", libc::SYS_dup3, &[EMFILE, EBUSY]),
    call("flock", libc::SYS_flock, &[EINTR, ENOMEM]),
    call("socket", libc::SYS_socket, &[EMFILE, ENFILE, ENOBUFS, EACCES]),
    call("socketpair", libc::SYS_socketpair, &[EMFILE, ENFILE]),
    call("bind", libc::SYS_bind, &[EACCES, ENOMEM, EROFS, ENOENT]),
    call("listen", libc::SYS_listen, &[ENOBUFS]),
    call("accept4", libc::SYS_accept4, &[EMFILE, ENOBUFS, EINTR]),
    call("connect", libc::SYS_connect, &[EAGAIN, EACCES]),
    call("sendmsg", libc::SYS_sendmsg, &[ENOBUFS, ENOMEM, EINTR]),
    call("sendto", libc::SYS_sendto, &[ENOBUFS, ENOMEM, EINTR]),
    call("recvmsg", libc::SYS_recvmsg, &[ENOMEM, EINTR]),
    call("recvfrom", libc::SYS_recvfrom, &[ENOMEM, EINTR]),
    call("setsockopt", libc::SYS_setsockopt, &[ENOMEM, EPERM]),
    call("getsockname", libc::SYS_getsockname, &[ENOBUFS]),
    call("getpeername", libc::SYS_getpeername, &[ENOBUFS]),
    call("shutdown", libc::SYS_shutdown, &[EINVAL]),
    call("pipe2", libc::SYS_pipe2, &[EMFILE, ENFILE]),
    call("epoll_create1", libc::SYS_epoll_create1, &[EMFILE, ENOMEM]),
    call("epoll_ctl", libc::SYS_epoll_ctl, &[ENOMEM, ENOSPC]),
    call("epoll_wait", libc::SYS_epoll_wait, &[EINTR]),
    call("epoll_pwait", libc::SYS_epoll_pwait, &[EINTR]),
    call("epoll_pwait2", libc::SYS_epoll_pwait2, &[EINTR, ENOSYS]),
    call("poll", libc::SYS_poll, &[EINTR, ENOMEM]),
    call("ppoll", libc::SYS_ppoll, &[EINTR, ENOMEM]),
    call("eventfd2", libc::SYS_eventfd2, &[EMFILE, ENOMEM]),
    call("inotify_init1", libc::SYS_inotify_init1, &[EMFILE, ENOMEM]),
    call("inotify_add_watch", libc::SYS_inotify_add_watch, &[ENOSPC, ENOENT, EACCES]),
    call("inotify_rm_watch", libc::SYS_inotify_rm_watch, &[EINVAL]),
    call("timerfd_create", libc::SYS_timerfd_create, &[EMFILE, ENODEV]),
    call("timerfd_settime", libc::SYS_timerfd_settime, &[EINVAL]),
    call("signalfd4", libc::SYS_signalfd4, &[EMFILE, ENOMEM]),
    call("sigaltstack", libc::SYS_sigaltstack, &[ENOMEM]),
    call("memfd_create", libc::SYS_memfd_create, &[EMFILE, ENOMEM, EACCES]),
    call("ftruncate", libc::SYS_ftruncate, &[EIO, ENOSPC, EPERM]),
    call("mmap", libc::SYS_mmap, &[ENOMEM, EACCES]),
    call("madvise", libc::SYS_madvise, &[ENOMEM]),
    call("mremap", libc::SYS_mremap, &[ENOMEM]),
    call("fork", libc::SYS_fork, &[EAGAIN, ENOMEM]),
    call("vfork", libc::SYS_vfork, &[EAGAIN, ENOMEM]),
    call("clone", libc::SYS_clone, &[EAGAIN, ENOMEM, EPERM]),
    call("clone3", libc::SYS_clone3, &[EAGAIN, ENOMEM, ENOSYS]),
    call("execve", libc::SYS_execve, &[ENOENT, EACCES, E2BIG, ENOMEM]),
    call("wait4", libc::SYS_wait4, &[EINTR]),
    call("waitid", libc::SYS_waitid, &[EINTR]),
    call("tgkill", libc::SYS_tgkill, &[ESRCH]),
    call("pidfd_open", libc::SYS_pidfd_open, &[EMFILE, ESRCH, ENOSYS]),
    call("pidfd_send_signal", libc::SYS_pidfd_send_signal, &[ESRCH, EPERM]),
    call("unshare", libc::SYS_unshare, &[EPERM, ENOSPC, ENOMEM]),
    call("setns", libc::SYS_setns, &[EPERM, EINVAL]),
    call("mount", libc::SYS_mount, &[EPERM, EACCES, ENOENT, EBUSY]),
    call("umount2", libc::SYS_umount2, &[EBUSY, EPERM]),
    call("pivot_root", libc::SYS_pivot_root, &[EINVAL, EPERM]),
    call("open_tree", libc::SYS_open_tree, &[EPERM, ENOSYS]),
    call("move_mount", libc::SYS_move_mount, &[EPERM, ENOENT]),
    call("mount_setattr", libc::SYS_mount_setattr, &[EPERM, ENOSYS]),
    call("fsopen", libc::SYS_fsopen, &[EPERM, ENOSYS]),
    call("fsconfig", libc::SYS_fsconfig, &[EPERM, EINVAL]),
    call("fsmount", libc::SYS_fsmount, &[EPERM]),
    call("prctl", libc::SYS_prctl, &[EINVAL, EPERM]),
    call("capget", libc::SYS_capget, &[EINVAL]),
    call("capset", libc::SYS_capset, &[EPERM]),
    call("setresuid", libc::SYS_setresuid, &[EAGAIN, EPERM]),
    call("setresgid", libc::SYS_setresgid, &[EPERM]),
    call("setgroups", libc::SYS_setgroups, &[EPERM]),
    call("setsid", libc::SYS_setsid, &[EPERM]),
    call("setpgid", libc::SYS_setpgid, &[EPERM, ESRCH]),
    call("chdir", libc::SYS_chdir, &[ENOENT, EACCES]),
    call("fchdir", libc::SYS_fchdir, &[EACCES]),
    call("mkdir", libc::SYS_mkdir, &[EACCES, ENOSPC, EROFS]),
    call("mkdirat", libc::SYS_mkdirat, &[EACCES, ENOSPC, EROFS]),
    call("rename", libc::SYS_rename, &[EACCES, EROFS]),
    call("renameat", libc::SYS_renameat, &[EACCES, EROFS]),
    call("renameat2", libc::SYS_renameat2, &[EACCES, EROFS, EINVAL]),
    call("rmdir", libc::SYS_rmdir, &[EBUSY, EACCES]),
    call("symlinkat", libc::SYS_symlinkat, &[EACCES, ENOSPC]),
    call("chmod", libc::SYS_chmod, &[EPERM, EROFS]),
    call("fchmod", libc::SYS_fchmod, &[EPERM, EROFS]),
    call("fchmodat", libc::SYS_fchmodat, &[EPERM, EROFS]),
    call("getrandom", libc::SYS_getrandom, &[EINTR]),
    call("sysinfo", libc::SYS_sysinfo, &[EINVAL]),
    call("uname", libc::SYS_uname, &[EINVAL]),
    call("getrlimit", libc::SYS_getrlimit, &[EINVAL]),
    call("sched_getaffinity", libc::SYS_sched_getaffinity, &[EINVAL, ESRCH]),
    call("setpriority", libc::SYS_setpriority, &[EPERM, EACCES]),
    call("sched_setaffinity", libc::SYS_sched_setaffinity, &[EPERM, EINVAL]),
    call("nanosleep", libc::SYS_nanosleep, &[EINTR]),
    call("clock_nanosleep", libc::SYS_clock_nanosleep, &[EINTR]),
    call("sethostname", libc::SYS_sethostname, &[EPERM]),
    call("setdomainname", libc::SYS_setdomainname, &[EPERM]),
    call("lseek", libc::SYS_lseek, &[EINVAL]),
    call("sendfile", libc::SYS_sendfile, &[EAGAIN, EINVAL]),
    call("splice", libc::SYS_splice, &[EAGAIN, EINVAL]),
    call("copy_file_range", libc::SYS_copy_file_range, &[EINVAL, ENOSYS]),
    call("syncfs", libc::SYS_syncfs, &[EIO]),
    call("fsync", libc::SYS_fsync, &[EIO, ENOSPC]),
    call("fdatasync", libc::SYS_fdatasync, &[EIO]),
    call("fallocate", libc::SYS_fallocate, &[ENOSPC]),
    call("getcwd", libc::SYS_getcwd, &[ENOENT]),
];
