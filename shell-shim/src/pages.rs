//! `stdpkt man` and `stdpkt completions`: what a package installs, and whoever has
//! nothing but the one file can have, too.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// The page that is of no command.
const LINKS: (&str, &str) = ("links", include_str!("../man/stdpkt-links.7"));

/// `stdpkt man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stdpkt man | man -l -
  stdpkt man run | man -l -
  stdpkt man links | man -l -
  stdpkt man --write ~/.local/share/man")]
pub struct ManArgs {
    /// Which page: a command, as run or `perf client`, or links, what a link is
    #[arg(value_name = "PAGE")]
    pub page: Vec<String>,

    /// Write all pages below a directory, into man1 and man7
    #[arg(long, value_name = "DIR", conflicts_with = "page")]
    pub write: Option<PathBuf>,
}

/// `stdpkt completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(stdpkt completions bash)
  stdpkt completions zsh >\"${fpath[1]}/_stdpkt\"
  stdpkt completions fish >~/.config/fish/completions/stdpkt.fish")]
pub struct CompletionsArgs {
    /// The shell that is to complete
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Writes one page to standard output, or all of them to files.
///
/// # Errors
/// No such page, and those of writing.
pub fn man(args: &ManArgs, mut command: Command) -> Result<()> {
    command.build();
    if let Some(dir) = &args.write {
        return write_all(dir, &command);
    }
    if let [page] = &args.page[..]
        && page.trim_start_matches("stdpkt-") == LINKS.0
    {
        return print(LINKS.1.as_bytes());
    }
    let mut found = &command;
    for word in args.page.iter().flat_map(|page| page.split('-')).filter(|it| *it != "stdpkt") {
        let Some(sub) = found.find_subcommand(word) else {
            let pages: Vec<_> = command.get_subcommands().filter(|it| !it.is_hide_set()).collect();
            let pages = pages.iter().map(|it| it.get_name()).collect::<Vec<_>>().join(", ");
            bail!("no page {}: there is {pages}, links", args.page.join(" ").escape_debug());
        };
        found = sub;
    }
    print(&page(found)?)
}

/// Writes what a shell reads to complete.
///
/// # Errors
/// Those of writing.
pub fn completions(args: &CompletionsArgs, command: &Command) -> Result<()> {
    let shown = command.get_subcommands().filter(|it| !it.is_hide_set());
    // Shells would be told of the hidden ones, too; without them there is only the version left.
    let mut command = Command::new("stdpkt").version("").subcommands(shown.cloned());
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "stdpkt", &mut script);
    print(&script)
}

/// A closed reader is no failure.
fn print(text: &[u8]) -> Result<()> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("standard output"),
    }
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or("stdpkt").to_owned();
    let man = Man::new(command.clone()).title(name.to_uppercase()).manual("stdpkt");
    let mut page = Vec::new();
    man.render(&mut page)?;
    page.extend(b".SH \"SEE ALSO\"\n\\fBstdpkt\\fR(1), \\fBstdpkt\\-links\\fR(7)\n");
    Ok(page)
}

fn write_all(dir: &Path, command: &Command) -> Result<()> {
    let write = |section: u8, name: &str, text: &[u8]| {
        let dir = dir.join(format!("man{section}"));
        let path = dir.join(format!("{name}.{section}"));
        let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&path, text));
        written.with_context(|| path.display().to_string())
    };
    let mut todo = vec![command];
    while let Some(command) = todo.pop() {
        let name = command.get_display_name().unwrap_or("stdpkt");
        write(1, name, &page(command)?)?;
        let subs = command.get_subcommands();
        todo.extend(subs.filter(|it| !it.is_hide_set() && it.get_name() != "help"));
    }
    write(7, &format!("stdpkt-{}", LINKS.0), LINKS.1.as_bytes())
}
