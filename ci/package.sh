#!/bin/sh
# The Debian package: binary, library to preload, VDE's plugin, manual pages, completions,
# examples, and the header for programs in C. Writes target/debian/stdpkt_*.deb and, where lintian
# is, says what that finds. Needs cargo-deb (cargo install cargo-deb).
# usage: ci/package.sh [PROFILE]   (release unless told; dev is there sooner, for a test)
set -eu
cd "$(dirname "$0")/.."
profile=${1:-release}
case $profile in
release) cargo build --release --locked -p shell-shim -p lkl-netdev-preload -p stdpkt-vdeplug ;;
*) cargo build --profile "$profile" --locked --workspace ;; # as the tests have built it
esac
made=target/package-files
rm -rf "$made"
mkdir -p "$made/completions"
stdpkt=target/$([ "$profile" = dev ] && echo debug || echo "$profile")/stdpkt
"$stdpkt" man --write "$made/man"
gzip -9n "$made"/man/man*/*
"$stdpkt" completions bash >"$made/completions/stdpkt"
"$stdpkt" completions zsh >"$made/completions/_stdpkt"
"$stdpkt" completions fish >"$made/completions/stdpkt.fish"
rm -f target/debian/stdpkt_*.deb
case $profile in
release) cargo deb -p shell-shim --no-build --no-strip ;; # cargo has stripped it
*) cargo deb -p shell-shim --no-build --profile "$profile" --fast ;;
esac
ls -l "$stdpkt" target/debian/stdpkt_*.deb
if command -v lintian >/dev/null; then
    # That one is about packages that Debian itself distributes.
    lintian --allow-root --fail-on error,warning --suppress-tags initial-upload-closes-no-bugs \
        target/debian/stdpkt_*.deb
fi
