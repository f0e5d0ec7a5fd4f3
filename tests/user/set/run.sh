#!/usr/bin/env bash
# The programs of this folder, compiled for ARM in several ways, under an emulator: they must print what they print natively.
#
#     tests/user/set/run.sh [emu|qemu] [PROGRAM...]      all, or those named (without .c)
#
# `emu` (the default) is `emu run` of $EMU, else of target/release; `qemu` is qemu-arm. Each program is built with -marm and -mthumb, static and
# dynamic ($VARIANTS: `arm-static thumb-static arm-dynamic thumb-dynamic`), and run $RUNS times (1); a run may take $LIMIT seconds (60; `many` takes
# qemu-arm two minutes). Expected is what the host's own build prints: programs of ARM only have the expected text in them, in their other
# branch. What qemu-arm 7.2 is known to get wrong, is in qemu.known: the programs named there may differ under it, and are counted so.
# Ends with "N passed, N failed, N known, N skipped".
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.."
mode=emu
case ${1:-} in emu | qemu) mode=$1 && shift ;; esac
variants=${VARIANTS:-arm-static thumb-static arm-dynamic thumb-dynamic}
runs=${RUNS:-1}
limit=${LIMIT:-60}
cross=arm-linux-gnueabihf
command -v $cross-gcc > /dev/null && command -v $cross-g++ > /dev/null || {
    echo "skipped: the signal and thread set needs $cross-gcc and -g++"
    exit 0
}
case $mode in
emu) runner=("${EMU:-$PWD/${CARGO_TARGET_DIR:-target}/release/emu}" run ${OPTIONS:-} -L /usr/$cross) ;;
qemu) runner=(qemu-arm -L /usr/$cross) ;;
esac
command -v "${runner[0]}" > /dev/null || {
    echo "there is no emulator to test: ${runner[0]}" >&2
    exit 2
}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0 known=0 skipped=0
binfmt=no
grep -qs '^enabled' /proc/sys/fs/binfmt_misc/qemu-arm && binfmt=yes

# build PREFIX OPTIONS...: the program $name, and the library that it may want.
build() {
    local prefix=$1 compiler=gcc file=$here/$name.c options=(-O2 -w -pthread)
    shift
    [ -e "$here/$name.cc" ] && compiler=g++ file=$here/$name.cc options+=(-std=c++17 -fnon-call-exceptions)
    [ $name = dl_main ] && options+=(-rdynamic)
    "${prefix}$compiler" "${options[@]}" "$@" "$file" -o "$out/program" -lrt -ldl &&
        if [ $name = dl_main ]; then
            "${prefix}gcc" -O2 -w -shared -fPIC "${@/-static/}" "$here/dl_library.c" -o "$out/dl_library.so"
        fi
}
# run COMMAND...: the output of a program in a folder of its own, and how it ended.
run() {
    local status
    (cd "$out" && ulimit -c 0 && ulimit -s 8192 && timeout -k 5 "$limit" "$@" ./program "${arguments[@]}" < /dev/null 2> "$out/errors")
    status=$?
    echo "status $status"
}

names=$(cd "$here" && ls ./*.c ./*.cc | sed 's/^..//; s/[.]cc*$//' | grep -v '^dl_library$')
[ $# = 0 ] || names=$(printf '%s\n' "$@")
for name in $names; do
    arguments=()
    [ $name = dl_main ] && arguments=(./dl_library.so)
    if [ $mode = qemu ] && [ $binfmt = no ] && [[ $name == exec_* ]]; then
        echo "skipped $name (executes guest programs: needs binfmt_misc)"
        skipped=$((skipped + 1))
        continue
    fi
    build "" || { failed=$((failed + 1)) && echo "FAILED $name: does not build here" && continue; }
    run > "$out/expected"
    if grep -q 'FAILED:\|WRONG\|^status [^0]' "$out/expected" && ! grep -q "^status 3$" "$out/expected"; then
        echo "FAILED $name: natively"
        grep 'FAILED:\|WRONG\|^status' "$out/expected" | head -5
        failed=$((failed + 1))
        continue
    fi
    for variant in $variants; do
        [[ $name == dl_main && $variant == *static ]] && continue
        options=(-m"${variant%-*}")
        [[ $variant == *static ]] && options+=(-static)
        build $cross- "${options[@]}" || { failed=$((failed + 1)) && echo "FAILED $name $variant: does not build" && continue; }
        begin=$(date +%s%N) verdict=passed
        for ((i = 0; i < runs; i++)); do
            run "${runner[@]}" > "$out/got"
            cmp -s "$out/expected" "$out/got" || { verdict=FAILED && break; }
        done
        seconds=$((($(date +%s%N) - begin) / 10000000))
        if [ $verdict = FAILED ] && [ $mode = qemu ] && grep -q "^$name\b" "$here/qemu.known"; then
            verdict=known
        fi
        case $verdict in
        passed) passed=$((passed + 1)) ;;
        known) known=$((known + 1)) ;;
        FAILED)
            failed=$((failed + 1))
            diff "$out/expected" "$out/got" | head -${LINES_SHOWN:-12}
            grep -a 'panicked\|WARN\|qemu:' "$out/errors" | sort | uniq -c | head -3
            ;;
        esac
        echo "$verdict $name $variant $((seconds / 100)).$(printf %02d $((seconds % 100))) s"
    done
done
echo "$mode: $passed passed, $failed failed, $known known, $skipped skipped"
[ $failed = 0 ]
