//! Which descriptors CMD has.

use crate::support::need::{need, need_functions};
use crate::support::scene::Scene;

#[test]
fn cmd_has_what_the_user_passed_and_no_link() {
    need_functions!("bash");
    let scene = Scene::new();
    // 3 is the pipe to the second function once more, 4 a file, $1 a pipe.
    let script = r#"echo four > four
        stdpkt run --right 10.0.0.1/24 \
            -- sh -c 'cat "$1" <&4; cat <&4; ls -l /proc/self/fd/3' sh <(echo passed) \
            3>&1 4<four | stdpkt run --left 10.0.0.2/24"#;
    let run = scene.start_in(&["bash"], script).end();
    assert!(run.err.contains("passed\nfour\n"), "{run:#?}");
    assert!(!run.err.contains("pipe:"), "{run:#?}");
    scene.assert_nothing_left();
}
