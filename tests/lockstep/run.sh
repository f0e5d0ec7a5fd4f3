#!/usr/bin/env bash
# Linux kernels, and random MicroBlaze programs, in lock-step with QEMU: tests/lockstep/run.sh [INSTRUCTIONS], default 20000 each. Needs QEMU 7.2 and the shared guests
# ($EMU_SHARED, else ../shared beside the repository); without them it says so.
#
# What is taken from QEMU or not compared, and why:
#   ARM: mrc c0 (QEMU's A9 has 16 KiB caches, and other ID_PFR0 and ID_MMFR values than the Cortex-A9 TRM), actlr (QEMU keeps none).
#   MicroBlaze: mfs from rmsr, msrset, msrclr (QEMU's MSR lacks the PVR bit), rtlbx, rpid, rzpr (QEMU's gdbstub does not show them), rpvr0 (QEMU's lacks the
#   reversed accesses that it has), rmsr in the delay slot of a return (QEMU changes the modes after it; here they change before it, and the slot is executed in
#   the old ones). What random programs leave out: microblaze.py.
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
microblaze=(--take "rmsr" --take msr --ignore rtlbx --ignore rpid --ignore rzpr --ignore rpvr0 --late rmsr)
program=qemu-system-microblaze kernel=petalogix/vmlinux-s3adsp1800
lockstep "petalogix-s3adsp1800" --board petalogix-s3adsp1800 "${microblaze[@]}" -- "$program" -M petalogix-s3adsp1800 -icount 10 -serial null \
    -kernel "$shared/guests/$kernel"
program=qemu-system-microblazeel kernel=petalogix/vmlinux-ml605
lockstep "petalogix-ml605" --board petalogix-ml605 "${microblaze[@]}" -- "$program" -M petalogix-ml605 -m 256 -icount 10 -serial null \
    -kernel "$shared/guests/$kernel"

# Random programs of every unit's instructions (not those of the FPU's second half on the little-endian board: QEMU's has only the first).
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
random() {
    local order=$1 ram=$2 board=$3 seed more
    for seed in 1 2; do
        # Odd seeds enable exceptions.
        more=()
        [ $seed = 1 ] && more=(--ignore rmsr --ignore resr)
        python3 tests/lockstep/microblaze.py $seed $((steps / 3)) "$order" "$ram" "$programs/$order$seed" > /dev/null
        lockstep "$board, random program $seed," --board "$board" --set reorder=true "${microblaze[@]}" "${more[@]}" -- \
            "$program" -M "$board" -m "$4" -icount 10 -serial null -kernel "$programs/$order$seed"
    done
}
kernel=petalogix
program=qemu-system-microblaze
random big 0x90000000 petalogix-s3adsp1800 128
program=qemu-system-microblazeel
random little 0x50000000 petalogix-ml605 256
[ $failed -eq 0 ]
