//! Files, flags, and what of both wins.

use super::*;

/// Expands a command line; `FILE` in it is a file with this text.
fn expanded(line: &str, text: &str) -> Result<Vec<String>> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("nat");
    std::fs::write(&file, text)?;
    let words = shlex::split(&line.replace("FILE", &file.to_string_lossy())).unwrap();
    let words = expand(words.into_iter().map(OsString::from).collect())?;
    let path = file.to_string_lossy();
    Ok(words.iter().map(|it| it.to_string_lossy().replace(&*path, "FILE")).collect())
}

#[test]
fn a_file_says_what_flags_say_and_flags_win() {
    let text = r#"#!/usr/bin/env -S stdpkt run --file
        left = "192.168.0.254/24"
        right = ["8.8.8.4/24", "2001:db8::4/64"]
        routes = ["10.0.0.0/8=192.168.0.1"]
        forward = true
        bridge = false
        mtu = 9000
        linger = 0.5
        netns = 12
        channel = "fifo"
        setup = ['nft "x"', 'ip -br a $X']
        command = ["ping", "-c3", "8.8.8.8"]
    "#;
    let file = [
        "--left=192.168.0.254/24",
        "--right=8.8.8.4/24",
        "--right=2001:db8::4/64",
        "--route=10.0.0.0/8=192.168.0.1",
        "--forward",
        "--mtu=9000",
        "--linger=0.5",
        "--netns=12",
        "--channel=fifo",
        "--setup=nft \"x\"",
        "--setup=ip -br a $X",
    ];
    let without = |flags: &[&str], rest: &[&str]| -> Vec<String> {
        let kept = file.iter().filter(|it| !flags.iter().any(|flag| it.starts_with(flag)));
        let all = ["stdpkt", "run"].iter().chain(kept).chain(rest);
        all.map(|word| (*word).to_owned()).collect()
    };
    for (line, expected) in [
        ("--file FILE", without(&[], &["--file", "FILE", "--", "ping", "-c3", "8.8.8.8"])),
        ("--file FILE --", without(&[], &["--file", "FILE", "--", "ping", "-c3", "8.8.8.8"])),
        ("--file FILE -- true x", without(&[], &["--file", "FILE", "--", "true", "x"])),
        (
            "--file=FILE --right=10.0.0.1/24 --forward=false --routes 0.0.0.0/0=10.0.0.2",
            without(
                &["--right", "--forward", "--route"],
                &[
                    "--file=FILE",
                    "--right=10.0.0.1/24",
                    "--forward=false",
                    "--routes",
                    "0.0.0.0/0=10.0.0.2",
                    "--",
                    "ping",
                    "-c3",
                    "8.8.8.8",
                ],
            ),
        ),
    ] {
        assert_eq!(expanded(&format!("stdpkt run {line}"), text).unwrap(), expected, "{line}");
    }
    for untouched in ["stdpkt ls --file FILE", "stdpkt run --left x --fil", "stdpkt"] {
        assert_eq!(expanded(untouched, text).unwrap().join(" "), untouched);
    }
}

#[test]
fn a_written_file_says_what_the_command_line_said() {
    for line in [
        "run --left 10.0.0.1/24 --right none --gateway 10.0.0.2 --gateway fd00::1",
        "run --link 'dmz,at=f,ip=10.0.1.1/24' --route 10.0.0.0/8=10.0.0.2 --forward",
        r#"run --left 10.0.0.1/24 --setup 'nft "${X}" \ '\''x'\''' --setup 'a	b
c' --sysctl a=1 --mtu 9000 --linger 0.5 --ring 2m"#,
        "run --name true --netns 12 --left 10.0.0.1/24 --keep --bridge=false -v -- ping -c 3 '$x' '${y}' '' --",
        "run --stack lkl --lkl /x --channel fifo --right 10.0.0.1/24 -- 007 7",
        "run --on-demand --idle 30s --restart --left none,dev=tap0,at=frames:stdio --dns 1.1.1.1 --dns ::1",
    ] {
        let words: Vec<OsString> =
            shlex::split(&format!("stdpkt {line}")).unwrap().into_iter().map(Into::into).collect();
        let text = write::function_file(&words).unwrap();
        let again = expanded("stdpkt run --file FILE", &text).unwrap_or_else(|error| {
            panic!("{error:#}\n{text}");
        });
        let again: Vec<OsString> = again.into_iter().map(Into::into).collect();
        assert_eq!(write::function_file(&again).unwrap(), text, "{line}");
        let plain = |words: &[OsString]| {
            use clap::FromArgMatches;
            let matches = command().get_matches_from(&words[1..]);
            let mut args = RunArgs::from_arg_matches(&matches).unwrap();
            args.file = None;
            format!("{args:?}")
        };
        assert_eq!(plain(&again), plain(&words), "{text}");
    }
}

#[test]
fn a_file_may_name_an_lkl_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("1st.conf");
    std::fs::write(&config, "IF0=a|b IP0=10.0.0.1 NETMASK0=24 LKL_HIJACK_NET_MTU0=9000").unwrap();
    let text = format!("lkl-config = '{}'\nmtu = 1400\n", config.display());
    let words = expanded("stdpkt run --file FILE --keep", &text).unwrap();
    let expected = "stdpkt run --mtu=1400 --link=eth0,at=./a:./b,ip=10.0.0.1/24 --file FILE --keep";
    assert_eq!(words.join(" "), expected);
}

#[test]
fn what_is_no_function_file_is_told_in_one_line() {
    for (path, words) in [
        ("/nonexistent", "--file /nonexistent: No such file"),
        ("/", "--file /: Is a directory"),
        ("/dev/zero", "longer than such a file can be"),
    ] {
        let error = expand(["stdpkt", "run", "--file", path].map(OsString::from).to_vec());
        let error = format!("{:#}", error.unwrap_err());
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn lines_and_columns_are_those_of_an_editor() {
    for (text, place) in [
        ("\u{feff}lefft = 1", ":1:1: "),
        ("left = \"10.0.0.1/24\"\r\nforward = tru", ":2:11: "),
        ("# ä\nlinks = [\"x,at=ä\", 3]", ":2:20: "),
    ] {
        let error = format!("{:#}", expanded("stdpkt run --file FILE", text).unwrap_err());
        assert!(error.contains(place), "{text}: {error}");
    }
}
