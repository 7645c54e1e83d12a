//! docs/characters.md: its table has the numbers of what stands below it.

use std::fs;

use super::files::workspace;

const WAYS: [&str; 5] = ["stdpkt", "ip netns", "vdens", "containerlab", "LKL"];

/// The characters of each way for a task; none where it says that there is no way.
fn counted(task: &str) -> Vec<Option<usize>> {
    let count = |way: &&str| {
        let (_, rest) =
            task.split_once(&format!("\n`{way}`")).unwrap_or_else(|| panic!("{way}: {task}"));
        if rest.starts_with(": no. ") {
            return None;
        }
        let (_, rest) = rest.split_once("```sh\n").expect("a block");
        Some(rest.split("```").next().unwrap_or_default().chars().count())
    };
    WAYS.iter().map(count).collect()
}

#[test]
fn the_characters_of_the_table_are_counted_and_stdpkt_takes_the_fewest() {
    let path = workspace().join("docs/characters.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut table = format!("| | {} |\n|---|--:|--:|--:|--:|--:|\n", WAYS.join(" | "));
    let tasks: Vec<&str> = text.split("\n## ").skip(1).collect();
    assert_eq!(tasks.len(), 6);
    for task in tasks {
        let counted = counted(task);
        let own = counted[0].expect("stdpkt");
        assert!(counted[1..].iter().flatten().all(|other| own < *other), "{counted:?} {task}");
        let cells = counted.iter().map(|it| it.map_or("no".to_owned(), |it| it.to_string()));
        let name = task.lines().next().unwrap();
        table += &format!("| {name} | {} |\n", cells.collect::<Vec<_>>().join(" | "));
    }
    assert!(text.contains(&table), "{table}");
}
