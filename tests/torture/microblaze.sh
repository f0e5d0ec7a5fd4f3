#!/usr/bin/env bash
# GCC's C torture tests compiled for MicroBlaze of both byte orders, without a system, on the PetaLogix boards with all units of the processor.
#
#   tests/torture/microblaze.sh [EVERY]      each EVERY-th program only (default 1: all)
#
# Needs Debian's gcc-12-source, and microblaze-elf-gcc on PATH or in $EMU_SHARED/toolchains (else ../shared beside the repository); says so and ends with 0
# without them. The C library is bare/microblaze.c: what needs files, signals or more of a library is not built. Every program is built with -O0, -O2 and -O3, with
# floating point by the FPU; those of the ieee folder want denormal numbers, which the FPU has not, and are built without it. A program that fails here is tried
# under qemu-system-microblaze, if that is there: what fails there too is not counted as failed. Ends with "N passed, N failed, N excused, N not built".
set -uo pipefail
cd "$(dirname "$0")/../.."
every=${1:-1}
export here=$PWD/tests/torture/bare
shared=$(realpath -m "${EMU_SHARED:-../shared}")
source=$(ls /usr/src/gcc-12/gcc-12*-dfsg.tar.xz 2> /dev/null | head -1)
work=$(mktemp -d)
export work
trap 'rm -rf "$work"' EXIT
if ! command -v microblaze-elf-gcc > /dev/null && [ -e "$shared/toolchains/microblaze-elf.tar.xz" ]; then
    tar -xJf "$shared/toolchains/microblaze-elf.tar.xz" -C "$work" || exit 1
    PATH=$work/microblaze-elf/bin:$PATH
fi
if [ -z "$source" ] || ! command -v microblaze-elf-gcc > /dev/null; then
    echo "skipped: MicroBlaze torture tests need gcc-12-source and microblaze-elf-gcc"
    exit 0
fi
cargo build --release -p emu || exit 1
export emu=${CARGO_TARGET_DIR:-$PWD/target}/release/emu
gcc=$(dirname "$(microblaze-elf-gcc -print-libgcc-file-name)")
export gcc
tar -xJf "$source" -C "$work" --wildcards --strip-components=4 '*/gcc/testsuite/gcc.c-torture/execute/*' || exit 1
mkdir "$work/include"
for header in assert math stdio stdlib string; do echo '#include "libc.h"' > "$work/include/$header.h"; done

# compile ORDER OUT OPTIONS...
compile() {
    local out=$2 order=(-mbig-endian -Wl,--defsym=RAM=0x90000000)
    [ "$1" = big ] || order=(-mlittle-endian "-L$gcc/le" -Wl,--defsym=RAM=0x50000000)
    shift 2
    timeout 60 microblaze-elf-gcc -w -nostdlib -mcpu=v10.0 "${order[@]}" -mno-xl-soft-mul -mno-xl-soft-div -mxl-multiply-high -mxl-barrel-shift -mxl-pattern-compare \
        -mxl-reorder -I "$here" -I "$work/include" -T "$here/microblaze.ld" "$@" "$here/microblaze.c" -lgcc -o "$out" 2> /dev/null
}
# The program's last line under QEMU.
theirs() {
    local machine=(qemu-system-microblaze -M petalogix-s3adsp1800) line last=
    [ "$1" = big ] || machine=(qemu-system-microblazeel -M petalogix-ml605 -m 256)
    command -v "${machine[0]}" > /dev/null || return 1
    coproc THEIRS { exec "${machine[@]}" -display none -monitor none -serial stdio -kernel "$2" 2> /dev/null; }
    local pid=$THEIRS_PID
    while read -r -t 30 -u "${THEIRS[0]}" line; do
        case $line in PASSED* | FAILED*) last=${line//$'\r'/} && break ;; esac
    done
    kill "$pid" 2> /dev/null
    wait "$pid" 2> /dev/null
    [ "$last" = PASSED ]
}
# one FILE LEVEL ORDER: a line "passed|failed|excused|unbuilt FILE LEVEL ORDER".
one() {
    local file=$1 binary extra float=(-mhard-float -mxl-float-convert -mxl-float-sqrt) board=petalogix-s3adsp1800
    binary=$(mktemp -p "$work")
    # The options a program asks for, where they do not depend on the target.
    extra=$(sed -n 's/.*{ *dg-\(additional-\)\?options "\([^"]*\)" *}.*/\2/p' "$file" | tr '\n' ' ')
    [[ $file == */ieee/* ]] && extra+=" -fno-fast-math" && float=(-msoft-float)
    [ "$3" = big ] || board=petalogix-ml605
    # shellcheck disable=SC2086
    if ! compile "$3" "$binary" "$2" "${float[@]}" $extra "$file"; then
        echo "unbuilt ${file##*execute/} $2 $3"
    elif "$emu" --board $board --set fpu=2 --set reorder=true --firmware "$binary" --exit-on PASSED --fail-on FAILED --timeout 60 > /dev/null 2>&1 < /dev/null; then
        echo "passed ${file##*execute/} $2 $3"
    elif ! theirs "$3" "$binary"; then
        echo "excused ${file##*execute/} $2 $3"
    else
        echo "failed ${file##*execute/} $2 $3"
    fi
    rm -f "$binary"
}
export -f one compile theirs

find "$work/execute" -maxdepth 1 -name '*.c' -o -path '*/ieee/*.c' | sort | awk -v n="$every" 'NR % n == 0' |
    while read -r file; do
        for order in big little; do
            for level in -O0 -O2 -O3; do echo "$file $level $order"; done
        done
    done | xargs -P "$(nproc)" -L 20 bash -c 'while [ $# -gt 0 ]; do one "$1" "$2" "$3"; shift 3; done' _ > "$work/results" 2> /dev/null
grep -v '^passed\|^unbuilt' "$work/results" | sort
count() { grep -c "^$1" "$work/results"; }
echo "MicroBlaze torture: $(count passed) passed, $(count failed) failed, $(count excused) excused, $(count unbuilt) not built"
[ "$(count failed)" = 0 ] && [ "$(count passed)" != 0 ]
