//! Values of options. What is wrong with one is a sentence for the user.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::stack::network::Route;

/// An address with the length of its network's prefix.
pub fn cidr(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| {
        let example = if text.contains(':') { "2001:db8::1/64" } else { "192.168.0.1/24" };
        format!("not an address with prefix length, write it like {example}")
    })
}

pub fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "not an IP address, write it like 192.168.0.254".to_owned())
}

pub fn route(text: &str) -> Result<Route, String> {
    let (dest, via) = text
        .split_once('=')
        .ok_or("no `=`, write a route as NET=VIA, like 10.0.0.0/8=192.168.0.254")?;
    if dest == "default" {
        return Err(format!("the default route is --gateway {via}"));
    }
    let dest = cidr(dest)?;
    if dest.trunc() != dest {
        return Err(format!("{dest} has bits beyond its prefix, did you mean {}?", dest.trunc()));
    }
    Ok(Route { dest, via: ip(via)? })
}

pub fn size(text: &str) -> Result<usize, String> {
    let (digits, unit) = match text.to_ascii_lowercase().chars().last() {
        Some('k') => (&text[..text.len() - 1], 1 << 10),
        Some('m') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let limits = 64 << 10..=1 << 30;
    digits
        .parse::<usize>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|n| limits.contains(n))
        .ok_or_else(|| "a ring has 64k to 1024m bytes, write it like 1m".to_owned())
}

pub fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number <= 86400.0);
    number
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .ok_or_else(|| "0 to 86400 seconds are possible, write them like 5 or 0.5".to_owned())
}

/// Seconds, also with their unit.
pub fn idle(text: &str) -> Result<Duration, String> {
    let number = seconds(text.strip_suffix('s').unwrap_or(text)).ok();
    number
        .filter(|it| !it.is_zero())
        .ok_or_else(|| "up to 86400 seconds are possible, write them like 30s or 0.5".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("5"), Ok(Duration::from_secs(5)));
        for bad in ["", "-1", "nan", "inf", "1e9", "5s"] {
            assert!(seconds(bad).unwrap_err().contains("0.5"), "{bad}");
        }
    }

    #[test]
    fn an_idle_time_may_have_its_unit_and_is_not_zero() {
        assert_eq!(idle("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(idle("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "s", "30ss", "1m", "-1s"] {
            assert!(idle(bad).unwrap_err().contains("30s"), "{bad}");
        }
    }

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size("64k"), Ok(64 << 10));
        assert_eq!(size("2M"), Ok(2 << 20));
        assert_eq!(size("65536"), Ok(65536));
        assert!(size("").is_err() && size("m").is_err() && size("99999999999999999999m").is_err());
    }
}
