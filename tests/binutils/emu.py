"""`emu isa` as a library: disassembles and assembles many lines with one process, and brings assembly text to a common form."""

import os
import re
import subprocess

EMU = os.environ.get("EMU", "target/release/emu")

# Privileged, with the floating-point unit enabled: everything there is decodes.
MODES = {"arm": ["pl=1", "fp_access=1", "fp_on=1"], "thumb": ["thumb=1", "pl=1", "fp_access=1", "fp_on=1"], "microblaze": []}


def answers(command, isa, lines):
    """The answers of `emu isa COMMAND ISA -` to lines of (text, settings)."""
    name = "arm" if isa == "thumb" else isa
    modes = [word for mode in MODES[isa] for word in ("--mode", mode)]
    text = "".join(f"{text.expandtabs(1)}\t{settings}\n" for text, settings in lines)
    done = subprocess.run([EMU, "isa", command, name, "-", *modes], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{EMU} isa {command} {isa}: {done.stderr}")
    found = done.stdout.splitlines()
    assert len(found) == len(lines), f"{len(lines)} lines asked, {len(found)} answered"
    return found


def disassemble(isa, lines):
    """Texts of (word in hexadecimal, settings); `undefined` for what is not an instruction. What is UNPREDICTABLE says so in a comment."""
    return [line.split("  ", 1)[1] for line in answers("disasm", isa, lines)]


def assemble(isa, lines):
    """Words in hexadecimal of (text, settings), or `error: ...`."""
    return answers("asm", isa, lines)


ALIASES = {"sb": "r9", "sl": "r10", "fp": "r11", "ip": "r12"}
NUMBER = re.compile(r"(?<![\w.])(-?)(0x[0-9a-f]+|\d+)(?![\w.])")


def spelled_out(m):
    """A range of registers as a list."""
    first, last = int(m[2]), int(m[5])
    return ",".join(f"{m[1]}{i}{m[3] or ''}" for i in range(first, last + 1)) if m[1] == m[4] and first < last else m[0]


def plain(text):
    """Text without comments and names of branch targets."""
    text = re.sub(r"\s*(@|;|//).*", "", text)
    text = re.sub(r"(?<![\w#])([0-9a-f]+) <[^>]*>", r"0x\1", text)
    return re.sub(r"<[^>]*>", "", text).strip()


def common(text):
    """Text without what carries no meaning: letter case, spaces, comments, radix of integers, names of branch targets, r9-r12's other names, ranges in lists of
    registers."""
    text = plain(text.lower())
    text = re.sub(r"\b(sb|sl|fp|ip)\b", lambda m: ALIASES[m[0]], text)
    text = NUMBER.sub(lambda m: m[1] + str(int(m[2], 16 if "x" in m[2] else 10)), text)
    text = re.sub(r"\b([rsdq])(\d+)(\[\d*\])?\s*-\s*([rsdq])(\d+)(\[\d*\])?", spelled_out, text)
    words = text.split(None, 1)
    return " ".join([words[0], "".join(words[1].split())]) if len(words) == 2 else "".join(words)
