#!/bin/sh
# Damaged captures and frames through decoder, segmenter and balancer: 10^7 changed bytes
# and twice as many frames, half an hour of a core. `cargo test` does a hundredth of it.
# usage: ci/mutations.sh [N]
set -eu
cd "$(dirname "$0")/.."

count=${1:-10000000}
# Not the slowest way to make the fastest program.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=none
STDPKT_MUTATIONS=$count cargo test --locked --release -p frames --test mutations
STDPKT_ROUNDS=$count cargo test --locked --release -p shell-shim --lib mutated_frames_do_no_harm
