//! A terminal with somebody at it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The side of a pseudo terminal where the user sits. Dropping it closes the
/// terminal's window.
pub struct Terminal {
    master: File,
    slave: PathBuf,
}

impl Terminal {
    pub fn new() -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a pseudo terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a pseudo terminal");
        let slave = ptsname(&master, Vec::new()).expect("a pseudo terminal");
        let slave = slave.into_string().expect("a path").into();
        Terminal { master: master.into(), slave }
    }

    /// The side of programs.
    pub fn open(&self) -> OwnedFd {
        let noctty = OFlags::NOCTTY.bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(noctty);
        options.open(&self.slave).expect("the terminal").into()
    }

    /// Reads what is shown until `text` is among it, and returns all of that.
    pub fn wait_for(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        let mut some = [0; 4096];
        while !String::from_utf8_lossy(&all).contains(text) {
            let count = self.master.read(&mut some).expect("the terminal");
            all.extend_from_slice(&some[..count]);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// What was shown, once all programs have let go of the terminal.
    pub fn shown(&mut self) -> String {
        let mut all = Vec::new();
        let mut some = [0; 4096];
        // EIO: nobody has the other side open any more.
        while let Ok(count @ 1..) = self.master.read(&mut some) {
            all.extend_from_slice(&some[..count]);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Types.
    pub fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal");
    }
}
