#!/usr/bin/env bash
# Whole-machine tests: the demo, the book's first SoC, and, where the shared guests are at hand, Linux on the Zynq-7000.
# Guests are looked for in $EMU_SHARED, else in ../shared beside the repository. Ends with "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."
shared=${EMU_SHARED:-../shared}
emu=${CARGO_TARGET_DIR:-target}/release/emu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0 skipped=0

# check NAME COMMAND...: passes if the command does.
check() {
    local name=$1
    shift
    if "$@" > "$out/log" 2>&1 < /dev/null; then
        echo "ok: $name"
        passed=$((passed + 1))
    else
        echo "FAILED: $name"
        tail -30 "$out/log"
        failed=$((failed + 1))
    fi
}

skip() {
    echo "skipped: $1"
    skipped=$((skipped + 1))
}

cargo build --release -p emu || exit 1

check "demo firmware" "$emu" --board boards/zynq7000.kdl --exit-on "emu demo: zynq7000 ready" --timeout 120
check "demo firmware, deterministic" "$emu" --board zynq7000 --time deterministic --exit-on "emu demo: zynq7000 ready" --timeout 120
for board in petalogix-s3adsp1800 petalogix-ml605 microblaze-soc; do
    check "demo firmware, $board" "$emu" --board boards/$board.kdl --exit-on "emu demo: microblaze ready" --fail-on bad --timeout 120
done
check "the book's first SoC" "$emu" --board tests/guests/first-soc.kdl --exit-on "emu demo: zynq7000 ready" --timeout 120
check "the book's own SoC" "$emu" --board tests/guests/own-soc.kdl --exit-on "emu demo: microblaze ready" --fail-on bad --timeout 120

# Two deterministic runs: the same number of instructions.
count() { "$emu" --board zynq7000 --time deterministic --exit-on "zynq7000 ready" --timeout 120 --stats="$out/$1" < /dev/null > /dev/null && grep '"instructions"' "$out/$1" | head -1; }
same() { [ -n "$(count a)" ] && [ "$(count a)" = "$(count b)" ]; }
check "deterministic runs agree" same
# In all tiers, twice: of instructions, of guest time, and of what is printed.
tiers() {
    local run tier
    for run in 1 2; do
        for tier in off quick full; do
            "$emu" "$@" --time deterministic --jit $tier --timeout 300 --stats="$out/stats" < /dev/null > "$out/text" || return
            grep -E '"(instructions|guest_ns)"' "$out/stats" > "$out/count"
            [ -s "$out/count" ] || return
            # The first run in the interpreter is what the others are compared with.
            if [ $run$tier = 1off ]; then
                mv "$out/count" "$out/count.first"
                mv "$out/text" "$out/text.first"
            else
                diff "$out/count.first" "$out/count" && diff "$out/text.first" "$out/text" || return
            fi
        done
    done
}
# As tiers, where each line of the console begins with guest time.
stamped() { tiers "$@" && [ "$(grep -cE '^\[ *[0-9]+\.[0-9]{6}\]' "$out/text.first")" -gt 100 ]; }
check "the tiers agree, demo firmware" tiers --board zynq7000 --exit-on "zynq7000 ready"

# One clear message and exit code 2.
refuses() {
    local wanted=$1
    shift
    "$emu" "$@" > "$out/refused" 2>&1 < /dev/null
    local code=$?
    cat "$out/refused"
    [ $code -eq 2 ] && grep -q -- "$wanted" "$out/refused"
}
check "missing kernel" refuses "cannot read kernel" --board zynq7000 --kernel "$out/none"
check "unknown --set path" refuses "uart9" --board zynq7000 --set uart9.chardev=null
check "unknown board" refuses "no-such-board" --board no-such-board

if command -v arm-none-eabi-gcc > /dev/null; then
    bare() {
        arm-none-eabi-gcc -O2 -Wall -Werror -mthumb -march=armv7-a+fp -mfloat-abi=hard -nostartfiles -T tests/guests/bare/zynq.ld \
            tests/guests/bare/start.S tests/guests/bare/main.c -lm -o "$out/bare.elf" &&
            "$emu" --board zynq7000 --firmware "$out/bare.elf" --exit-on "bare: all done" --fail-on "failures" --timeout 120
    }
    check "bare-metal C program with newlib" bare
    # What the MMU's faults say; BLESS=1 writes the golden file anew.
    faults() {
        local golden=tests/guests/bare/faults.txt
        arm-none-eabi-gcc -O2 -Wall -Werror -marm -march=armv7-a+fp -mfloat-abi=hard -nostartfiles -T tests/guests/bare/zynq.ld \
            tests/guests/bare/start.S tests/guests/bare/faults.c -o "$out/faults.elf" &&
            "$emu" --board zynq7000 --firmware "$out/faults.elf" --exit-on "faults: all done" --timeout 60 | tr -d '\r' > "$out/faults" || return
        echo >> "$out/faults"
        [ -z "${BLESS:-}" ] || cp "$out/faults" $golden
        diff $golden "$out/faults"
    }
    check "bare-metal MMU faults" faults
    # Two CPUs, each on a host thread: what they see of each other, and that the test without its barriers fails.
    smp() {
        arm-none-eabi-gcc -O2 -Wall -Werror -marm -march=armv7-a+mp+fp -mfloat-abi=hard -nostartfiles -T tests/guests/bare/zynq.ld \
            tests/guests/bare/start.S tests/guests/bare/smp.c -DFENCE="$1" -o "$out/smp.elf" &&
            "$emu" --board zynq7000 --firmware "$out/smp.elf" --exit-on "$2" --fail-on "smp: failed" --timeout "$3" "${@:4}"
    }
    # Code that changes while it is executed: by stores, by the other CPU, by DMA, by pages mapped anew; and accesses across pages.
    code() {
        arm-none-eabi-gcc -O2 -Wall -Werror -marm -march=armv7-a+mp+fp -mfloat-abi=hard -nostartfiles -T tests/guests/bare/zynq.ld \
            tests/guests/bare/start.S tests/guests/bare/code.c -o "$out/code.elf" &&
            "$emu" --board zynq7000 --firmware "$out/code.elf" --exit-on "code: all done" --fail-on "code: failed" --timeout 120 "$@"
    }
    for tier in off quick full; do
        check "code that changes, --jit $tier" code --jit $tier
        check "two CPUs: litmus tests, --jit $tier" smp 1 "smp: all done" 120 --jit $tier
        # Whether the host's CPUs show it is theirs to decide.
        seen=0
        smp 0 "smp: reordered" 30 --jit $tier > "$out/smp" 2>&1 < /dev/null || seen=$?
        if [ $seen = 124 ]; then
            skip "two CPUs: store buffering without barriers is not seen on this host, --jit $tier"
        else
            check "two CPUs: store buffering without barriers, --jit $tier" [ $seen = 0 ]
        fi
    done
    check "the tiers agree, code that changes" tiers --board zynq7000 --firmware "$out/code.elf" --exit-on "code: all done"
else
    skip "bare-metal programs: no arm-none-eabi-gcc"
fi

if command -v arm-linux-gnueabihf-gcc > /dev/null; then
    for mode in -marm -mthumb; do
        user() {
            arm-linux-gnueabihf-gcc -O2 -Wall $mode -static tests/guests/user/signals.c -o "$out/signals" && "$emu" run "$out/signals"
        }
        check "user mode: signals, $mode" user
    done
    arguments() {
        arm-linux-gnueabihf-gcc -O2 -x c - -o "$out/arguments" <<< '#include <stdio.h>
            #include <stdlib.h>
            int main(int c, char **v) { printf("%s %s %s\n", v[0], v[c - 1], getenv("NAME")); return 7; }' &&
            "$emu" run -L /usr/arm-linux-gnueabihf -0 zero -E NAME=value "$out/arguments" -x last > "$out/said"
        [ $? -eq 7 ] && [ "$(cat "$out/said")" = "zero last value" ]
    }
    check "user mode: a dynamic program, its arguments and status" arguments
else
    skip "user mode: no arm-linux-gnueabihf-gcc"
fi
user_bench() {
    "$shared/guests/bench/bin/amd64/bench" 3 | awk '$1 == "BENCH" && NF == 5 { print $2, $5 }' > "$out/native" &&
        "$emu" run "$shared/guests/bench/bin/armhf/bench" 3 | awk '$1 == "BENCH" && NF == 5 { print $2, $5 }' > "$out/mine" &&
        [ -s "$out/mine" ] && diff "$out/native" "$out/mine"
}
if [ -e "$shared/guests/bench/bin/armhf/bench" ]; then
    check "user mode: checksums of bench 3" user_bench
else
    skip "user mode: no bench in $shared"
fi

zynq=$shared/guests/zynq7000
if [ -e "$zynq/zImage-zynq" ]; then
    linux=(--board boards/zynq7000.kdl --kernel "$zynq/zImage-zynq" --initrd "$zynq/initramfs-armhf.cpio.gz")
    for dtb in zynq-zc702 zynq-zed; do
        check "Linux to its shell, $dtb" "$emu" "${linux[@]}" --dtb "$zynq/$dtb.dtb" --append "console=ttyPS0,115200" --exit-on GUEST-SHELL --fail-on "Kernel panic" --timeout 300
    done
    for board in zc702 zybo zybo-z7 microzed; do
        check "Linux to its shell, device tree made from the board, $board" "$emu" "${linux[@]/#boards\/zynq7000.kdl/boards/$board.kdl}" \
            --append "console=ttyPS0,115200" --exit-on GUEST-SHELL --fail-on "Kernel panic" --timeout 300
    done
    two() { "$emu" "${linux[@]}" --dtb "$zynq/zynq-zc702.dtb" --append "console=ttyPS0,115200" --exit-on "Brought up 1 node, 2 CPUs" --timeout 300; }
    check "Linux sees two CPUs" two
    check "the tiers agree, Linux on two CPUs, with the stamps of its log" stamped "${linux[@]}" --dtb "$zynq/zynq-zc702.dtb" \
        --append "console=ttyPS0,115200 printk.time=1" --exit-on GUEST-SHELL
    truncated() { head -c 1000000 "$zynq/zImage-zynq" > "$out/short" && refuses truncated --board zynq7000 --kernel "$out/short" --dtb "$zynq/zynq-zc702.dtb"; }
    check "truncated zImage" truncated
    check "initrd over the kernel" refuses "runs into" --board zynq7000 --set boot.protocol.initrd-at=0x10000 --kernel "$zynq/zImage-zynq" \
        --initrd "$zynq/initramfs-armhf.cpio.gz" --dtb "$zynq/zynq-zc702.dtb"
    check "device tree of another machine" refuses "another machine" --board zynq7000 --kernel "$zynq/zImage-zynq" --dtb "$shared/guests/vexpress/vexpress-v2p-ca9.dtb"
    # The kernels of the benchmark give the same checksums on every architecture: the host's own run is the reference.
    bench() {
        "$shared/guests/bench/bin/amd64/bench" 3 | awk '$1 == "BENCH" && NF == 5 { print $2, $5 }' > "$out/native" &&
            "$emu" "${linux[@]}" --dtb "$zynq/zynq-zc702.dtb" --append "console=ttyPS0,115200 quiet bench=3" --exit-on "BENCH done" --timeout 600 | tr -d '\r' > "$out/bench" &&
            awk '$1 == "BENCH" && NF == 5 { print $2, $5 }' "$out/bench" > "$out/guest" && cat "$out/bench" && diff "$out/native" "$out/guest"
    }
    check "Linux, checksums of bench=3" bench
else
    skip "Linux on the Zynq-7000: no guests in $shared"
fi

petalogix=$shared/guests/petalogix
if [ -e "$petalogix/vmlinux-ml605" ]; then
    check "Linux on petalogix-s3adsp1800, big-endian" "$emu" --board boards/petalogix-s3adsp1800.kdl --kernel "$petalogix/vmlinux-s3adsp1800" \
        --initrd "$petalogix/initramfs-microblaze.cpio.gz" --append "console=ttyUL0 poweroff" --exit-on "reboot: System halted" --fail-on "Kernel panic" --timeout 300
    check "Linux on petalogix-ml605, little-endian" "$emu" --board boards/petalogix-ml605.kdl --kernel "$petalogix/vmlinux-ml605" \
        --initrd "$petalogix/initramfs-microblazeel.cpio.gz" --append "console=ttyS0 poweroff" --exit-on "reboot: System halted" --fail-on "Kernel panic" --timeout 300
    check "Linux on microblaze-soc, little-endian" "$emu" --board boards/microblaze-soc.kdl --kernel "$petalogix/vmlinux-ml605" \
        --initrd "$petalogix/initramfs-microblazeel.cpio.gz" --append "console=ttyUL0 poweroff" --exit-on "reboot: System halted" --fail-on "Kernel panic" --timeout 300
    check "Linux on microblaze-soc, big-endian" "$emu" --board boards/microblaze-soc.kdl --set order=big --set ram-at=0x90000000 --set uart=16550 \
        --kernel "$petalogix/vmlinux-s3adsp1800" --initrd "$petalogix/initramfs-microblaze.cpio.gz" --append "console=ttyS0 poweroff" \
        --exit-on "reboot: System halted" --fail-on "Kernel panic" --timeout 300
    check "Linux on petalogix-ml605, checksums of bench=1" tests/guests/bench.sh 1 petalogix-ml605 quick
    check "Linux on petalogix-s3adsp1800, checksums of bench=1" tests/guests/bench.sh 1 petalogix-s3adsp1800 quick
    if command -v microblaze-elf-gcc > /dev/null || [ -e "$shared/toolchains/microblaze-elf.tar.xz" ]; then
        check "the PetaLogix boards' Ethernet, both ways" env EMU_SHARED="$shared" EMU="$PWD/$emu" tests/guests/petalogix/net.sh emu 4
    else
        skip "the PetaLogix boards' Ethernet: no microblaze-elf-gcc"
    fi
    check "kernel of another CPU" refuses "another CPU" --board petalogix-ml605 --kernel "$shared/guests/malta/vmlinux-malta-be"
else
    skip "Linux on the PetaLogix boards: no guests in $shared"
fi

vectors=$shared/vectors
if [ -e "$vectors/arm-1.jsonl.gz" ]; then
    check "single-instruction vectors, ARM" "$emu" isa vectors arm "$vectors/arm-1.jsonl.gz"
    check "single-instruction vectors, Thumb" "$emu" isa vectors thumb "$vectors/thumb-1.jsonl.gz"
else
    skip "vectors: none in $shared"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
