//! MicroBlaze, of both byte orders, with the MMU on or off.

use crate::bus::{DEVICE, RAM};
use crate::case::{Case, Run};
use crate::guest::Guest;
use crate::instructions::Instructions;
use crate::program::{DATA, Dialect, ODD, PAGE, Program};
use crate::random::Random;
use crate::writer::Writer;
use emu_ir::guest::Isa;
use emu_isa_microblaze::{System, TABLES};

static DIALECT: Dialect = Dialect {
    nop: "or r0, r0, r0",
    relative: true,
    reserved: &["r20", "r21", "r22"],
    scratch: &[("r6", 6), ("r7", 7)],
    general: &["r3", "r4", "r5", "r8", "r9"],
    base: (&["ra"], 20),
    index: (&["rb"], 21),
    displacement: &["i16"],
    constant: &["imm {high}", "addik {s}, r0, {low}"],
    load: "lwi {t}, {s}, 0",
    store: "swi {t}, {s}, 0",
    together: &[
        &["lwi r3, {s}, 0", "lwi r4, {s}, 4", "swi r5, {s}, 8"],
        &["lbui r3, {s}, 0", "lbui r4, {s}, 1", "lhui r5, {s}, 2"],
        &["swi r3, {s}, -4", "addik {s}, {s}, 8", "swi r4, {s}, 4", "lwi r5, {s}, -12"],
    ],
    repeat: ("addik r22, r0, {n}", &["addik r22, r22, -1", "bnei r22, @"]),
    branches: &[
        &["beqi r3, @"],
        &["bnei r3, @"],
        &["blti r4, @"],
        &["bgei r5, @"],
        &["bgtid r8, @", "?"],
        &["bleid r9, @", "?"],
        &["bri @"],
        &["brid @", "?"],
    ],
    branch_len: 4,
    call: &["brlid r15, @", "?"],
    call_register: &["brald r15, {s}", "?"],
    functions: &[(&[], &["rtsd r15, 8", "?"]), (&["addk r19, r15, r0"], &["rtsd r19, 8", "or r0, r0, r0"])],
    jump_register: &["bra {s}"],
    lines: &[
        &["brki r14, 8"],
        &["brki r16, 0x18"],
        &["msrset r7, 2"],
        &["msrclr r7, 2"],
        &["msrset r7, 0x100"],
        &["msrclr r7, 0x100"],
        &["mfs r7, rmsr", "mts rmsr, r7"],
        &["imm 0x1234", "?"],
        &["imm {n}", "brid 8", "?", "?"],
        &["lwx r3, r20, r0", "addik r3, r3, 1", "swx r3, r20, r0"],
        &["lwx r3, r20, r0", "?", "swx r4, r20, r0"],
        &["addik r7, r0, {n}", "mts rpid, r7"],
        &["addc r3, r4, r5", "addc r4, r5, r6", "rsubc r5, r6, r7"],
        &["idiv r3, r4, r5"],
        &["mfs r7, rmsr", "ori r7, r7, 0x1800", "mts rmsr, r7"],
    ],
    tag: |_| 0,
};

/// System calls and breaks return; exceptions go on behind the instruction, those of fetching at the program's entry.
const VECTORS: &[(u32, &[&str])] = &[
    (0, &["bri 0xc0"]),
    (8, &["rtbd r14, 4", "or r0, r0, r0"]),
    (0x10, &["bri 0xd0"]),
    (0x18, &["rtbd r16, 4", "or r0, r0, r0"]),
    // Causes 3, 0x11 and 0x13 are those of fetching; 0x10 and 0x12 those of data, where r17 is the instruction itself.
    (0x20, &["swi r18, r0, 0x100", "mfs r18, resr", "andi r18, r18, 0x1f", "addik r18, r18, -3", "beqi r18, 0x90"]),
    (0x34, &["addik r18, r18, -14", "beqi r18, 0x88", "addik r18, r18, -2", "beqi r18, 0x80"]),
    (0x44, &["addik r18, r18, 4", "blti r18, 8", "addik r17, r17, 4"]),
    // Behind a delay slot the branch's target is next.
    (0x50, &["mfs r18, resr", "andi r18, r18, 0x1000", "beqi r18, 8", "mfs r17, rbtr", "rted r17, 0", "lwi r18, r0, 0x100"]),
    // A new beginning.
    (0xc0, &["lwi r17, r0, 0x108", "rted r17, 0", "lwi r18, r0, 0x100"]),
    // An interrupt: the device lowers its lines.
    (0xe0, &["swi r18, r0, 0x100", "imm 0x10", "swi r0, r0, 0", "rtid r14, 0", "lwi r18, r0, 0x100"]),
];
const RESTART: u32 = 0x108;

/// A model.
#[derive(Clone, Copy, Debug)]
pub struct Microblaze(pub &'static str);

type Cpu = emu_isa_microblaze::Microblaze<System>;

impl Guest for Microblaze {
    type Isa = Cpu;

    fn model(&self) -> &'static str {
        self.0
    }

    fn tables(&self) -> &'static str {
        TABLES
    }

    fn isa(&self) -> Cpu {
        emu_isa_microblaze::Microblaze::model(self.0, System).expect("a model of the specification")
    }

    fn nop(&self) -> &'static str {
        DIALECT.nop
    }

    fn plain(&self, _: usize) -> Vec<u64> {
        let isa = self.isa();
        let mut cells = vec![0; isa.layout().cells];
        isa.reset(&mut cells);
        cells
    }

    fn typical(&self, field: &str) -> Option<u64> {
        Some(match field {
            "rd" => 3,
            "ra" => 4,
            "rb" => 5,
            "i16" | "n" => 4,
            _ => return None,
        })
    }

    fn variants(&self) -> &'static [&'static str] {
        &["K", "C", "sub", "D", "L"]
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
        for i in 1..32 {
            set(&format!("r{i}"), random.edge().into());
        }
        for name in ["ie", "c", "ee", "vm", "vms"] {
            set(name, random.once_in(2).into());
        }
        for name in ["um", "ums"] {
            set(name, random.once_in(4).into());
        }
        // Some processors lack units, or exceptions; links that nothing is connected to.
        if random.once_in(4) {
            set("pvr2", u64::from(0x5783_7fb3 & random.word()));
        }
        set("pvr3", if random.once_in(8) { 0x80 } else { 0 });
        set("pid", random.below(4).into());
        set("zpr", u64::from(random.word() | 0x4000_0000));
        for entry in 0..64 {
            let (hi, lo) = if entry < 32 { ((entry * PAGE) | 0x40 | 1 << 7, (entry * PAGE) | 0x300) } else { odd(random) };
            set(&format!("tlbhi{entry}"), hi.into());
            set(&format!("tlblo{entry}"), lo.into());
            set(&format!("tlbpid{entry}"), if entry < 32 { 0 } else { random.below(4).into() });
        }
        for (at, lines) in VECTORS {
            w.section(*at, 0);
            for line in *lines {
                w.line(line);
            }
        }
        w.items.clear();
        w.data(random);
        let key = isa.block_key(&cells).0;
        let mut program = Program::new(random, w, instructions, |_| &DIALECT, &[remap]);
        program.write(&[key]);
        let Program { random, mut w, entries, .. } = program;
        w.word(RESTART, entries[0].0);
        let slot = |name: &str| layout.slot(name).unwrap_or(isa.pc());
        let mut runs = Vec::new();
        for index in 0..3 + random.below(8) {
            let mut pokes: Vec<(emu_ir::Slot, u128)> = Vec::new();
            if index == 0 || random.once_in(2) {
                let data = DATA + 0x100 * random.below(0x70);
                pokes.extend([(slot("pc"), random.pick(&entries).0.into()), (slot("delay"), 0), (slot("prefixed"), 0)]);
                pokes.extend([(slot("r20"), data.into()), (slot("r21"), random.below(32).into()), (slot("eip"), 0), (slot("bip"), 0)]);
            }
            let levels = random.once_in(4).then(|| random.below(2).into());
            let most = random.pick(&[40, 900, 900, 3000]);
            let budget = random.below(most);
            runs.push(Run { budget: budget.into(), pokes, levels });
        }
        Case { cells, ram: w.ram, items: w.items, runs }
    }
}

/// An entry for an odd page, or for the device: both halves.
fn odd(random: &mut Random) -> (u32, u32) {
    if random.once_in(8) {
        return (DEVICE as u32 | 0x40 | 1 << 7, DEVICE as u32 | 0x300);
    }
    let page = random.pick(&[DATA, DATA + PAGE, 0x1000, 0x2000, ODD, ODD + PAGE, DEVICE as u32, RAM as u32 - PAGE]);
    let valid = if random.once_in(8) { 0 } else { 0x40 };
    let size = random.pick(&[1, 1, 1, 0, 2]);
    ((ODD + PAGE * random.below(16)) | valid | size << 7, page | random.pick(&[0x300, 0x300, 0x100, 0x200, 0]) | random.below(4) << 4)
}

/// Writes a TLB entry.
fn remap(p: &mut Program<'_, Cpu>) {
    let (hi, lo) = odd(p.random);
    let n = 32 + p.random.below(32);
    p.constant(0, n);
    p.lines(&["mts rtlbx, {s}"], 0);
    p.constant(0, lo);
    p.lines(&["mts rtlblo, {s}"], 0);
    p.constant(0, hi);
    p.lines(&["mts rtlbhi, {s}"], 0);
}
