//! `--link NAME,at=PATH|RX:TX|EDGE,ip=CIDR`, and `CIDR,dev=NAME,at=EDGE` of `--left` and
//! `--right`.

use std::path::PathBuf;

use edges::spec::{EdgeSpec, Place};
use edges::tap::check_name;
use ipnet::IpNet;

/// `--left` and `--right`: an address, and what is there in the place of a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndSpec {
    /// The address, unless it has none.
    pub ip: Option<IpNet>,
    /// What the interface is called, if not as the option.
    pub dev: Option<String>,
    /// In the place of standard input or output.
    pub at: Option<EdgeSpec>,
}

impl EndSpec {
    /// Parses the option's value.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<EndSpec, String> {
        let (ip, at) = match text.split_once(",at=") {
            Some((ip, at)) => (ip, Some(edge(at)?)),
            None => (text, None),
        };
        let (ip, dev) = match ip.split_once(",dev=") {
            Some((ip, dev)) => (ip, Some(interface(dev)?)),
            None => (ip, None),
        };
        if let Some((_, part)) = ip.split_once(',') {
            return Err(format!(
                "`{part}` is neither dev=NAME nor at=EDGE, in this order: write it like 192.168.0.1/24,dev=tap0,at=frames:stdio"
            ));
        }
        let no_address = |why| format!("{why}, or none (for a switch, or a DHCP client as CMD)");
        let ip = match ip {
            "none" => None,
            word if word.chars().all(char::is_alphabetic) => {
                Some(super::values::cidr(word).map_err(no_address)?)
            }
            ip => Some(super::values::cidr(ip)?),
        };
        Ok(EndSpec { ip, dev, at })
    }
}

/// An edge in the place of a neighbour.
fn edge(text: &str) -> Result<EdgeSpec, String> {
    match EdgeSpec::parse(text)? {
        EdgeSpec { place: Place::Command, .. } => Err(format!(
            "{text} needs a place, as in {text}:unix:PATH or {text}:stdio; CMD is the function's"
        )),
        spec => Ok(spec),
    }
}

/// A further interface of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// Name of the interface.
    pub name: String,
    /// What it is joined to.
    pub at: At,
    /// Its addresses.
    pub ip: Vec<IpNet>,
}

/// What carries a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// One, both ways.
    Both(PathBuf),
    /// One each way.
    Each {
        /// Frames come in here.
        rx: PathBuf,
        /// Frames go out here.
        tx: PathBuf,
    },
    /// No link: an edge in the place of a neighbour.
    Edge(EdgeSpec),
}

impl LinkSpec {
    /// Parses the option's value.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<LinkSpec, String> {
        const FORM: &str = "write it like dmz,at=/tmp/fifo,ip=10.0.0.1/24";
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || name.contains('=') {
            return Err(format!("a link begins with its name, {FORM}"));
        }
        let mut at = None;
        let mut ip = Vec::new();
        for part in parts {
            match part.split_once('=') {
                Some(("at", path)) if at.is_none() => at = Some(parse_at(path)?),
                Some(("at", _)) => return Err("at= is given twice".to_owned()),
                Some(("ip", cidr)) => {
                    ip.push(cidr.parse().map_err(|_| format!("ip={cidr} is no address, {FORM}"))?)
                }
                _ => return Err(format!("`{part}` is neither at=PATH nor ip=CIDR, {FORM}")),
            }
        }
        let at = at.ok_or_else(|| format!("at=PATH is missing, {FORM}"))?;
        Ok(LinkSpec { name: interface(name)?, at, ip })
    }
}

/// What an interface can be called.
fn interface(name: &str) -> Result<String, String> {
    check_name(name).map(|()| name.to_owned()).map_err(|error| error.to_string())
}

fn parse_at(text: &str) -> Result<At, String> {
    if EdgeSpec::looks_like(text) {
        return edge(text).map(At::Edge);
    }
    let paths: Vec<&str> = text.split(':').collect();
    match paths[..] {
        [path] if !path.is_empty() => Ok(At::Both(path.into())),
        [rx, tx] if !rx.is_empty() && !tx.is_empty() => {
            Ok(At::Each { rx: rx.into(), tx: tx.into() })
        }
        _ => Err("at= takes one FIFO, two as RX:TX, or an edge as FORMAT:PLACE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fifo_or_one_each_way() {
        let both = LinkSpec::parse("dmz,at=/tmp/f,ip=10.0.0.1/24,ip=fd00::1/64").unwrap();
        assert_eq!(both.at, At::Both("/tmp/f".into()));
        assert_eq!(both.ip.len(), 2);
        let each = LinkSpec::parse("dmz,at=a:b").unwrap();
        assert_eq!(each.at, At::Each { rx: "a".into(), tx: "b".into() });
    }

    #[test]
    fn an_edge_is_no_path() {
        let link = LinkSpec::parse("up,at=qemu:unix:/tmp/s,ip=10.0.0.1/24").unwrap();
        assert!(matches!(link.at, At::Edge(_)), "{link:?}");
        let path = LinkSpec::parse("up,at=./qemu,ip=10.0.0.1/24").unwrap();
        assert_eq!(path.at, At::Both("./qemu".into()));
        let end = EndSpec::parse("10.0.0.2/24,at=frames:stdio").unwrap();
        assert_eq!(end.at.unwrap().to_string(), "frames:stdio");
        let end = EndSpec::parse("none,dev=tap0,at=frames:stdio").unwrap();
        assert_eq!((end.ip, end.dev.as_deref(), end.at.is_some()), (None, Some("tap0"), true));
        assert!(EndSpec::parse("10.0.0.2/24,at=frames").unwrap_err().contains("frames:stdio"));
        assert!(EndSpec::parse("10.0.0.2/24,at=/tmp/f").unwrap_err().contains("no format"));
    }

    #[test]
    fn each_mistake_has_its_sentence() {
        for (text, part) in [
            ("", "name"),
            ("at=x", "name"),
            ("dmz", "at=PATH is missing"),
            ("dmz,at=", "one FIFO, two"),
            ("dmz,at=a:b:c", "one FIFO, two"),
            ("dmz,at=qemu", "qemu:unix:PATH"),
            ("dmz,at=a,at=b", "twice"),
            ("dmz,at=a,ip=1.2.3.4", "ip=1.2.3.4 is no address"),
            ("dmz,at=a,mtu=9", "`mtu=9`"),
            ("sixteen-letters-,at=a", "1 to 15 bytes"),
            ("a/b,at=a", "`a/b`: use letters"),
        ] {
            let error = LinkSpec::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
