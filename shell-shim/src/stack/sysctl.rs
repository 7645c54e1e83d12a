//! Kernel settings of the function's own network namespace.
//!
//! Below `/proc/sys/net` a process sees its own namespace's settings
//! (`net/sysctl_net.c`), and those alone: everything else there is the
//! host's, so keys outside `net` are refused.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, ensure};

use super::network::{Interface, Network};

const ROOT: &str = "/proc/sys";

/// Applies one `KEY=VALUE`, the key as in sysctl(8), with dots or slashes.
///
/// # Errors
/// One line that names the key: not `KEY=VALUE`, outside `net`, unknown, or
/// the value refused.
pub fn set(assignment: &str) -> Result<()> {
    let (key, value) = assignment.split_once('=').with_context(|| {
        format!("sysctl `{assignment}`: write KEY=VALUE, as net.ipv4.ip_forward=1")
    })?;
    write(key.trim(), value.trim())
}

/// Lets the namespace route packets from one interface to another, IPv4 and,
/// where the kernel has it, IPv6. In a namespace that is not the function's own, only
/// what comes in by the interfaces of `network`: no setting is left behind.
///
/// # Errors
/// As [`set`].
pub fn forward(network: Option<&Network>) -> Result<()> {
    let Some(network) = network else {
        write("net.ipv4.ip_forward", "1")?;
        if Path::new(ROOT).join("net/ipv6").exists() {
            write("net.ipv6.conf.all.forwarding", "1")?;
        }
        return Ok(());
    };
    for Interface { name, .. } in &network.interfaces {
        write(&format!("net/ipv4/conf/{name}/forwarding"), "1")?;
        let v6 = format!("net/ipv6/conf/{name}/forwarding");
        if Path::new(ROOT).join(&v6).exists() {
            write(&v6, "1")?;
        }
    }
    Ok(())
}

/// Writes `value` to `key`.
///
/// # Errors
/// As [`set`].
pub fn write(key: &str, value: &str) -> Result<()> {
    let path = path(key)?;
    let mut file =
        OpenOptions::new().write(true).open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!("sysctl {key}: {}", unknown(key)),
            ErrorKind::ReadOnlyFilesystem => anyhow!(
                "sysctl {key}: {ROOT} is read-only here: in a container, run it `--privileged`"
            ),
            ErrorKind::PermissionDenied => {
                anyhow!("sysctl {key}: may not be written: it only tells, or is for root alone")
            }
            _ => Error::new(error).context(format!("sysctl {key}")),
        })?;
    file.write_all(value.as_bytes()).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => anyhow!("sysctl {key}: the kernel refuses the value `{value}`"),
        ErrorKind::NotFound => {
            anyhow!("sysctl {key}: the kernel has no `{value}`, or may not load it from here")
        }
        _ => Error::new(error).context(format!("sysctl {key}={value}")),
    })
}

/// The value of `key`, if this kernel has it; of any key, also one outside of the namespace.
pub fn read(key: &str) -> Option<String> {
    let path = Path::new(ROOT).join(key.replace('.', "/"));
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// What to do about a key that this namespace does not have.
fn unknown(key: &str) -> String {
    // net.ipv4.conf.eth0.100.mtu: which dots are those of a name?
    let parts: Vec<&str> = key.split('.').collect();
    if let [net, family, group @ ("conf" | "neigh"), name @ .., last] = &parts[..]
        && name.len() > 1
    {
        let slashed = format!("{net}/{family}/{group}/{}/{last}", name.join("."));
        if Path::new(ROOT).join(&slashed).exists() {
            return format!("a name with dots in it takes slashes around it: write {slashed}");
        }
    }
    "unknown in this namespace: check its spelling, load the module that offers it, or set it on the host where it is one for all".to_owned()
}

/// The file of `key`. As in sysctl(8), the first separator counts: in a dotted
/// key a slash stands for a dot inside a name (`net.ipv4.conf.eth0/1.mtu`).
fn path(key: &str) -> Result<PathBuf> {
    let dotted = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'.');
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let slashed: String = if dotted { key.chars().map(swap).collect() } else { key.to_owned() };
    ensure!(
        slashed.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !key.contains(char::is_control),
        "sysctl `{}`: not a key; write it as net.ipv4.ip_forward",
        key.escape_debug()
    );
    ensure!(
        slashed.starts_with("net/"),
        "sysctl {key}: not a setting of the network namespace: only net.* is, set others on the host"
    );
    Ok(Path::new(ROOT).join(slashed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_slashes() {
        for (key, file) in [
            ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "/proc/sys/net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.arp_notify", "/proc/sys/net/ipv4/conf/eth0.1/arp_notify"),
            ("net/ipv4/conf/eth0.1/arp_notify", "/proc/sys/net/ipv4/conf/eth0.1/arp_notify"),
        ] {
            assert_eq!(path(key).unwrap(), Path::new(file));
        }
    }

    #[test]
    fn nothing_outside_the_namespace() {
        for key in ["kernel.hostname", "vm/swappiness", "net", "", "netx.a", "fs.file-max"] {
            path(key).unwrap_err();
        }
    }

    #[test]
    fn no_path_tricks() {
        for key in [
            "net/../kernel/hostname",
            "net/./x",
            "/net/ipv4/ip_forward",
            "net//ipv4",
            "net.//.kernel.hostname",
            "net..ipv4",
            "net.ipv4.",
            "net/ipv4\0",
            "../net",
        ] {
            let error = path(key).unwrap_err().to_string();
            assert!(error.starts_with("sysctl") && !error.contains(['\n', '\0']), "{error}");
        }
        assert!(set("net.ipv4.ip_forward").unwrap_err().to_string().contains("KEY=VALUE"));
    }
}
