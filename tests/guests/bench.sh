#!/usr/bin/env bash
# The benchmark of the shared guests on every board that runs Linux, in both tiers, each checksum compared with the host's own:
#
#     tests/guests/bench.sh PERCENT [GUEST [TIER]]
#
# PERCENT of the kernels' whole work; GUEST is a board's name and TIER `off` or `quick`, or all of them. Prints a line for each guest and tier, with the
# seconds that it took, and ends with "N right, N wrong". Guests are looked for in $EMU_SHARED, else in ../shared beside the repository.
set -uo pipefail
cd "$(dirname "$0")/../.."
percent=${1:?of which percentage of the work?}
shared=${EMU_SHARED:-../shared}/guests
emu=${CARGO_TARGET_DIR:-target}/release/emu
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
right=0 wrong=0

sums() { tr -d '\r' | awk '$1 == "BENCH" && NF == 5 { print $2, $3, $5 }'; }

# Guests without a floating-point unit do an eighth of that work: their checksums are others.
for float in hard soft; do
    divisor=1
    [ $float = hard ] || divisor=8
    cc -O2 -ffp-contract=off -DFDIV=$divisor "$shared/bench/bench.c" -lm -o "$out/$float" && "$out/$float" "$percent" | sums > "$out/$float.sums" || exit 2
    [ -s "$out/$float.sums" ] || exit 2
done

# bench GUEST TIER FLOAT CONSOLE ARGUMENTS...
bench() {
    local guest=$1 tier=$2 float=$3 console=$4 start=$SECONDS verdict=ok
    "$emu" --board "$guest" --jit "$tier" "${@:5}" --append "console=$console quiet bench=$percent" --exit-on "BENCH done" --fail-on "Kernel panic" \
        --timeout 14400 --trace error < /dev/null > "$out/text"
    sums < "$out/text" > "$out/sums"
    if diff "$out/$float.sums" "$out/sums" > "$out/diff"; then
        right=$((right + 1))
    else
        wrong=$((wrong + 1)) verdict=WRONG
    fi
    printf '%-22s %-6s %6d s  %s\n' "$guest" "$tier" $((SECONDS - start)) $verdict
    [ $verdict = ok ] || cat "$out/diff"
}

for tier in ${3:-off quick}; do
    for guest in ${2:-zynq7000 petalogix-s3adsp1800 petalogix-ml605}; do
        case $guest in
        zynq7000)
            bench "$guest" "$tier" hard ttyPS0,115200 --kernel "$shared/zynq7000/zImage-zynq" --dtb "$shared/zynq7000/zynq-zc702.dtb" \
                --initrd "$shared/zynq7000/initramfs-armhf.cpio.gz"
            ;;
        petalogix-s3adsp1800)
            bench "$guest" "$tier" soft ttyUL0 --kernel "$shared/petalogix/vmlinux-s3adsp1800" --initrd "$shared/petalogix/initramfs-microblaze.cpio.gz"
            ;;
        petalogix-ml605)
            bench "$guest" "$tier" soft ttyS0 --kernel "$shared/petalogix/vmlinux-ml605" --initrd "$shared/petalogix/initramfs-microblazeel.cpio.gz"
            ;;
        *)
            echo "no such guest: $guest" >&2
            exit 2
            ;;
        esac
    done
done
echo "$right right, $wrong wrong"
[ $wrong -eq 0 ]
