#!/usr/bin/env python3
"""Compares `emu isa disasm` with Capstone over random words of A32 and T32.

against_capstone.py [COUNT [SEED]] [-v]: COUNT words of each (default 200 000), of which most are of the sparsely filled spaces: unconditional, VFP, Advanced SIMD, wide Thumb.

Needs the Python package `capstone`. Differences must be explained by a class in capstone.toml, which is as differences.toml; this is not part of CI.
"""

import collections
import pathlib
import random
import sys

import capstone

from compare import Differences, Line, same
from emu import assemble, common, disassemble, plain


def word(isa, rng):
    """A random word, in hexadecimal."""
    w = rng.getrandbits(32)
    kind = rng.randrange(6)
    if isa == "arm":
        if kind == 0:
            w |= 0xF0000000
        elif kind == 1:  # Advanced SIMD, data processing and structures
            w = w & 0x01FFFFFF | rng.choice((0xF2000000, 0xF4000000))
        elif kind == 2:  # VFP
            w = w & 0x03FFF1FF | 0xEC000A00
        else:
            w = w & 0x0FFFFFFF | rng.randrange(15) << 28
        return f"{w:08x}"
    if kind == 0:
        narrow = w & 0xFFFF
        return f"{narrow:04x}" if narrow >> 11 < 29 else f"{w:08x}"
    if kind == 1:
        w = w & 0x11FFFFFF | rng.choice((0xEF000000, 0xEF000000, 0xF9000000))
    elif kind == 2:
        w = w & 0x03FFF1FF | 0xEC000A00
    else:
        w |= 0xE0000000
        if w >> 27 < 29:
            w |= 0x08000000 | rng.randrange(1, 3) << 27
    return f"{w | (0x08000000 if w >> 27 < 29 else 0):08x}"


def theirs_of(other, isa, w):
    """Capstone's text for a word."""
    halves = [w[i : i + 4] for i in range(0, len(w), 4)] if isa == "thumb" else [w]
    code = b"".join(bytes.fromhex(h)[::-1] for h in halves)
    found = next(other.disasm_lite(code, 0x8000, 1), None)
    return f"{found[2]} {found[3]}".strip() if found and found[1] == len(code) else "undefined"


def main():
    numbers = [int(a) for a in sys.argv[1:] if a.isdigit()]
    count, seed = (numbers + [200_000, 1])[0], (numbers[1:] + [1])[0]
    differences = Differences(pathlib.Path(__file__).parent / "capstone.toml")
    failures = []
    for isa, mode in (("arm", capstone.CS_MODE_ARM), ("thumb", capstone.CS_MODE_THUMB)):
        rng = random.Random(seed)
        words = sorted({word(isa, rng) for _ in range(count)})
        other = capstone.Cs(capstone.CS_ARCH_ARM, mode)
        counts = collections.Counter()
        texts = disassemble(isa, [(w, "pc=0x8000") for w in words])
        # What our text assembles to: bits that should be 0 or 1 are, while Capstone refuses or misreads words where they are not.
        proper = assemble(isa, [(plain(t), "pc=0x8000") for t in texts])
        for w, text, made in zip(words, texts, proper):
            raw = theirs_of(other, isa, w)
            if common(raw) != common(text) and not made.startswith("error") and made != w and len(made) == len(w):
                counts["of them with bits that should be otherwise"] += 1
                raw = theirs_of(other, isa, made)
            line = Line("", isa, 0x8000, w, [raw], 0)
            line.raw = text
            ours, theirs = common(text), common(raw)
            if same(ours, theirs):
                counts["undefined in both" if ours == "undefined" else "equal"] += 1
            elif classes := differences.explain_text(line, ours, theirs):
                counts["differ with reason"] += 1
                differences.used.update(c["name"] for c in classes)
            else:
                counts["DIFFER"] += 1
                failures.append(f"{isa} - {w} : ours `{ours}`, theirs `{theirs}`   {raw}")
        print(f"{isa}: {len(words)} words; " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    differences.report(failures, not numbers)


if __name__ == "__main__":
    main()
