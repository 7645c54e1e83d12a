//! A function, and what `/proc` tells of it.

use serde::Serialize;

/// A function or another command with links.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Function {
    /// Process id.
    pub pid: u32,
    /// What it is called (`--name`).
    pub name: String,
    /// What it runs; empty where that is nothing.
    pub command: String,
    /// Of one that starts it again (`--restart`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<Restarts>,
    /// Of a balancer that starts functions (`--spawn`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawned: Option<Spawned>,
}

/// The functions that a balancer has started.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Spawned {
    /// Those that run.
    pub now: u64,
    /// All so far.
    pub total: u64,
    /// Times that there was no room for another one.
    pub refused: u64,
    /// Frames that no function took.
    pub lost: u64,
    /// Who began to count them, see [`counted`](crate::counted).
    #[serde(skip)]
    pub first: u64,
}

/// How often a function has started its CMD again.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Restarts {
    /// So far.
    pub count: u64,
    /// The exit status after which it did so last.
    pub last_status: u64,
    /// Who began to count them, see [`counted`](crate::counted).
    #[serde(skip)]
    pub first: u64,
}

/// The command line of a process.
pub fn command_of(pid: u32) -> Option<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = line
        .split(|&byte| byte == 0)
        .map(|word| String::from_utf8_lossy(word).replace(char::is_control, "?"))
        .collect();
    Some(words.join(" ").trim_end().to_owned()).filter(|command| !command.is_empty())
}

/// What the kernel counts of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Bytes and frames that came in.
    pub received: [u64; 2],
    /// Likewise that went out.
    pub sent: [u64; 2],
    /// Frames that the network stack handed to it and that nobody took out of it in time.
    pub dropped: u64,
}

/// What is counted of an interface of a function.
pub fn interface(pid: u32, interface: &str) -> Option<Counted> {
    let own = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    // A command without a stack is where we are, and so are interfaces of any name.
    if own(&pid.to_string())? == own("self")? {
        return None;
    }
    let interfaces = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    counted(&interfaces, interface)
}

/// In the words of `/proc/net/dev`: eight numbers of what was received, then as many of what
/// was sent, each bytes, packets, errors and drops first.
fn counted(interfaces: &str, name: &str) -> Option<Counted> {
    let lines = interfaces.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = lines.into_iter().find(|(found, _)| found.trim() == name)?;
    let numbers: Option<Vec<u64>> =
        numbers.split_whitespace().map(|number| number.parse().ok()).collect();
    match numbers?[..] {
        [bytes, frames, _, _, _, _, _, _, sent_bytes, sent_frames, _, dropped, ..] => {
            Some(Counted { received: [bytes, frames], sent: [sent_bytes, sent_frames], dropped })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_of_an_interface_is_found_in_what_the_kernel_prints() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
 right: 34697544   24064    0    0    0     0          0         0 8697544   4064    0 71944    0     0       0          0
";
        let right = Counted { received: [34697544, 24064], sent: [8697544, 4064], dropped: 71944 };
        assert_eq!(counted(text, "right"), Some(right));
        assert_eq!(counted(text, "lo").map(|it| it.dropped), Some(0));
        assert_eq!(counted(text, "left"), None);
        assert_eq!(counted("right: 1 2", "right"), None);
    }
}
