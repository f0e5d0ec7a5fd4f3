#!/usr/bin/env bash
# The expected text, from real kernels: boots the shared guests of both orders of bytes under qemu-system with these programs in an initramfs, and writes
# start.txt, signals.txt and threads.txt. Both have to say the same.
#
#     tests/user/microblaze/linux_text.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
guests=${EMU_SHARED:-$here/../../../../shared}/guests/petalogix
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
gcc=$(dirname "$(microblaze-elf-gcc -print-libgcc-file-name)")
for kind in microblaze microblazeel; do
    order=(-mbig-endian) machine=(-M petalogix-s3adsp1800 -kernel "$guests/vmlinux-s3adsp1800") console=ttyUL0
    [ $kind = microblazeel ] && order=(-mlittle-endian -L"$gcc/le") machine=(-M petalogix-ml605 -m 256 -kernel "$guests/vmlinux-ml605") console=ttyS0
    for program in init start signals threads; do
        microblaze-elf-gcc -O2 -w -ffreestanding -nostdlib "${order[@]}" -mno-xl-soft-mul -mno-xl-soft-div -mxl-barrel-shift -mxl-pattern-compare -Wl,-z,max-page-size=4096 -T "$here/program.ld" \
            "$here/$program.c" -lgcc -o "$out/$program"
    done
    python3 - "$out" << 'END' | gzip > "$out/initramfs"
import os, sys
def entry(name, mode, data=b"", major=0, minor=0):
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
    pad = lambda b: b + b"\0" * (-len(b) % 4)
    sys.stdout.buffer.write(pad(head) + pad(data))
entry("dev", 0o40755)
entry("dev/console", 0o20600, major=5, minor=1)
for name in ("init", "start", "signals", "threads"):
    entry(name, 0o100755, open(os.path.join(sys.argv[1], name), "rb").read())
entry("TRAILER!!!", 0)
END
    timeout 90 qemu-system-$kind "${machine[@]}" -nographic -initrd "$out/initramfs" -append "console=$console quiet" < /dev/null 2> "$out/errors" |
        tr -d '\r' | sed '/^== end/q' > "$out/$kind.text" || true
    for program in start signals threads; do
        sed -n "/^== .$program\$/,/^status: /p" "$out/$kind.text" | sed '1d; /^\[ *[0-9.]*\]/d; s/^status: /status /' > "$out/$kind.$program"
    done
done
for program in start signals threads; do
    diff "$out/microblaze.$program" "$out/microblazeel.$program" || echo "$program differs" >&2
    cp "$out/microblaze.$program" "$here/$program.txt"
done
