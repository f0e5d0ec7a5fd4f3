#!/usr/bin/env bash
# Fuzzes every parser of outside data, with coverage to guide it: tests/fuzz/run.sh [SECONDS for each] [TARGET...]
# Targets: board spec registers image device-tree elf lines packets translations assembly. What breaks one is kept in target/fuzz/found and named.
# The inputs it begins with are the project's own files; EMU_FUZZ_SEED=N makes its dice fall the same each time.
# Needs a C++ compiler (libFuzzer is built from source).
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
[ $# -gt 0 ] && shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(board spec registers image device-tree elf lines packets translations assembly)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/fuzz
seeds=$CARGO_TARGET_DIR/seeds found=$CARGO_TARGET_DIR/found
# The coverage libFuzzer reads, on a stable compiler.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags+=" -Cllvm-args=-sanitizer-coverage-pc-table"
bins=()
for t in "${targets[@]}"; do bins+=(--bin "fuzz-$t"); done
RUSTFLAGS=$flags cargo build --profile fuzz -p emu-fuzz --features libfuzzer --target "$(rustc -vV | sed -n 's/host: //p')" "${bins[@]}" || exit 1

seed() { mkdir -p "$seeds/$1" && cp "${@:2}" "$seeds/$1/" 2> /dev/null; }
seed board boards/*.kdl boards/soc/*.kdl tests/board/*.kdl
seed spec tests/spec/*.isa tests/lint/*.isa dsl/tests/slices/*/*.isa
seed registers runtime/devices/src/*/*.kdl
seed image README.md
seed elf README.md
if command -v gcc > /dev/null; then
    mkdir -p "$seeds/elf" "$seeds/image"
    for m in elf image; do echo 'void _start(void) { for (;;); }' | gcc -Os -nostdlib -static -x c - -o "$seeds/$m/small" && strip "$seeds/$m/small"; done
fi
mkdir -p "$seeds/translations" "$seeds/lines" "$seeds/device-tree" "$seeds/packets" "$seeds/assembly" "$found"
if command -v dtc > /dev/null; then
    printf '/dts-v1/; / { compatible = "a"; #address-cells = <1>; #size-cells = <1>; chosen { bootargs = "q"; }; memory@0 { reg = <0 1>; }; };' |
        dtc -q -I dts -O dtb -o "$seeds/device-tree/small.dtb" - || true
fi
printf 'g\0m0,4\0p1f\0vCont;s:1\0Z0,8000,4\0qSupported' > "$seeds/packets/some"
printf 'ldmia r1!, {r0-r3, pc}^' > "$seeds/assembly/some"

failed=0
for t in "${targets[@]}"; do
    if "$CARGO_TARGET_DIR"/*/fuzz/"fuzz-$t" "$seeds/$t" -max_total_time="$seconds" -seed="${EMU_FUZZ_SEED:-0}" -timeout=10 -rss_limit_mb=4096 -max_len=20000 \
        -artifact_prefix="$found/$t-" > "$found/$t.log" 2>&1; then
        echo "ok: fuzz $t: $(grep -aE '^Done|stat::number' "$found/$t.log" | tail -1)"
    else
        echo "FAILED: fuzz $t"
        tail -40 "$found/$t.log"
        failed=$((failed + 1))
    fi
done
[ $failed -eq 0 ]
