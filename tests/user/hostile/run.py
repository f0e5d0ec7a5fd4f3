#!/usr/bin/env python3
"""Hostile ELF files and programs: the emulator has to end them, or be ended by what they do, in good order.

    tests/user/hostile/run.py [emu|qemu] [NAME...]

`emu` (the default) is `emu run` of $EMU, else of target/release; `qemu` is qemu-arm. Each runs in an empty folder, not as root, with a time limit. Failed is
what panics, is ended by a signal that is none of a guest's faults, takes more than 1.5 GiB of memory, or more than the time. Ends with "N passed, N failed".
"""
import os, pathlib, resource, shutil, signal, struct, subprocess, sys, tempfile, threading, time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
LIMIT, MEMORY = float(os.environ.get("LIMIT", 60)), 1536
CROSS = "arm-linux-gnueabihf-gcc"
# mov r0, #42; mov r7, #1; svc 0
CODE = struct.pack("<III", 0xE3A0002A, 0xE3A07001, 0xEF000000)
BASE = 0x10000


def header(phnum=1, phoff=52, entry=BASE + 0x100, ident=b"\x7fELF\1\1\1", kind=2, machine=40, version=1, ehsize=52, phentsize=32, flags=0x5000400, shoff=0, shentsize=40, shnum=0, shstrndx=0):
    return ident.ljust(16, b"\0") + struct.pack("<HHIIIIIHHHHHH", kind, machine, version, entry, phoff, shoff, flags, ehsize, phentsize, phnum & 0xFFFF, shentsize, shnum, shstrndx)


def segment(kind=1, offset=0, address=BASE, filesz=0x10C, memsz=0x1000, flags=7, align=0x1000):
    return struct.pack("<IIIIIIII", kind, offset, address, address, filesz, memsz, flags, align)


def elf(segments, code=CODE, tail=b"", **fields):
    fields.setdefault("phnum", len(segments))
    return (header(**fields) + b"".join(segments)).ljust(0x100, b"\0") + code + tail


def files(folder):
    good = elf([segment()])
    load = segment()
    interp = lambda path: elf([segment(3, 0x10C, BASE + 0x10C, len(path), len(path), 4, 1), segment(filesz=0x10C + len(path))], tail=path)
    yield "good", good, 42
    for size in (0, 1, 4, 15, 16, 51, 52, 53, 83, 84, 0xFF, 0x100, 0x101, 0x10B):
        yield f"truncated-{size}", good[:size], None
    yield "text", b"hello world, this is no program\n" * 10, None
    yield "zeroes", b"\0" * 4096, None
    yield "wrong-class", header(ident=b"\x7fELF\2\1\1") + good[52:], "refused"
    yield "wrong-order", header(ident=b"\x7fELF\1\2\1") + good[52:], "refused"
    yield "wrong-ident-version", header(ident=b"\x7fELF\1\1\7") + good[52:], None
    yield "no-class", header(ident=b"\x7fELF\0\0\0") + good[52:], "refused"
    for name, fields in {"machine-0": {"machine": 0}, "machine-x86": {"machine": 3}, "kind-relocatable": {"kind": 1}, "kind-core": {"kind": 4}, "kind-none": {"kind": 0}, "kind-odd": {"kind": 0xFF00}, "phentsize-0": {"phentsize": 0}, "phentsize-31": {"phentsize": 31},
                         "phentsize-large": {"phentsize": 0xFFFF}, "phnum-0": {"phnum": 0}, "phnum-huge": {"phnum": 0xFFFE}, "phnum-extended": {"phnum": 0xFFFF}, "phoff-end": {"phoff": 0xFFFFFFFF}, "phoff-wrap": {"phoff": 0xFFFFFFF0}, "phoff-odd": {"phoff": 53},
                         "phoff-beyond": {"phoff": 0x7FFFFFFF}}.items():
        yield name, elf([load], **fields), None
    for entry in (0, 1, 2, BASE - 4, BASE + 0x1000, 0x7FFFFFFC, 0xFFFF0000, 0xFFFF0FE0, 0xFFFFFFFC, 0xFFFFFFFF, BASE + 0x102):
        yield f"entry-{entry:x}", elf([load], entry=entry), None
    for memsz in (0, 1, 0x10B, 0x10000000, 0x7FFFFFFF, 0x80000000, 0xF0000000, 0xFFFEFFFF, 0xFFFF0000, 0xFFFFF000, 0xFFFFFFFF):
        yield f"memsz-{memsz:x}", elf([segment(memsz=memsz)]), None
    for filesz in (0, 0x110, 0x1000, 0x100000, 0x7FFFFFFF, 0xFFFFFFFF):
        yield f"filesz-{filesz:x}", elf([segment(filesz=filesz, memsz=max(filesz, 0x1000))]), None
    yield "filesz-over-memsz", elf([segment(filesz=0x10C, memsz=0x10)]), None
    for offset in (1, 0x800, 0x1000, 0x7FFFF000, 0xFFFFF000, 0xFFFFFFFF):
        yield f"offset-{offset:x}", elf([segment(offset=offset)]), None
    for address in (0, 1, 0x1000, 0x8001, 0x7FFFF000, 0xBFFFF000, 0xC0000000, 0xFFFE0000, 0xFFFF0000, 0xFFFFF000, 0xFFFFFFFF):
        yield f"address-{address:x}", elf([segment(address=address)], entry=(address + 0x100) & 0xFFFFFFFF), None
    for align in (0, 1, 3, 0x10, 0x10000, 0x80000000, 0xFFFFFFFF):
        yield f"align-{align:x}", elf([segment(align=align)]), None
    yield "address-against-offset", elf([segment(address=BASE + 0x123)]), None
    yield "overlap-same", elf([load, load]), None
    yield "overlap-part", elf([segment(memsz=0x3000), segment(address=BASE + 0x1000)]), None
    yield "overlap-backwards", elf([segment(address=BASE + 0x2000), load]), None
    yield "far-apart", elf([segment(address=0x1000), segment(address=0xFFFE0000)], entry=0x1100), None
    yield "many-segments", elf([load] * 6), None
    yield "no-rights", elf([segment(flags=0)]), None
    yield "only-writable", elf([segment(flags=2)]), None
    yield "only-executable", elf([segment(flags=1)]), 42
    yield "odd-flags", elf([segment(flags=0xFFFFFFFF)]), None
    yield "no-load", elf([segment(kind=0)]), None
    yield "only-note", elf([segment(kind=4)]), None
    yield "position-independent", elf([segment(address=0)], kind=3, entry=0x100), 42
    yield "position-independent-huge", elf([segment(address=0, memsz=0xF0000000)], kind=3, entry=0x100), None
    yield "position-independent-high", elf([segment(address=0xFFFFF000)], kind=3, entry=0xFFFFF100), None
    yield "position-independent-two", elf([segment(address=0), segment(address=0xE0000000)], kind=3, entry=0x100), None
    yield "interp-no-end", interp(b"/lib/ld-linux-armhf.so.3"), None
    yield "interp-empty", interp(b""), None
    yield "interp-nothing", interp(b"\0"), None
    yield "interp-nowhere", interp(b"/nowhere/at/all\0"), "refused"
    yield "interp-folder", interp(b"/tmp\0"), "refused"
    yield "interp-device", interp(b"/dev/null\0"), "refused"
    yield "interp-zero", interp(b"/dev/zero\0"), None
    yield "interp-text", interp(b"/etc/passwd\0"), "refused"
    yield "interp-itself", interp(str(folder / "interp-itself").encode() + b"\0"), None
    yield "interp-long", interp(b"/" + b"x" * 5000 + b"\0"), "refused"
    yield "interp-odd-bytes", interp(b"\xff\xfe/\x80\0"), "refused"
    yield "interp-huge", elf([segment(3, 0x10C, 0, 0xFFFFFFFF, 0xFFFFFFFF), load]), None
    yield "interp-beyond", elf([segment(3, 0xFFFFFF00, 0, 0x80, 0x80), load]), None
    yield "interp-twice", elf([segment(3, 0x10C, 0, 5, 5), segment(3, 0x10C, 0, 5, 5), load], tail=b"/tmp\0"), None
    yield "tls-huge", elf([load, segment(7, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF)]), None
    yield "stack-odd", elf([load, segment(0x6474E551, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF)]), None
    yield "phdr-wrong", elf([segment(6, 0, 0xFFFFFFF0, 0x1000, 0x1000), load]), None
    yield "dynamic-wrong", elf([load, segment(2, 0xFFFFFFF0, 0xFFFFFFF0, 0x1000, 0x1000)]), None
    yield "sections-huge", elf([load], shoff=0xFFFFFFFF, shnum=0xFFFF, shentsize=0xFFFF, shstrndx=0xFFFF), 42
    # Bytes at random in a good one.
    import random
    chance = random.Random(20240229)
    dynamic = interp(b"/lib/ld-linux-armhf.so.3\0")
    for n in range(int(os.environ.get("RANDOM_FILES", 150))):
        data = bytearray(chance.choice((good, dynamic)))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(0, 0x94)
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        yield f"random-{n}", bytes(data), None


def programs(folder):
    for name in ("pointers", "maps", "fuzz"):
        subprocess.run([CROSS, "-O1", "-w", "-static", "-marm", str(HERE / f"{name}.c"), "-o", str(folder / name)], check=True)
    yield "pointers", [folder / "pointers"], b"done"
    listed = subprocess.run(["sed", "-n", r"s/TEST(\([a-z_]*\))/\n\1\n/gp", str(HERE / "maps.c")], capture_output=True, text=True, check=True).stdout.split("\n")
    for name in listed:
        if name and name.replace("_", "").isalpha() and name != "x":
            yield f"maps-{name.replace('_', '-')}", [folder / "maps", name], None
    for seed in range(1, int(os.environ.get("SEEDS", 20)) + 1):
        yield f"fuzz-{seed}", [folder / "fuzz", str(seed), "1500"], b"done"


GUEST_SIGNALS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGTRAP, signal.SIGUSR1, signal.SIGXFSZ, signal.SIGSYS}


def drop():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (int(LIMIT) + 5, int(LIMIT) + 10))
    os.setsid()
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


def run(command, folder, expect):
    """What is wrong with a run: None if nothing."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen([str(c) for c in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=drop)
        late = threading.Event()

        def stop():
            late.set()
            os.killpg(child.pid, signal.SIGKILL)

        timer = threading.Timer(LIMIT, stop)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        for f in (out, err):
            f.seek(0)
        said, errors = out.read(1 << 20), err.read(1 << 20)
    if late.is_set():
        return f"still running after {LIMIT} s"
    for word in (b"panicked", b"has overflowed its stack", b"internal error", b"memory allocation of", b"assertion", b"Assertion"):
        if word in errors:
            return errors[max(0, errors.find(word) - 100):][:300].decode(errors="replace")
    if usage.ru_maxrss > MEMORY * 1024:
        return f"{usage.ru_maxrss >> 10} MiB of memory"
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) not in GUEST_SIGNALS:
        return f"ended by signal {os.WTERMSIG(status)}: {errors[-200:]!r}"
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    if expect == "refused" and code in (0, 42, None):
        return f"not refused: status {status:#x}"
    if isinstance(expect, int) and code != expect:
        return f"status {status:#x}, not exit {expect}: {errors[-200:]!r}"
    if isinstance(expect, bytes) and expect not in said:
        return f"did not come to its end: status {status:#x} {errors[-200:]!r}"
    return None


def main():
    words = sys.argv[1:]
    mode = words.pop(0) if words[:1] in (["emu"], ["qemu"]) else "emu"
    if shutil.which(CROSS) is None:
        print(f"skipped: no {CROSS}")
        return 0
    emu = os.environ.get("EMU", str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/emu"))
    runner = [os.path.abspath(emu), "run"] if mode == "emu" else [shutil.which("qemu-arm")]
    passed = failed = 0
    with tempfile.TemporaryDirectory() as top:
        top = pathlib.Path(top)
        top.chmod(0o755)
        (top / "files").mkdir()
        cases = list(programs(top))
        for name, data, expect in files(top / "files"):
            path = top / "files" / name
            path.write_bytes(data)
            path.chmod(0o755)
            cases.append((name, [path], expect))
        for name, command, expect in cases:
            if words and name not in words:
                continue
            folder = top / "empty"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            folder.chmod(0o777)
            begin = time.monotonic()
            wrong = run([*runner, *command], folder, expect)
            if wrong is None:
                passed += 1
            else:
                failed += 1
                print(f"FAILED {name} ({time.monotonic() - begin:.1f} s): {wrong}", flush=True)
    print(f"{mode}: {passed} passed, {failed} failed")
    return failed != 0


sys.exit(main())
