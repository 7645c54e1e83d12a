#!/bin/sh
# The crates as the registry would get them, in order, each built from its package: a dry run.
# In truth it is the same command without --dry-run, once `repository` in Cargo.toml, a
# placeholder today, has the project's address.
# usage: ci/publish.sh [cargo publish's options]
set -eu
cd "$(dirname "$0")/.."
# By name: the registry is the default one even where a mirror stands in for it.
exec cargo publish --workspace --dry-run --locked --registry crates-io "$@"
