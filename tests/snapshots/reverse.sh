#!/usr/bin/env bash
# Going back with GDB itself: on the demo firmware (two CPUs), and in a Linux boot (one, as GDB stops at any CPU that comes by). tests/snapshots/reverse.sh [STEPS, 100]
# Guests are looked for in $EMU_SHARED, else in ../shared beside the repository. Needs gdb-multiarch with Python.
set -uo pipefail
cd "$(dirname "$0")/../.."
command -v gdb-multiarch > /dev/null || { echo "skipped: there is no gdb-multiarch"; exit 0; }
export EMU_STEPS=${1:-100}
zynq=${EMU_SHARED:-../shared}/guests/zynq7000
emu=${EMU:-${CARGO_TARGET_DIR:-target}/release/emu}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
failed=0
[ -n "${EMU:-}" ] || cargo build --release -p emu || exit 1

# back NAME FLAGS...: a machine that waits for GDB, which runs the script.
back() {
    echo "$1:"
    shift
    "$emu" "$@" --time deterministic --paused --gdb "unix:$out/socket" --timeout "${EMU_TIMEOUT:-300}" < /dev/null > "$out/console" 2> "$out/log" &
    for _ in {1..100}; do [ -S "$out/socket" ] && break || sleep 0.1; done
    EMU_TARGET=$out/socket timeout "${EMU_TIMEOUT:-300}" gdb-multiarch -nx -batch -x tests/snapshots/reverse.py || failed=$((failed + 1))
    wait
    rm -f "$out/socket"
}

back "demo firmware" --board zynq7000
if [ -e "$zynq/zImage-zynq" ]; then
    # The exception vector of interrupts: some thousand have been taken then.
    EMU_START=0xffff0018 EMU_IGNORE=${EMU_IGNORE:-100} back "Linux, one CPU" --board zynq7000 --cpus 1 --kernel "$zynq/zImage-zynq" --initrd "$zynq/initramfs-armhf.cpio.gz" --append "console=ttyPS0,115200 quiet"
else
    echo "skipped: Linux"
fi
[ $failed -eq 0 ]
