#!/usr/bin/env bash
# Makes a Linux 6.1 for the Zynq-7000 with a driver for every part of the chip that has one, all built in (kernel.cfg says what), from Debian's sources:
#
#     tests/guests/zynq/kernel.sh [FOLDER]
#
# leaves zImage, .config, System.map, the device trees zynq-*.dtb of the same sources (with symbols, for overlays), and full.dtb and full-nor.dtb (the
# ZC702 with the whole chip on, from full.dts) in FOLDER, else in target/guests/zynq-full. About 20 minutes on two cores, once, and 3 GB in FOLDER/build,
# which may be deleted; nothing is done where FOLDER is of these same inputs already. Tests take the zImage that $EMU_ZYNQ_KERNEL names, else that of target/
# Needs Debian 12 and: linux-source-6.1 gcc-arm-linux-gnueabihf make gcc bc flex bison libssl-dev xz-utils (installs what is missing, as root).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../../target/guests/zynq-full}
mkdir -p "$out/build"
out=$(cd "$out" && pwd)

key=$(cd "$here" && cat kernel.sh kernel.cfg overlay.c full.dts | sha256sum | cut -d' ' -f1)
if [ -f "$out/zImage" ] && [ "$(cat "$out/key" 2> /dev/null)" = "$key" ]; then
    echo "$out/zImage is there already"
    exit 0
fi

packages=(linux-source-6.1 gcc-arm-linux-gnueabihf make gcc bc flex bison libssl-dev xz-utils)
dpkg -s "${packages[@]}" > /dev/null 2>&1 || { apt-get update && apt-get install -y --no-install-recommends "${packages[@]}"; }

source=$out/build/linux-source-6.1
objects=$out/build/o
[ -f "$out/build/unpacked" ] || { tar -C "$out/build" -xf /usr/src/linux-source-6.1.tar.xz && touch "$out/build/unpacked"; }
cmp -s "$here/overlay.c" "$source/drivers/of/overlay-file.c" || cp "$here/overlay.c" "$source/drivers/of/overlay-file.c"
grep -q overlay-file "$source/drivers/of/Makefile" || echo 'obj-$(CONFIG_OF_OVERLAY) += overlay-file.o' >> "$source/drivers/of/Makefile"

export KBUILD_BUILD_USER=guests KBUILD_BUILD_HOST=local KBUILD_BUILD_TIMESTAMP=2026-01-01 KBUILD_BUILD_VERSION=1
build() { nice -n 3 make -C "$source" O="$objects" ARCH=arm CROSS_COMPILE=arm-linux-gnueabihf- DTC_FLAGS=-@ "$@"; }
mkdir -p "$objects"
KCONFIG_ALLCONFIG=$here/kernel.cfg build allnoconfig > "$out/build/config.log"
# Kconfig drops silently what depends on something that is off.
lost=$(grep -E '^CONFIG_[A-Za-z0-9_]+=[^n]' "$here/kernel.cfg" | grep -vxFf "$objects/.config" || true)
[ -z "$lost" ] || { printf 'not taken:\n%s\n' "$lost"; exit 1; }
build -j"${JOBS:-2}" zImage dtbs > "$out/build/build.log" 2>&1 || { tail -20 "$out/build/build.log"; exit 1; }

trees=$source/arch/arm/boot/dts
tree() { # tree NAME FLAGS...
    local name=$1
    shift
    arm-linux-gnueabihf-gcc -E -nostdinc -undef -D__DTS__ -x assembler-with-cpp -I "$trees" -I "$source/include" "$@" "$here/full.dts" |
        "$objects/scripts/dtc/dtc" -@ -q -I dts -O dtb -o "$out/$name" -
}
tree full.dtb
tree full-nor.dtb -DNOR
cp "$objects"/arch/arm/boot/dts/zynq-*.dtb "$objects/.config" "$objects/System.map" "$out/"
cp "$objects/arch/arm/boot/zImage" "$out/zImage"
echo "$key" > "$out/key"
ls -l "$out/zImage"
