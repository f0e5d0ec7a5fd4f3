#!/usr/bin/env bash
# Compares softfloat with floating-point units: tests/float/run.sh [emu-float's options and units]
# Units: sse x87 quad (the host's, if it is an x86), arm s390x ppc (by QEMU's user mode), emu (arm's questions to `emu run`). Those that cannot be built here are named.
set -uo pipefail
cd "$(dirname "$0")/../.."
folder=${CARGO_TARGET_DIR:-target}/float
mkdir -p "$folder"
cargo build --release -p emu -p emu-float || exit 1

units=()
# build ORACLE COMPILER RUNNER UNITS OPTIONS...
build() {
    local oracle=$1 compiler=$2 runner=$3 names=$4
    shift 4
    if ! command -v "$compiler" > /dev/null || ! command -v "$runner" > /dev/null; then
        echo "skipped: $names ($compiler or $runner is missing)"
    elif "$compiler" -O1 "$@" -o "$folder/$oracle" tests/float/oracle.c; then
        read -ra names <<< "$names"
        units+=("${names[@]}")
    else
        exit 1
    fi
}
if grep -qw f16c /proc/cpuinfo && grep -qw fma /proc/cpuinfo; then
    build host gcc true "sse x87 quad" -mfma -mf16c -msse4.1
else
    echo "skipped: sse x87 quad (the host has no FMA or F16C)"
fi
build arm arm-linux-gnueabihf-gcc qemu-arm "arm emu" -static -marm -march=armv8-a -mfpu=neon-fp-armv8
build s390x s390x-linux-gnu-gcc qemu-s390x s390x -static
build ppc powerpc-linux-gnu-gcc qemu-ppc ppc -static -mcpu=power7
# Units named on the command line come instead of all.
for argument in "$@"; do
    case $argument in sse | x87 | quad | arm | emu | s390x | ppc) units=() ;; esac
done
[ ${#units[@]} -gt 0 ] || [ $# -gt 0 ] || exit 0
"${CARGO_TARGET_DIR:-target}/release/emu-float" --emu "${CARGO_TARGET_DIR:-target}/release/emu" --oracles "$folder" "$@" "${units[@]}"
