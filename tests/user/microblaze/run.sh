#!/usr/bin/env bash
# Linux programs for MicroBlaze of both orders of bytes under `emu run`: they must print what is in the .txt files, which is what Linux does.
#
#     tests/user/microblaze/run.sh [emu|qemu] [PROGRAM...]
#
# `emu` (the default) is `emu run` of $EMU, else of target/release; `qemu` is qemu-microblaze and qemu-microblazeel. The compiler is looked for on PATH,
# else unpacked from $EMU_SHARED/toolchains (else ../shared beside the repository). What QEMU 7.2 gets wrong is in the .qemu files (diffs).
# Ends with "N passed, N failed". The static benchmark of the shared guests is run as well, 2 percent of it, with equal checksums of both orders.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.." && root=$PWD
mode=emu
case ${1:-} in emu | qemu) mode=$1 && shift ;; esac
shared=$(realpath -m "${EMU_SHARED:-../shared}")
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
if ! command -v microblaze-elf-gcc > /dev/null; then
    [ -e "$shared/toolchains/microblaze-elf.tar.xz" ] || {
        echo "skipped: no microblaze-elf-gcc"
        exit 0
    }
    tar -xJf "$shared/toolchains/microblaze-elf.tar.xz" -C "$out" || exit 1
    PATH=$out/microblaze-elf/bin:$PATH
fi
gcc=$(dirname "$(microblaze-elf-gcc -print-libgcc-file-name)")
passed=0 failed=0
emulator() {
    local kind=$1
    shift
    case $mode in
    emu) timeout -k 5 60 "${EMU:-$root/${CARGO_TARGET_DIR:-target}/release/emu}" run -E "EMU_TEST=a value" "$@" ;;
    qemu) timeout -k 5 60 "qemu-$kind" -E "EMU_TEST=a value" "$@" ;;
    esac
}
verdict() {
    if [ "$1" = 0 ]; then
        passed=$((passed + 1))
        echo "passed $2"
    else
        failed=$((failed + 1))
        echo "FAILED $2"
    fi
}
# QEMU 7.2 repeats a fault behind an IMM for ever, as a machine and as a program's emulator: storm.txt is of the kernel under `emu --board`.
programs=start\ signals\ threads
[ $mode = emu ] && programs+=" storm"
programs=${*:-$programs}
for kind in microblaze microblazeel; do
    order=(-mbig-endian)
    [ $kind = microblazeel ] && order=(-mlittle-endian -L"$gcc/le")
    for program in $programs; do
        microblaze-elf-gcc -O2 -w -ffreestanding -nostdlib "${order[@]}" -mno-xl-soft-mul -mno-xl-soft-div -mxl-barrel-shift -mxl-pattern-compare -Wl,-z,max-page-size=4096 -T "$here/program.ld" \
            "$here/$program.c" -lgcc -o "$out/$program" || {
            verdict 1 "$kind $program: does not build"
            continue
        }
        mkdir -p "$out/folder"
        (
            cd "$out/folder"
            emulator $kind "$out/$program" one "two words" ""
            echo "status $?"
        ) > "$out/got" 2> "$out/errors"
        cp "$here/$program.txt" "$out/expected"
        # What this QEMU is known to do instead.
        [ $mode = qemu ] && [ -e "$here/$program.qemu" ] && patch -s "$out/expected" "$here/$program.qemu"
        diff "$out/expected" "$out/got" > "$out/diff"
        verdict $? "$kind $program"
        head -20 "$out/diff"
        head -3 "$out/errors"
    done
    bench=$shared/guests/bench/bin/$kind/bench
    [ -e "$bench" ] || continue
    emulator $kind "$bench" 2 2> "$out/errors" | awk '$1 == "BENCH" && NF == 5 && $2 != "forkexec" { print $2, $3, $5 }' > "$out/bench-$kind"
    [ "$(wc -l < "$out/bench-$kind")" = 14 ] && cmp -s "$out/bench-$kind" "$out/bench-microblaze"
    verdict $? "$kind bench"
done
echo "$mode: $passed passed, $failed failed"
[ $failed = 0 ]
