#!/usr/bin/env python3
"""A random MicroBlaze program for the lock-step comparer: microblaze.py SEED COUNT big|little RAM FILE

FILE becomes an ELF file: vectors in local memory at 0, and from RAM (its address) on COUNT groups of instructions, every unit's, on random registers and 64 words of
memory. What QEMU 7.2 does otherwise than the manual is not asked for:
  - denormal operands and results, NaNs with other payloads (QEMU computes as IEEE 754 says, the processor flushes, and has one NaN)
  - fcmp.le and fcmp.ge (QEMU compares rA with rB, not rB with rA)
  - fint of what is no integer, or does not fit (QEMU rounds to nearest, and saturates)
  - the least number divided by -1 (QEMU dies), unaligned addresses (QEMU's boards have no exception, and access them)
  - ESR (QEMU's RTED does not clear it), MSR behind exceptions (QEMU does not clear EE)
Absent on QEMU's boards: stream links, stack protection.
"""
import random
import struct
import sys

seed, count, order, ram, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4], 0), sys.argv[5]
rnd = random.Random(seed)
words = []
REGS = [*range(2, 14), 18, 19, *range(22, 32)]
DATA, FLOATS = 20, 21


def reg():
    return rnd.choice(REGS)


def source():
    return rnd.choice([0, *REGS])


def a(op, rd, ra, rb, low=0):
    words.append(op << 26 | rd << 21 | ra << 16 | rb << 11 | low)


def b(op, rd, ra, imm):
    words.append(op << 26 | rd << 21 | ra << 16 | imm & 0xffff)


def constant(rd, x):
    b(0x2c, 0, 0, x >> 16)
    b(0x28, rd, 0, x)


def immediate():
    return rnd.choice([0, 1, 0xffff, 0x8000, 0x7fff, rnd.getrandbits(16)])


def number():
    """A float that is neither denormal nor makes one in a product or quotient with its like, but may overflow."""
    special = [0, 0x80000000, 0x7f800000, 0xff800000, 0xffc00000, 0x41000000, 0xc1000000, 0x41490fdb, 0x4e800000]
    exponent = rnd.choice([rnd.randrange(135, 160), rnd.randrange(140, 144), rnd.randrange(240, 255)])
    return rnd.choice(special) if rnd.random() < 0.3 else rnd.getrandbits(1) << 31 | exponent << 23 | rnd.choice([0, 1, 0x7fffff, rnd.getrandbits(23)])


def integer():
    """A float whose value is an integer of 32 bits."""
    return struct.unpack(">I", struct.pack(">f", float(rnd.randrange(-(1 << 24), 1 << 24) << rnd.randrange(0, 7))))[0]


def arithmetic():
    if rnd.random() < 0.3:
        b(0x2c, 0, 0, rnd.getrandbits(16))
    op = rnd.randrange(8)
    if rnd.random() < 0.5:
        a(op, reg(), source(), source())
    else:
        b(8 + op, reg(), source(), immediate())


def logic():
    op = rnd.randrange(4)
    if rnd.random() < 0.5:
        a(0x20 + op, reg(), source(), source(), 0x400 if op != 1 and rnd.random() < 0.4 else 0)
    else:
        b(0x28 + op, reg(), source(), immediate())


def shift():
    kind = rnd.randrange(4)
    if kind == 0:
        a(0x24, reg(), source(), 0, rnd.choice([1, 0x21, 0x41, 0x60, 0x61, 0xe0, 0x1e0, 0x1e2]))
    elif kind == 1:
        a(0x11, reg(), source(), source(), rnd.choice([0, 0x200, 0x400]))
    elif kind == 2:
        b(0x19, reg(), source(), rnd.choice([0, 0x200, 0x400]) | rnd.randrange(32))
    else:
        low = rnd.randrange(31)
        width = rnd.randrange(1, min(32 - low, 31) + 1)
        extract = rnd.random() < 0.5
        b(0x19, reg(), source(), (0x4000 | width << 6 if extract else 0x8000 | low + width - 1 << 6) | low)


def multiply():
    kind = rnd.randrange(4)
    if kind == 0:
        a(5, reg(), source(), source(), rnd.choice([1, 3]))
    elif kind == 1:
        a(0x10, reg(), source(), source(), rnd.randrange(4))
    elif kind == 2:
        b(0x18, reg(), source(), immediate())
    else:
        divisor = reg()
        b(0x28, divisor, 0, rnd.choice([0, 1, 2, 3, 7, 0x7fff, 0xff00]))
        a(0x12, reg(), divisor, source(), rnd.choice([0, 2]))


def memory():
    size, store, reversed_ = rnd.randrange(3), rnd.choice([0, 4]), rnd.choice([0, 0x200])
    at = rnd.randrange(256) & ~((1 << size) - 1)
    if rnd.random() < 0.2:
        a(0x32, reg(), DATA, 0, 0x400)
        a(0x36, reg(), DATA, 0, 0x400)
    elif rnd.random() < 0.5:
        index = reg()
        b(0x28, index, 0, at)
        a(0x30 + store + size, reg(), DATA, index, reversed_)
    else:
        b(0x38 + store + size, reg(), DATA, at)


def branch():
    far, slot = rnd.choice([12, 16]), rnd.choice([0, 1])
    kind = rnd.randrange(3)
    if kind == 0:
        b(0x2f, rnd.randrange(6) | slot << 4, source(), far)
    elif kind == 1:
        b(0x2e, 15 if slot else 0, slot << 4 | slot << 2 & rnd.choice([0, 4]), far)
    else:
        index = reg()
        b(0x28, index, 0, far)
        a(0x27, rnd.randrange(6) | slot << 4, source(), index)
    for _ in range(far // 4 - 1):
        a(rnd.choice([4, 5, 0x20, 0x22]), reg(), source(), source())


def floats():
    x, y = rnd.sample(REGS, 2)
    kind = rnd.randrange(8)
    if kind == 0:
        constant(x, integer())
        a(0x16, reg(), x, 0, 0x300)
        a(0x16, reg(), source(), 0, 0x280)
        return
    b(0x3a, x, FLOATS, 4 * rnd.randrange(64))
    b(0x3a, y, FLOATS, 4 * rnd.randrange(64))
    if kind < 5:
        a(0x16, reg(), x, y, rnd.randrange(4) << 7)
    elif kind == 5:
        a(0x16, reg(), x, y, 0x200 | rnd.choice([0, 1, 2, 4, 5]) << 4)
    elif kind == 6:
        a(0x16, reg(), x, 0, 0x380)
    else:
        b(0x25, reg(), 0, 0x8007)
    if rnd.random() < 0.05:
        b(0x25, 0, 0, 0xc007)


def special():
    kind = rnd.randrange(5)
    if kind == 0:
        words.append(0x94100004 | reg() << 21 | rnd.getrandbits(1) << 16)  # msrset, msrclr: the carry
    elif kind == 1:
        b(0x25, reg(), 0, 0x8000)
    elif kind == 2:
        b(0x2e, rnd.choice([0, 1, 2]), 2, 4)
    elif kind == 3:
        a(0x24, 0, source(), source(), rnd.choice([0x64, 0x74, 0x66, 0x68]))
    else:
        b(0x25, reg(), 0, rnd.choice([0x8003, 0x800b]))


data, table = ram + 0x100000, ram + 0x100100
for r in REGS:
    constant(r, rnd.choice([rnd.getrandbits(32), rnd.getrandbits(8), 0, 0xffffffff, 0x80000000]))
constant(DATA, data)
constant(FLOATS, table)
if seed & 1:
    words.append(0x94100100)  # msrset r0, 0x100: exceptions
for _ in range(count):
    rnd.choices([arithmetic, logic, shift, multiply, memory, branch, floats, special], [3, 2, 3, 3, 3, 2, 6, 1])[0]()
words.append(0xb8000000)
vectors = [0] * 8 + [0xb6910000, 0x80000000]  # rted r17, 0; or r0, r0, r0
values = [rnd.getrandbits(32) for _ in range(64)] + [number() for _ in range(64)]
end = ">" if order == "big" else "<"
segments = [(at, b"".join(struct.pack(end + "I", w) for w in ws)) for at, ws in [(0, vectors), (ram, words), (data, values)]]
offset = 52 + 32 * len(segments)
out = b"\x7fELF" + bytes([1, 2 if order == "big" else 1, 1]) + bytes(9)
out += struct.pack(end + "HHIIIIIHHHHHH", 2, 189, 1, ram, 52, 0, 0, 52, 32, len(segments), 40, 0, 0)
for at, body in segments:
    out += struct.pack(end + "8I", 1, offset, at, at, len(body), len(body), 7, 4)
    offset += len(body)
with open(path, "wb") as file:
    file.write(out + b"".join(body for _, body in segments))
print(len(words))
