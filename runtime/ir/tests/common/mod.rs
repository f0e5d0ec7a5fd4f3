//! A small instruction set for tests: 32-bit words `op:8 rd:4 ra:4 imm:16` (rb = low four bits of imm), flags, a window that is mapped by
//! a helper, exceptions and interrupts. And a bus with one RAM and one device register.

#![allow(dead_code, missing_docs)]

use emu_ir::builder::Builder;
use emu_ir::guest::*;
use emu_ir::op::*;
use emu_ir::state::{Slot, SlotDesc, StateLayout};
use emu_memory::*;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const fn slot(name: &'static str, ty: Type, cell: u16) -> SlotDesc {
    SlotDesc { name, ty, bits: ty.bits() as u8, cell, lo: 0 }
}

pub static SLOTS: [SlotDesc; 29] = [
    slot("r0", Type::I32, 0),
    slot("r1", Type::I32, 1),
    slot("r2", Type::I32, 2),
    slot("r3", Type::I32, 3),
    slot("r4", Type::I32, 4),
    slot("r5", Type::I32, 5),
    slot("r6", Type::I32, 6),
    slot("r7", Type::I32, 7),
    slot("r8", Type::I32, 8),
    slot("r9", Type::I32, 9),
    slot("r10", Type::I32, 10),
    slot("r11", Type::I32, 11),
    slot("r12", Type::I32, 12),
    slot("r13", Type::I32, 13),
    slot("pc", Type::I32, 14),
    slot("n", Type::I1, 15),
    slot("z", Type::I1, 16),
    slot("c", Type::I1, 17),
    slot("v", Type::I1, 18),
    slot("masked", Type::I1, 19),
    slot("user", Type::I1, 20),
    slot("epc", Type::I32, 21),
    slot("cause", Type::I32, 22),
    slot("window", Type::I32, 23),
    slot("asid", Type::I32, 24),
    slot("arg0", Type::I64, 25),
    slot("arg1", Type::I64, 26),
    slot("arg2", Type::I64, 27),
    slot("arg3", Type::I64, 28),
];
pub static LAYOUT: StateLayout = StateLayout { slots: &SLOTS, cells: 29 };

pub const PC: Slot = Slot(14);
pub const FLAGS: [Slot; 4] = [Slot(15), Slot(16), Slot(17), Slot(18)];
pub const MASKED: Slot = Slot(19);
pub const USER: Slot = Slot(20);
pub const EPC: Slot = Slot(21);
pub const CAUSE: Slot = Slot(22);
pub const WINDOW: Slot = Slot(23);
pub const ASID: Slot = Slot(24);

pub const TRAP: u16 = 0;
pub const DATA: u16 = 1;
pub const FETCH: u16 = 2;
pub const IRQ: u16 = 3;
pub const UNDEF: u16 = 4;

/// Exception n enters at this address + 16 n.
pub const VECTORS: u32 = 0x100;
/// Virtual pages from here on to the next are the `window` register's, but for the second: that is at physical 0x1000.
pub const WINDOW_AT: u64 = 0x4000_0000;
/// Nothing is mapped from here on.
pub const UNMAPPED: u64 = 0x8000_0000;
/// The device's register, physical and virtual.
pub const DEVICE: u64 = 0x1000_0000;

pub struct Toy;

pub fn mem(size: u8) -> Mem {
    Mem { size, big: false, align: 1, note: 0, mmu: 0, order: Order::Relaxed, atomic: false, physical: false }
}

#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
#[allow(clippy::enum_variant_names)] // mnemonics
pub enum I {
    Nop,
    Li,
    Add,
    AddI,
    SubS,
    CmpI,
    Bne,
    Beq,
    Blt,
    B,
    Ld,
    St,
    LdB,
    StB,
    Jr,
    Jal,
    Trap,
    Eret,
    Wfi,
    Mask,
    Window,
    LdX,
    StX,
    Xor,
    ShlI,
    ShrI,
    Mul,
    Lui,
    Ldp,
    Asid,
    Wfe,
    StW,
    LdAligned,
    Cmp,
    Bltz,
    JalOwn,
    JrI,
}

pub fn asm(op: I, rd: u32, ra: u32, imm: u32) -> u32 {
    (op as u32) << 24 | rd << 20 | ra << 16 | imm & 0xffff
}

static HELPERS: [HelperDesc; 2] = [
    HelperDesc {
        name: "set_window",
        args: &[Type::I32],
        result: None,
        reads: Some(&[]),
        writes: Some(&[WINDOW]),
        memory: false,
        raises: false,
        rekeys: true,
    },
    HelperDesc {
        name: "set_asid",
        args: &[Type::I32],
        result: None,
        reads: Some(&[]),
        writes: Some(&[ASID]),
        memory: false,
        raises: false,
        rekeys: true,
    },
];

impl Toy {
    fn subtract(b: &mut Builder, x: Value, y: Value) -> Value {
        let not = b.unary(Op::Not, y);
        let one = b.iconst(Type::I1, 1);
        let wide = b.iconst(Type::I32, 1);
        let sum = b.binary(Op::Add, x, not);
        let sum = b.binary(Op::Add, sum, wide);
        let n = b.extract(Type::I1, sum, 31, 1);
        let zero = b.iconst(Type::I32, 0);
        let z = b.cmp(Cond::Eq, sum, zero);
        let c = b.carry_add(x, not, one);
        let v = b.overflow_add(x, not, one);
        for (slot, v) in FLAGS.into_iter().zip([n, z, c, v]) {
            b.set(slot, v);
        }
        sum
    }
}

impl Isa for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }
    fn layout(&self) -> &'static StateLayout {
        &LAYOUT
    }
    fn float_envs(&self) -> &'static [FloatEnvDesc] {
        &[]
    }
    fn helpers(&self) -> &'static [HelperDesc] {
        &HELPERS
    }
    fn pc(&self) -> Slot {
        PC
    }
    fn exception_args(&self) -> [Slot; 4] {
        [Slot(25), Slot(26), Slot(27), Slot(28)]
    }
    fn block_key(&self, state: &[u64]) -> BlockKey {
        BlockKey(state[20])
    }
    fn key_parts(&self) -> &'static [KeyPart] {
        &[KeyPart { lo: 0, cells: &[20], copy: true }]
    }
    fn space_tag(&self, state: &[u64]) -> u32 {
        state[24] as u32
    }
    fn fetch_mmu(&self, key: BlockKey) -> u8 {
        key.0 as u8
    }

    fn translate(
        &self,
        mut pc: u64,
        key: BlockKey,
        max: u32,
        fetch: &mut dyn FnMut(u64, u8) -> Result<u64, FetchFault>,
        b: &mut Builder,
    ) -> Result<(), FetchFault> {
        for count in 0..max {
            let word = match fetch(pc, 4) {
                Ok(word) => word as u32,
                Err(fault) if count == 0 => return Err(fault),
                Err(_) => break,
            };
            let next = (pc + 4) & 0xffff_ffff;
            b.mark(pc, next);
            self.lower(word, pc, next, key.0 as u8, b);
            b.end_insn();
            if b.ended() {
                break;
            }
            pc = next;
        }
        Ok(())
    }

    fn lower_exception(&self, id: u16, b: &mut Builder) {
        // TRAP comes after its instruction, faults and interrupts before it.
        let pc = b.get(PC);
        let four = b.iconst(Type::I32, if id == TRAP { 4 } else { 0 });
        let epc = b.binary(Op::Add, pc, four);
        b.set(EPC, epc);
        let arg = b.get(Slot(25));
        let arg = b.trunc(Type::I32, arg);
        b.set(CAUSE, arg);
        let one = b.iconst(Type::I1, 1);
        b.set(MASKED, one);
        let zero = b.iconst(Type::I1, 0);
        b.set(USER, zero);
        let to = b.iconst(Type::I32, u128::from(VECTORS + 16 * u32::from(id)));
        b.jump_rekey(to);
    }

    fn exception_name(&self, id: u16) -> &'static str {
        ["trap", "data", "fetch", "irq", "undefined"][id as usize]
    }
    fn interrupt(&self, state: &[u64], lines: u64) -> Option<Exception> {
        (lines & 1 != 0 && state[19] == 0).then_some(Exception { id: IRQ, args: [0; 4] })
    }
    fn wakes(&self, _state: &[u64], lines: u64) -> bool {
        lines & 1 != 0
    }
    fn translate_address(&self, cx: &mut HelperCx<'_>, va: u64, kind: AccessKind, mmu: u8) -> Result<Translation, Exception> {
        let id = if kind == AccessKind::Execute { FETCH } else { DATA };
        if va >= UNMAPPED || mmu == 1 && va < 0x100 {
            return Err(Exception { id, args: [va, kind as u64, 0, 0] });
        }
        let phys = match va.checked_sub(WINDOW_AT) {
            Some(offset) if offset >> 12 != 1 => cx.state[23] + (offset & 0xfff),
            Some(offset) => offset,
            None => va,
        };
        Ok(Translation { phys: GuestPhys(phys), page_shift: 12, read: true, write: true, execute: true, global: va < WINDOW_AT })
    }
    fn alignment_fault(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind, _: u16) -> Exception {
        Exception { id: DATA, args: [va, 98, 0, 0] }
    }
    fn bus_fault(&self, _cx: &mut HelperCx<'_>, va: u64, _kind: AccessKind) -> Exception {
        Exception { id: DATA, args: [va, 99, 0, 0] }
    }
    fn call(&self, id: u16, cx: &mut HelperCx<'_>, args: &[u64; 6]) -> Result<u64, Exception> {
        if id == 0 {
            cx.state[23] = args[0];
            cx.tlb.flush_page(WINDOW_AT, None);
            cx.flush_code = true;
        } else {
            cx.state[24] = args[0];
        }
        Ok(0)
    }
    fn reset(&self, state: &mut [u64]) {
        state[19] = 1;
    }
}

impl Toy {
    fn lower(&self, word: u32, pc: u64, next: u64, mmu: u8, b: &mut Builder) {
        let (rd, ra, imm) = (Slot((word >> 20 & 15) as u16), Slot((word >> 16 & 15) as u16), word & 0xffff);
        let rb = Slot((imm & 15) as u16);
        let simm = imm as u16 as i16 as i32;
        let target = (pc as i64 + i64::from(simm) * 4) as u64 & 0xffff_ffff;
        let branch = |b: &mut Builder, cond: Value| {
            b.begin_if(cond);
            b.jump(target);
            b.end_if();
            b.jump(next);
        };
        let address = |b: &mut Builder| {
            let base = b.get(ra);
            let offset = b.iconst(Type::I32, simm as u32 as u128);
            b.binary(Op::Add, base, offset)
        };
        let at = |size: u8| Mem { mmu, ..mem(size) };
        let ops = [
            I::Nop,
            I::Li,
            I::Add,
            I::AddI,
            I::SubS,
            I::CmpI,
            I::Bne,
            I::Beq,
            I::Blt,
            I::B,
            I::Ld,
            I::St,
            I::LdB,
            I::StB,
            I::Jr,
            I::Jal,
            I::Trap,
            I::Eret,
            I::Wfi,
            I::Mask,
            I::Window,
            I::LdX,
            I::StX,
            I::Xor,
            I::ShlI,
            I::ShrI,
            I::Mul,
            I::Lui,
            I::Ldp,
            I::Asid,
            I::Wfe,
            I::StW,
            I::LdAligned,
            I::Cmp,
            I::Bltz,
            I::JalOwn,
            I::JrI,
        ];
        let registers = [word >> 20 & 15, word >> 16 & 15].iter().all(|r| *r < 14);
        let Some(op) = ops
            .get((word >> 24) as usize)
            .filter(|op| registers && (rb.0 < 14 || !matches!(op, I::Add | I::SubS | I::Xor | I::Mul | I::StX | I::Cmp)))
        else {
            let word = b.iconst(Type::I32, word.into());
            return b.raise(UNDEF, &[word]);
        };
        match op {
            I::Nop => {}
            I::Li => {
                let x = b.iconst(Type::I32, simm as u32 as u128);
                b.set(rd, x);
            }
            I::Lui => {
                let x = b.iconst(Type::I32, u128::from(imm) << 16);
                b.set(rd, x);
            }
            I::Add | I::Xor | I::Mul => {
                let (x, y) = (b.get(ra), b.get(rb));
                let op = match op {
                    I::Add => Op::Add,
                    I::Xor => Op::Xor,
                    _ => Op::Mul,
                };
                let z = b.binary(op, x, y);
                b.set(rd, z);
            }
            I::AddI => {
                let sum = address(b);
                b.set(rd, sum);
            }
            I::ShlI | I::ShrI => {
                let (x, n) = (b.get(ra), b.iconst(Type::I32, imm.into()));
                let z = b.binary(if *op == I::ShlI { Op::Shl } else { Op::Shr }, x, n);
                b.set(rd, z);
            }
            I::SubS => {
                let (x, y) = (b.get(ra), b.get(rb));
                let z = Self::subtract(b, x, y);
                b.set(rd, z);
            }
            I::CmpI => {
                let (x, y) = (b.get(ra), b.iconst(Type::I32, simm as u32 as u128));
                Self::subtract(b, x, y);
            }
            I::Bne | I::Beq => {
                let mut z = b.get(FLAGS[1]);
                if *op == I::Bne {
                    z = b.unary(Op::Not, z);
                }
                branch(b, z);
            }
            I::Blt => {
                let (n, v) = (b.get(FLAGS[0]), b.get(FLAGS[3]));
                let lt = b.binary(Op::Xor, n, v);
                branch(b, lt);
            }
            I::Cmp => {
                // The difference, whose sign is that of the comparison.
                let (x, y) = (b.get(ra), b.get(rb));
                let difference = b.binary(Op::Sub, x, y);
                let rest = b.extract(Type::I32, difference, 0, 31);
                let less = b.cmp(Cond::Slt, x, y);
                let z = b.insert(rest, less, 31, 1);
                b.set(rd, z);
            }
            I::Bltz => {
                let (x, zero) = (b.get(ra), b.iconst(Type::I32, 0));
                let less = b.cmp(Cond::Slt, x, zero);
                branch(b, less);
            }
            I::B => b.jump(target),
            I::Ld => {
                let a = address(b);
                let x = b.load(at(4), a);
                b.set(rd, x);
            }
            I::LdAligned => {
                let a = address(b);
                let x = b.load(Mem { align: 4, ..at(4) }, a);
                b.set(rd, x);
            }
            I::Ldp => {
                let a = address(b);
                let x = b.load(at(4), a);
                let four = b.iconst(Type::I32, 4);
                let a = b.binary(Op::Add, a, four);
                let y = b.load(at(4), a);
                b.set(rd, x);
                b.set(Slot(rd.0 + 1), y);
            }
            I::LdB => {
                let a = address(b);
                let x = b.load(at(1), a);
                let x = b.zext(Type::I32, x);
                b.set(rd, x);
            }
            I::St => {
                let (a, x) = (address(b), b.get(rd));
                b.store(at(4), a, x);
            }
            I::StW => {
                // Store with writeback of the address.
                let (a, x) = (address(b), b.get(rd));
                b.store(at(4), a, x);
                b.set(ra, a);
            }
            I::StB => {
                let (a, x) = (address(b), b.get(rd));
                let x = b.trunc(Type::I8, x);
                b.store(at(1), a, x);
            }
            I::Jr => {
                let x = b.get(ra);
                b.jump_to(x);
            }
            I::JrI => {
                let to = address(b);
                b.jump_to(to);
            }
            I::Jal | I::JalOwn => {
                let x = b.iconst(Type::I32, if *op == I::Jal { next } else { pc }.into());
                b.set(rd, x);
                b.jump(target);
            }
            I::Trap => {
                let x = b.iconst(Type::I32, imm.into());
                b.raise(TRAP, &[x]);
            }
            I::Eret => {
                let (epc, user) = (b.get(EPC), b.iconst(Type::I1, (imm & 1).into()));
                let zero = b.iconst(Type::I1, 0);
                b.set(MASKED, zero);
                b.set(USER, user);
                b.jump_rekey(epc);
            }
            I::Wfi => b.wait(false, next),
            I::Wfe => b.wait(true, next),
            I::Mask => {
                let x = b.iconst(Type::I1, (imm & 1).into());
                b.set(MASKED, x);
                let next = b.iconst(Type::I32, next.into());
                b.jump_rekey(next);
            }
            I::Window | I::Asid => {
                let x = b.get(ra);
                b.call(u16::from(*op == I::Asid), &[x], None);
            }
            I::LdX => {
                let a = address(b);
                let x = b.load_exclusive(at(4), a);
                b.set(rd, x);
            }
            I::StX => {
                let (a, x) = (b.get(ra), b.get(rb));
                let ok = b.store_exclusive(at(4), a, x);
                let fail = b.unary(Op::Not, ok);
                let fail = b.zext(Type::I32, fail);
                b.set(rd, fail);
            }
        }
    }
}

/// One RAM at 0, one device register, and the attention word.
pub struct Bus {
    pub ram: Arc<RamBlock>,
    pub attention: Arc<AtomicU32>,
    pub levels: Cell<u64>,
    pub limit: Cell<u64>,
    pub published: Cell<(u64, u64)>,
    pub events: Cell<u32>,
    /// Device accesses: (pc, executed before, value written or read).
    pub log: RefCell<Vec<(u64, u64, u64)>>,
    /// Raise the line at a device write.
    pub write_raises: Cell<bool>,
    /// Serve so many traps: r9 counts them.
    pub serves: Cell<u32>,
    /// Ask the CPU to come back when a trap is served.
    pub serve_exits: Cell<bool>,
}

impl Bus {
    pub fn new(program: &[u32]) -> Bus {
        let ram = RamBlock::new("ram", 1 << 20).unwrap();
        let bus = Bus {
            ram,
            attention: Arc::default(),
            levels: Cell::new(0),
            limit: Cell::new(u64::MAX),
            published: Cell::new((0, 0)),
            events: Cell::new(0),
            log: RefCell::new(Vec::new()),
            write_raises: Cell::new(false),
            serves: Cell::new(0),
            serve_exits: Cell::new(false),
        };
        bus.load(0x1000, program);
        bus
    }
    pub fn load(&self, at: u64, words: &[u32]) {
        for (index, word) in words.iter().enumerate() {
            assert!(self.ram.write_u32(at + 4 * index as u64, *word));
        }
    }
    pub fn raise(&self, level: u64) {
        self.levels.set(level);
        self.attention.fetch_or(Attention::LINES, Ordering::Release);
    }
}

impl PhysBus for Bus {
    fn read(&self, at: GuestPhys, size: u8, _access: Access) -> Result<u64, BusError> {
        if at.0 == DEVICE {
            let (pc, executed) = self.published.get();
            self.log.borrow_mut().push((pc, executed, 7));
            return Ok(7);
        }
        self.ram.read(at.0, size).ok_or(BusError::Decode)
    }
    fn write(&self, at: GuestPhys, size: u8, value: u64, _access: Access) -> Result<(), BusError> {
        if at.0 == DEVICE {
            let (pc, executed) = self.published.get();
            self.log.borrow_mut().push((pc, executed, value));
            if self.write_raises.get() {
                self.raise(1);
            }
            return Ok(());
        }
        if self.ram.write(at.0, size, value) { Ok(()) } else { Err(BusError::Decode) }
    }
    fn ram(&self, at: GuestPhys, _access: Access) -> Option<RamSlice> {
        (at.0 < self.ram.size()).then(|| RamSlice { block: self.ram.clone(), offset: at.0, len: self.ram.size() - at.0, writable: true })
    }
    fn map_version(&self) -> u64 {
        1
    }
}

impl GuestBus for Bus {
    fn attention(&self) -> &Arc<AtomicU32> {
        &self.attention
    }
    fn levels(&self) -> u64 {
        self.levels.get()
    }
    fn set_output(&self, _port: usize, _index: u32, _level: bool) {}
    fn publish(&self, pc: u64, executed: u64) {
        self.published.set((pc, executed));
    }
    fn limit(&self) -> u64 {
        self.limit.get()
    }
    fn now(&self) -> u64 {
        0
    }
    fn serve(&self, exception: u16, arguments: &[u64; 4], state: &mut [u64]) -> bool {
        let (r9, number) = (Slot(9), u128::from(arguments[0]));
        if exception != TRAP || self.serves.get() == 0 {
            return false;
        }
        self.serves.set(self.serves.get() - 1);
        LAYOUT.write(state, r9, LAYOUT.read(state, r9) + number);
        LAYOUT.write(state, PC, LAYOUT.read(state, PC) + 4);
        if self.serve_exits.get() {
            self.attention.fetch_or(Attention::EXIT, Ordering::Release);
        }
        true
    }
    fn send_event(&self) {
        self.events.set(self.events.get() + 1);
        self.attention.fetch_or(Attention::EVENT, Ordering::Release);
    }
}
