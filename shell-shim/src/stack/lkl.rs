//! The `lkl` stack: a Linux kernel as a library inside CMD's own process.
//!
//! LKL's `liblkl-hijack.so` boots the kernel before CMD's `main` and turns CMD's
//! socket calls into calls of that kernel; the library of `lkl-netdev-preload`
//! makes its network devices. So there is nothing to set up from outside: all of
//! it stands in the configuration that LKL reads when it boots.

use std::env::current_exe;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::network::{Interface, Network};

/// The kernel's memory. Its default of 64 MiB is used up by streams at full rate.
const MEMORY: &str = "mem=512M";
/// Both kinds of checksum and TSO, and receive buffers that merge...
const OFFLOAD: &str = "0x8883";
/// ...or, where frames are larger than a page, receive buffers of 64 KiB: of
/// those that merge, LKL offers a device too few for them.
const LARGE_OFFLOAD: &str = "0x883";
const PAGE: u32 = 4096;
/// Of what it receives without mergeable buffers, LKL counts the bytes in 16 bits: a packet,
/// 14 of its Ethernet header and 12 of its vnet header (`virtio_add_used` in its lib/virtio.c).
const MAX_MTU: u32 = 65_535 - 14 - 12;
/// LKL copies the sysctls to a buffer of 256 bytes, without a look at their length.
const MAX_SYSCTLS: usize = 255;
/// With two addresses each, more would pass the 300 words that LKL reads of a configuration.
const MAX_INTERFACES: usize = 15;
const PRELOAD: &str = "liblkl_netdev_preload.so";

/// The two libraries that go before CMD.
pub struct Lkl {
    hijack: PathBuf,
    preload: PathBuf,
}

impl Lkl {
    /// Finds LKL in `dir` (or `LKL_DIR`), and the devices' library where cargo
    /// or a package puts it: next to this program, or in `../lib`.
    ///
    /// # Errors
    /// One line that names the file and the way out.
    pub fn find(dir: Option<&Path>) -> Result<Lkl> {
        let dir = match dir {
            Some(dir) => dir.to_owned(),
            None => std::env::var_os("LKL_DIR")
                .filter(|dir| !dir.is_empty())
                .map(PathBuf::from)
                .context("--stack lkl: where is LKL? Give --lkl DIR or set LKL_DIR, the tools/lkl of a built LKL tree")?,
        };
        let hijack = dir.join("lib/hijack/liblkl-hijack.so");
        ensure!(
            hijack.is_file(),
            "LKL: there is no {}: name the directory that holds lib/ of a built LKL, its tools/lkl",
            hijack.display()
        );
        let exe = current_exe().context("/proc/self/exe")?;
        let own = exe.parent().unwrap_or(Path::new("/"));
        let libraries = own.join("../lib");
        let places = [own, &libraries, &libraries.join("stdpkt")].map(|dir| dir.join(PRELOAD));
        let preload = places.into_iter().find(|path| path.is_file()).with_context(|| {
            format!(
                "LKL: there is no {PRELOAD} in {} or its ../lib: build it with `cargo build --release --workspace` and put it there",
                own.display()
            )
        })?;
        // LD_PRELOAD is split at these, and has no way to quote.
        for path in [&hijack, &preload] {
            ensure!(
                !path.to_string_lossy().contains([':', ' ']),
                "LKL: {}: a path to preload has no blanks and colons: give it another",
                path.display()
            );
        }
        let absolute = |path: PathBuf| std::path::absolute(path).context("working directory");
        Ok(Lkl { hijack: absolute(hijack)?, preload: absolute(preload)? })
    }

    /// LKL's library.
    pub fn hijack(&self) -> &Path {
        &self.hijack
    }

    /// `LD_PRELOAD` for CMD: the devices' library first, since it takes the
    /// place of one function of LKL's.
    pub fn preload(&self) -> OsString {
        let mut both = self.preload.clone().into_os_string();
        both.push(":");
        both.push(&self.hijack);
        both
    }
}

/// LKL's configuration. `pipes` has `RX|TX` or one path for each interface.
///
/// # Errors
/// What this stack cannot do, in one line.
pub fn config(
    network: &Network,
    pipes: &[String],
    forward: bool,
    sysctls: &[String],
) -> Result<Value> {
    ensure!(
        network.interfaces.len() <= MAX_INTERFACES,
        "--stack lkl: an LKL function has {MAX_INTERFACES} interfaces at most: leave some --link out, or use --stack netns"
    );
    let interfaces: Result<Vec<Value>> =
        network.interfaces.iter().zip(pipes).map(|(it, pipe)| interface(it, pipe)).collect();
    let mut all = Map::new();
    all.insert("boot_cmdline".into(), MEMORY.into());
    // Keeps the kernel's own threads on one core, which streams are better off with.
    all.insert("singlecpu".into(), "1".into());
    all.insert("interfaces".into(), interfaces?.into());
    for route in network.routed() {
        ensure!(
            route.dest.prefix_len() == 0,
            "--route {}: an LKL function has default gateways only: use --gateway, or --stack netns",
            route.dest
        );
        let key = if route.via.is_ipv4() { "gateway" } else { "gateway6" };
        if all.insert(key.into(), route.via.to_string().into()).is_some() {
            bail!("--gateway {}: there is another of the same family", route.via);
        }
    }
    let sysctls = join_sysctls(forward, sysctls)?;
    if !sysctls.is_empty() {
        all.insert("sysctl".into(), sysctls.into());
    }
    Ok(Value::Object(all))
}

fn interface(interface: &Interface, pipe: &str) -> Result<Value> {
    let Interface { name, mtu, addresses, mac } = interface;
    ensure!(
        *mtu <= MAX_MTU,
        "--mtu {mtu}: LKL counts a frame and its headers in 16 bits: {MAX_MTU} bytes at most, or use --stack netns"
    );
    // LKL takes strings from its configuration as they stand there.
    ensure!(
        !pipe.contains(['"', '\\']) && !pipe.chars().any(char::is_control),
        "{name}: {pipe:?}: LKL cannot be told of a FIFO with such characters in its name"
    );
    let mut out = json!({
        "type": "pipe",
        "param": pipe,
        "mtu": mtu.to_string(),
        "offload": if *mtu > PAGE { LARGE_OFFLOAD } else { OFFLOAD },
    });
    if let Some(mac) = mac {
        // LKL's own choice is another one at each boot, which neighbours of a restarted
        // function learn late.
        let [first, rest @ ..] = mac.map(|byte| format!("{byte:02x}"));
        out["mac"] = rest.iter().fold(first, |all, byte| format!("{all}:{byte}")).into();
    }
    for address in addresses {
        let (ip, length) = match address {
            IpNet::V4(_) => ("ip", "masklen"),
            IpNet::V6(_) => ("ipv6", "masklen6"),
        };
        ensure!(
            out.get(ip).is_none(),
            "{name}: {address}: an LKL interface has one IPv4 and one IPv6 address: leave one out, or use --stack netns"
        );
        ensure!(
            matches!(address.addr(), IpAddr::V6(_)) || (1..32).contains(&address.prefix_len()),
            "{name}: {address}: LKL takes IPv4 prefixes of 1 to 31 bits"
        );
        out[ip] = address.addr().to_string().into();
        out[length] = address.prefix_len().to_string().into();
    }
    Ok(out)
}

fn join_sysctls(forward: bool, sysctls: &[String]) -> Result<String> {
    let mut all: Vec<&str> = Vec::new();
    if forward {
        all.extend(["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    }
    for assignment in sysctls {
        let plain = |text: &str| !text.is_empty() && !text.contains(['=', ';', '"', '\\']);
        ensure!(
            assignment.split_once('=').is_some_and(|(key, value)| plain(key) && plain(value)),
            "sysctl `{assignment}`: write KEY=VALUE, as net.ipv4.ip_forward=1"
        );
        all.push(assignment);
    }
    let text = all.join(";");
    ensure!(
        text.len() <= MAX_SYSCTLS,
        "--sysctl: LKL takes {MAX_SYSCTLS} bytes in all, these are {}",
        text.len()
    );
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::network::Route;

    fn network(addresses: &[&str]) -> Network {
        Network {
            interfaces: vec![Interface {
                name: "left".into(),
                mtu: 1500,
                addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
                mac: Some([2, 0x72, 10, 0, 0, 1]),
            }],
            routes: vec![],
            gateways: vec![],
            bridge: false,
        }
    }

    #[test]
    fn all_of_it_stands_in_the_configuration() {
        let mut network = network(&["10.0.0.1/24", "fd00::1/64"]);
        network.gateways = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let config = config(&network, &["/dev/fd/5".into()], true, &["a.b=c d".into()]).unwrap();
        let expected = json!({
            "boot_cmdline": "mem=512M", "singlecpu": "1",
            "gateway": "10.0.0.2", "gateway6": "fd00::2",
            "sysctl": "net.ipv4.ip_forward=1;net.ipv6.conf.all.forwarding=1;a.b=c d",
            "interfaces": [{
                "type": "pipe", "param": "/dev/fd/5", "mtu": "1500", "offload": "0x8883",
                "ip": "10.0.0.1", "masklen": "24", "ipv6": "fd00::1", "masklen6": "64",
                "mac": "02:72:0a:00:00:01",
            }],
        });
        assert_eq!(config, expected);
    }

    #[test]
    fn what_it_cannot_do_is_one_line() {
        let fails = |network: &Network, pipe: &str, sysctls: &[String]| {
            let error = config(network, &[pipe.into()], false, sysctls).unwrap_err().to_string();
            assert!(!error.contains('\n'), "{error}");
            error
        };
        let plain = network(&["10.0.0.1/24"]);
        let mut routed = plain.clone();
        routed.routes =
            vec![Route { dest: "10.1.0.0/16".parse().unwrap(), via: "10.0.0.2".parse().unwrap() }];
        assert!(fails(&routed, "a|b", &[]).starts_with("--route 10.1.0.0/16"));
        let two = network(&["10.0.0.1/24", "10.0.0.2/24"]);
        assert!(fails(&two, "a|b", &[]).contains("10.0.0.2/24"));
        assert!(fails(&network(&["10.0.0.1/32"]), "a|b", &[]).contains("1 to 31"));
        assert!(fails(&plain, "a\"|b", &[]).starts_with("left"));
        let mut large = plain.clone();
        large.interfaces[0].mtu = MAX_MTU + 1;
        assert!(fails(&large, "a|b", &[]).starts_with("--mtu 65510"));
        let mut many = plain.clone();
        many.interfaces.resize(16, plain.interfaces[0].clone());
        assert!(fails(&many, "a|b", &[]).contains("15 interfaces"));
        for bad in ["a", "=", "a=b;c=d", "a=\""] {
            assert!(fails(&plain, "a|b", &[bad.into()]).contains(bad), "{bad}");
        }
        assert!(fails(&plain, "a|b", &[format!("a={}", "b".repeat(254))]).contains("255"));
    }

    #[test]
    fn a_directory_without_lkl_is_named() {
        let error = Lkl::find(Some(Path::new("/nonexistent"))).err().unwrap().to_string();
        assert!(error.contains("/nonexistent/lib/hijack/liblkl-hijack.so"), "{error}");
    }
}
