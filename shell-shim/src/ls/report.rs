//! What `stdpkt ls --json` writes, and all other views are made of.

use std::collections::HashMap;

use serde::Serialize;
use shmring::board::Form;
use shmring::observe::{self, Post};

use super::function::{Function, Restarts, Spawned};
use super::links::{Link, put_together};
use super::pattern::Pattern;
use crate::filters::balance::spawn;
use crate::run::after;

/// Of [`Report`], raised when something is taken away or means something else.
/// What is new in it needs no other number.
pub const VERSION: u32 = 1;

/// All links and functions that this user may look at. Its JSON schema is docs/ls.schema.json.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Report {
    /// Version of this format.
    pub version: u32,
    /// Those that run, by process id.
    pub functions: Vec<Function>,
    /// One for each direction of a link, and for each that waits for somebody.
    pub links: Vec<Link>,
    /// Links for which there was no room on the board of their process.
    pub missing: u64,
}

/// What a process counts besides its links, under this name.
fn tally(posts: &[Post], pid: u32, label: &str) -> Option<[u64; 5]> {
    let is_its = |post: &&Post| {
        post.pid == pid && post.posting.form == Form::Tally && post.posting.label == label
    };
    Some(posts.iter().find(is_its)?.counters.into())
}

impl Report {
    /// Looks at every process at which this user may look.
    ///
    /// # Errors
    /// Those of reading `/proc`.
    pub fn new() -> std::io::Result<Report> {
        let sight = observe::look()?;
        let named = sight.processes.iter().filter(|process| !process.identity.name.is_empty());
        let functions: Vec<_> = named
            .map(|process| Function {
                pid: process.pid,
                name: process.identity.name.clone(),
                command: process.identity.command.clone(),
                restarts: tally(&sight.posts, process.pid, after::LABEL).map(
                    |[count, last_status, _, _, first]| Restarts { count, last_status, first },
                ),
                spawned: tally(&sight.posts, process.pid, spawn::LABEL).map(
                    |[now, total, refused, lost, first]| Spawned {
                        now,
                        total,
                        refused,
                        lost,
                        first,
                    },
                ),
            })
            .collect();
        let known: HashMap<_, _> = functions.iter().map(|it| (it.pid, it)).collect();
        let missing = sight.missing;
        let links = put_together(sight.rings, sight.posts, &known);
        Ok(Report { version: VERSION, functions, links, missing })
    }

    /// Leaves what has to do with the functions that a pattern means.
    pub fn retain(&mut self, pattern: &Pattern) {
        self.functions.retain(|it| pattern.matches(&it.name, Some(it.pid)));
        self.links.retain(|link| {
            let mut ends = [&link.from, &link.to].into_iter().flatten();
            ends.any(|end| pattern.matches(end.name.as_deref().unwrap_or_default(), end.pid))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written down for users is what is written.
    #[test]
    fn the_schema_in_the_documents_is_that_of_the_format() {
        let schema = schemars::schema_for!(Report);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ls.schema.json");
        if std::env::var_os("STDPKT_TESTS_WRITE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(written, text, "write it anew: STDPKT_TESTS_WRITE=1 cargo test schema");
    }
}
