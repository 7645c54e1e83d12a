//! `--link NAME,at=PATH|RX:TX,ip=CIDR`.

use std::path::PathBuf;

use ipnet::IpNet;

/// A further interface of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// Name of the interface.
    pub name: String,
    /// The FIFOs it is joined to.
    pub at: At,
    /// Its addresses.
    pub ip: Vec<IpNet>,
}

/// Which FIFOs carry a link.
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
}

impl LinkSpec {
    /// Parses the option's value.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn parse(text: &str) -> Result<LinkSpec, String> {
        const FORM: &str = "write it like dmz,at=/tmp/fifo,ip=10.0.0.1/24";
        let mut parts = text.split(',');
        let name = parts.next().unwrap_or_default().to_owned();
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
        Ok(LinkSpec { name, at, ip })
    }
}

fn parse_at(text: &str) -> Result<At, String> {
    let paths: Vec<&str> = text.split(':').collect();
    match paths[..] {
        [path] if !path.is_empty() => Ok(At::Both(path.into())),
        [rx, tx] if !rx.is_empty() && !tx.is_empty() => {
            Ok(At::Each { rx: rx.into(), tx: tx.into() })
        }
        _ => Err("at= takes one FIFO or two as RX:TX".to_owned()),
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
    fn each_mistake_has_its_sentence() {
        for (text, part) in [
            ("", "name"),
            ("at=x", "name"),
            ("dmz", "at=PATH is missing"),
            ("dmz,at=", "one FIFO or two"),
            ("dmz,at=a:b:c", "one FIFO or two"),
            ("dmz,at=a,at=b", "twice"),
            ("dmz,at=a,ip=1.2.3.4", "ip=1.2.3.4 is no address"),
            ("dmz,at=a,mtu=9", "`mtu=9`"),
        ] {
            let error = LinkSpec::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
