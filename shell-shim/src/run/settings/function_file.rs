//! Function files: TOML, the keys of which are the flags of `stdpkt run`.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, bail};
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::parameters::{self, Wrong};
use super::text::{self, line_and_column};
use super::{COMMAND, Setting, is_switch};

/// Flags that a file does not have: it is one, and does not write itself.
const FLAGS_ONLY: [&str; 3] = ["file", "print-file", "help"];
/// As similar as that is a word that is taken for another; 1 is the same.
const SIMILAR: f64 = 0.6;

/// Reads a function file.
///
/// # Errors
/// One line: file, line, column, what is wrong there, and the way out.
pub fn read(path: &Path) -> Result<Vec<Setting>> {
    let text = text::read("file", path)?;
    parse(&text::shown(path), &text, |variable| {
        std::env::var_os(variable).map(|value| value.to_string_lossy().into_owned())
    })
}

fn parse(name: &str, text: &str, get: impl Fn(&str) -> Option<String>) -> Result<Vec<Setting>> {
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            bail!("{name}:{}: {}", line_and_column(text, at), in_words(text, at, error.message()));
        }
    };
    let command = super::command();
    let mut entries: Vec<_> = table.iter().collect();
    // Mistakes are told from the top.
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut settings: Vec<Setting> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for (key, value) in entries {
        let file = Source { name, text, key: key.get_ref().as_ref(), get: &get };
        let arg = find(&command, file.key).map_err(|why| file.error(key.span(), why))?;
        let flag = arg.get_long().unwrap_or(COMMAND);
        if seen.contains(&flag) {
            return Err(file.error(key.span(), format!("{flag} is given twice: leave one out")));
        }
        seen.push(flag);
        settings.extend(file.settings(arg, flag, value)?);
    }
    Ok(settings)
}

/// What `toml` says, and what people mean by what it does not like.
fn in_words(text: &str, at: usize, message: &str) -> String {
    let message = message.replace('\n', ", ").replace(", expected nothing", "");
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let rest = text[line..].lines().next().unwrap_or_default();
    let value = rest.split_once('=').map(|(_, value)| value.trim()).unwrap_or_default();
    let begins_as_none = value.starts_with(|c: char| c.is_alphabetic() || c == '$' || c == '/');
    if value.is_empty() && rest.trim_end().ends_with('=') {
        return format!("a value is missing after `{}`", rest.trim());
    }
    if begins_as_none && !message.contains("boolean") {
        return format!("{message}: put text in quotes, as \"{}\"", value.trim_matches('"'));
    }
    if text.trim_start().starts_with('{') {
        return format!("{message}: a function file is TOML, lines like left = \"10.0.0.1/24\"");
    }
    let first =
        value.trim_start_matches(['[', ' ']).split([',', ' ', ']']).next().unwrap_or_default();
    if first.starts_with(|c: char| c.is_ascii_digit()) && first.contains(['.', ':', '/']) {
        return format!("{message}: put addresses in quotes, as \"{first}\"");
    }
    if first.starts_with(|c: char| c.is_ascii_digit()) && message.contains("must be quoted") {
        return format!("{message}: put text in quotes, as \"{first}\"");
    }
    if value.starts_with(['“', '”', '„', '‘', '’', '«']) {
        return format!("{message}: quotes are `\"`, as a keyboard has them");
    }
    if rest.trim_start().starts_with("stdpkt ") {
        return format!(
            "{message}: this is a command line, of which `--print-file` writes the file"
        );
    }
    if rest.trim_start().starts_with("--") {
        return format!("{message}: keys have no `--`, and a value after `=`");
    }
    message
}

/// The flag that a key means.
fn find<'a>(command: &'a Command, key: &str) -> Result<&'a Arg, String> {
    let names = |arg: &'a Arg| {
        let long = arg.get_long().or(arg.is_last_set().then_some(COMMAND));
        long.into_iter().chain(arg.get_all_aliases().into_iter().flatten())
    };
    let in_files = |name: &str| !FLAGS_ONLY.contains(&name);
    if let Some(arg) = command.get_arguments().find(|arg| names(arg).any(|name| name == key)) {
        return match in_files(key) {
            true => Ok(arg),
            false => Err(format!("{key} is for the command line only")),
        };
    }
    let plain = key.trim_start_matches('-').replace('_', "-").to_lowercase();
    let all: Vec<&str> =
        command.get_arguments().flat_map(names).filter(|it| in_files(it)).collect();
    let near = all.iter().map(|name| (strsim::jaro_winkler(&plain, name), *name));
    let nearest = near.max_by(|a, b| a.0.total_cmp(&b.0));
    Err(match nearest {
        Some((similar, name)) if similar >= SIMILAR => {
            format!("`{}` is no key: did you mean `{name}`?", key.escape_debug())
        }
        _ => format!(
            "`{}` is no key: keys are the flags of a function (see stdpkt run --help)",
            key.escape_debug()
        ),
    })
}

/// A key of a file.
struct Source<'a, G> {
    name: &'a str,
    text: &'a str,
    key: &'a str,
    get: &'a G,
}

impl<G: Fn(&str) -> Option<String>> Source<'_, G> {
    fn error(&self, at: Range<usize>, why: String) -> anyhow::Error {
        anyhow::anyhow!("{}: {why}", self.place(at.start))
    }

    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.name, line_and_column(self.text, at))
    }

    fn settings(
        &self,
        arg: &Arg,
        flag: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<Setting>> {
        let setting = |value, at: Range<usize>| Setting {
            flag: flag.to_owned(),
            value,
            place: self.place(at.start),
        };
        let key = self.key;
        let list = matches!(arg.get_action(), ArgAction::Append) || arg.is_last_set();
        match value.get_ref() {
            DeValue::Array(values) if list => values
                .iter()
                .map(|value| Ok(setting(Some(self.text_of(value)?), value.span())))
                .collect(),
            DeValue::Array(_) => {
                Err(self.error(value.span(), format!("{key} is given once: no list")))
            }
            DeValue::Table(_) => Err(self.error(
                value.span(),
                format!(
                    "a table: {key} is written as on the command line, as text or a list of texts"
                ),
            )),
            _ if arg.is_last_set() => Err(self.error(
                value.span(),
                format!("{key} is a list of words, as {key} = [\"ping\", \"-c3\", \"10.0.0.1\"]"),
            )),
            // As on the command line, where it may stand without a value.
            DeValue::Boolean(on)
                if is_switch(arg)
                    || arg.get_num_args().is_some_and(|count| count.min_values() == 0) =>
            {
                Ok(on.then(|| setting(None, value.span())).into_iter().collect())
            }
            DeValue::Boolean(_) => {
                Err(self.error(value.span(), format!("{key} has a value: {key} = \"...\"")))
            }
            _ => {
                let text = self.text_of(value)?;
                match (is_switch(arg), text.as_str()) {
                    (false, _) => Ok(vec![setting(Some(text), value.span())]),
                    (true, "true") => Ok(vec![setting(None, value.span())]),
                    (true, "false") => Ok(vec![]),
                    (true, _) => Err(self.error(value.span(), format!("{key} is true or false"))),
                }
            }
        }
    }

    /// Text as it is on a command line.
    fn text_of(&self, value: &Spanned<DeValue<'_>>) -> Result<String> {
        match value.get_ref() {
            DeValue::String(text) => parameters::expand(text, self.get).map_err(|wrong| {
                let Wrong { begins, why } = wrong;
                let raw = &self.text[value.span()];
                let at = value.span().start + raw.find(&begins).unwrap_or(0);
                self.error(at..at, why)
            }),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(
                    |_| Err(self.error(value.span(), "too large".to_owned())),
                    |number| Ok(number.to_string()),
                ),
            DeValue::Float(number) => Ok(number.as_str().to_owned()),
            DeValue::Datetime(time) => Ok(time.to_string()),
            DeValue::Boolean(_) | DeValue::Array(_) | DeValue::Table(_) => Err(self.error(
                value.span(),
                format!("in the list of {} is text, as on the command line", self.key),
            )),
        }
    }
}
