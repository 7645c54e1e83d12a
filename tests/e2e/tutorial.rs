//! docs/tutorial.md: each block runs, and what is stable in what one sees is seen.

use crate::support::need::{lkl_dir, need, need_functions};
use crate::support::scene::Scene;

const TUTORIAL: &str = include_str!("../../docs/tutorial.md");

/// A block of commands, and what one sees.
struct Lesson {
    /// Whether it needs an LKL.
    lkl: bool,
    script: String,
    seen: Vec<String>,
}

fn lessons() -> Vec<Lesson> {
    let mut lessons = Vec::new();
    let mut blocks = TUTORIAL.split("```").skip(1).step_by(2);
    while let Some(block) = blocks.next() {
        let (language, script) = block.split_once('\n').expect("a block");
        assert!(language.starts_with("sh"), "what one sees, of nothing: {block}");
        let seen = blocks.next().and_then(|seen| seen.strip_prefix('\n'));
        let seen = seen.unwrap_or_else(|| panic!("what one sees is missing: {script}"));
        lessons.push(Lesson {
            lkl: language == "sh lkl",
            script: script.to_owned(),
            seen: seen.lines().map(stable).collect(),
        });
    }
    lessons
}

/// A line without what differs from run to run: times, ids, blanks at the end.
fn stable(line: &str) -> String {
    let mut out = String::new();
    let words = line.split_whitespace().map(|word| {
        let differs = ["time=", "id", "["].iter().any(|it| word.contains(it));
        let is_number = word.trim_end_matches("ms").parse::<f64>().is_ok();
        let numbers =
            ["packets", "lost"].iter().any(|it| line.contains(it)) && line.contains("seed");
        match differs || numbers && is_number || word.ends_with("ms") {
            true => word.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect(),
            false => word.to_owned(),
        }
    });
    for word in words {
        out += &word;
        out.push(' ');
    }
    out
}

#[test]
fn each_block_shows_what_is_written_below_it() {
    need_functions!("ping", "iptables", "ip", "tcpdump", "bash");
    let lessons = lessons();
    assert!(lessons.len() >= 10, "{} lessons", lessons.len());
    let scene = Scene::new();
    for Lesson { lkl, script, seen } in lessons {
        if lkl && lkl_dir().is_none() {
            say::line!("tutorial: the lesson with LKL is skipped, for want of LKL_DIR");
            continue;
        }
        let outcome = scene.start_in(&["bash"], &script).end();
        let shown = format!("{}\n{}", outcome.out, outcome.err);
        let shown: Vec<String> = shown.lines().map(stable).collect();
        for line in seen {
            let is_it = |shown: &String| shown.starts_with(line.trim_end());
            assert!(shown.iter().any(is_it), "{script}\nshould show: {line}\n{outcome:#?}");
        }
        scene.assert_nothing_left();
    }
}
