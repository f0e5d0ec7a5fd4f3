#!/usr/bin/env python3
"""Compares `emu isa disasm` and `emu isa asm` with the listings of binutils' assembler tests (gas/testsuite/gas/*/*.d).

compare.py FOLDER [ISA] [-v]: FOLDER holds arm/ and microblaze/; ISA is arm, thumb or microblaze.

A listing is a file of regular expressions for objdump's output. Each of its lines that shows an instruction is turned back into address, word and text. Our text
for the word must be binutils' text, and binutils' text must assemble to the word, if our assembler takes it. What differs must be explained by a class in
differences.toml; a class that explains nothing any more is an error as well.
"""

import collections
import fnmatch
import functools
import itertools
import pathlib
import re
import sys
import tomllib

from emu import assemble, common, disassemble, plain

HERE = pathlib.Path(__file__).parent
WILD = "…"

WORD = re.compile(
    r"^\s*(?P<address>[0-9a-f+*\[\]\- ]*?)\s*(?:<.*?>)?:?\s+(?:0x)?(?P<word>[0-9a-f]{8}|[0-9a-f]{4} [0-9a-f]{4}|[0-9a-f]{4})(?: ?[?*+]?[ \t]+|(?=\.[*+])|(?=\[)|(?= ?\\s\+))(?P<text>\S.*)$"
)


def literals(regex):
    """The texts a listing's line stands for, alternatives expanded; WILD where anything may be. None: more of a pattern than that."""
    parts = [""]
    i = 0
    while i < len(regex):
        c = regex[i]
        if c == "\\" and i + 1 < len(regex):
            piece, i = (" " if regex[i + 1] in "st" else regex[i + 1]), i + 2
        elif c == "(":
            end = regex.find(")", i)
            while end > 0 and regex[end - 1] == "\\":
                end = regex.find(")", end + 1)
            if end < 0:
                return None
            choices = [literals(choice) for choice in regex[i + 1 : end].split("|")]
            if None in choices:
                return None
            i = end + 1
            if regex[i : i + 1] == "?":
                choices, i = choices + [[""]], i + 1
            parts = [p + q for p in parts for q in itertools.chain(*choices)]
            continue
        elif c == "[":
            end = regex.index("]", regex.index(":]", i) + 2 if regex.startswith("[[:", i) else i + 2)
            inside, i = regex[i + 1 : end], end + 1
            piece = " " if not inside.strip(" \t\\t") or inside == "[:space:]" else inside if len(inside) == 1 else WILD
        elif c == ".":
            piece, i = (WILD if regex[i + 1 : i + 2] in ("*", "+") else "."), i + 1
        elif c == "$" and i + 1 == len(regex):
            break
        elif c in "^|":
            return None
        else:
            piece, i = c, i + 1
        if regex[i : i + 1] in ("*", "+"):
            i += 1
        elif regex[i : i + 1] == "?":
            i += 1
            if piece != " ":
                parts = parts + [p + piece for p in parts]
                continue
        parts = [p + piece for p in parts]
    return parts


def it_state(mnemonic, condition):
    """ITSTATE after an IT instruction."""
    first = "eq ne cs cc mi pl vs vc hi ls ge lt gt le al".split().index(condition)
    low = [first & 1 if letter == "t" else 1 - (first & 1) for letter in mnemonic[2:]] + [1] + [0] * (5 - len(mnemonic))
    return first << 4 | int("".join(map(str, low)), 2)


class Line:
    """One instruction of a listing."""

    def __init__(self, file, isa, address, word, texts, it):
        self.file, self.isa, self.word, self.texts = file, isa, word, texts
        self.address, self.relocated = address, False
        self.settings = f"pc={address:#x}" + (f" it={it}" if it else "")
        self.raw = " | ".join(texts).replace(WILD, "...")
        self.wild = any(WILD in t for t in texts)
        self.theirs = ["undefined" if re.search(r"undefined", t, re.I) else common(t) for t in texts]


def listing(path, folder):
    """The instructions of a .d file, and its `#as:` options."""
    text = path.read_text(errors="replace")
    options = " ".join(re.findall(r"^#\s*as:(.*)$", text, re.M))
    found = []
    # An address may be a pattern: then it is that after the line before, and a section begins at 0.
    following, it = 0, 0
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("Disassembly"):
            following, it = 0, 0
        if found and re.match(r"\s*\S+:?\s+(?:R|ARM|MICROBLAZE)_[A-Z0-9]+", line):
            found[-1].relocated = True
        m = WORD.match(line)
        if not m:
            if m := re.search(r"[ \t](it[te]{0,3})[ \t]+(\w\w)$", line):
                following, it = following + 2, it_state(*m.groups())
            continue
        digits = m["address"].replace("0+", "0").strip()
        address = int(digits, 16) if re.fullmatch(r"[0-9a-f]+", digits) else following
        word = m["word"].replace(" ", "")
        isa = folder if folder == "microblaze" else "thumb" if len(m["word"]) != 8 else "arm"
        if address != following:
            it = 0
        following = address + len(word) // 2
        text, together, _ = re.sub(r"(?:[ \t]|\[.*?\]\+?)*[0-9a-f]+: R_", "\0", m["text"]).partition("\0")
        texts = literals(text)
        if texts is None or any(re.match(r"[0-9a-f]{8}\b", t) or not re.match(r"[\s*…]*[a-z<]", t, re.I) or re.match(r"\s*R_", t) for t in texts):
            continue
        found.append(Line(path.name, isa, address, word, texts, it if isa == "thumb" else 0))
        found[-1].relocated = bool(together)
        value = int(word, 16)
        if isa == "thumb" and value >> 8 == 0xBF and value & 15:
            it = value & 0xFF
        else:
            it = it & 0xE0 | it << 1 & 0x1F if it & 7 else 0
    return found, options


def register(n):
    return "sp" if n == 13 else f"r{n}"


def pc(line):
    return (line.address + (4 if line.isa == "thumb" else 8)) & ~3


def adr(line, m):
    offset = int(m[3])
    return f"adr{'.w' if m[1] else ''} {m[2]},{pc(line) + (-offset if m[0].startswith('sub') else offset) & 0xFFFFFFFF}"


def constant(i):
    """VFPExpandImm."""
    return (-1 if i >> 7 else 1) * (16 + (i & 15)) / 16 * 2.0 ** ((i >> 4 & 7 ^ 4) - 3)


def coprocessor(line, m):
    operation = f"#{m[3]}" if m[3] else ""
    rest = re.sub(r"\bcr(\d+)", r"c\1", m[4])
    last = "" if m[5] is None else f",{{{m[5]}}}" if m[1].startswith(("ldc", "stc")) else f",#{m[5]}"
    return f"{m[1]} p{m[2]},{operation}{rest}{last}{m[6]}"


# What a class's `become` may name in place of a replacement: functions of the line and the match.
COMPUTED = {
    # A negative number as the 32 bits it is.
    "unsigned": lambda line, m: str(int(m[0]) & 0xFFFFFFFF),
    # Group 1 rotated right by group 2.
    "rotated": lambda line, m: str((int(m[1]) >> int(m[2]) | int(m[1]) << 32 - int(m[2])) & 0xFFFFFFFF),
    # Group 1, then the address that group 2 is the offset of from the PC.
    "literal": lambda line, m: m[1] + str(pc(line) + int(m[2] or 0) & 0xFFFFFFFF),
    "target": lambda line, m: f"{m[1]}{pc(line) + int(m[2]) & 0xFFFFFFFF}",
    # VEXT of larger elements counts in bytes.
    "bytes": lambda line, m: f"vext.8 {m[2]},#{int(m[3]) * int(m[1]) // 8}",
    "float": lambda line, m: str(float(m[0])),
    "psr": lambda line, m: {"nzcvqg": "cpsr_fs", "nzcvq": "cpsr_f", "g": "cpsr_s"}[m[1]],
    "it": lambda line, m: m[1] + {"hs": "cs", "lo": "cc"}[m[2]],
    "strip": lambda line, m: m[1] + (" " if m.string != m[0] else ""),
    "adr": adr,
    "coprocessor": coprocessor,
    "push": lambda line, m: "push.w " if m[0].startswith("stm") else "pop.w ",
    "push-one": lambda line, m: f"{'push' if m[1] else 'pop'}.w {{{m[3]}}}",
    "stack": lambda line, m: {"ldmfd": "ldm", "stmfd": "stmdb"}[m[0]],
    # Group 1, then the number that the 8 bits of group 2 encode.
    "constant": lambda line, m: f"{m[1]}{constant(int(m[2]))}",
    # The second register of a doubleword.
    "pair": lambda line, m: f"{m[1]}r{m[2]},{register(int(m[2]) + 1)},",
}


class Differences:
    """The classes of differences.toml, and how often each was needed."""

    def __init__(self, path):
        self.file = path.name
        table = tomllib.loads(path.read_text())
        self.skips = table.get("skip", [])
        self.classes = table.get("difference", [])
        self.used = collections.Counter()
        for c in self.classes:
            c["pattern"] = re.compile(c.get("theirs", ".*"))

    def applies(self, c, line):
        return (
            line.isa in c.get("isa", line.isa).split()
            and any(fnmatch.fnmatch(line.file, f) for f in c.get("file", "*").split())
            and line.word in c.get("word", line.word).split()
            and (not c.get("relocated") or line.relocated)
            and re.search(c.get("note", ""), line.raw) is not None
        )

    def explain_text(self, line, ours, theirs, start=0):
        """The fewest classes from `start` on that together, in their order, turn `theirs` into `ours`; None if there are none."""
        best = None
        for i in range(start, len(self.classes)):
            c = self.classes[i]
            if c.get("of", "text") == "bytes" or not self.applies(c, line):
                continue
            if "ours" in c:
                found = [] if c["pattern"].fullmatch(theirs) and re.fullmatch(c["ours"], ours) else None
            else:
                become = c["become"]
                if become in COMPUTED:
                    become = functools.partial(COMPUTED[become], line)
                changed = c["pattern"].sub(become, theirs)
                found = None if changed == theirs else [] if same(ours, changed) else self.explain_text(line, ours, changed, i + 1)
            if found is not None and (best is None or len(found) + 1 < len(best)):
                best = [c, *found]
        return best

    def explain_bytes(self, line, made):
        for c in self.classes:
            if c.get("of", "text") != "text" and self.applies(c, line) and c["pattern"].fullmatch(line.theirs[0]) and re.fullmatch(c["ours"], made):
                return [c]
        return None

    def report(self, failures, whole):
        """Prints the classes and the failures, and ends. After the whole comparison, a class that nothing needed is a failure too."""
        for c in self.classes:
            if self.used[c["name"]]:
                print(f"  {self.used[c['name']]:6}  {c['name']}: {c['reason']}")
            elif whole:
                failures.append(f"{self.file}: `{c['name']}` explains nothing any more; take it out")
        for f in failures if "-v" in sys.argv else failures[:40]:
            print(f)
        print(f"{len(failures)} unexplained")
        sys.exit(1 if failures else 0)


def same(ours, theirs):
    if WILD in theirs:
        return re.fullmatch(".*".join(re.escape(p.replace(" ", "")) for p in theirs.split(WILD)), ours.replace(" ", "")) is not None
    return ours == theirs


def skipped(differences, path, options):
    for s in differences.skips:
        if any(fnmatch.fnmatch(path.name, f) for f in s.get("file", "").split()) or ("options" in s and re.search(s["options"], options)):
            return s["reason"]
    return None


def main():
    arguments = [a for a in sys.argv[1:] if a != "-v"]
    root, only = pathlib.Path(arguments[0]), (arguments[1:] or [None])[0]
    differences = Differences(HERE / "differences.toml")
    skips, empty, files, lines = collections.Counter(), 0, 0, []
    for folder in ("arm", "microblaze"):
        for path in sorted((root / folder).glob("*.d")):
            found, options = listing(path, folder)
            reason = found and skipped(differences, path, options)
            if not found:
                empty += 1
            elif reason:
                skips[reason] += 1
            else:
                files += 1
                lines += [l for l in found if only in (None, l.isa)]
    print(f"{files} listings with instructions, {empty} without, {sum(skips.values())} not for these instruction sets:")
    for reason, count in skips.most_common():
        print(f"  {count:5}  {reason}")

    failures = []
    for isa in ("arm", "thumb", "microblaze"):
        these = [l for l in lines if l.isa == isa]
        if not these:
            continue
        counts = collections.Counter()
        texts = disassemble(isa, [(l.word, l.settings) for l in these])
        for line, text in zip(these, texts):
            ours = common(text)
            line.agrees = any(same(ours, t) for t in line.theirs)
            if line.agrees:
                counts["texts equal"] += 1
                continue
            for theirs in line.theirs:
                classes = differences.explain_text(line, ours, theirs)
                if classes:
                    counts["texts differ with reason"] += 1
                    differences.used.update(c["name"] for c in classes)
                    break
            else:
                counts["texts DIFFER"] += 1
                failures.append(f"{isa} {line.file} {line.word} {line.settings}: ours `{ours}`, theirs `{' | '.join(line.theirs)}`   {line.raw}")

        # The other way: binutils' text through our assembler, as it stands and in the common form.
        whole = [
            (l, t) for l, t in zip(these, texts) if not l.wild and len(l.texts) == 1 and l.theirs[0] != "undefined" and not l.relocated
        ]
        raw = assemble(isa, [(plain(l.texts[0]), l.settings) for l, _ in whole])
        tidy = assemble(isa, [(l.theirs[0], l.settings) for l, _ in whole])
        made = [w if w == l.word or t.startswith("error") else t for (l, _), w, t in zip(whole, raw, tidy)]
        again = disassemble(isa, [(w if not w.startswith("error") else "0", l.settings) for (l, _), w in zip(whole, made)])
        for (line, text), word, back in zip(whole, made, again):
            if word == line.word:
                counts["bytes equal"] += 1
            elif word.startswith("error") and not line.agrees:
                counts["syntax not taken"] += 1
            elif not word.startswith("error") and common(back) == common(text):
                counts["bytes of another encoding of the same text"] += 1
            elif classes := differences.explain_bytes(line, word):
                counts["bytes differ with reason"] += 1
                differences.used.update(c["name"] for c in classes)
            else:
                counts["bytes DIFFER"] += 1
                failures.append(f"{isa} {line.file} {line.word} {line.settings}: `{line.theirs[0]}` assembles to {word} (`{back}`)")
        print(f"{isa}: {len(these)} lines; " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    differences.report(failures, only is None)


if __name__ == "__main__":
    main()
