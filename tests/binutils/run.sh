#!/usr/bin/env bash
# Our disassembler and assembler against binutils' listings (gas/testsuite/gas/{arm,microblaze}/*.d).
#
#   tests/binutils/run.sh [ISA] [-v]      ISA: arm, thumb or microblaze (default all); -v: every difference, not the first ones
#
# Needs Debian's binutils-source; says so and ends with 0 without it. What may differ, and why, is in differences.toml; anything
# else fails, and so does a reason that has become needless.
set -euo pipefail
cd "$(dirname "$0")/../.."
tarball=$(ls /usr/src/binutils/binutils-*.tar.xz 2> /dev/null | head -1 || true)
if [ -z "$tarball" ]; then
    echo "skipped: the comparison with binutils needs binutils-source"
    exit 0
fi
cargo build --release -p emu
export EMU=${CARGO_TARGET_DIR:-$PWD/target}/release/emu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar -xJf "$tarball" -C "$work" --wildcards --strip-components=4 '*/gas/testsuite/gas/arm/*' '*/gas/testsuite/gas/microblaze/*'
python3 -B tests/binutils/compare.py "$work" "$@"
