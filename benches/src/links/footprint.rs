//! The memory and the descriptors that processes with links have.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result};

use crate::machine;

/// Of some processes together.
#[derive(Debug, Default, Clone, Copy)]
pub struct Footprint {
    /// Memory in bytes, that of the rings included; shared memory counts once.
    pub memory: u64,
    /// Bytes of memory behind the rings' files, each counted once.
    pub rings: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Footprint {
    /// # Errors
    /// Processes that are gone, and a kernel without `smaps_rollup`.
    pub fn of(pids: &[u32]) -> Result<Footprint> {
        let mut footprint = Footprint::default();
        let mut rings = HashMap::new();
        for pid in pids {
            footprint.memory += proportional(*pid)?;
            for fd in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
                footprint.descriptors += 1;
                let file = fs::read_link(fd.path()).unwrap_or_default();
                if file.to_string_lossy().starts_with("/memfd:shmring") {
                    let about = fs::metadata(fd.path())?;
                    rings.insert((about.dev(), about.ino()), about.blocks() * 512);
                }
            }
        }
        footprint.rings = rings.values().sum();
        Ok(footprint)
    }
}

/// A page that n mappings share counts for an n-th in each.
fn proportional(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).context(path)?;
    machine::field(&text, "Pss:").context("no Pss")
}
