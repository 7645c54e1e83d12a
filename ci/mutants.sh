#!/bin/sh
# Are the tests any good? Each line of the list weakens one ordering or drops
# one check in a copy of the workspace; the test behind it has to fail.
# usage: ci/mutants.sh [PATTERN]
set -eu
cd "$(dirname "$0")/.."

copy=$PWD/target/mutants/workspace
mkdir -p "$copy"
git ls-files -z | tar --null -T - -cf - | tar -C "$copy" -xmf -
list=$PWD/ci/mutants.txt
cd "$copy"

export RUST_BACKTRACE=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=none

# run LIMIT TEST [FLAG]: runs one test; longer than LIMIT seconds is a hang.
# "loom:NAME" is a model, "search:NAME" a scene of the search, "lib:NAME" a unit test,
# "FILE:NAME" one of tests/FILE.
run() {
    name=${2#*:}
    case $2 in
    loom:*)
        RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 timeout "$1" \
            cargo test -q -p stdpkt-shmring --lib --release --target-dir ../loom "$name" $3
        ;;
    search:*)
        timeout "$1" cargo test -q -p stdpkt-shmring --lib --release --target-dir ../std $3 \
            "search::$name" -- --include-ignored
        ;;
    lib:*) timeout "$1" cargo test -q -p stdpkt-shmring --lib --target-dir ../std "$name" $3 ;;
    *) timeout "$1" cargo test -q -p stdpkt-shmring --test "${2%%:*}" --target-dir ../std "$name" $3 ;;
    esac </dev/null >../log 2>&1
}

killed=0 alive=0
grep -v '^#' "$list" | grep -e "${1:-.}" >../todo
while IFS='	' read -r what file edit test; do
    cp "$file" ../original
    sed -i "$edit" "$file"
    if cmp -s ../original "$file"; then
        echo "STALE    $what: the edit changes nothing"
        alive=$((alive + 1))
    elif ! run 600 "$test" --no-run; then
        echo "BROKEN   $what: does not compile"
        alive=$((alive + 1))
    else
        run 120 "$test" "" && status=0 || status=$?
        case $status in
        0)
            echo "ALIVE    $what: $test does not notice"
            alive=$((alive + 1))
            ;;
        124)
            # As good as a failure, if the machine is not just slow.
            echo "killed   $what: $test (hangs)"
            killed=$((killed + 1))
            ;;
        *)
            echo "killed   $what: $test"
            killed=$((killed + 1))
            ;;
        esac
    fi
    cp ../original "$file"
done <../todo
echo "$killed killed, $alive alive"
[ "$alive" = 0 ]
