#!/usr/bin/env bash
# Fuzzes every parser of outside data, with coverage to guide it: tests/fuzz/run.sh [SECONDS for each] [TARGET...]
# Targets: those in `all` below. What breaks one is kept in target/fuzz/found and named.
# The inputs it begins with are the project's own files; EMU_FUZZ_SEED=N makes its dice fall the same each time.
# Needs a C++ compiler (libFuzzer is built from source).
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
[ $# -gt 0 ] && shift
targets=("$@")
all=(board spec registers image device-tree elf lines packets translations assembly disk frames qtest qmp snapshot)
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")
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
mkdir -p "${all[@]/#/$seeds/}" "$found"
if command -v dtc > /dev/null; then
    printf '/dts-v1/; / { compatible = "a"; #address-cells = <1>; #size-cells = <1>; chosen { bootargs = "q"; }; memory@0 { reg = <0 1>; }; };' |
        dtc -q -I dts -O dtb -o "$seeds/device-tree/small.dtb" - || true
fi
printf 'g\0m0,4\0p1f\0vCont;s:1\0Z0,8000,4\0qSupported' > "$seeds/packets/some"
printf '{"execute":"query-status","id":1}{"execute":"human-monitor-command","arguments":{"command-line":"x/4i $pc"}}info status\nx/2s 0\ncpu0.r1 = 5\n' > "$seeds/qmp/some"
printf 'irq_intercept_out ttc0\nwritel 0x20024 999\nwritel 0x20060 1\nwritel 0x2000c 0x22\nclock_step\nclock_step 99\nreadl 0x20018\nclock_set 99999\n' > "$seeds/qtest/timer"
printf 'set_irq_in uart0 reset 0 1\nwrite 0x100 4 0x0102\nread 0x100 8\nb64write 0 3 aGVs\nb64read 0 3\nmemset 8 8 -1\nwritew 0x10030 0x41\nreadq 0\n' > "$seeds/qtest/memory"
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
