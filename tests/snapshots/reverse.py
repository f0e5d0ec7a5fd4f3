"""What gdb-multiarch executes for tests/snapshots/reverse.sh: steps forward and back through the same addresses, to a breakpoint of before, to the beginning, and to a write.

EMU_STEPS: how many steps. EMU_TARGET: where the emulator listens. EMU_START: an address to begin at, when it was come by EMU_IGNORE times."""

import os
import time

import gdb

N = int(os.environ["EMU_STEPS"])
failed = 0


def say(good, what):
    global failed
    failed += not good
    print(("ok: " if good else "FAILED: ") + what, flush=True)


def do(command):
    return gdb.execute(command, to_string=True)


def pc():
    return int(gdb.parse_and_eval("$pc")) & 0xFFFFFFFF


def registers():
    return [int(gdb.parse_and_eval(f"$r{n}")) & 0xFFFFFFFF for n in range(15)] + [pc(), int(gdb.parse_and_eval("$cpsr")) & 0xFFFFFFFF]


def step(command):
    try:
        do(command)
    except gdb.MemoryError:
        # It looks for callers, which it does not find without symbols; the step was made.
        pass


for setting in ("pagination off", "confirm off", "architecture arm", "remotetimeout 300"):
    do("set " + setting)
do("target remote " + os.environ["EMU_TARGET"])
if "EMU_START" in os.environ:
    do("hbreak *" + os.environ["EMU_START"])
    do("ignore 1 " + os.environ.get("EMU_IGNORE", "0"))
    do("continue")
    do("delete")
seen = []
for _ in range(N):
    seen.append(registers())
    step("stepi")
end = registers()
begun, wrong = time.time(), 0
for was in reversed(seen):
    step("reverse-stepi")
    wrong += registers() != was
say(wrong == 0, f"{N} steps undone, {wrong} wrong, {1000 * (time.time() - begun) / N:.1f} ms each")
for _ in range(N):
    step("stepi")
say(registers() == end, "and done again, to the same end")
# The address that was come by least, but for the first and last.
addresses = [was[15] for was in seen]
rare = min(addresses[N // 4 : N // 2], key=addresses.count)
last = max(n for n, address in enumerate(addresses) if address == rare)
do(f"hbreak *{rare:#x}")
begun = time.time()
do("reverse-continue")
say(registers() == seen[last], f"back to the last time at {rare:#x}, {time.time() - begun:.2f} s")
do("delete")
for _ in range(N - last):
    step("stepi")
say(registers() == end, "on to the end again")
if "EMU_START" not in os.environ:
    do("reverse-continue")
    say(pc() == 0x100000, f"back to where the history begins: {pc():#x}")
    # The demo wakes the second core by a store there. Undone, the word is as it was before.
    word = "*(unsigned*)0xfffffff0"
    do("watch " + word)
    do("continue")
    new = int(gdb.parse_and_eval(word))
    do("stepi 20")
    do("reverse-continue")
    say(new != 0 and int(gdb.parse_and_eval(word)) == 0, f"back to before the store of {new:#x}")
try:
    do("kill")
except gdb.error:
    pass
os._exit(failed > 0)
