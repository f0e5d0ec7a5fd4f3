#!/usr/bin/env bash
# The interpreter and the quick tier on random guest programs: tests/tiers/run.sh [SECONDS] [SEED], default 60 and 1.
# A difference is made smaller and shown, with the command that shows it again.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build -q --release -p emu-tiers
exec "${CARGO_TARGET_DIR:-target}/release/emu-tiers" --seconds "${1:-60}" --seed "${2:-1}"
