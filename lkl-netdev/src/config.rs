//! What the environment says about the links of this process.

use std::time::Duration;

use shmring::board::{Identity, introduce, is_name};
use shmring::layout::speak_for;
use shmring::{Channel, Offer};

/// Whether the program's threads look at the rings while they wait, see
/// [`take_over`](crate::take_over).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Where LKL allows for it.
    On,
    /// Never: LKL's poll threads are woken for each burst of frames.
    Off,
    /// As `On`, and a line says whether it does.
    Tell,
}

/// How a device's links are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How frames shall cross; a link is a fifo if either end says so.
    pub channel: Channel,
    /// Bytes of ring, rounded up to a power of two.
    pub ring: usize,
    /// For the preloaded library; other programs call [`take_over`](crate::take_over).
    pub look: Look,
    /// After the program: so long without an acknowledgement, and what connections still
    /// have to send is given up. Zero: at once.
    pub linger: Duration,
    /// Name of the interface for `stdpkt ls`; the paths if empty.
    pub label: String,
    /// What the process is called there; by its program if `None`.
    pub name: Option<String>,
    /// The function that this process is a part of: its links are shown as that one's.
    pub inside: Option<u32>,
    /// The sockets, by number, to `stdpkt run` and to a function that has the links still.
    pub heir: Option<[i32; 2]>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            channel: Channel::Shm,
            ring: Offer::default().capacity,
            look: Look::On,
            linger: Duration::from_secs(5),
            label: String::new(),
            name: None,
            inside: None,
            heir: None,
        }
    }
}

/// A variable that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: {expected}")]
pub struct ConfigError {
    name: &'static str,
    value: String,
    expected: &'static str,
}

impl Config {
    /// The configuration in the environment:
    ///
    /// - `STDPKT_CHANNEL`: `shm` or `fifo`.
    /// - `STDPKT_RING`: bytes of ring.
    /// - `STDPKT_LOOK`: `on`, `off` or `tell`.
    /// - `STDPKT_LINGER`: milliseconds.
    /// - `STDPKT_NAME`: what the process is called.
    /// - `STDPKT_INSIDE`: the process id of `stdpkt run`, which sets it; it has a name.
    /// - `STDPKT_HEIR`: two descriptors, which `stdpkt run` sets where the process takes another
    ///   function's place.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable and what it can be.
    pub fn from_env() -> Result<Config, ConfigError> {
        Config::from(|name| std::env::var_os(name).map(|v| v.to_string_lossy().into_owned()))
    }

    fn from(get: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let get = |name| get(name).filter(|value| !value.is_empty());
        let wrong = |name, value, expected| ConfigError { name, value, expected };
        if let Some(value) = get("STDPKT_CHANNEL") {
            config.channel = match value.as_str() {
                "shm" => Channel::Shm,
                "fifo" => Channel::Fifo,
                _ => return Err(wrong("STDPKT_CHANNEL", value, "shm or fifo is possible")),
            };
        }
        if let Some(value) = get("STDPKT_LOOK") {
            config.look = match value.as_str() {
                "on" => Look::On,
                "off" => Look::Off,
                "tell" => Look::Tell,
                _ => return Err(wrong("STDPKT_LOOK", value, "on, off or tell is possible")),
            };
        }
        if let Some(value) = get("STDPKT_RING") {
            match value.parse() {
                Ok(bytes) if (64 << 10..=1 << 30).contains(&bytes) => config.ring = bytes,
                _ => {
                    return Err(wrong(
                        "STDPKT_RING",
                        value,
                        "65536 to 1073741824 bytes are possible",
                    ));
                }
            }
        }
        if let Some(value) = get("STDPKT_LINGER") {
            let Ok(millis) = value.parse() else {
                return Err(wrong("STDPKT_LINGER", value, "a number of milliseconds is possible"));
            };
            config.linger = Duration::from_millis(millis);
        }
        match get("STDPKT_NAME") {
            Some(value) if !is_name(&value) => {
                return Err(wrong(
                    "STDPKT_NAME",
                    value,
                    "1 to 32 letters, digits, `-`, `_` and `.` are possible, not digits only",
                ));
            }
            name => config.name = name,
        }
        if let Some(value) = get("STDPKT_INSIDE") {
            let Ok(pid) = value.parse() else {
                return Err(wrong("STDPKT_INSIDE", value, "a process id is possible"));
            };
            config.inside = Some(pid);
        }
        if let Some(value) = get("STDPKT_HEIR") {
            let numbers: Vec<_> = value.split(' ').map_while(|word| word.parse().ok()).collect();
            let Ok(sockets) = numbers.try_into() else {
                return Err(wrong("STDPKT_HEIR", value, "it is for stdpkt itself: unset it"));
            };
            config.heir = Some(sockets);
        }
        Ok(config)
    }

    /// Says who this process is, where it was told: before its first device is made.
    pub fn introduce(&self) {
        if let Some(pid) = self.inside {
            return speak_for(pid);
        }
        let Some(name) = self.name.clone() else { return };
        let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        introduce(Identity { name, command: line.trim_end().to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> Result<Config, ConfigError> {
        Config::from(|asked| (asked == name).then(|| value.to_owned()))
    }

    #[test]
    fn each_variable_counts() {
        assert_eq!(with("HOME", "/"), Ok(Config::default()));
        assert_eq!(with("STDPKT_CHANNEL", "fifo").unwrap().channel, Channel::Fifo);
        assert_eq!(with("STDPKT_LOOK", "off").unwrap().look, Look::Off);
        assert_eq!(with("STDPKT_LOOK", "tell").unwrap().look, Look::Tell);
        assert_eq!(with("STDPKT_RING", "65536").unwrap().ring, 65536);
        assert_eq!(with("STDPKT_RING", ""), Ok(Config::default()));
        assert_eq!(with("STDPKT_LINGER", "0").unwrap().linger, Duration::ZERO);
        assert_eq!(with("STDPKT_NAME", "fw").unwrap().name.as_deref(), Some("fw"));
        assert_eq!(with("STDPKT_NAME", "").unwrap().name, None);
        assert_eq!(with("STDPKT_HEIR", "7 8").unwrap().heir, Some([7, 8]));
    }

    #[test]
    fn mistakes_name_the_variable() {
        for (name, value) in [
            ("STDPKT_CHANNEL", "tcp"),
            ("STDPKT_LOOK", "no"),
            ("STDPKT_RING", "9"),
            ("STDPKT_LINGER", "-1"),
            ("STDPKT_NAME", "1"),
            ("STDPKT_INSIDE", "me"),
            ("STDPKT_HEIR", "7"),
            ("STDPKT_HEIR", "7 x"),
        ] {
            assert!(with(name, value).unwrap_err().to_string().starts_with(name));
        }
    }
}
