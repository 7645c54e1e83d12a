//! Mistakes, and the line that the user sees of each.
//!
//! The tables are read by people: after a change `STDPKT_TESTS_WRITE=1` writes what is said
//! now, and a look at the difference tells whether it is better.

use std::path::Path;

use crate::support::scene::Scene;

/// Begins the line that is said.
const SAID: &str = "=> ";

/// A mistake, of several lines perhaps, and what is said of it.
fn table(path: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(path).expect("the table");
    let mut table = Vec::new();
    let mut mistake = String::new();
    for line in text.lines() {
        match line.strip_prefix(SAID) {
            Some(said) => table.push((std::mem::take(&mut mistake), said.to_owned())),
            None if line.is_empty() && mistake.is_empty() => {}
            None => mistake += &format!("{line}\n"),
        }
    }
    table
}

/// Compares each with what `say` says.
fn compare(name: &str, say: impl Fn(&str) -> String) {
    let path = Path::new("e2e/mistakes").join(name);
    let table = table(&path);
    assert!(table.len() >= 60, "{} mistakes", table.len());
    let now: Vec<_> = table.iter().map(|(mistake, _)| (mistake.clone(), say(mistake))).collect();
    if std::env::var_os("STDPKT_TESTS_WRITE").is_some() {
        let text = now.iter().map(|(mistake, said)| format!("{mistake}{SAID}{said}\n\n"));
        std::fs::write(&path, text.collect::<String>()).expect("the table");
    }
    for ((mistake, said), (_, now)) in table.iter().zip(&now) {
        assert_eq!(said, now, "{mistake}");
    }
}

#[test]
fn wrong_function_files() {
    let scene = Scene::new();
    compare("files.txt", |text| {
        std::fs::write(scene.path("nat"), text).expect("scene");
        let outcome = scene.sh("stdpkt run --file nat");
        assert_eq!(outcome.status, 125, "{text}: {outcome:?}");
        outcome.only_line().to_owned()
    });
}

#[test]
fn wrong_flags() {
    let scene = Scene::new();
    compare("flags.txt", |line| {
        let outcome = scene.sh(line);
        assert_eq!(outcome.status, 125, "{line}: {outcome:?}");
        outcome.only_line().to_owned()
    });
}
