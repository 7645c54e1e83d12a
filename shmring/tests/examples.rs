//! The examples, as a reader of them would start them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Cargo puts examples beside the folder of the test programs.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let programs = test.parent().and_then(Path::parent).expect("target/PROFILE");
    let path = programs.join("examples").join(name);
    assert!(path.exists(), "{name} is not built: cargo build -p shmring --examples");
    path
}

fn pair(left: &str, right: &str) -> Output {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    Command::new("timeout")
        .args(["20", "sh", "-c", "\"$0\" | \"$1\""])
        .args([example(left), example(right)])
        .env("SHMRING_RUNTIME_DIR", scratch.path().join("run"))
        .output()
        .expect("a shell")
}

#[test]
fn questions_are_answered() {
    for answers in ["answers", "answers_async"] {
        let output = pair("questions", answers);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "one: ONE\ntwo: TWO\nthree: THREE\n", "{answers}");
        assert!(output.stdout.is_empty() && output.status.success(), "{answers}: {output:?}");
    }
}
