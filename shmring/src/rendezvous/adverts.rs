//! What the holders of a pipe tell each other through the pipe itself: record locks.
//!
//! A lock belongs to an inode, so whoever holds the pipe sees it, whatever else
//! it shares with the others: user, directory, namespace. It ends with its owner,
//! however that ends. Nobody but a holder can set one, for reading only who can read
//! and for writing only who can write (fcntl(2)), so a lock is also a proof. And it
//! has room for 63 bits: each holder locks a place of its own choice. Nothing is
//! written into the pipe, and nobody else locks pipes.
//!
//! The owner is an open file description, not a process (`F_OFD_SETLK`): a
//! process would lose its lock with any descriptor of the pipe that it closes.
#![allow(unsafe_code)]
// Unsafe lives here for fcntl(2) with a `struct flock`, which no safe wrapper in
// use has for open file descriptions.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::{Errno, Result};

use crate::role::Role;

/// One holder of a pipe, as it presents itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Advert {
    /// Where its gate is, see [`fresh_nonce`].
    pub nonce: u64,
    /// What it wants to be.
    pub role: Role,
}

/// Bits of chance in a nonce, below the process id.
const CHANCE: u32 = 40;
/// The end of all nonces: places in a file go up to 2^63 - 1.
const NONCES: u64 = 1 << 62;
/// Holders looked at. More than these lock the pipe to no good purpose.
const MANY: usize = 4096;

impl Advert {
    /// The process id that the holder has in its own pid namespace, by its own account.
    pub fn pid(&self) -> u32 {
        (self.nonce >> CHANCE) as u32
    }
}

/// A place to lock, and the name of a gate, for the process `pid`: nobody else's, now and later.
pub(super) fn fresh_nonce(pid: u32) -> Result<u64> {
    let mut chance = [0; 8];
    let mut got = 0;
    while got < chance.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        match rustix::rand::getrandom(&mut chance[got..], flags) {
            Ok(more) => got += more,
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    // Four apart: a lock is up to three long.
    let chance = u64::from_ne_bytes(chance) >> (64 - CHANCE) & !3;
    Ok((u64::from(pid) << CHANCE | chance) % NONCES)
}

/// Locks the place of `advert`, through a description that nobody else has.
///
/// # Errors
/// `EAGAIN` when somebody else has locked it, `EBADF` when the description does not
/// allow that role.
pub(super) fn set(own: &OwnedFd, advert: Advert) -> Result<()> {
    lock(own, kind(advert.role), advert)
}

/// Takes it away again.
pub(super) fn clear(own: &OwnedFd, advert: Advert) -> Result<()> {
    lock(own, libc::F_UNLCK, advert)
}

/// Whether the holder that says it is `advert` is one.
pub(super) fn is_there(own: &OwnedFd, advert: Advert) -> Result<bool> {
    let found = first(own, advert.nonce, length(advert.role))?;
    Ok(found.is_some_and(|found| advert_of(&found) == Some(advert)))
}

/// All others.
pub(super) fn others(own: &OwnedFd) -> Result<Vec<Advert>> {
    let mut adverts = Vec::new();
    // The kernel shows one lock of a range, so the range is cut in two at each.
    let mut ranges = vec![(0, i64::MAX as u64)];
    let mut looks = 0;
    while let Some((begin, end)) = ranges.pop() {
        looks += 1;
        if begin > end || looks > MANY {
            continue;
        }
        let Some(found) = first(own, begin, end - begin + 1)? else { continue };
        let start = (found.l_start as u64).max(begin);
        let last = match found.l_len {
            0 => end, // to the end of all places
            len => (found.l_start as u64).saturating_add(len as u64 - 1).min(end),
        };
        adverts.extend(advert_of(&found));
        ranges.push((last + 1, end));
        if start > 0 {
            ranges.push((begin, start - 1));
        }
    }
    Ok(adverts)
}

/// Which kind of lock stands for a role: one that only who has that end can set.
fn kind(role: Role) -> i32 {
    if role == Role::Reader { libc::F_RDLCK } else { libc::F_WRLCK }
}

fn length(role: Role) -> u64 {
    match role {
        Role::Reader => 1,
        Role::Writer => 2,
        Role::Either => 3,
    }
}

fn advert_of(lock: &libc::flock64) -> Option<Advert> {
    let role = match lock.l_len {
        1 => Role::Reader,
        2 => Role::Writer,
        3 => Role::Either,
        _ => return None,
    };
    let nonce = u64::try_from(lock.l_start).ok().filter(|&nonce| nonce < NONCES)?;
    (i32::from(lock.l_type) == kind(role)).then_some(Advert { nonce, role })
}

/// A lock of somebody else in `len` places from `begin`.
fn first(own: &OwnedFd, begin: u64, len: u64) -> Result<Option<libc::flock64>> {
    // Whoever wants to write is in the way of every lock.
    let found = fcntl(own, libc::F_OFD_GETLK, libc::F_WRLCK, begin, len)?;
    Ok((i32::from(found.l_type) != libc::F_UNLCK).then_some(found))
}

fn lock(own: &OwnedFd, kind: i32, advert: Advert) -> Result<()> {
    fcntl(own, libc::F_OFD_SETLK, kind, advert.nonce, length(advert.role)).map(drop)
}

fn fcntl(own: &OwnedFd, command: i32, kind: i32, begin: u64, len: u64) -> Result<libc::flock64> {
    // SAFETY: all zeros are a valid `flock64`.
    let mut lock: libc::flock64 = unsafe { std::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_start = begin as i64;
    // One that reaches to the last place there is has no length that fits.
    lock.l_len = if begin.saturating_add(len) > i64::MAX as u64 { 0 } else { len as i64 };
    // SAFETY: these commands read and write one `flock64`.
    let result = unsafe { libc::fcntl(own.as_raw_fd(), command, &raw mut lock) };
    match result {
        -1 => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
        _ => Ok(lock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::OFlags;
    use std::os::fd::AsFd;

    fn again(fd: impl AsFd, access: OFlags) -> OwnedFd {
        let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
        let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap()
    }

    #[test]
    fn each_holder_of_a_pipe_sees_the_others_until_they_are_gone() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let mut holders = Vec::new();
        for at in 0..20 {
            let role = if at == 0 { Role::Reader } else { Role::Writer };
            let own = match role {
                Role::Reader => again(&read, OFlags::RDONLY),
                _ => again(&write, OFlags::WRONLY),
            };
            let advert = Advert { nonce: fresh_nonce(std::process::id()).unwrap(), role };
            assert_eq!(advert.pid(), std::process::id());
            set(&own, advert).unwrap();
            holders.push((own, advert));
        }
        for (own, advert) in &holders {
            let mut seen = others(own).unwrap();
            seen.push(*advert);
            seen.sort();
            let mut all: Vec<_> = holders.iter().map(|(_, advert)| *advert).collect();
            all.sort();
            assert_eq!(seen, all);
        }
        let (gone, advert) = holders.pop().unwrap();
        let (own, reader) = &holders[0];
        assert!(is_there(own, advert).unwrap());
        drop(gone);
        assert!(!is_there(own, advert).unwrap());
        assert!(!is_there(own, Advert { role: Role::Reader, ..advert }).unwrap());
        clear(own, *reader).unwrap();
        assert!(!others(&holders[1].0).unwrap().contains(reader));
    }

    #[test]
    fn who_cannot_write_cannot_say_that_it_writes() {
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let own = again(&read, OFlags::RDONLY);
        for role in [Role::Writer, Role::Either] {
            assert_eq!(set(&own, Advert { nonce: 4, role }), Err(Errno::BADF));
        }
    }

    #[test]
    fn locks_that_are_no_adverts_are_passed_over() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let (own, stranger) = (again(&read, OFlags::RDONLY), again(&write, OFlags::WRONLY));
        // One place too many, a reader's length from a writer, all there is.
        for (begin, len) in [(100, 4), (200, 1), (1 << 62, 2), (300, 0)] {
            fcntl(&stranger, libc::F_OFD_SETLK, libc::F_WRLCK, begin, len).unwrap();
            assert_eq!(others(&own).unwrap(), []);
        }
        fcntl(&stranger, libc::F_OFD_SETLK, libc::F_UNLCK, 0, u64::MAX).unwrap();
        set(&stranger, Advert { nonce: 400, role: Role::Writer }).unwrap();
        assert_eq!(others(&own).unwrap().len(), 1);
    }
}
