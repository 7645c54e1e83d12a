//! The examples, as a reader of them would start them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "support/cc.rs"]
mod cc;

/// Cargo puts examples beside the folder of the test programs.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let programs = test.parent().and_then(Path::parent).expect("target/PROFILE");
    let path = programs.join("examples").join(name);
    assert!(path.exists(), "{name} is not built: cargo build -p stdpkt-shmring --examples");
    path
}

/// Both sides as a shell starts them with `script`, in which they are `$0` and `$1`.
fn pair(script: &str, left: &Path, right: &Path) -> Output {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    Command::new("timeout")
        .args(["20", "sh", "-c", script])
        .args([left, right])
        .env("SHMRING_RUNTIME_DIR", scratch.path().join("run"))
        .output()
        .expect("a shell")
}

fn assert_answered(script: &str, left: &Path, right: &Path) {
    let output = pair(script, left, right);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "one: ONE\ntwo: TWO\nthree: THREE\n", "{script}");
    assert!(output.stdout.is_empty() && output.status.success(), "{script}: {output:?}");
}

const TOGETHER: &str = r#""$0" | "$1""#;

#[test]
fn questions_are_answered() {
    for answers in ["answers", "answers_async"] {
        assert_answered(TOGETHER, &example("questions"), &example(answers));
    }
}

/// Whoever comes first, and whichever compiler.
#[test]
fn a_program_in_c_exchanges_frames_with_one_in_rust() {
    let dir = tempfile::tempdir().expect("a scratch directory");
    let questions = dir.path().join("questions");
    cc::with_each_compiler(include_str!("../examples/questions.c"), &questions, |_| {
        for script in [TOGETHER, r#"(sleep 0.2; "$0") | "$1""#, r#""$0" | (sleep 0.2; "$1")"#] {
            assert_answered(script, &questions, &example("answers"));
        }
    });
}
