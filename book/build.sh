#!/usr/bin/env bash
# Writes the pages that are made from the specifications, and builds the book, if mdBook is there.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p emu
mkdir -p book/src/reference/isa
for isa in arm microblaze; do
    "${CARGO_TARGET_DIR:-target}/release/emu" isa doc $isa > book/src/reference/isa/$isa.md
done
if command -v mdbook > /dev/null; then mdbook build book; else echo "no mdBook: only the pages were written"; fi
