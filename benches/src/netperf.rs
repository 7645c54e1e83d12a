//! What netperf is asked for, and what it answers.

use std::fmt;

/// netserver until it is told to end; it has nothing to say.
pub const SERVER: &str = "exec netserver -D -4 >/dev/null 2>&1";

/// In a shell, what a function does to its namespace: no pacing.
pub const UNPACE: &str = "f=/proc/sys/net/ipv4/tcp_congestion_control; \
                          case $(cat $f) in bbr*) echo reno >$f;; esac; ";

/// Payload sizes in bytes.
pub const SIZES: [u32; 11] = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65507];

/// One netperf test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Test {
    /// TCP_STREAM with writes of so many bytes.
    Tcp(u32),
    /// TCP_MAERTS: the same, from the server to the client.
    Back(u32),
    /// UDP_STREAM with datagrams of so many bytes; what arrives counts.
    Udp(u32),
    /// TCP_RR, one byte each way.
    RoundTrips,
}

impl Test {
    /// Every test.
    pub fn all() -> Vec<Test> {
        let tcp = SIZES.map(Test::Tcp);
        let udp = SIZES.map(Test::Udp);
        tcp.into_iter().chain([Test::RoundTrips]).chain(udp).collect()
    }

    /// From the command line.
    pub fn parse(text: &str) -> Result<Test, String> {
        let size = |digits: &str| digits.parse().map_err(|_| format!("{digits} is no size"));
        match text.split_once('-') {
            Some(("tcp", digits)) => size(digits).map(Test::Tcp),
            Some(("back", digits)) => size(digits).map(Test::Back),
            Some(("udp", digits)) => size(digits).map(Test::Udp),
            None if text == "rr" => Ok(Test::RoundTrips),
            _ => Err("a test is rr, tcp-BYTES, back-BYTES or udp-BYTES".to_owned()),
        }
    }

    /// What the figure is in.
    pub fn unit(self) -> &'static str {
        match self {
            Test::RoundTrips => "/s",
            _ => "Mbit/s",
        }
    }

    /// The client's shell command, with the server at `host`, which may need a moment to
    /// listen.
    pub fn client(self, host: &str, seconds: u32) -> String {
        let (name, own) = match self {
            Test::Tcp(size) => ("TCP_STREAM", format!("-m {size}")),
            Test::Back(size) => ("TCP_MAERTS", format!("-m ,{size}")),
            Test::Udp(size) => ("UDP_STREAM", format!("-m {size}")),
            Test::RoundTrips => ("TCP_RR", String::new()),
        };
        let limit = seconds + 10;
        format!(
            "for i in 1 2 3 4 5 6 7 8 9 10; do \
             timeout {limit} netperf -P 0 -H {host} -4 -t {name} -l {seconds} -- {own} && break; \
             sleep 0.05; done"
        )
    }

    /// The figure in netperf's answer. The line it stands in has its own number
    /// of columns: for UDP_STREAM the receiver's has 4, the sender's 6.
    pub fn figure(self, answer: &str) -> Option<f64> {
        let columns = match self {
            Test::Tcp(_) | Test::Back(_) => 5,
            Test::Udp(_) => 4,
            Test::RoundTrips => 6,
        };
        let figure = |line: &str| {
            let words = line.split_whitespace().map(|word| word.parse::<f64>().ok());
            let words: Vec<f64> = words.collect::<Option<_>>()?;
            (words.len() == columns).then(|| words[columns - 1])
        };
        answer.lines().rev().find_map(figure)
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Tcp(size) => write!(f, "TCP_STREAM {size}"),
            Test::Back(size) => write!(f, "TCP_MAERTS {size}"),
            Test::Udp(size) => write!(f, "UDP_STREAM {size}"),
            Test::RoundTrips => write!(f, "TCP_RR"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_found_among_complaints() {
        let refused =
            "establish control: are you sure there is a netserver listening on 10.0.0.1\n";
        let tcp = format!("{refused}131072  16384  65536    2.04     1058.29   \n");
        assert_eq!(Test::Tcp(64).figure(&tcp), Some(1058.29));
        let rr = "16384  131072 1        1       2.00     26414.75   \n16384  131072\n";
        assert_eq!(Test::RoundTrips.figure(rr), Some(26414.75));
        let udp = "212992      64   1.00       194585      0      99.62\n\
                   212992           1.00       109321             55.97\n";
        assert_eq!(Test::Udp(64).figure(udp), Some(55.97));
        assert_eq!(Test::Udp(64).figure(refused), None);
    }

    #[test]
    fn tests_have_short_names() {
        assert_eq!(Test::parse("tcp-64"), Ok(Test::Tcp(64)));
        assert_eq!(Test::parse("rr"), Ok(Test::RoundTrips));
        assert!(Test::parse("tcp-x").is_err() && Test::parse("x").is_err());
    }
}
