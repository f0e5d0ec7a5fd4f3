#!/usr/bin/env bash
# Linux kernels in lock-step with QEMU: tests/lockstep/run.sh [INSTRUCTIONS], default 20000 each. Needs QEMU 7.2 and the shared guests
# ($EMU_SHARED, else ../shared beside the repository); without them it says so.
#
# What is taken from QEMU or not compared, and why:
#   ARM: mrc c0 (QEMU's A9 has 16 KiB caches, and other ID_PFR0 and ID_MMFR values than the Cortex-A9 TRM), actlr (QEMU keeps none).
#   MicroBlaze: mfs from rmsr, msrset, msrclr (QEMU's MSR lacks the PVR bit), rtlbx, rpid, rzpr (QEMU's gdbstub does not show them), rmsr in the delay slot of a
#   return (QEMU changes the modes after it; here they change before it, and the slot is executed in the old ones).
set -uo pipefail
cd "$(dirname "$0")/../.."
shared=${EMU_SHARED:-../shared}
steps=${1:-20000}
failed=0

lockstep() {
    local name=$1
    shift
    if ! command -v "$program" > /dev/null || [ ! -e "$shared/guests/$kernel" ]; then
        echo "skipped: $name in lock-step: needs $program and $shared/guests/$kernel"
    elif cargo run -q --release -p emu-lockstep -- --steps "$steps" --every 5000 "$@"; then
        echo "ok: $name in lock-step"
    else
        echo "FAILED: $name in lock-step"
        failed=$((failed + 1))
    fi
}

program=qemu-system-arm kernel=zynq7000/zImage-zynq
lockstep "Zynq-7000" --board zynq7000 --from 8000 --take ", c0, c" --ignore actlr -- qemu-system-arm -M xilinx-zynq-a9 -m 512 -icount 10 \
    -serial null -serial null -kernel "$shared/guests/$kernel" -dtb "$shared/guests/zynq7000/zynq-zc702.dtb"
microblaze=(--take "rmsr" --take msr --ignore rtlbx --ignore rpid --ignore rzpr --late rmsr)
program=qemu-system-microblaze kernel=petalogix/vmlinux-s3adsp1800
lockstep "petalogix-s3adsp1800" --board petalogix-s3adsp1800 "${microblaze[@]}" -- "$program" -M petalogix-s3adsp1800 -icount 10 -serial null \
    -kernel "$shared/guests/$kernel"
program=qemu-system-microblazeel kernel=petalogix/vmlinux-ml605
lockstep "petalogix-ml605" --board petalogix-ml605 "${microblaze[@]}" -- "$program" -M petalogix-ml605 -m 256 -icount 10 -serial null \
    -kernel "$shared/guests/$kernel"
[ $failed -eq 0 ]
