//! The list of mutants keeps up with the code.

use std::fs;
use std::process::Command;

use crate::files::workspace;

#[test]
fn each_mutant_changes_something() {
    let root = workspace();
    let list = fs::read_to_string(root.join("ci/mutants.txt")).unwrap();
    let mutants = list.lines().filter(|line| !line.starts_with('#'));
    let mut stale = Vec::new();
    for mutant in mutants {
        let [what, file, edit, test] = mutant.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four fields: {mutant}");
        };
        let path = root.join(file);
        let before = fs::read(&path).unwrap_or_else(|error| panic!("{what}: {file}: {error}"));
        let after = Command::new("sed").arg(edit).arg(&path).output().unwrap();
        assert!(after.status.success(), "{what}: {after:?}");
        if before == after.stdout {
            stale.push(what);
        }
        let place = test.split_once(':').map(|(place, _)| place);
        let is_there = |name: &str| {
            let tests = root.join("shmring/tests");
            tests.join(name).with_extension("rs").is_file() || tests.join(name).is_dir()
        };
        assert!(
            place.is_some_and(|it| ["loom", "lib", "search"].contains(&it) || is_there(it)),
            "{mutant}"
        );
    }
    assert!(stale.is_empty(), "edits that change nothing: {stale:?}");
}
