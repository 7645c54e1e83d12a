//! Configurations as the paper, the talks and LKL's own documents have them.

use super::*;

fn words(settings: Vec<Setting>) -> Vec<String> {
    let word = |Setting { flag, value, .. }| match value {
        Some(value) => format!("--{flag}={value}"),
        None => format!("--{flag}"),
    };
    settings.into_iter().map(word).collect()
}

fn of(text: &str) -> Result<Vec<String>> {
    let mut config = Config::default();
    match text.starts_with('{') {
        true => json::read("f", text, &mut config)?,
        false => variables::of_text("f", text, &mut config)?,
    }
    settings(config).map(words)
}

#[test]
fn the_talks_nat_in_a_file() {
    let nat = "LKL_HIJACK_DEBUG=0x100 \\\n LKL_HIJACK_SYSCTL=\"net.ipv4.ip_forward=1\" \\\n \
        LKL_HIJACK_NET_IFTYPE0=fifo \\\n LKL_HIJACK_NET_IFPARAMS0=\"/dev/stdin|/tmp/fifo1\" \\\n \
        LKL_HIJACK_NET_IP0=192.168.0.254 LKL_HIJACK_NET_NETMASK_LEN0=24 \\\n \
        LKL_HIJACK_NET_IFTYPE1=fifo LKL_HIJACK_NET_IFPARAMS1=\"/tmp/fifo3|/dev/stdout\" \\\n \
        LKL_HIJACK_NET_IP1=8.8.8.4 LKL_HIJACK_NET_NETMASK_LEN1=24 \\\n";
    assert_eq!(
        of(nat).unwrap(),
        [
            "--link=eth0,at=/dev/stdin:/tmp/fifo1,ip=192.168.0.254/24",
            "--link=eth1,at=/tmp/fifo3:/dev/stdout,ip=8.8.8.4/24",
            "--sysctl=net.ipv4.ip_forward=1",
            "--keep",
        ]
    );
}

#[test]
fn names_of_several_years() {
    for (text, expected) in [
        (
            "IF0=stdin|f IP0=10.0.0.1 NETMASK0=255.255.255.0 GATEWAY=10.0.0.9",
            vec!["--link=eth0,at=/dev/stdin:./f,ip=10.0.0.1/24", "--gateway=10.0.0.9"],
        ),
        (
            "LKL_HIJACK_NET_IFTYPE=tap\nLKL_HIJACK_NET_IFPARAMS=tap0\nLKL_HIJACK_NET_IP=10.0.0.2\n\
             LKL_HIJACK_NET_NETMASK_LEN=24\nLKL_HIJACK_NET_MTU=9000",
            vec!["--link=eth0,at=tap:tap0,ip=10.0.0.2/24", "--mtu=9000"],
        ),
        ("export LKL_HIJACK_NET_TAP=tap0 # old", vec!["--link=eth0,at=tap:tap0"]),
        ("IF0=lkl-tap0", vec!["--link=eth0,at=tap:lkl-tap0"]),
        (
            "LKL_HIJACK_NET_IFPARAMS0=atob|btoa LKL_HIJACK_NET_IPV60=fd00::1 \
             LKL_HIJACK_NET_NETMASK6_LEN0=64 LKL_HIJACK_NET_IFGATEWAY60=fd00::2",
            vec!["--link=eth0,at=./atob:./btoa,ip=fd00::1/64", "--gateway=fd00::2"],
        ),
        (
            "LKL_HIJACK_NET_IF1=/tmp/f LKL_HIJACK_SYSCTL='a.b|1 2;c=\"bbr\"' LKL_HIJACK_DEBUG=1",
            vec!["--link=eth1,at=/tmp/f", "--sysctl=a.b=1 2", "--sysctl=c=bbr"],
        ),
    ] {
        assert_eq!(of(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn lkls_json() {
    let text = r#"{ "gateway": "10.0.0.9", "debug": "0x101", "singlecpu": "1", "sysctl": "a.b=1",
        "boot_cmdline": "mem=512M", "interfaces": [
        { "type": "pipe", "param": "/tmp/f|/dev/stdout", "mtu": "1500", "ip": "10.0.0.1",
          "masklen": "24", "ipv6": "fd00::1", "masklen6": 64, "offload": "0x8883" } ] }"#;
    assert_eq!(
        of(text).unwrap(),
        [
            "--link=eth0,at=/tmp/f:/dev/stdout,ip=10.0.0.1/24,ip=fd00::1/64",
            "--mtu=1500",
            "--gateway=10.0.0.9",
            "--sysctl=a.b=1",
            "--keep",
        ]
    );
}

#[test]
fn mistakes_are_a_line_with_a_place() {
    for (text, line) in [
        (
            "LKL_HIJACK_NET_IFTYP0=fifo",
            "f:1: LKL_HIJACK_NET_IFTYP0: no variable of LKL's: did you mean LKL_HIJACK_NET_IFTYPE?",
        ),
        ("\nx", "f:2: `x` is neither NAME=value nor JSON"),
        ("x\nIF0=a|b", "f:1: `x` is neither NAME=value nor JSON"),
        ("IF0=a|b \\\n y \\\nIP0=1", "f:2: `y` is neither"),
        ("IF0='a|\nb'\ny\n", "f:3: `y` is neither"),
        ("IF0=a|\\\nb\ny\n", "f:3: `y` is neither"),
        ("IF0=a|b\nIP0='10.0.0.1", "f:2: a quote or a backslash without its end"),
        ("LKL_HIJACK_NET_IP0='", "without its end"),
        ("LKL_HIJACK_NET_IP0=10.0.0.1", "eth0: nothing says what it is joined to"),
        ("LKL_HIJACK_DEBUG=1", "there is no interface in it"),
        ("IF0=a|b IP0=10.0.0.1", "without the length of its mask"),
        ("IF0=a|b IP0=10.0.0.1 NETMASK0=255.0.255.0", "is no mask"),
        ("IF0=a|b|c", "write RX|TX"),
        ("IF0=a|", "a path is missing"),
        ("IF0=a:b|c", "without `:`"),
        ("IF0=a|b LKL_HIJACK_DEBUG=yes", "write a number, as 0x100"),
        ("IF0=a|b LKL_HIJACK_SYSCTL=a", "write KEY=VALUE"),
        ("LKL_HIJACK_NET_IFTYPE0=vde LKL_HIJACK_NET_IFPARAMS0=x", "type vde has no counterpart"),
        ("{", "f: EOF while parsing"),
        (r#"{"gatway": "1"}"#, "f: gatway: no key of LKL's: did you mean `gateway`?"),
        (r#"{"interfaces": [{"IP": "1"}]}"#, "f: interfaces[0].IP: no key"),
        (r#"{"interfaces": [1]}"#, "f: interfaces[0]: an interface is"),
        (r#"{"gateway": []}"#, "f: gateway: write text"),
        (r#"{"gateway": null}"#, "f: gateway: write text or a number"),
    ] {
        let error = format!("{:#}", of(text).unwrap_err());
        assert!(error.contains(line) && !error.contains('\n'), "{text}: {error}");
    }
}
