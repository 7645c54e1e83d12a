#!/bin/sh
# Damaged captures and frames through decoder, segmenter and balancer: 10^7 changed bytes
# and twice as many frames, half a minute once it is built. `cargo test` does a hundredth.
# usage: ci/mutations.sh [N]
set -eu
cd "$(dirname "$0")/.."

count=${1:-10000000}
# Building takes longer than running.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=none
STDPKT_MUTATIONS=$count cargo test --locked --release -p stdpkt-frames --test mutations
STDPKT_ROUNDS=$count cargo test --locked --release -p shell-shim --lib mutated_frames_do_no_harm
