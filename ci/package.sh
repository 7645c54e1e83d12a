#!/bin/sh
# The Debian package: binary, library to preload, manual pages, completions, examples, and the
# header for programs in C.
# Needs cargo-deb (cargo install cargo-deb). Writes target/debian/stdpkt_*.deb and, where
# lintian is, says what that finds.
# usage: ci/package.sh
set -eu
cd "$(dirname "$0")/.."
cargo build --release --locked -p shell-shim -p lkl-netdev-preload
made=target/package
rm -rf "$made"
mkdir -p "$made/completions"
stdpkt=target/release/stdpkt
"$stdpkt" man --write "$made/man"
gzip -9n "$made"/man/man*/*
"$stdpkt" completions bash >"$made/completions/stdpkt"
"$stdpkt" completions zsh >"$made/completions/_stdpkt"
"$stdpkt" completions fish >"$made/completions/stdpkt.fish"
cargo deb -p shell-shim --no-build --no-strip
if command -v lintian >/dev/null; then
    lintian --fail-on error target/debian/stdpkt_*.deb
fi
