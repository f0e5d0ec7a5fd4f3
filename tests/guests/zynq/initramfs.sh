#!/usr/bin/env bash
# Makes the user land of the hardware checks on the Zynq-7000: the shared guests' initramfs and, behind it, the programs can, events, gpio, i2c, mtd, spi,
# ubi and wdt (compiled here; each says how it is used when it is started without arguments):
#
#     tests/guests/zynq/initramfs.sh [FOLDER [DIRECTORY]]
#
# leaves initramfs.cpio.gz in FOLDER, else in target/guests/zynq-full; what is in DIRECTORY is put into its root as well. A few seconds. The shared guests
# are looked for in $EMU_SHARED, else in ../shared beside the repository. Needs gcc-arm-linux-gnueabihf, cpio and gzip.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
shared=${EMU_SHARED:-$here/../../../../shared}
out=${1:-$here/../../../target/guests/zynq-full}
mkdir -p "$out"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir "$root/bin"
(cd "$here" && arm-linux-gnueabihf-gcc -std=gnu11 -O2 -Wall -Wextra -Werror -D_FILE_OFFSET_BITS=64 -static -s -o "$root/bin/hw" \
    hw.c can.c events.c gpio.c i2c.c mtd.c spi.c ubi.c wdt.c)
for name in can events gpio i2c mtd spi ubi wdt; do ln -s hw "$root/bin/$name"; done
[ -z "${2:-}" ] || cp -a "$2"/. "$root/"
find "$root" -exec touch -h -d 2026-01-01 {} +
# The kernel unpacks one archive after the other.
{
    cat "$shared/guests/zynq7000/initramfs-armhf.cpio.gz"
    (cd "$root" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet --reproducible -o -H newc -R 0:0 | gzip -9n)
} > "$out/initramfs.cpio.gz"
ls -l "$out/initramfs.cpio.gz"
