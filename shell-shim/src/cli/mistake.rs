//! Mistakes on the command line, each told in one line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, Parser};

use super::Cli;

/// Words of the standard library for what is no number.
const NUMBERS: [(&str, &str); 3] = [
    ("invalid digit found in string", "not a whole number"),
    ("cannot parse integer from empty string", "a number is missing"),
    ("number too large to fit in target type", "too large"),
];

/// What stands behind a number.
const UNITS: [&str; 8] = ["us", "ms", "s", "%", "bit", "kbit", "mbit", "gbit"];

/// clap's report in one line: what is wrong, what may have been meant, and where
/// to read on. `words` is the command line, the program's name first.
pub fn one_line(error: &clap::Error, words: impl IntoIterator<Item = OsString>) -> String {
    let words: Vec<OsString> = words.into_iter().collect();
    let negative = of_negative_value(error, &words);
    let error = negative.as_ref().unwrap_or(error);
    let mut line = plain(error);
    let told: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let command = command(words);
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg)
        && let Some(meant) = meant(&command, word, &told)
    {
        line += &format!(": {meant}");
    }
    if let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
        && word == "version"
    {
        line += ": did you mean stdpkt --version?";
    }
    format!("{line} (see {} --help)", command.get_bin_name().unwrap_or("stdpkt"))
}

/// What may have been meant by a word that is none of the command's, `words` the command line.
fn meant(command: &Command, word: &str, words: &[String]) -> Option<String> {
    let mut longs = command.get_arguments().filter_map(|arg| arg.get_long());
    let given = words.iter().find(|given| given.starts_with(word))?;
    // `-left` is read as letters, one option each.
    if let Some(long) = given.strip_prefix('-').filter(|rest| !rest.starts_with('-'))
        && longs.any(|it| it == long.split('=').next().unwrap_or_default())
    {
        return Some(format!("long options have two hyphens, as in `-{given}`"));
    }
    if let Some(before) = words.iter().zip(&words[1..]).find(|(_, it)| *it == word).map(|it| it.0)
        && UNITS.contains(&word)
        && before.ends_with(|c: char| c.is_ascii_digit())
    {
        return Some(format!("a number and its unit are one word, as in `{before}{word}`"));
    }
    if !word.starts_with('-') && command.get_arguments().any(|arg| arg.is_last_set()) {
        return Some(format!("a program comes after `--`, as in `-- {word}`"));
    }
    if command.has_subcommands()
        && let Some(sub) = with_option(command, word.trim_start_matches('-'))
    {
        return Some(format!("a command comes first, as in `{sub} {word}`"));
    }
    None
}

/// A value below zero looks like another option: what there is to say of `--delay -1ms` as
/// `--delay=-1ms`.
fn of_negative_value(error: &clap::Error, words: &[OsString]) -> Option<clap::Error> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let is_value = |word: &str| {
        word.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut joined: Vec<OsString> = Vec::new();
    for word in words.iter().take_while(|word| *word != "--") {
        match joined.last_mut().filter(|last| last.to_string_lossy().starts_with("--")) {
            Some(option) if is_value(&word.to_string_lossy()) => {
                option.push("=");
                option.push(word);
            }
            _ => joined.push(word.clone()),
        }
    }
    let of_value = |error: &clap::Error| error.kind() == ErrorKind::ValueValidation;
    Cli::try_parse_from(joined).err().filter(of_value)
}

/// The first subcommand that has an option, `word` without its hyphens.
fn with_option(command: &Command, word: &str) -> Option<String> {
    let is_it = |arg: &Arg| match word.chars().collect::<Vec<_>>()[..] {
        [letter] => arg.get_short() == Some(letter),
        _ => arg.get_long() == Some(word),
    };
    let has = |sub: &&Command| sub.get_arguments().any(is_it);
    command.get_subcommands().find(has).and_then(|sub| sub.get_bin_name()).map(str::to_owned)
}

/// What is wrong and what may have been meant, in one line.
pub fn plain(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage"));
    let first = lines.next().unwrap_or_default();
    let mut line = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    for (raw, plain) in NUMBERS {
        line = line.replace(raw, plain);
    }
    // What is missing, allowed or suggested stands on the lines below.
    for more in lines.filter(|more| !more.is_empty() && !more.starts_with("For more information")) {
        match more.strip_prefix("tip: ") {
            // Of options that would lead to yet another mistake.
            Some(tip) if tip.starts_with("to pass") => {}
            Some(tip) => line += &format!(": {tip}"),
            None => line += &format!(" {more}"),
        }
    }
    line
}

/// The subcommand that a command line begins with.
fn command(words: impl IntoIterator<Item = OsString>) -> Command {
    let mut command = Cli::command();
    command.build();
    for word in words.into_iter().skip(1) {
        match command.find_subcommand(word) {
            Some(sub) => command = sub.clone(),
            None => break,
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(line: &str) -> String {
        let words = || line.split_whitespace().map(OsString::from);
        let error = one_line(&Cli::try_parse_from(words()).expect_err(line), words());
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(!error.contains("tip:") && !error.contains("  "), "{error}");
        error
    }

    #[test]
    fn errors_are_one_line_and_name_the_option() {
        assert_eq!(
            error("stdpkt run --left 192.168.0.300/24"),
            "invalid value '192.168.0.300/24' for '--left <CIDR[,dev=NAME][,at=EDGE]>': not an address with \
             prefix length, write it like 192.168.0.1/24 (see stdpkt run --help)"
        );
        assert!(error("stdpkt run --right fe80::1").contains("2001:db8::1/64"));
        assert!(error("stdpkt run --gateway x").contains("'--gateway <IP>'"));
        assert!(
            error("stdpkt run --route 10.0.0.1/8=1.2.3.4").contains("did you mean 10.0.0.0/8?")
        );
        assert!(error("stdpkt run --channel tcp").contains("possible values: shm, fifo"));
        assert!(error("stdpkt run --ring 1").contains("64k"));
        assert!(error("stdpkt run --link x").contains("--link"));
    }

    #[test]
    fn what_may_have_been_meant() {
        assert_eq!(
            error("stdpkt run --lefft 10.0.0.1/24"),
            "unexpected argument '--lefft' found: a similar argument exists: '--left' (see stdpkt run --help)"
        );
        assert_eq!(
            error("stdpkt rum"),
            "unrecognized subcommand 'rum': some similar subcommands exist: 'dump', 'run' (see stdpkt --help)"
        );
        assert_eq!(
            error("stdpkt perf client"),
            "the following required arguments were not provided: <HOST> (see stdpkt perf client --help)"
        );
        assert_eq!(
            error("stdpkt run --right 10.0.0.1/24 ping -c3 x"),
            "unexpected argument 'ping' found: a program comes after `--`, as in `-- ping` \
             (see stdpkt run --help)"
        );
        assert!(!error("stdpkt feed a b").contains("after `--`"));
        assert!(error("stdpkt run -left 10.0.0.1/24").contains("as in `--left`"));
        assert!(error("stdpkt wire --delay 20 ms").contains("as in `20ms`"));
    }

    #[test]
    fn what_is_no_number() {
        for (line, words) in [
            ("stdpkt run --mtu abc", "'abc' for '--mtu <BYTES>': not a whole number"),
            ("stdpkt run --mtu 99999999999999999999", "too large"),
            ("stdpkt run --mtu=", "--mtu <BYTES>"),
            ("stdpkt run --mtu -1", "'-1' for '--mtu <BYTES>': -1 is not in"),
            ("stdpkt wire --delay -1ms", "'-1ms' for '--delay <TIME>': a time has a unit"),
            ("stdpkt run --forward -1", "unexpected argument '-1'"),
            ("stdpkt demo --rounds 1.5", "'1.5' for '--rounds <N>': not a whole number"),
            ("stdpkt perf server --port x", "--port"),
        ] {
            let error = error(line);
            assert!(error.contains(words), "{error}");
            assert!(!error.contains("digit") && !error.contains("target type"), "{error}");
        }
    }
}
