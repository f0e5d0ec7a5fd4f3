#!/usr/bin/env bash
# Snapshots of Linux boots at random instructions: a fresh process that goes on from one prints the rest of the console, to the byte, and ends at the same
# instruction and guest time as a run that was never interrupted; also across tiers. tests/snapshots/run.sh [COUNT of points, 5] [SEED]
# Guests are looked for in $EMU_SHARED, else in ../shared beside the repository. Ends with "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/../.."
count=${1:-5}
RANDOM=${2:-1}
shared=${EMU_SHARED:-../shared}/guests
emu=${EMU:-${CARGO_TARGET_DIR:-target}/release/emu}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0 skipped=0
[ -n "${EMU:-}" ] || cargo build --release -p emu || exit 1

# check NAME COMMAND...: passes if the command does.
check() {
    local name=$1
    shift
    if "$@" > "$out/log" 2>&1; then
        echo "ok: $name"
        passed=$((passed + 1))
    else
        echo "FAILED: $name"
        tail -30 "$out/log"
        failed=$((failed + 1))
    fi
}

# boot TIER TEXT-FILE FLAGS...: runs deterministically to $end, and leaves console and counters.
boot() {
    local tier=$1 text=$2
    shift 2
    "$emu" "${board[@]}" --time deterministic --jit "$tier" --timeout 600 --stats="$text.json" "$@" < /dev/null > "$text" || return
    grep -E '^  "(instructions|guest_ns)"' "$text.json" > "$text.count" && [ -s "$text.count" ]
}

# point N TIER-BEFORE TIER-AFTER: saved after N instructions, and taken up again.
point() {
    boot "$2" "$out/first" "${start[@]}" --after "$1" --save-snapshot "$out/snapshot" &&
        boot "$3" "$out/rest" --load-snapshot "$out/snapshot" --exit-on "$end" &&
        cat "$out/first" "$out/rest" | diff -a "$out/whole" - && diff "$out/whole.count" "$out/rest.count"
}

# guest NAME POINTS: reads board, start and end.
guest() {
    local name=$1 n before after
    check "$name: a whole run" boot quick "$out/whole" "${start[@]}" --exit-on "$end"
    local total=$(grep instructions "$out/whole.count" | grep -oE '[0-9]+')
    for ((i = 1; i <= $2; i++)); do
        # The last ones are in the middle of the text that ends the run.
        n=$(((RANDOM * 32768 * 32768 + RANDOM * 32768 + RANDOM) % (total - total / 1000)))
        before=quick after=quick
        case $((i % 10)) in
            3) before=full after=full ;;
            5) before=off after=quick ;;
            7) after=full ;;
            9) after=off ;;
        esac
        check "$name: point $i, instruction $n of $total, $before then $after" point "$n" "$before" "$after"
    done
}

# Refused: what was changed, cut off, or of another board. Each with one line that says why.
refused() {
    local why=$1
    shift
    "$emu" "$@" --load-snapshot "$out/bad" --timeout 60 < /dev/null > "$out/text" 2>&1
    [ $? -eq 2 ] && grep -q "^error: cannot load .*$why" "$out/text" || { cat "$out/text" && false; }
}

zynq=$shared/zynq7000 petalogix=$shared/petalogix
board=(--board zynq7000) start=() end="zynq7000 ready"
guest "demo firmware" "$count"
cp "$out/snapshot" "$out/good"
check "another board" eval 'cp "$out/good" "$out/bad" && refused "another board" --board petalogix-ml605'
check "another size of memory" eval 'refused "has .* bytes" --board zynq7000 --memory 256M'
check "another number of CPUs" eval 'refused "another board" --board zynq7000 --cpus 1'
check "cut off" eval 'head -c 5000 "$out/good" > "$out/bad" && refused "cut off" --board zynq7000'
check "another version" eval 'cp "$out/good" "$out/bad" && printf "\x63" | dd of="$out/bad" bs=1 seek=8 conv=notrunc status=none && refused "version 99" --board zynq7000'
check "a changed byte" eval 'cp "$out/good" "$out/bad" && printf "\x5a\x5a\x5a" | dd of="$out/bad" bs=1 seek=2000 conv=notrunc status=none && refused "damaged" --board zynq7000'
check "no snapshot" eval 'echo hello > "$out/bad" && refused "no snapshot" --board zynq7000'
if [ -e "$zynq/zImage-zynq" ]; then
    start=(--kernel "$zynq/zImage-zynq" --initrd "$zynq/initramfs-armhf.cpio.gz" --append "console=ttyPS0,115200 quiet") end=GUEST-SHELL
    guest "Linux on the Zynq-7000, two CPUs" "$count"
else
    echo "skipped: Linux on the Zynq-7000" && skipped=$((skipped + 1))
fi
for name in s3adsp1800:microblaze:ttyUL0 ml605:microblazeel:ttyS0; do
    IFS=: read -r kind isa console <<< "$name"
    if [ -e "$petalogix/vmlinux-$kind" ]; then
        board=(--board "petalogix-$kind")
        start=(--kernel "$petalogix/vmlinux-$kind" --initrd "$petalogix/initramfs-$isa.cpio.gz" --append "console=$console quiet")
        guest "Linux on petalogix-$kind" $(((count + 4) / 5))
    else
        echo "skipped: Linux on petalogix-$kind" && skipped=$((skipped + 1))
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
