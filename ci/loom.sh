#!/bin/sh
# Model checking of the ring and of who serves an LKL's device, see docs/model-checking.md.
# usage: ci/loom.sh [PREEMPTIONS] [TEST]   (2: seconds; 3: minutes)
set -eu
cd "$(dirname "$0")/.."

# --release because loom runs each model tens of thousands of times; a target
# directory of its own because the flags would rebuild everything otherwise.
export RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS="${1:-2}" CARGO_PROFILE_RELEASE_LTO=off
cargo test -p stdpkt-shmring --lib --release --target-dir target/loom "${2:-model::}" -- --nocapture
cargo test -p lkl-netdev-model --lib --release --target-dir target/loom ${2:+"$2"}
