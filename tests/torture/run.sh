#!/usr/bin/env bash
# GCC's C torture tests (gcc.c-torture/execute and its ieee folder) compiled for ARM and run by `emu run`.
#
#   tests/torture/run.sh [EVERY]      each EVERY-th program only (default 1: all, about half an hour on two cores)
#
# $OPTIONS goes to `emu run`: with OPTIONS="--jit-threads 0 --jit-threshold 5" every loop is a region at once.
# Needs Debian's gcc-12-source and gcc-arm-linux-gnueabihf; says so and ends with 0 without them. Every program is built with -O0, -O2 and -O3,
# each with -marm and -mthumb. A program that fails under `emu` is tried under qemu-arm, if that is there: what fails there too is not
# counted as failed (it does not suit this target). Ends with "N passed, N failed, N excused, N not built".
set -uo pipefail
cd "$(dirname "$0")/../.."
every=${1:-1}
source=$(ls /usr/src/gcc-12/gcc-12*-dfsg.tar.xz 2> /dev/null | head -1)
cc=arm-linux-gnueabihf-gcc
if [ -z "$source" ] || ! command -v $cc > /dev/null; then
    echo "skipped: torture tests need gcc-12-source and gcc-arm-linux-gnueabihf"
    exit 0
fi
cargo build --release -p emu || exit 1
export emu=${CARGO_TARGET_DIR:-$PWD/target}/release/emu cc
work=$(mktemp -d)
export work
trap 'rm -rf "$work"' EXIT
tar -xJf "$source" -C "$work" --wildcards --strip-components=4 '*/gcc/testsuite/gcc.c-torture/execute/*' || exit 1
root=$(find "$work" -type d -name execute | head -1)

# one FILE OPTIONS...: a line "passed|failed|excused|unbuilt FILE OPTIONS".
one() {
    local file=$1 binary
    shift
    binary=$(mktemp -p "$work")
    # The options a program asks for, where they do not depend on the target.
    local extra
    extra=$(sed -n 's/.*{ *dg-\(additional-\)\?options "\([^"]*\)" *}.*/\2/p' "$file" | tr '\n' ' ')
    [[ $file == */ieee/* ]] && extra+=" -fno-fast-math"
    if ! timeout 60 $cc -w -static "$@" $extra "$file" -o "$binary" -lm 2> /dev/null; then
        echo "unbuilt ${file##*execute/} $*"
    elif timeout 60 "$emu" run ${OPTIONS:-} "$binary" > /dev/null 2>&1 < /dev/null; then
        echo "passed ${file##*execute/} $*"
    elif command -v qemu-arm > /dev/null && ! timeout 60 qemu-arm "$binary" > /dev/null 2>&1 < /dev/null; then
        echo "excused ${file##*execute/} $*"
    else
        echo "failed ${file##*execute/} $*"
    fi
    rm -f "$binary"
}
export -f one

find "$root" -maxdepth 1 -name '*.c' -o -path '*/ieee/*.c' | sort | awk -v n="$every" 'NR % n == 0' |
    while read -r file; do
        for mode in -marm -mthumb; do
            for level in -O0 -O2 -O3; do
                echo "$file $level $mode"
            done
        done
    done | xargs -P "$(nproc)" -L 20 bash -c 'while [ $# -gt 0 ]; do one "$1" "$2" "$3"; shift 3; done' _ > "$work/results" 2> /dev/null
grep -v '^passed\|^unbuilt' "$work/results" | sort
count() { grep -c "^$1" "$work/results"; }
echo "torture: $(count passed) passed, $(count failed) failed, $(count excused) excused, $(count unbuilt) not built"
[ "$(count failed)" = 0 ] && [ "$(count passed)" != 0 ]
