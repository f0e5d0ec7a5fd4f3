#!/usr/bin/env bash
# Makes U-Boot 2023.01 with its first-stage loader (SPL) for the ZC702, from Debian's sources:
#
#     tests/guests/zynq/u-boot.sh [FOLDER]
#
# leaves boot.bin (the boot image of the SPL) and u-boot.img in FOLDER, else in target/guests/zynq-full. Some 3 minutes, once, and 400 MB in
# FOLDER/u-boot, which may be deleted; nothing is done where FOLDER has them.
# Needs Debian 12 and: gcc-arm-linux-gnueabihf make gcc bc flex bison libssl-dev swig python3-dev python3-setuptools libgnutls28-dev uuid-dev dpkg-dev (installs
# what is missing, as root).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/../../../target/guests/zynq-full}
mkdir -p "$out/u-boot"
out=$(cd "$out" && pwd)
[ ! -f "$out/u-boot.img" ] || { echo "$out/u-boot.img is there already"; exit 0; }

packages=(gcc-arm-linux-gnueabihf make gcc bc flex bison libssl-dev swig python3-dev python3-setuptools libgnutls28-dev uuid-dev dpkg-dev)
dpkg -s "${packages[@]}" > /dev/null 2>&1 || { apt-get update && apt-get install -y --no-install-recommends "${packages[@]}"; }

cd "$out/u-boot"
if [ ! -f unpacked ]; then
    # Where sources come from, beside what the system has.
    sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/debian.sources > sources.sources
    lists=(-o "Dir::Etc::sourcelist=$PWD/sources.sources" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$PWD/lists" -o APT::Sandbox::User=root)
    mkdir -p lists/partial
    apt-get "${lists[@]}" update -qq
    apt-get "${lists[@]}" source -qq --download-only u-boot
    mkdir -p source
    tar -C source --strip-components=1 -xf u-boot_*.orig.tar.xz
    touch unpacked
fi
build() { nice -n 3 make -C source O="$PWD/objects" CROSS_COMPILE=arm-linux-gnueabihf- DEVICE_TREE=zynq-zc702 "$@"; }
mkdir -p objects
build xilinx_zynq_virt_defconfig > config.log
build -j"${JOBS:-2}" > build.log 2>&1 || { tail -20 build.log; exit 1; }
cp objects/spl/boot.bin "$out/boot.bin"
cp objects/u-boot.img "$out/u-boot.img"
ls -l "$out/boot.bin" "$out/u-boot.img"
