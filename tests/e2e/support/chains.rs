//! The chains that several tests type.

use super::scene::Scene;

/// The NAT chain as documented.
pub const NAT: &str = "\
stdpkt run --right 192.168.0.1/24 --gateway 192.168.0.254 -- ping -c3 8.8.8.8 \\
| stdpkt run --left 192.168.0.254/24 --right 8.8.8.4/24 --forward \\
      --setup 'iptables -t nat -A POSTROUTING -s 192.168.0.0/24 -o right -j MASQUERADE' \\
| stdpkt run --left 8.8.8.8/24
";

/// Two functions, 10.0.0.1 and 10.0.0.2, with options and a CMD each.
pub fn two(first: &str, second: &str) -> String {
    format!("stdpkt run --right 10.0.0.1/24 {first} | stdpkt run --left 10.0.0.2/24 {second}")
}

/// Three functions: hosts 10.0.1.1 and 10.0.2.1, between them a router,
/// 10.0.1.2 and 10.0.2.2.
pub fn three(first: &str, middle: &str, last: &str) -> String {
    format!(
        "stdpkt run --right 10.0.1.1/24 --gateway 10.0.1.2 {first} \
         | stdpkt run --left 10.0.1.2/24 --right 10.0.2.2/24 --forward {middle} \
         | stdpkt run --left 10.0.2.1/24 --gateway 10.0.2.2 {last}"
    )
}

/// A host, `count` routers, another host, which runs `cmd`.
/// The networks are `10.0.0.0/24` to `10.0.COUNT.0/24`.
pub fn routers(count: u32, options: &str, cmd: &str) -> String {
    let mut chain = format!("stdpkt run --right 10.0.0.1/24 --gateway 10.0.0.2 {options}");
    for n in 0..count {
        let next = n + 1;
        // The first network is the first router's own.
        let back = if n == 0 { String::new() } else { format!("--route 10.0.0.0/24=10.0.{n}.1") };
        chain += &format!(
            " | stdpkt run --left 10.0.{n}.2/24 --right 10.0.{next}.1/24 --gateway 10.0.{next}.2 \
             {back} --forward {options}"
        );
    }
    chain.push_str(&format!(
        " | stdpkt run --left 10.0.{count}.2/24 --gateway 10.0.{count}.1 {options} -- {cmd}"
    ));
    chain
}

/// Runs a script that pings once: it ends well, nothing is lost, nothing is left.
pub fn assert_pings(script: &str) {
    let scene = Scene::new();
    let outcome = scene.sh(script);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    let said = outcome.out + &outcome.err;
    assert!(said.contains(" 0% packet loss"), "{said}");
    scene.assert_nothing_left();
}
