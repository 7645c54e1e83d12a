#!/bin/sh
# The one file that runs anywhere, as a release has it: stripped, linked with musl.
# Writes target/release-files/stdpkt-MACHINE-linux, its SHA-256 beside it, and says how large
# it is. Without shared libraries there is neither libpcap (`stdpkt filter`) nor the library to
# preload into LKL programs (`--stack lkl`): the Debian package has both.
# usage: ci/static.sh
set -eu
cd "$(dirname "$0")/.."
machine=$(uname -m)
target=$machine-unknown-linux-musl
cargo build --release --locked -p shell-shim --bin stdpkt --target "$target"
out=target/release-files
file=stdpkt-$machine-linux
mkdir -p "$out"
cp "target/$target/release/stdpkt" "$out/$file"
(cd "$out" && sha256sum "$file" >"$file.sha256")
if readelf -S "$out/$file" | grep -q '\.debug_' || readelf -l "$out/$file" | grep -q INTERP; then
    echo "$out/$file has debug lines or wants shared libraries" >&2
    exit 1
fi
ls -l "$out/$file"
"$out/$file" --version
# The chain of the README runs with it, where functions can.
"$out/$file" run --right 10.0.0.1/24 -- ping -c1 10.0.0.2 | "$out/$file" run --left 10.0.0.2/24
