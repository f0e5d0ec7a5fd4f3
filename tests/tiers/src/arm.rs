//! ARM: A32 and T32, with the MMU on or off.

use crate::bus::{DEVICE, RAM};
use crate::case::{Case, Run};
use crate::guest::Guest;
use crate::instructions::Instructions;
use crate::program::{DATA, Dialect, ODD, PAGE, Program};
use crate::random::Random;
use crate::writer::Writer;
use emu_ir::guest::Isa;
use emu_isa_arm::{System, TABLES};

/// The first-level table covers 32 MiB; the second-level one RAM.
const FIRST: u32 = 0x3_e000;
const SECOND: u32 = 0x3_f000;
/// Where handlers keep what they need, for each mode.
const HANDLERS: u32 = 0xf000;

const BASE: Dialect = Dialect {
    nop: "nop",
    relative: false,
    reserved: &["r5", "r6", "r11", "r13"],
    scratch: &[("r7", 7), ("r8", 8)],
    general: &["r0", "r1", "r2", "r3", "r4"],
    base: (&["rn", "ln"], 6),
    index: (&["rm", "lm"], 5),
    displacement: &["imm12"],
    constant: &["movw {s}, #{low}", "movt {s}, #{high}"],
    load: "ldr {t}, [{s}]",
    store: "str {t}, [{s}]",
    together: &[
        &["ldm {s}, {r0-r3}"],
        &["stm {s}!, {r0, r1, r3, r4}", "?", "ldmdb {s}!, {r0, r1, r3, r4}"],
        &["ldrd r0, r1, [{s}, #8]", "strd r0, r1, [{s}, #-8]"],
        &["ldr r0, [{s}, #4]", "str r0, [{s}, #8]", "ldr r1, [{s}, #-4]"],
        &["ldrb r0, [{s}]", "ldrb r1, [{s}, #1]", "ldrh r2, [{s}, #2]", "strb r1, [{s}, #5]"],
        &["vldmia {s}!, {d0-d3}", "?", "vstmdb {s}!, {d1-d2}"],
        &["vld1.32 {d0, d1}, [{s}]", "vst1.32 {d1}, [{s}]"],
    ],
    repeat: ("movw r11, #{n}", &["subs r11, r11, #1", "bne @"]),
    branches: &[&["beq @"], &["bne @"], &["bcs @"], &["bmi @"], &["bvc @"], &["bhi @"], &["bge @"], &["bgt @"], &["b @"]],
    branch_len: 4,
    call: &["bl @"],
    call_register: &["blx {s}"],
    functions: &[(&[], &["bx lr"]), (&["push {r4, lr}"], &["pop {r4, pc}"]), (&["push {r0, r1, lr}", "?"], &["pop {r0, r1, pc}"])],
    jump_register: &["bx {s}"],
    lines: LINES,
    tag: |key| key as u32 & 1,
};

const LINES: &[&[&str]] = &[
    &["svc #{n}"],
    &["udf #{n}"],
    &["cpsie aif"],
    &["cpsid if"],
    &["cps #31"],
    &["cps #19"],
    &["setend be", "?", "?", "setend le"],
    &["push {r0-r3}", "?", "pop {r0-r3}"],
    &["vmrs r0, fpscr", "eor r0, r0, #0x1000000", "vmsr fpscr, r0"],
    &["vmul.f32 s0, s1, s2", "vmrs r0, fpscr", "eor r0, r0, #0x2400000", "vmsr fpscr, r0", "vmul.f32 s3, s1, s2", "vdiv.f64 d4, d0, d1"],
    &["vmrs r0, fpscr", "vmrs apsr_nzcv, fpscr"],
    &["ldrex r0, [r6]", "add r0, r0, #1", "strex r1, r0, [r6]"],
    &["ldrexd r0, r1, [r6]", "?", "strexd r2, r0, r1, [r6]"],
    &["ldrex r0, [r6]", "?", "clrex", "strex r1, r0, [r6]"],
    &["mcr p15, 0, r0, c7, c5, 0", "isb sy"],
    &["mrc p15, 0, r0, c1, c0, 0", "eor r0, r0, #2", "mcr p15, 0, r0, c1, c0, 0"],
    &["movw r0, #{n}", "mcr p15, 0, r0, c13, c0, 1"],
    &["mcr p15, 0, r0, c8, c7, 0"],
    &["wfi"],
    &["wfe"],
    &["sev"],
    &["vmov d0, r0, r1", "vmov d1, r2, r3", "vadd.f64 d2, d0, d1", "vmul.f64 d3, d2, d0"],
    &["vldr d0, [r6]", "vldr d1, [r6, #8]", "vdiv.f64 d2, d0, d1", "vstr d2, [r6, #16]"],
    &["vcvt.s32.f32 s0, s1", "vcvt.f64.f32 d1, s0", "vsqrt.f32 s3, s4"],
];

const A32: Dialect = BASE;
const T32: Dialect = Dialect {
    branches: &[
        &["beq @"],
        &["bne @"],
        &["bcc @"],
        &["bpl @"],
        &["bvs @"],
        &["bls @"],
        &["blt @"],
        &["ble @"],
        &["b @"],
        &["cbz r0, @"],
        &["cbnz r1, @"],
    ],
    lines: THUMB_LINES,
    ..BASE
};
const THUMB_LINES: &[&[&str]] = &[
    &["it eq", "?"],
    &["ite ne", "?", "?"],
    &["ittet cs", "?", "?", "?", "?"],
    &["itte gt", "?", "?", "?"],
    &["it mi", "cmp r0, r1", "?"],
    &["svc #{n}"],
    &["udf #{n}"],
    &["cpsie if"],
    &["setend be", "?", "?", "setend le"],
    &["push {r0-r3}", "?", "pop {r0-r3}"],
    &["vmul.f64 d0, d1, d2", "vmrs r0, fpscr", "eor r0, r0, #0x1c00000", "vmsr fpscr, r0", "vmul.f64 d3, d1, d2"],
    &["ldrex r0, [r6]", "add r0, r0, #1", "strex r1, r0, [r6]"],
    &["ldrexd r0, r1, [r6]", "?", "strexd r2, r0, r1, [r6]"],
    &["mcr p15, 0, r0, c7, c5, 0", "isb sy"],
    &["mcr p15, 0, r0, c8, c7, 0"],
    &["vldr d0, [r6]", "vldr d1, [r6, #8]", "vdiv.f64 d2, d0, d1", "vstr d2, [r6, #16]"],
];

static DIALECTS: [Dialect; 2] = [A32, T32];

/// Exceptions count, and go on behind the instruction; where there is no instruction, at the program's entry.
const VECTORS: &[&str] = &[
    "b 0x60",
    "b 0x20",
    "b 0x20",
    "b 0x60",
    "b 0x38",
    "b 0x60",
    "b 0x40",
    "b 0x40", //
    // 0x20: undefined, supervisor call
    "push {r0}",
    "ldr r0, [sp, #4]",
    "add r0, r0, #1",
    "str r0, [sp, #4]",
    "pop {r0}",
    "movs pc, lr", //
    // 0x38: data abort
    "sub lr, lr, #4",
    "b 0x20", //
    // 0x40: interrupts; the device lowers its lines
    "push {r0, r1}",
    "mov r0, #0x100000",
    "mov r1, #0",
    "str r1, [r0]",
    "pop {r0, r1}",
    "subs pc, lr, #4",
    "nop",
    "nop", //
    // 0x60: a new beginning, with the modes and at the address that lie here
    "ldr lr, 0x80",
    "msr spsr_fsxc, lr",
    "ldr lr, 0x84",
    "movs pc, lr",
];
const RESTART: u32 = 0x80;

/// A model.
#[derive(Clone, Copy, Debug)]
pub struct Arm(pub &'static str);

type Cpu = emu_isa_arm::Arm<System>;

impl Guest for Arm {
    type Isa = Cpu;

    fn model(&self) -> &'static str {
        self.0
    }

    fn tables(&self) -> &'static str {
        TABLES
    }

    fn isa(&self) -> Cpu {
        emu_isa_arm::Arm::model(self.0, System::new(self.0)).expect("a model of the specification")
    }

    fn nop(&self) -> &'static str {
        BASE.nop
    }

    fn plain(&self, token: usize) -> Vec<u64> {
        let isa = self.isa();
        let layout = isa.layout();
        let mut cells = vec![0; layout.cells];
        isa.reset(&mut cells);
        for (name, value) in [("cpacr", 0x00f0_0000), ("fpexc_en", 1), ("T", token as u128)] {
            layout.slot(name).into_iter().for_each(|slot| layout.write(&mut cells, slot, value));
        }
        cells
    }

    fn typical(&self, field: &str) -> Option<u64> {
        Some(match field {
            "cond" => 14,
            "rd" | "rt" | "ld" | "lt" | "lo" | "vd" => 0,
            "rn" | "ln" | "hi" | "rt2" | "vn" => 1,
            "rm" | "lm" | "vm" => 2,
            "rs" | "ra" => 3,
            "imm8" | "imm12" | "imm5" => 4,
            "regs" => 0b1110,
            _ => return None,
        })
    }

    fn variants(&self) -> &'static [&'static str] {
        &["S"]
    }

    fn case<'a>(&self, random: &'a mut Random, mut w: Writer<'a>, instructions: &'a mut Instructions<'a, Cpu>) -> Case {
        let isa = self.isa();
        let layout = isa.layout();
        let mut cells = vec![0; layout.cells];
        isa.reset(&mut cells);
        let mut set = |name: &str, value: u64| {
            let slot = layout.slot(name).unwrap_or_else(|| panic!("there is no state {name}"));
            layout.write(&mut cells, slot, value.into());
        };
        let mmu = random.once_in(2);
        let strict = random.once_in(6);
        set("sctlr", 0x00c5_0078 | u64::from(mmu) | u64::from(strict) << 1);
        set("ttbcr", 0x27);
        set("ttbr0", FIRST.into());
        set("dacr", if random.once_in(8) { 3 } else { 1 });
        set("contextidr", random.below(4).into());
        set("cpacr", 0x00f0_0000);
        set("fpexc_en", 1);
        for (name, chance) in [("FZ", 3), ("DN", 3), ("AHP", 8)] {
            set(name, random.once_in(chance).into());
        }
        set("RMode", if random.once_in(2) { 0 } else { random.below(4).into() });
        for name in ["A", "I", "F"] {
            set(name, random.once_in(2).into());
        }
        let mode = random.pick(&[0x13, 0x1f, 0x10, 0x12, 0x11]);
        set("M", mode);
        for (i, mode) in ["fiq", "irq", "svc", "abt", "und", "usr"].iter().enumerate() {
            set(&format!("r13_{mode}"), (HANDLERS + 0x200 * (i as u32 + 1)).into());
        }
        for name in ["n", "z", "c", "v", "Q"] {
            set(name, random.once_in(2).into());
        }
        set("GE", random.below(16).into());
        for i in 0..15 {
            set(&format!("r{i}"), random.edge().into());
        }
        for i in 0..32 {
            set(&format!("d{i}"), random.edge64());
        }
        // Code of this privilege, in both instruction sets.
        let slot = |name: &str| layout.slot(name).unwrap_or(isa.pc());
        let mut runs = Vec::new();
        w.section(0, isa.block_key(&vec![0; layout.cells]).0);
        for line in VECTORS {
            w.branch(line, 0, false);
        }
        w.items.clear();
        tables(random, &mut w);
        w.data(random);
        let key = isa.block_key(&cells).0 & !1;
        if random.once_in(16) {
            layout.write(&mut cells, slot("fpexc_en"), 0);
        }
        let both = [key, key | 1];
        let keys = random.pick(&[&both[..1], &both[1..], &both]);
        let mut program = Program::new(random, w, instructions, |key| &DIALECTS[key as usize & 1], SPECIAL);
        program.write(keys);
        let Program { random, mut w, entries, .. } = program;
        let (at, key) = entries[0];
        w.word(RESTART, (key as u32 & 1) << 5 | mode as u32 | 0xc0);
        w.word(RESTART + 4, at);
        for index in 0..3 + random.below(8) {
            let mut pokes: Vec<(emu_ir::Slot, u128)> = Vec::new();
            if index == 0 || random.once_in(2) {
                let (at, key) = random.pick(&entries);
                let data = DATA + 0x100 * random.below(0x70);
                pokes.extend([(slot("pc"), at.into()), (slot("T"), u128::from(key & 1)), (slot("ITSTATE"), 0), (slot("M"), mode.into())]);
                pokes.extend([(slot("r6"), data.into()), (slot("r5"), random.below(32).into()), (slot("r13"), (data + 0x800).into())]);
            }
            let levels = random.once_in(4).then(|| random.below(4).into());
            let most = random.pick(&[40, 900, 900, 3000]);
            let budget = random.below(most);
            runs.push(Run { budget: budget.into(), pokes, levels });
        }
        Case { cells, ram: w.ram, items: w.items, runs }
    }
}

/// Translation tables: RAM as it is, but for the odd pages; the device; the same memory elsewhere.
fn tables(random: &mut Random, w: &mut Writer<'_>) {
    const SECTION: u32 = 2;
    const FULL: u32 = 3 << 10;
    let firsts = [
        SECOND | 1,
        DEVICE as u32 | SECTION | FULL,
        0x20_0000 | SECTION | FULL,
        0,
        SECTION | FULL,
        SECTION | FULL | 1 << 17,
        SECTION | FULL | 1 << 15,
        SECTION | 1 << 10,
        SECTION | FULL | 1 << 4,
    ];
    for (i, first) in firsts.iter().enumerate() {
        w.word(FIRST + 4 * i as u32, *first);
    }
    for page in 0..(RAM as u32 / PAGE) {
        let odd = (ODD / PAGE..ODD / PAGE + 16).contains(&page);
        let entry = if odd { descriptor(random) } else { (page * PAGE) | 0x32 };
        w.word(SECOND + 4 * page, entry);
    }
}

/// A second-level descriptor: of a page of data, code, or itself, with any permissions.
fn descriptor(random: &mut Random) -> u32 {
    let page = random.pick(&[DATA, DATA + PAGE, DATA + 2 * PAGE, 0x1000, 0x2000, 0x3000, ODD, ODD + PAGE, DEVICE as u32]);
    let access = random.pick(&[0x30, 0x30, 0x30, 0x10, 0x20, 0x220, 0x230, 0]);
    let kind = random.pick(&[2, 2, 2, 2, 3, 0]);
    page | access | kind | u32::from(random.once_in(3)) << 11
}

const SPECIAL: &[fn(&mut Program<'_, Cpu>)] = &[remap];

/// Maps an odd page elsewhere, and says so; or not.
fn remap(p: &mut Program<'_, Cpu>) {
    let page = ODD / PAGE + p.random.below(16);
    let entry = descriptor(p.random);
    p.constant(1, entry);
    p.constant(0, SECOND + 4 * page);
    p.lines(&["str {t}, [{s}]"], 0);
    let by = (page * PAGE) | p.random.below(4);
    p.constant(0, by);
    let flush = p.random.pick(&[
        "mcr p15, 0, {s}, c8, c7, 1",
        "mcr p15, 0, {s}, c8, c7, 3",
        "mcr p15, 0, {s}, c8, c7, 2",
        "mcr p15, 0, {s}, c8, c3, 0",
        "nop",
    ]);
    p.lines(&[flush], 0);
}
