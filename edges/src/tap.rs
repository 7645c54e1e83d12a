//! A TAP interface: Ethernet frames, each after its `virtio_net_hdr_v1`.
//!
//! Unsafe lives here for the ioctls of `/dev/net/tun` alone
//! (`include/uapi/linux/if_tun.h`). It owns one invariant: each ioctl gets a
//! pointer to the very type that header states, alive for the call.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use cable::Edge;
use cable::edge::{Burst, NotNow, NotTaken, Watch};
use frames::{FEATURES, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, VNET_LEN};
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use shmring::{Bytes, BytesMut};

use crate::backlog::Backlog;
use crate::gathering::Gathering;

const DEVICE: &str = "/dev/net/tun";

// Values from include/uapi/linux/if_tun.h.
const TUN_F_CSUM: libc::c_int = 0x01;
const TUN_F_TSO4: libc::c_int = 0x02;
const TUN_F_TSO6: libc::c_int = 0x04;
const TUN_F_TSO_ECN: libc::c_int = 0x08;

mod ioctl {
    use nix::request_code_write;

    // TUNSETIFF, though it writes the name back and takes an ifreq, and
    // TUNSETOFFLOAD, though it takes its argument by value, are declared as
    // writing an int.
    nix::ioctl_readwrite_bad!(
        set_iff,
        request_code_write!(b'T', 202, size_of::<libc::c_int>()),
        libc::ifreq
    );
    // TUNSETPERSIST takes its argument by value, too.
    nix::ioctl_write_int_bad!(
        set_persist,
        request_code_write!(b'T', 203, size_of::<libc::c_int>())
    );
    nix::ioctl_write_int_bad!(
        set_offload,
        request_code_write!(b'T', 208, size_of::<libc::c_uint>())
    );
    nix::ioctl_write_ptr!(set_vnet_header_size, b'T', 216, libc::c_int);
    nix::ioctl_write_ptr!(set_vnet_little_endian, b'T', 220, libc::c_int);
    nix::ioctl_write_ptr!(set_carrier, b'T', 226, libc::c_int);
}

/// A TAP interface; it is gone once this is dropped.
///
/// Each `read` or `write` of the descriptor is one frame: [`VNET_LEN`]
/// bytes, little endian, then the Ethernet frame. It never blocks.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
    /// Until a read says otherwise. The descriptor is watched edge-triggered.
    readable: bool,
    /// Until a write says otherwise.
    writable: bool,
    gathering: Gathering,
    backlog: Backlog,
    /// It was there before; whoever made it may delete it...
    lent: bool,
    /// ...and has.
    gone: bool,
}

/// What may be left undone in a frame that the kernel hands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums may be partial. Without this the others have no effect.
    pub csum: bool,
    /// TCP over IPv4 may come in segments of up to 64 KiB.
    pub tso4: bool,
    /// TCP over IPv6 may come in segments of up to 64 KiB.
    pub tso6: bool,
}

impl Offloads {
    /// What a neighbour with these virtio-net features takes.
    pub fn of(features: u64) -> Offloads {
        let has = |bit: u32| features >> bit & 1 == 1;
        Offloads { csum: has(GUEST_CSUM), tso4: has(GUEST_TSO4), tso6: has(GUEST_TSO6) }
    }
}

impl Tap {
    /// Makes the interface `name` in this process's network namespace, with
    /// carrier, down, without offloads.
    ///
    /// # Errors
    /// One line with the way out: `/dev/net/tun` missing or not permitted;
    /// `name` invalid or taken; no right to make interfaces.
    pub fn create(name: &str) -> Result<Self> {
        check_name(name)?;
        let flags = libc::IFF_TUN_EXCL;
        Tap::open(name, flags, |errno| match errno {
            Errno::EBUSY => anyhow!("interface {name} exists already: give the link another name"),
            Errno::EPERM => anyhow!(
                "interface {name}: no right to make interfaces (CAP_NET_ADMIN): run as an ordinary user or as root, in a container with `--cap-add NET_ADMIN`"
            ),
            _ => anyhow::Error::new(errno).context(format!("interface {name}")),
        })
    }

    /// Takes the TAP `name` that somebody made for this user, as by
    /// `ip tuntap add NAME mode tap user USER`. It stays when this is dropped.
    ///
    /// # Errors
    /// One line with the way out: there is none, it is something else, another process
    /// has it, or it is another user's.
    pub fn attach(name: &str) -> Result<Self> {
        check_name(name)?;
        if nix::net::if_::if_nametoindex(name).is_err() {
            bail!(
                "tap:{name} is not there: have root run `ip tuntap add {name} mode tap user {}`",
                user()
            );
        }
        let refused = |errno| match errno {
            Errno::EBUSY => {
                anyhow!(
                    "tap:{name} is in use by another process, or named twice here: end that, or make another TAP"
                )
            }
            Errno::EPERM => anyhow!(
                "tap:{name} is another user's: have root run `ip tuntap add NAME mode tap user {}`, and take that one",
                user()
            ),
            Errno::E2BIG => anyhow!("tap:{name} has no queue left: end a process that uses it"),
            Errno::EINVAL => {
                anyhow!("tap:{name} is no TAP: make one with `ip tuntap add NAME mode tap`")
            }
            errno => anyhow!("tap:{name}: {}", errno.desc()),
        };
        // One with several queues is taken as one queue, for which it wants to be asked.
        let mut several = false;
        let one = Tap::open(name, 0, |errno| {
            several = errno == Errno::EINVAL;
            refused(errno)
        });
        let tap = if several { Tap::open(name, libc::IFF_MULTI_QUEUE, refused) } else { one };
        Ok(Tap { lent: true, ..tap? })
    }

    fn open(
        name: &str,
        flags: libc::c_int,
        refused: impl FnOnce(Errno) -> anyhow::Error,
    ) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK) // O_CLOEXEC is std's default
            .open(DEVICE)
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => anyhow!(
                    "{DEVICE} is missing: have root load the driver (`modprobe tun`), or make it where the driver is there (`mkdir -p /dev/net; mknod -m 666 {DEVICE} c 10 200`); in a container pass it in (`--device {DEVICE}`)"
                ),
                ErrorKind::PermissionDenied => anyhow!(
                    "{DEVICE} may not be opened: have root run `chmod 666 {DEVICE}`, in a container pass it in (`--device {DEVICE}`)"
                ),
                _ if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) => {
                    anyhow!("{DEVICE} has no driver: have root load it (`modprobe tun`)")
                }
                _ => anyhow::Error::new(error).context(DEVICE),
            })?;

        // SAFETY: ifreq is a C struct for which all zeroes is a valid value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | flags;
        // The flags are a bit set: IFF_TUN_EXCL is the sign bit.
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is.
        unsafe { ioctl::set_iff(file.as_raw_fd(), &mut request) }.map_err(|errno| match errno {
            Errno::ENOTTY => anyhow!(
                "interface {name}: {DEVICE} is another device than it should be: have root run `rm {DEVICE}; mknod -m 666 {DEVICE} c 10 200`"
            ),
            errno => refused(errno),
        })?;

        let name = name.to_owned();
        let tap = Self {
            file,
            name,
            readable: true,
            writable: true,
            gathering: Gathering::default(),
            backlog: Backlog::default(),
            lent: false,
            gone: false,
        };
        // SAFETY: both ioctls read one int.
        unsafe {
            ioctl::set_vnet_header_size(tap.file.as_raw_fd(), &(VNET_LEN as libc::c_int))
                .and_then(|_| ioctl::set_vnet_little_endian(tap.file.as_raw_fd(), &1))
        }
        .with_context(|| {
            format!(
                "interface {}: virtio-net headers refused: a kernel of 4.0 or later is needed",
                tap.name
            )
        })?;
        Ok(tap)
    }

    /// Leaves the interface to its network namespace, with which it goes: taking it down
    /// waits for grace periods of the kernel, tens of milliseconds, and whoever
    /// closes the last descriptor of an interface that is nobody's waits for them.
    /// The kernel's own thread takes down what a namespace leaves behind.
    ///
    /// # Errors
    /// When the kernel refuses; it is then gone once this is dropped, as before.
    pub fn leave_to_namespace(&self) -> Result<()> {
        // SAFETY: TUNSETPERSIST takes its flag by value.
        unsafe { ioctl::set_persist(self.file.as_raw_fd(), 1) }
            .with_context(|| format!("interface {}: persistence", self.name))?;
        Ok(())
    }

    /// Takes the interface down, if no other descriptor of it is open; that may take tens of
    /// milliseconds.
    pub fn take_down(self) {
        // SAFETY: TUNSETPERSIST takes its flag by value.
        let _ = unsafe { ioctl::set_persist(self.file.as_raw_fd(), 0) };
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// States what the reader of this TAP accepts unfinished.
    ///
    /// # Errors
    /// When the kernel does not offer it; the offloads are then unchanged.
    pub fn set_offload(&self, offloads: Offloads) -> Result<()> {
        let bits = offload_bits(offloads);
        // SAFETY: TUNSETOFFLOAD takes its bits by value.
        unsafe { ioctl::set_offload(self.file.as_raw_fd(), bits) }.map_err(|errno| {
            self.refused(errno, &format!("offloads {bits:#x} refused by this kernel"))
        })?;
        Ok(())
    }

    /// Plugs the cable in or out.
    ///
    /// # Errors
    /// On a kernel before 5.0, and where somebody has deleted the interface.
    pub fn set_carrier(&self, on: bool) -> Result<()> {
        // SAFETY: TUNSETCARRIER reads one int.
        unsafe { ioctl::set_carrier(self.file.as_raw_fd(), &libc::c_int::from(on)) }.map_err(
            |errno| self.refused(errno, "carrier refused: a kernel of 5.0 or later is needed"),
        )?;
        Ok(())
    }

    fn refused(&self, errno: Errno, why: &str) -> anyhow::Error {
        match errno {
            Errno::EBADFD => anyhow!("interface {} is gone: somebody has deleted it", self.name),
            errno => anyhow::Error::new(errno).context(format!("interface {}: {why}", self.name)),
        }
    }
}

impl Edge for Tap {
    #[inline]
    fn features(&self) -> u64 {
        FEATURES
    }

    /// Frames may leave as the neighbour can take them, and whoever looks at the
    /// interface sees a cable.
    fn plugged(&mut self, features: u64) -> Result<()> {
        if self.gone {
            return Ok(()); // which is told, and the end
        }
        self.set_offload(Offloads::of(features))?;
        self.set_carrier(true)
    }

    /// The interface shows that it has no carrier.
    fn unplugged(&mut self) -> Result<()> {
        if self.gone { Ok(()) } else { self.set_carrier(false) }
    }

    #[inline]
    fn has_frames(&mut self) -> bool {
        self.readable && !self.gathering.is_on()
    }

    fn is_empty(&mut self) -> bool {
        !self.readable
    }

    #[inline]
    fn has_room(&mut self) -> bool {
        self.writable
    }

    #[inline]
    fn fill(&mut self, room: &mut BytesMut<'_>) -> Result<usize, NotNow> {
        loop {
            match room.read_from(&self.file) {
                Ok(len) => {
                    self.backlog.look(room, len);
                    return Ok(len);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // WouldBlock, or the interface is down: it will say when that changes.
                Err(error) => {
                    self.readable = false;
                    self.backlog.is_over();
                    if self.lent && error.raw_os_error() == Some(libc::EBADFD) && !self.gone {
                        self.gone = true;
                        say::error!("tap:{} is gone: somebody has deleted it", self.name);
                    }
                    return Err(NotNow);
                }
            }
        }
    }

    #[inline]
    fn filled(&mut self, burst: Burst) {
        self.gathering.look(burst, !self.readable, Instant::now());
    }

    #[inline]
    fn take(&mut self, frame: Bytes<'_>) -> Result<(), NotTaken> {
        match frame.write_to(&self.file) {
            Ok(_) => {
                self.backlog.look_back(&frame);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Err(NotTaken::NotNow)
            }
            // Not an Ethernet frame with its header, or the interface is down.
            Err(_) => Err(NotTaken::Refused),
        }
    }

    fn arm(&mut self) -> bool {
        !self.gathering.is_on()
    }

    fn watch(&self, watch: &mut Watch<'_>) -> Result<()> {
        watch(self.file.as_fd(), EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET)
    }

    fn woken(&mut self) {
        self.readable = true;
        self.writable = true;
    }

    fn is_over(&self) -> bool {
        self.gone
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whom a TAP is to be made for, for people.
fn user() -> String {
    let uid = nix::unistd::getuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// What `dev_valid_name` of `net/core/dev.c` allows, less `%`, which would
/// make the name a template.
///
/// # Errors
/// One line.
pub fn check_name(name: &str) -> Result<()> {
    ensure!(
        (1..libc::IFNAMSIZ).contains(&name.len()),
        "interface name `{name}`: 1 to {} bytes are allowed",
        libc::IFNAMSIZ - 1
    );
    if name == "."
        || name == ".."
        || name.contains(|c: char| !c.is_ascii_graphic() || "/:%".contains(c))
    {
        bail!("interface name `{}`: use letters, digits, `-`, `_` and `.`", name.escape_debug());
    }
    Ok(())
}

/// `TUNSETOFFLOAD` refuses segments with ECN or of any kind without the bit
/// they build on (`set_offload` of `drivers/net/tun.c`).
fn offload_bits(offloads: Offloads) -> libc::c_int {
    if !offloads.csum {
        return 0;
    }
    let mut bits = TUN_F_CSUM;
    if offloads.tso4 {
        bits |= TUN_F_TSO4 | TUN_F_TSO_ECN;
    }
    if offloads.tso6 {
        bits |= TUN_F_TSO6 | TUN_F_TSO_ECN;
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["left", "right", "eth0.100", "a", "fifteen-bytes-1"] {
            check_name(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a b", "tap%d", "a:1", "sixteen-bytes-12", "é", "a\nb"] {
            let error = check_name(bad).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn offloads_build_on_checksums() {
        let all = Offloads { csum: true, tso4: true, tso6: true };
        assert_eq!(offload_bits(all), 0x0f);
        assert_eq!(offload_bits(Offloads { csum: false, ..all }), 0);
        assert_eq!(offload_bits(Offloads { tso4: false, tso6: false, ..all }), TUN_F_CSUM);
        assert_eq!(offload_bits(Offloads { tso6: false, ..all }), 0x0b);
    }
}
