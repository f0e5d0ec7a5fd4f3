#!/usr/bin/env bash
# Bytes both ways by the Ethernet controllers of the PetaLogix boards: Linux with net.c as its first process, and net.py as its peer on the host.
#
#     tests/guests/petalogix/net.sh [emu|qemu|compare] [MEGABYTES] [BOARD...]
#
# `compare` runs both in turn, three times. The emulator is $EMU, else target/release/emu. Needs the shared guests ($EMU_SHARED, else ../shared beside the
# repository) and microblaze-elf-gcc, on PATH or among them; skips without.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../.." && root=$PWD
mode=${1:-emu} megabytes=${2:-8}
boards=("${@:3}")
[ ${#boards[@]} = 0 ] && boards=(petalogix-s3adsp1800 petalogix-ml605)
shared=$(realpath -m "${EMU_SHARED:-../shared}")
emu=${EMU:-$root/${CARGO_TARGET_DIR:-target}/release/emu}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
[ -e "$shared/guests/petalogix/vmlinux-ml605" ] || {
    echo "skipped: no guests in $shared"
    exit 0
}
if ! command -v microblaze-elf-gcc > /dev/null; then
    [ -e "$shared/toolchains/microblaze-elf.tar.xz" ] || {
        echo "skipped: no microblaze-elf-gcc"
        exit 0
    }
    tar -xJf "$shared/toolchains/microblaze-elf.tar.xz" -C "$out" || exit 1
    PATH=$out/microblaze-elf/bin:$PATH
fi
gcc=$(dirname "$(microblaze-elf-gcc -print-libgcc-file-name)")
failed=0
for board in "${boards[@]}"; do
    kind=microblaze order=(-mbig-endian) console=ttyUL0
    [ "$board" = petalogix-ml605 ] && kind=microblazeel order=(-mlittle-endian -L"$gcc/le") console=ttyS0
    microblaze-elf-gcc -O2 -w -ffreestanding -nostdlib "${order[@]}" -mno-xl-soft-mul -mno-xl-soft-div -mxl-barrel-shift -mxl-pattern-compare -Wl,-z,max-page-size=4096 \
        -T tests/user/microblaze/program.ld "$here/net.c" -lgcc -o "$out/init" || exit 1
    python3 - "$out" << 'END' | gzip > "$out/initramfs"
import os, sys
def entry(name, mode, data=b"", major=0, minor=0):
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
    pad = lambda b: b + b"\0" * (-len(b) % 4)
    sys.stdout.buffer.write(pad(head) + pad(data))
entry("dev", 0o40755)
entry("dev/console", 0o20600, major=5, minor=1)
entry("init", 0o100755, open(os.path.join(sys.argv[1], "init"), "rb").read())
entry("TRAILER!!!", 0)
END
    kernel=$shared/guests/petalogix/vmlinux-${board#petalogix-}
    append="console=$console quiet ip=dhcp net=PORT megabytes=$megabytes"
    machine() {
        case $1 in
        emu) python3 "$here/net.py" $kind "$megabytes" "$emu" --board "$board" --kernel "$kernel" --initrd "$out/initramfs" --append "$append" --net net0=user ;;
        qemu)
            python3 "$here/net.py" $kind "$megabytes" qemu-system-$kind -M "$board" -m 256 -nographic -kernel "$kernel" -initrd "$out/initramfs" -append "$append" \
                -nic user
            ;;
        esac | sed "s/^/$board $1: /"
        return "${PIPESTATUS[0]}"
    }
    case $mode in
    compare) for _ in 1 2 3; do machine qemu && machine emu || failed=1; done ;;
    *) machine "$mode" || failed=1 ;;
    esac
done
[ $failed = 0 ]
