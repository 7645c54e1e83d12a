//! The programs that are measured.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Builds them: what is measured should be what lies here.
///
/// # Errors
/// A build that failed.
pub fn build() -> Result<()> {
    let Some(cargo) = std::env::var_os("CARGO") else { return Ok(()) };
    let arguments = ["build", "--release", "--bins", "-p", "shell-shim", "-p", "stdpkt-benches"];
    let status = Command::new(cargo).args(arguments).status().context("cargo build")?;
    if !status.success() {
        bail!("cargo build failed");
    }
    Ok(())
}

/// Whether there is a program of that name.
pub fn is_program(name: &str) -> bool {
    Command::new(name).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The command, built now.
///
/// # Errors
/// As [`build`]; a build elsewhere.
pub fn stdpkt() -> Result<PathBuf> {
    build()?;
    let program = std::env::current_exe()?.with_file_name("stdpkt");
    if !program.exists() {
        bail!("{} is not built", program.display());
    }
    Ok(program)
}
