//! Every document can be found from the README, and no link leads nowhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::files::{found, workspace};

/// Where the links of a document lead, from the workspace on, each with its `#...`.
fn links(document: &Path) -> Vec<(PathBuf, Option<String>)> {
    let text = fs::read_to_string(workspace().join(document)).unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets = targets.map(|(target, _)| target).filter(|target| !target.contains("://"));
    let here = document.parent().unwrap();
    let way = |target: &str| {
        let (path, anchor) = match target.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor.to_owned())),
            None => (target, None),
        };
        let path = if path.is_empty() { document.to_owned() } else { plain(&here.join(path)) };
        (path, anchor)
    };
    targets.map(way).collect()
}

/// Without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(out.pop(), "{}", path.display()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

/// A heading as it is named in a link to it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(workspace().join(document)).unwrap();
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn all_documents_are_found_from_the_readme() {
    let root = workspace();
    let mut seen = BTreeSet::from([PathBuf::from("README.md")]);
    let mut todo: Vec<_> = seen.iter().cloned().collect();
    while let Some(document) = todo.pop() {
        for (mut to, part) in links(&document) {
            let from = document.display();
            assert!(root.join(&to).exists(), "{from}: there is no {}", to.display());
            if let Some(part) = part {
                assert!(anchors(&to).contains(&part), "{from}: no {part} in {}", to.display());
            }
            if root.join(&to).is_dir() {
                to.push("README.md");
            }
            let is_document =
                to.extension().is_some_and(|it| it == "md") && root.join(&to).exists();
            if is_document && seen.insert(to.clone()) {
                todo.push(to);
            }
        }
    }
    let all = found(".md").into_iter().map(|path| path.strip_prefix(&root).unwrap().to_owned());
    let lost: Vec<_> = all.filter(|path| !seen.contains(path)).collect();
    assert!(seen.len() > 20 && lost.is_empty(), "linked from nowhere: {lost:?}");
}

/// The README is the index: nobody has to guess in which other document a link may be.
#[test]
fn the_readme_links_each_document() {
    let linked: BTreeSet<_> = links(Path::new("README.md")).into_iter().map(|it| it.0).collect();
    let docs = fs::read_dir(workspace().join("docs")).unwrap().map(Result::unwrap);
    let docs = docs.map(|entry| Path::new("docs").join(entry.file_name()));
    let docs: Vec<_> = docs.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    let missing: Vec<_> = docs.iter().filter(|path| !linked.contains(*path)).collect();
    assert!(docs.len() > 10 && missing.is_empty(), "not in the README: {missing:?}");
}
