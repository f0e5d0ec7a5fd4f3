#!/usr/bin/env bash
# `emu run` against qemu-arm, by turns: the benchmark programs of the shared guests, and starts of a program that does nothing.
#
#     tests/user/bench.sh [ARGUMENTS OF `emu-bench user`...]      such as --percent 100 --rounds 5 --kinds armhf,microblaze
#
# Prints tables in Markdown: QEMU's time over emu's for each kernel, with its spread, and geometric means. Fails if a checksum is wrong.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
starts=()
if command -v arm-linux-gnueabihf-gcc > /dev/null; then
    echo 'int main(void) { return 0; }' > "$out/true.c"
    arm-linux-gnueabihf-gcc -O2 -static "$out/true.c" -o "$out/true-static"
    arm-linux-gnueabihf-gcc -O2 "$out/true.c" -o "$out/true-dynamic"
    starts=(--start "$out/true-static" --start "$out/true-dynamic")
fi
target=${CARGO_TARGET_DIR:-target}
cargo build --release --quiet -p emu-bench
"$target/release/emu-bench" user --emu "${EMU:-$target/release/emu}" "${starts[@]}" "$@"
