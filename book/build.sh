#!/usr/bin/env bash
# Writes the pages and pictures that are made from specifications, types and boards, and builds the book, if mdBook is there.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p emu
mkdir -p book/src/reference/isa
for isa in arm microblaze; do
    "${CARGO_TARGET_DIR:-target}/release/emu" isa doc $isa > book/src/reference/isa/$isa.md
done
"${CARGO_TARGET_DIR:-target}/release/emu" device doc > book/src/reference/devices.md
"${CARGO_TARGET_DIR:-target}/release/emu" board show zynq7000 --svg > book/src/images/board-zynq7000.svg
if command -v mdbook > /dev/null; then mdbook build book; else echo "no mdBook: only the pages were written"; fi
