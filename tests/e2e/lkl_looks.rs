//! Programs of LKL functions whose threads serve the device while they wait: what they do
//! meanwhile, and when they do nothing.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use crate::lkl::{chain, scene};
use crate::support::need::need;

/// Gives back what it is sent, to as many as connect, and waits in select(2).
const ECHO: &str = r#"perl -MSocket -e '
    socket S, PF_INET, SOCK_STREAM, 0 or die; bind S, pack_sockaddr_in 9, INADDR_ANY or die;
    listen S, 9; %all = (fileno S, \*S);
    while () {
        $ready = ""; vec($ready, $_, 1) = 1 for keys %all;
        select $ready, undef, undef, undef;
        for (grep { vec $ready, $_, 1 } keys %all) {
            if ($_ == fileno S) { accept my $new, S or die; $all{fileno $new} = $new }
            elsif (sysread $all{$_}, $x, 4096) { syswrite $all{$_}, $x or die }
            else { delete $all{$_} } } }'"#;

/// Defines `dial`: a connection to 10.0.0.2, as soon as somebody listens.
const DIAL: &str = r#"
    sub dial {
        for (1 .. 200) {
            socket my $c, PF_INET, SOCK_STREAM, 0 or die;
            return $c if connect $c, pack_sockaddr_in 9, inet_aton "10.0.0.2";
            select undef, undef, undef, 0.05; }
        die "nobody listens\n" }"#;

/// Until ARP has nothing to say any more.
const SETTLE: Duration = Duration::from_secs(12);
const LOOK: Duration = Duration::from_secs(10);
/// LKL's kernel asks for IPv6 routers, ever more seldom. A doze of 200 us would be 50 000.
const FEW: u64 = 40;

#[test]
fn idle_functions_do_not_run_but_for_the_clock_of_their_kernel() {
    need!("LKL_DIR", "namespaces", "bash", "perl");
    let scene = scene();
    let play = scene.start_sh(&format!(
        "stdpkt run --stack lkl --right 10.0.0.1/24 -- perl -MSocket -e '{DIAL} $c = dial; \
             for (1 .. 2000) {{ syswrite $c, \"x\" or die; sysread $c, $x, 1 or die }} \
             open F, \">up\" or die; sysread $c, $x, 1' \
         | stdpkt run --stack lkl --left 10.0.0.2/24 -- {ECHO}"
    ));
    scene.wait_for_file("up");
    sleep(SETTLE);
    let look = || -> Vec<BTreeMap<String, u64>> {
        let programs = scene.processes().into_iter().filter(|process| process.name == "perl");
        programs.map(|program| program.context_switches_of_threads()).collect()
    };
    let before = look();
    sleep(LOOK);
    let after = look();
    assert_eq!(before.len(), 2, "{before:?}");
    for (before, after) in before.iter().zip(&after) {
        // The clock's thread makes one for each tick, which handles it and ends.
        let both = before.iter().filter_map(|(thread, count)| Some(after.get(thread)? - count));
        let mut switches: Vec<u64> = both.collect();
        switches.sort_unstable();
        let clock = switches.pop();
        let others: u64 = switches.iter().sum();
        assert!(switches.len() >= 2, "its own thread and the device's: {before:?}");
        assert!(others <= FEW, "{others} in {LOOK:?}, and {clock:?} of the clock");
    }
    play.end_all();
    scene.assert_nothing_left();
}

#[test]
fn programs_that_select_or_ask_again_and_again_are_served() {
    need!("LKL_DIR", "namespaces", "bash", "perl");
    let (statuses, outcome) = chain(&format!(
        "LKL --right 10.0.0.1/24 -- perl -MSocket -e '{DIAL} @all = map dial, 1 .. 8; \
             for $round (1 .. 200) {{ \
                 for $c (@all) {{ syswrite $c, $round or die }} \
                 for $c (@all) {{ \
                     $wanted = \"\"; vec($wanted, fileno $c, 1) = 1; \
                     1 until select $ready = $wanted, undef, undef, 0; \
                     sysread $c, $x, 9; $x eq $round or die \"$x for $round\n\" }} }}' \
         | LKL --left 10.0.0.2/24 -- {ECHO}"
    ));
    assert_eq!(statuses[0], 0, "{outcome:?}");
}

/// Both are stopped in the middle, again and again, with all their threads: one that looks,
/// or a poll thread that dozes, goes on where it was.
#[test]
fn programs_that_are_stopped_and_go_on_lose_nothing() {
    need!("LKL_DIR", "namespaces", "bash", "perl");
    let stop = "sub stop { if (!fork) { sleep 1; kill CONT => getppid; exit } kill STOP => $$ }";
    let (statuses, outcome) = chain(&format!(
        "LKL --right 10.0.0.1/24 -- perl -MSocket -e '{DIAL} {stop} $c = dial; $data = \"x\" x 50000; \
             for (1 .. 400) {{ \
                 stop() if $_ % 150 == 0; \
                 for ($sent = 0; $sent < 50000; $sent += $n) \
                     {{ $n = syswrite $c, $data, 50000 - $sent or die }} }}' \
         | LKL --left 10.0.0.2/24 -- perl -MSocket -e '{stop} \
             socket S, PF_INET, SOCK_STREAM, 0 or die; \
             bind S, pack_sockaddr_in 9, INADDR_ANY or die; listen S, 9; accept C, S or die; \
             for ($all = 0; $n = sysread C, $x, 65536; $all += $n) \
                 {{ if ($all > $next) {{ $next += 6e6; stop() }} }} \
             print STDERR \"$all arrived\\n\"'"
    ));
    assert_eq!(statuses[0], 0, "{outcome:?}");
    assert!(outcome.err.contains("20000000 arrived"), "{outcome:?}");
}
