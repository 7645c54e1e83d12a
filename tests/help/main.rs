//! The help of each command: that its examples are there, and that they are command lines.

use std::path::PathBuf;
use std::process::Command;

fn stdpkt() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_stdpkt-under-test").into();
    std::env::var_os("STDPKT_TESTS_BIN").map_or_else(built, PathBuf::from)
}

fn output(args: &[&str]) -> String {
    let output = Command::new(stdpkt()).args(args).output().expect("stdpkt");
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// All commands but `help`, as their words.
fn commands() -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut todo = vec![Vec::<String>::new()];
    while let Some(words) = todo.pop() {
        let args: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = output(&args);
        let list = help.split_once("\nCommands:\n").map(|(_, rest)| rest).unwrap_or_default();
        for line in list.lines().take_while(|line| !line.is_empty()) {
            let name = line.strip_prefix("  ").and_then(|line| line.split(' ').next());
            let name = name.filter(|name| !matches!(*name, "" | "help"));
            todo.extend(name.map(|name| [&words[..], &[name.to_owned()]].concat()));
        }
        found.push(words);
    }
    assert!(found.len() > 15, "{found:?}");
    found
}

/// What help looks like, the options apart, which are added to all the time.
#[test]
fn help_is_as_it_is_written_down() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("stdpkt", stdpkt()).case("help/*.trycmd").env("NO_COLOR", "1");
    cases.env("STDPKT_COLUMNS", "100");
}

#[test]
fn each_command_has_examples_that_its_own_parser_takes() {
    for words in commands() {
        let args: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let help = output(&args);
        if words == ["perf"] {
            continue; // its two halves have them
        }
        let (_, examples) = help.split_once("Examples:\n").unwrap_or_else(|| panic!("{words:?}"));
        let examples: Vec<&str> = examples.lines().take_while(|line| !line.is_empty()).collect();
        assert!(examples.iter().all(|line| line.starts_with("  ")), "wrapped: {examples:#?}");
        assert!(examples.iter().any(|line| line.contains("stdpkt")), "{words:?}");
        for line in examples.join("\n").replace("|\n   ", "|").lines() {
            // What a shell would start, as far as it is stdpkt.
            for part in line.split(" | ").map(str::trim).filter(|it| it.starts_with("stdpkt")) {
                let part = part.split(" >").next().unwrap_or_default();
                let words = shell_words(part);
                if let Err(error) = shell_shim::cli::parse(words) {
                    panic!("{line}: {error}");
                }
            }
        }
    }
}

fn shell_words(text: &str) -> Vec<String> {
    shlex::split(text).unwrap_or_else(|| panic!("{text}: quotes"))
}

#[test]
fn each_command_has_a_manual_page() {
    let dir = tempfile::tempdir().expect("a directory");
    output(&["man", "--write", dir.path().to_str().expect("UTF-8")]);
    for words in commands() {
        let name = [&["stdpkt".to_owned()], &words[..]].concat().join("-");
        let path = dir.path().join(format!("man1/{name}.1"));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{page}");
        let args: Vec<&str> = ["man"].into_iter().chain(words.iter().map(String::as_str)).collect();
        assert_eq!(output(&args), page);
    }
    assert!(dir.path().join("man7/stdpkt-links.7").exists());
    assert!(output(&["man", "links"]).contains("How neighbours meet"));
    // What troff says of them, where it is.
    for page in ["man1/stdpkt.1", "man1/stdpkt-run.1", "man7/stdpkt-links.7"] {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-ww", "-z", "-Tutf8"]);
        let Ok(output) = groff.arg(dir.path().join(page)).output() else {
            return println!("what troff says of it: skipped, for want of groff");
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said, "", "{page}");
    }
}

#[test]
fn shells_can_complete() {
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef stdpkt"), ("fish", "complete -c")]
    {
        let script = output(&["completions", shell]);
        assert!(script.contains(part) && script.contains("chains"), "{shell}");
        assert!(!script.contains("check-probe"), "{shell}: a command that is hidden");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("stdpkt");
        std::fs::write(&path, &script).expect("a file");
        let Ok(output) = Command::new(shell).arg("-n").arg(&path).output() else { continue };
        assert!(output.status.success(), "{shell}: {output:?}");
    }
}

/// As a shell does when somebody presses the tabulator.
#[test]
fn shells_complete() {
    const BASH: &str = "source <(stdpkt completions bash)
        COMP_WORDS=(stdpkt run --ch) COMP_CWORD=2; _stdpkt stdpkt --ch run; echo ${COMPREPLY[*]}
        COMP_WORDS=(stdpkt che) COMP_CWORD=1; _stdpkt stdpkt che stdpkt; echo ${COMPREPLY[*]}";
    const FISH: &str = "stdpkt completions fish | source
        for line in 'stdpkt run --ch' 'stdpkt che'; complete -C $line | cut -f1; end";
    let dir = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(stdpkt(), dir.path().join("stdpkt")).expect("a link");
    let inherited = std::env::var("PATH").expect("PATH");
    for (shell, script) in [("bash", BASH), ("fish", FISH)] {
        let mut command = Command::new(shell);
        command
            .env("PATH", format!("{}:{inherited}", dir.path().display()))
            .env("HOME", dir.path());
        let Ok(output) = command.arg("-c").arg(script).output() else {
            println!("what {shell} completes: skipped, for want of it");
            continue;
        };
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(shown, "--channel\ncheck\n", "{shell}: {output:?}");
    }
}

#[test]
fn the_version_says_which_build_it_is() {
    let version = output(&["--version"]);
    assert!(version.starts_with("stdpkt 0.") && version.contains(" ("), "{version}");
}
