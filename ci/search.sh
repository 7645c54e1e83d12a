#!/bin/sh
# Every order in which holders of a pipe meet, die and are replaced, see docs/model-checking.md.
# usage: ci/search.sh [four]   (with four processes, too: minutes, and gigabytes of memory)
set -eu
cd "$(dirname "$0")/.."

case "${1-}" in
four) set -- ;;
*) set -- --skip search::four_ ;;
esac
cargo test --locked --release -p stdpkt-shmring --lib search:: -- --include-ignored --nocapture "$@"
