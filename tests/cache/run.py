#!/usr/bin/env python3
"""What a code cache gives, and that nobody who is killed leaves a damaged one: tests/cache/run.py [boot [ROUNDS] | program [ROUNDS] | kill [TIMES]]

boot: Linux on the Zynq-7000 to its shell, in turn without a cache, with an empty one and with a full one, by the host's clock.
program: the same of a small dynamic program for ARM.
kill: boots that are killed at random moments; then everything in the cache must be as it was written, and a boot must use it.
The emulator is $EMU, else target/release/emu; guests are in $EMU_SHARED/guests. Without those there is nothing to do."""

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EMU = os.environ.get("EMU", os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release/emu"))
GUESTS = os.path.join(os.environ.get("EMU_SHARED", os.path.join(ROOT, "../shared")), "guests/zynq7000")
SYSROOT = "/usr/arm-linux-gnueabihf"


def boot(*more):
    files = [os.path.join(GUESTS, name) for name in ("zImage-zynq", "initramfs-armhf.cpio.gz", "zynq-zc702.dtb")]
    if not all(map(os.path.exists, files)):
        sys.exit(print(f"skipped: no guests in {GUESTS}"))
    kernel, initrd, dtb = files
    line = [EMU, "--board", "zynq7000", "--kernel", kernel, "--initrd", initrd, "--dtb", dtb]
    return line + ["--append", "console=ttyPS0,115200 quiet maxcpus=1", "--exit-on", "GUEST-SHELL", "--timeout", "60", *more]


def program(directory):
    source, binary = os.path.join(directory, "hello.c"), os.path.join(directory, "hello")
    with open(source, "w") as file:
        file.write('#include <stdio.h>\nint main(void) { for (int n = 0; n < 100; n++) printf("%d %f\\n", n, n / 7.0); return 0; }\n')
    try:
        subprocess.run(["arm-linux-gnueabihf-gcc", "-O2", "-o", binary, source], check=True)
    except FileNotFoundError:
        sys.exit(print("skipped: there is no arm-linux-gnueabihf-gcc"))
    return lambda *more: [EMU, "run", *more, "-L", SYSROOT, binary]


def seconds(line):
    begun = time.monotonic()
    subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - begun


def measure(line, rounds, directory):
    times = {"off": [], "empty": [], "full": []}
    for number in range(rounds + 1):
        cache = os.path.join(directory, "cache")
        shutil.rmtree(cache, ignore_errors=True)
        taken = {"off": seconds(line()), "empty": seconds(line("--code-cache", cache)), "full": seconds(line("--code-cache", cache))}
        # The first warms the host's own caches.
        if number > 0:
            for name, value in taken.items():
                times[name].append(value)
    for name, all in times.items():
        least, median = min(all), statistics.median(all)
        print(f"{name:6} least {least:.3f} s, median {median:.3f} s; of off {least / min(times['off']):.2f}, {median / statistics.median(times['off']):.2f}")


def kill(times, directory):
    cache = os.path.join(directory, "cache")
    line = boot("--code-cache", cache)
    whole = seconds(line)
    for number in range(times):
        if number % 10 == 0:
            # There is something to be written again.
            for name in os.listdir(cache):
                if name.endswith(".code"):
                    os.unlink(os.path.join(cache, name))
        # Files are written in the last tenth.
        delay = random.uniform(0.8, 1.4) if number % 2 else random.uniform(0, 1)
        process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay * whole)
        process.kill()
        process.wait()
    # Whoever finds something damaged says so.
    for name in ("after", "again"):
        done = subprocess.run(line + ["--stats"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=True)
        counters = next(text for text in done.stderr.splitlines() if text.startswith("cpu0:"))
        numbers = dict(pair.split() for pair in counters.removeprefix("cpu0:").split(","))
        wrong = "code cache:" in done.stderr or numbers["rejected"] != "0"
        print(f"{name} {times} kills: {numbers['stored-blocks']} blocks from the cache, {numbers['blocks']} made, {numbers['rejected']} rejected")
        if wrong or name == "again" and int(numbers["stored-blocks"]) < 10 * int(numbers["blocks"]):
            sys.exit("the cache is damaged")


def main():
    what, count = (sys.argv[1:] + ["boot"])[0], int(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as directory:
        if what == "boot":
            measure(boot, count or 7, directory)
        elif what == "program":
            measure(program(directory), count or 20, directory)
        elif what == "kill":
            kill(count or 50, directory)
        else:
            sys.exit(__doc__)


main()
