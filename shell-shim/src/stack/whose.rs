//! Network namespaces that exist already: `--netns host|NAME|PATH|PID`.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

/// Where ip-netns(8) keeps names of namespaces.
const NAMES: &str = "/run/netns";

/// A namespace as people name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// That of stdpkt itself.
    Host,
    /// That of a process.
    Process(u32),
    /// A file that stands for one.
    File(PathBuf),
}

/// A namespace that was found, before anything changed.
pub struct Found {
    name: String,
    /// None: no other than the present one.
    network: Option<File>,
    /// The user namespace to enter first, where rights are missing.
    user: Option<File>,
}

impl Whose {
    /// Reads the option's value.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<Whose, String> {
        match text {
            "" | "." | ".." => Err("write host, a name of ip netns, a path or a process id".into()),
            "host" => Ok(Whose::Host),
            path if path.contains('/') => Ok(Whose::File(path.into())),
            number if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                number.parse().map(Whose::Process).map_err(|_| format!("{number} is no process id"))
            }
            name => Ok(Whose::File(PathBuf::from(NAMES).join(name))),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// One line that names it: there is none, or it may not be looked at.
    pub fn find(&self) -> Result<Found> {
        let open = |path: &str| {
            File::open(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => match self {
                    Whose::Process(pid) => anyhow!("--netns {pid}: there is no such process: `lsns -t net` lists who has which"),
                    _ => anyhow!("--netns: {path} is not there: `ip netns` and `lsns -t net` list what is"),
                },
                std::io::ErrorKind::PermissionDenied => {
                    anyhow!("--netns: {path} may not be opened: it belongs to another user; run as that user, or as root")
                }
                _ => anyhow!("--netns: {path}: {error}"),
            })
        };
        Ok(match self {
            Whose::Host => Found { name: "host".into(), network: None, user: None },
            Whose::Process(pid) => {
                let network = open(&format!("/proc/{pid}/ns/net"))?;
                let user = open(&format!("/proc/{pid}/ns/user"))?;
                Found { name: pid.to_string(), network: Some(network), user: Some(user) }
            }
            Whose::File(path) => {
                let path = path.display().to_string();
                Found { network: Some(open(&path)?), user: None, name: path }
            }
        })
    }
}

impl Found {
    /// Moves this process there, and into the user namespace that owns it where rights
    /// are missing, as `nsenter -U` does.
    ///
    /// # Errors
    /// One line that names it: it is no network namespace, or may not be entered.
    pub fn enter(&self) -> Result<()> {
        let Found { name, network: Some(network), user } = self else { return Ok(()) };
        let mut entered = setns(network, CloneFlags::CLONE_NEWNET);
        if let (Err(Errno::EPERM), Some(user)) = (entered, user) {
            entered = setns(user, CloneFlags::CLONE_NEWUSER)
                .and_then(|()| setns(network, CloneFlags::CLONE_NEWNET));
        }
        match entered {
            Ok(()) => Ok(()),
            Err(Errno::EINVAL) => bail!(
                "--netns {name} is no network namespace: name one of `ip netns` or `lsns -t net`"
            ),
            Err(Errno::EPERM) => bail!(
                "--netns {name} may not be entered: run as its owner, by the id of a process in it, or as root"
            ),
            Err(errno) => bail!("--netns {name}: {}", errno.desc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_for_what() {
        assert_eq!(Whose::parse("host"), Ok(Whose::Host));
        assert_eq!(Whose::parse("17"), Ok(Whose::Process(17)));
        assert_eq!(Whose::parse("h1"), Ok(Whose::File("/run/netns/h1".into())));
        assert_eq!(Whose::parse("./h1"), Ok(Whose::File("./h1".into())));
        assert!(Whose::parse("").is_err() && Whose::parse("99999999999").is_err());
    }

    #[test]
    fn what_is_none_is_named() {
        let error = |text: &str| {
            let found = Whose::parse(text).unwrap().find();
            found.and_then(|found| found.enter()).err().unwrap().to_string()
        };
        assert!(error("no-such-namespace").contains("/run/netns/no-such-namespace is not there"));
        assert!(error("/proc/version").contains("is no network namespace"));
    }
}
