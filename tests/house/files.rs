//! A file can be read in one sitting.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of the longest file.
const LONGEST: usize = 450;
/// The two ends of a ring are one argument, and longer.
const EXEMPT: &str = "shmring/src/ring.rs";

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The workspace's files with this ending.
pub fn found(ending: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    below(&workspace(), ending, &mut all);
    all
}

fn below(dir: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if name != "target" && !name.starts_with('.') {
                below(&path, ending, out);
            }
        } else if name.ends_with(ending) {
            out.push(path);
        }
    }
}

#[test]
fn no_file_is_too_long() {
    let root = workspace();
    let all = found(".rs");
    assert!(all.len() > 100 && all.contains(&root.join(EXEMPT)), "{} files", all.len());
    let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    let long = all.into_iter().filter(|path| *path != root.join(EXEMPT) && lines(path) > LONGEST);
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "more than {LONGEST} lines, a file with two purposes? {long:?}");
}
