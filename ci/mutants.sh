#!/bin/sh
# Are the tests any good? Each line of the list weakens one ordering or drops
# one check in a copy of the workspace; the test behind it has to fail.
# usage: ci/mutants.sh [PATTERN]
set -eu
cd "$(dirname "$0")/.."

copy=$PWD/target/mutants/workspace
mkdir -p "$copy"
git ls-files -z | tar --null -T - -cf - | tar -C "$copy" -xf -
list=$PWD/ci/mutants.txt
cd "$copy"

# test NAME: runs one test. "loom:NAME" is a model, "NAME:TEST" one of tests/NAME,
# "lib:TEST" a unit test.
run() {
    case $1 in
    loom:*) RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 timeout 300 cargo test -q -p shmring \
        --lib --release --target-dir ../loom "${1#*:}" $2 ;;
    lib:*) timeout 300 cargo test -q -p shmring --lib --target-dir ../std "${1#*:}" $2 ;;
    *) timeout 300 cargo test -q -p shmring --test "${1%%:*}" --target-dir ../std "${1#*:}" $2 ;;
    esac >../log 2>&1
}

killed=0 alive=0
grep -v '^#' "$list" | grep -e "${1:-}" >../todo
while IFS='	' read -r name file edit test; do
    cp "$file" ../original
    sed -i "$edit" "$file"
    if cmp -s ../original "$file"; then
        echo "STALE    $name: the edit changes nothing"
        alive=$((alive + 1))
    elif ! run "$test" --no-run; then
        echo "BROKEN   $name: does not compile"
        alive=$((alive + 1))
    elif run "$test" ""; then
        echo "ALIVE    $name: $test does not notice"
        alive=$((alive + 1))
    else
        echo "killed   $name: $test"
        killed=$((killed + 1))
    fi
    cp ../original "$file"
done <../todo
echo "$killed killed, $alive alive"
[ "$alive" = 0 ]
