//! From bytecode to x86-64.
//!
//! `rbx` points to the cells, `r15` to [`Run`]; `rax`, `rcx` and `rdx` are scratch, the other registers hold cells. What a register holds beyond its
//! cell is written back before anything can look: at branches and their targets, calls and exits, and on the cold paths of accesses.

#![allow(clippy::useless_conversion, reason = "what `dynasm!` makes of a register's number")]

use super::super::Context;
use super::super::code::{Arena, Bc, BlockInfo, Code, Operand, Side};
use super::super::exec::{JUMPS, JumpEntry};
use super::{Exit, Run};
use crate::guest::{FloatEnvDesc, Isa, SlotOr};
use crate::op::{Fop, Op, Round, Type};
use crate::state::{Slot, StateLayout};
use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, VecAssembler, dynasm};
use emu_memory::{FRONT_BITS, FRONT_HASH, Front, PAGE_BITS, RamBlock};
use emu_softfloat::{Flags, NanRule};
use rustc_hash::FxHashMap;
use std::mem::offset_of;

/// Registers that hold cells: rsi rdi r8-r14 rbp.
const REGS: [u8; 10] = [6, 7, 8, 9, 10, 11, 12, 13, 14, 5];
const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;

/// Code of a block, and where its slots are in it, by code index.
pub struct Made {
    pub code: Vec<u8>,
    pub slots: Vec<(u32, usize)>,
}

/// Places relative to `rbx`.
struct Offsets {
    executed: i32,
    limit: i32,
    careful: i32,
    key: i32,
    epoch: i32,
}

/// A register's contents.
#[derive(Clone, Copy)]
struct Held {
    cell: u16,
    /// Newer than the cell.
    dirty: bool,
    used: u32,
}

/// What a cold path writes back and reads again.
#[derive(Clone)]
struct Snapshot([Option<Held>; REGS.len()]);

impl Snapshot {
    fn held(&self) -> impl Iterator<Item = (u8, Held)> + use<> {
        REGS.into_iter().zip(self.0).filter_map(|(reg, held)| held.map(|h| (reg, h)))
    }
}

/// Code out of line, emitted behind the block.
enum Cold {
    /// The block is stale: another may have its place.
    Stale { label: DynamicLabel, at: u32, leave: DynamicLabel },
    /// Leave at once.
    Exit { label: DynamicLabel, how: u64, at: u32, pc: Pc },
    /// The slow path of a load into a register, or of a store.
    Access { label: DynamicLabel, back: DynamicLabel, at: u32, function: i32, value: Option<u8>, into: Option<u8>, saved: Snapshot },
    /// The word in the interpreter, whose result a register gets.
    One { label: DynamicLabel, back: DynamicLabel, at: u32, into: (u8, u16), saved: Snapshot },
}

/// What `rdx` holds at an exit.
enum Pc {
    None,
    Known(u64),
    InRax,
}

struct Emitter {
    ops: VecAssembler<X64Relocation>,
    regs: [Option<Held>; REGS.len()],
    clock: u32,
    layout: &'static StateLayout,
    envs: &'static [FloatEnvDesc],
    cold: Vec<Cold>,
    labels: FxHashMap<u32, DynamicLabel>,
    /// Jumps through a slot: label of the slot, code index, where it leads at first.
    slots: Vec<(DynamicLabel, u32, DynamicLabel)>,
    /// A call asked to leave.
    stored: DynamicLabel,
    offsets: Offsets,
    /// Offset of `Run::exit`, and of the others.
    run: RunOffsets,
}

struct RunOffsets {
    exit: i32,
    load: i32,
    store: i32,
    probe: i32,
    one: i32,
    rekey: i32,
    attention: i32,
    jumps: i32,
    front: i32,
}

fn disp(cell: u16) -> i32 {
    i32::from(cell) * 8
}

/// Translates one block; `base` is where it will be executed. `None` if its page is not there.
pub fn block<I: Isa>(isa: &I, arena: &Arena, block: &BlockInfo, ram: &RamBlock, base: usize) -> Option<Made> {
    let cells = offset_of!(Context<I>, cells) as i32;
    let mut ops = VecAssembler::new(base);
    let stored = ops.new_dynamic_label();
    let mut e = Emitter {
        ops,
        regs: [None; REGS.len()],
        clock: 0,
        layout: isa.layout(),
        envs: isa.float_envs(),
        cold: Vec::new(),
        labels: FxHashMap::default(),
        slots: Vec::new(),
        stored,
        offsets: Offsets {
            executed: offset_of!(Context<I>, executed) as i32 - cells,
            limit: offset_of!(Context<I>, limit) as i32 - cells,
            careful: offset_of!(Context<I>, levels) as i32 - cells,
            key: offset_of!(Context<I>, key) as i32 - cells,
            epoch: offset_of!(Context<I>, epoch) as i32 - cells,
        },
        run: RunOffsets {
            exit: offset_of!(Run<'_, I>, exit) as i32,
            load: offset_of!(Run<'_, I>, load) as i32,
            store: offset_of!(Run<'_, I>, store) as i32,
            probe: offset_of!(Run<'_, I>, probe) as i32,
            one: offset_of!(Run<'_, I>, one) as i32,
            rekey: offset_of!(Run<'_, I>, rekey) as i32,
            attention: offset_of!(Run<'_, I>, attention) as i32,
            jumps: offset_of!(Run<'_, I>, jumps) as i32,
            front: offset_of!(Run<'_, I>, front) as i32,
        },
    };
    let words = &arena.code[block.code as usize..block.end as usize];
    for c in words {
        if is_branch(c.op) {
            let label = e.ops.new_dynamic_label();
            e.labels.entry(c.imm as u32).or_insert(label);
        }
    }
    let head = words.first()?;
    let generation = std::ptr::from_ref(ram.page_generation_word(head.imm >> 32)?) as i64;
    e.enter(block.code, head, generation);
    for (c, at) in words[1..].iter().zip(block.code + 1..) {
        if let Some(&label) = e.labels.get(&at) {
            e.write_back();
            e.regs = [None; REGS.len()];
            dynasm!(e.ops ; .arch x64 ; =>label);
        }
        e.clock += 1;
        if c.op != Bc::Float || !e.float(&arena.side[c.imm as usize], at) {
            e.word(c, at);
        }
    }
    e.finish(base)
}

fn is_branch(op: Bc) -> bool {
    use Bc::*;
    matches!(op, Br | BrZ | BrNz | BrEq | BrNe | BrUlt | BrUle | BrSlt32 | BrSle32 | BrSlt64 | BrSle64 | Poll)
}

/// Emits for an instruction in its 64-bit and its 32-bit form.
macro_rules! sized {
    ($e:expr, $wide:expr, $name:ident $a:expr, $b:expr) => {
        if $wide {
            dynasm!($e.ops ; .arch x64 ; $name Rq($a), Rq($b));
        } else {
            dynasm!($e.ops ; .arch x64 ; $name Rd($a), Rd($b));
        }
    };
}

impl Emitter {
    // ---- registers

    fn store(&mut self, reg: u8, cell: u16) {
        // The first sixteen cells, where register files are, in three bytes less.
        match i8::try_from(disp(cell)) {
            Ok(to) => dynasm!(self.ops ; .arch x64 ; mov [BYTE rbx + to], Rq(reg)),
            Err(_) => dynasm!(self.ops ; .arch x64 ; mov [rbx + disp(cell)], Rq(reg)),
        }
    }

    fn fetch(&mut self, reg: u8, cell: u16) {
        match i8::try_from(disp(cell)) {
            Ok(from) => dynasm!(self.ops ; .arch x64 ; mov Rq(reg), [BYTE rbx + from]),
            Err(_) => dynasm!(self.ops ; .arch x64 ; mov Rq(reg), [rbx + disp(cell)]),
        }
    }

    /// Writes all cells back; registers go on holding them. Host flags stay.
    fn write_back(&mut self) {
        for (index, reg) in REGS.into_iter().enumerate() {
            if let Some(held) = self.regs[index].filter(|h| h.dirty) {
                self.store(reg, held.cell);
                self.regs[index] = Some(Held { dirty: false, ..held });
            }
        }
    }

    /// After a call: registers hold nothing.
    fn forget(&mut self) {
        self.regs = [None; REGS.len()];
    }

    fn find(&self, cell: u16) -> Option<usize> {
        self.regs.iter().position(|h| h.is_some_and(|h| h.cell == cell))
    }

    /// A register for a cell, not one in use by this word. Host flags stay.
    fn place(&mut self, cell: u16) -> usize {
        let free = self.regs.iter().position(Option::is_none);
        let index = free.unwrap_or_else(|| {
            let used = |i: &usize| self.regs[*i].map_or(0, |h| h.used);
            (0..REGS.len()).min_by_key(used).unwrap_or(0)
        });
        if let Some(held) = self.regs[index].filter(|h| h.dirty) {
            self.store(REGS[index], held.cell);
        }
        self.regs[index] = Some(Held { cell, dirty: false, used: self.clock });
        index
    }

    /// The register with a cell's value.
    fn get(&mut self, cell: u16) -> u8 {
        let index = self.find(cell).unwrap_or_else(|| {
            let index = self.place(cell);
            self.fetch(REGS[index], cell);
            index
        });
        if let Some(held) = &mut self.regs[index] {
            held.used = self.clock;
        }
        REGS[index]
    }

    /// The register that is to get a cell's new value.
    fn def(&mut self, cell: u16) -> u8 {
        let index = self.find(cell).unwrap_or_else(|| self.place(cell));
        self.regs[index] = Some(Held { cell, dirty: true, used: self.clock });
        REGS[index]
    }

    fn copy(&mut self, to: u8, from: u8) {
        if to != from {
            dynasm!(self.ops ; .arch x64 ; mov Rq(to), Rq(from));
        }
    }

    /// Puts a register's value into a cell.
    fn set(&mut self, cell: u16, from: u8) {
        let to = self.def(cell);
        self.copy(to, from);
    }

    fn constant(&mut self, reg: u8, value: u64) {
        if value == 0 {
            // Keeps host flags, unlike an exclusive or.
            dynasm!(self.ops ; .arch x64 ; mov Rd(reg), 0);
        } else if let Ok(value) = u32::try_from(value) {
            dynasm!(self.ops ; .arch x64 ; mov Rd(reg), value as i32);
        } else if let Ok(value) = i32::try_from(value as i64) {
            dynasm!(self.ops ; .arch x64 ; mov Rq(reg), DWORD value);
        } else {
            dynasm!(self.ops ; .arch x64 ; mov Rq(reg), QWORD value as i64);
        }
    }

    // ---- ways out

    fn exit(&mut self, how: u64, at: u32, pc: Pc) -> DynamicLabel {
        let label = self.ops.new_dynamic_label();
        self.cold.push(Cold::Exit { label, how, at, pc });
        label
    }

    /// Takes `n` instructions from the count.
    fn uncount(&mut self, n: u16) {
        if n != 0 {
            let executed = self.offsets.executed;
            dynasm!(self.ops ; .arch x64 ; sub QWORD [rbx + executed], i32::from(n));
        }
    }

    /// Jumps through a slot that leads to `first` until it is linked.
    fn jump_slot(&mut self, at: u32, first: DynamicLabel) {
        let slot = self.ops.new_dynamic_label();
        self.slots.push((slot, at, first));
        dynasm!(self.ops ; .arch x64 ; jmp QWORD [=>slot]);
    }

    fn enter(&mut self, at: u32, head: &Code, generation: i64) {
        let Offsets { executed, limit, careful, .. } = self.offsets;
        let attention = self.run.attention;
        let leave = self.exit(Exit::BLOCK, at, Pc::None);
        let stale = self.ops.new_dynamic_label();
        dynasm!(self.ops
            ; .arch x64
            ; mov rax, [rbx + executed]
            ; mov rcx, [r15 + attention]
            ; add rax, i32::from(head.a)
            ; cmp rax, [rbx + limit]
            ; ja =>leave
            ; mov ecx, [rcx]
            ; or rcx, [rbx + careful]
            ; jnz =>leave
            ; mov rcx, QWORD generation
            ; cmp DWORD [rcx], head.imm as i32
            ; jne =>stale
            ; mov [rbx + executed], rax
        );
        self.cold.push(Cold::Stale { label: stale, at, leave });
    }

    /// Finds the block for the pc in `rax` in the jump cache.
    fn jump_cached(&mut self, miss: DynamicLabel) {
        let Offsets { key, epoch, .. } = self.offsets;
        let jumps = self.run.jumps;
        let (at_pc, at_key) = (offset_of!(JumpEntry, pc) as i32, offset_of!(JumpEntry, key) as i32);
        let (at_epoch, native) = (offset_of!(JumpEntry, epoch) as i32, offset_of!(JumpEntry, native) as i32);
        const _: () = assert!(size_of::<JumpEntry>() == 32);
        dynasm!(self.ops
            ; .arch x64
            ; mov rcx, rax
            ; shr rcx, 1
            ; mov rdx, rax
            ; shr rdx, 13
            ; xor ecx, edx
            ; and ecx, (JUMPS - 1) as i32
            ; shl ecx, 5
            ; add rcx, [r15 + jumps]
            ; cmp [rcx + at_pc], rax
            ; jne =>miss
            ; mov rdx, [rbx + key]
            ; cmp [rcx + at_key], rdx
            ; jne =>miss
            ; mov edx, [rbx + epoch]
            ; cmp [rcx + at_epoch], edx
            ; jne =>miss
            ; mov rcx, [rcx + native]
            ; test rcx, rcx
            ; jz =>miss
            ; jmp rcx
        );
    }

    fn save(&mut self, saved: &Snapshot) {
        for (reg, held) in saved.held().filter(|(_, h)| h.dirty) {
            self.store(reg, held.cell);
        }
    }

    fn reload(&mut self, saved: &Snapshot, but: Option<u8>) {
        for (reg, held) in saved.held().filter(|(reg, _)| Some(*reg) != but) {
            self.fetch(reg, held.cell);
        }
    }

    /// Executes the word in the interpreter.
    fn one(&mut self, at: u32) {
        self.write_back();
        self.forget();
        self.call_one(at);
    }

    fn call_one(&mut self, at: u32) {
        let (one, stored) = (self.run.one, self.stored);
        dynasm!(self.ops
            ; .arch x64
            ; mov rdi, r15
            ; mov esi, at as i32
            ; call QWORD [r15 + one]
            ; test edx, edx
            ; jnz =>stored
        );
    }

    // ---- words

    fn commutes(op: Bc) -> bool {
        !matches!(op, Bc::Sub32 | Bc::Sub64)
    }

    fn two(&mut self, op: Bc, a: &Code) {
        use Bc::*;
        let (b, c) = (self.get(a.b), self.get(a.c));
        let wide = matches!(op, And | Or | Xor | Add64 | Sub64 | Mul64);
        // In place, if the second operand is not lost by that.
        let (into, b, c) = if a.a != a.c {
            let into = self.def(a.a);
            (into, b, c)
        } else if Self::commutes(op) {
            let into = self.def(a.a);
            (into, c, b)
        } else {
            (RAX, b, c)
        };
        if into != b {
            sized!(self, wide, mov into, b);
        }
        match op {
            And => sized!(self, true, and into, c),
            Or => sized!(self, true, or into, c),
            Xor => sized!(self, true, xor into, c),
            Add32 | Add64 => sized!(self, wide, add into, c),
            Sub32 | Sub64 => sized!(self, wide, sub into, c),
            _ => sized!(self, wide, imul into, c),
        }
        if into == RAX {
            self.set(a.a, RAX);
        }
    }

    fn logic_imm(&mut self, op: Bc, c: &Code) {
        let b = self.get(c.b);
        let to = self.def(c.a);
        if op == Bc::AndI && u32::try_from(c.imm).is_ok() {
            // Zero above either way.
            dynasm!(self.ops ; .arch x64 ; mov Rd(to), Rd(b) ; and Rd(to), c.imm as i32);
            return;
        }
        self.copy(to, b);
        if let Ok(imm) = i32::try_from(c.imm as i64) {
            match op {
                Bc::AndI => dynasm!(self.ops ; .arch x64 ; and Rq(to), imm),
                Bc::OrI => dynasm!(self.ops ; .arch x64 ; or Rq(to), imm),
                Bc::XorI => dynasm!(self.ops ; .arch x64 ; xor Rq(to), imm),
                _ => dynasm!(self.ops ; .arch x64 ; add Rq(to), imm),
            }
        } else {
            self.constant(RCX, c.imm);
            match op {
                Bc::AndI => dynasm!(self.ops ; .arch x64 ; and Rq(to), rcx),
                Bc::OrI => dynasm!(self.ops ; .arch x64 ; or Rq(to), rcx),
                Bc::XorI => dynasm!(self.ops ; .arch x64 ; xor Rq(to), rcx),
                _ => dynasm!(self.ops ; .arch x64 ; add Rq(to), rcx),
            }
        }
    }

    /// Shifts by a cell: the amount in `rcx`, what comes of too large ones in `rdx`.
    fn shift(&mut self, c: &Code) {
        let (b, amount) = (self.get(c.b), self.get(c.c));
        dynasm!(self.ops ; .arch x64 ; mov rcx, Rq(amount) ; mov rax, Rq(b));
        match c.op {
            Bc::Shl32 => dynasm!(self.ops ; .arch x64 ; xor edx, edx ; shl eax, cl ; cmp rcx, 32 ; cmovae eax, edx),
            Bc::Shl64 => dynasm!(self.ops ; .arch x64 ; xor edx, edx ; shl rax, cl ; cmp rcx, 64 ; cmovae rax, rdx),
            Bc::Shr => dynasm!(self.ops ; .arch x64 ; xor edx, edx ; shr rax, cl ; cmp rcx, 64 ; cmovae rax, rdx),
            Bc::Sar32 => dynasm!(self.ops ; .arch x64 ; mov edx, 31 ; cmp rcx, 31 ; cmova ecx, edx ; sar eax, cl),
            Bc::Sar64 => dynasm!(self.ops ; .arch x64 ; mov edx, 63 ; cmp rcx, 63 ; cmova ecx, edx ; sar rax, cl),
            Bc::Ror32 => dynasm!(self.ops ; .arch x64 ; ror eax, cl),
            _ => dynasm!(self.ops ; .arch x64 ; ror rax, cl),
        }
        self.set(c.a, RAX);
    }

    /// Compares two cells, or a cell with the immediate.
    fn compare(&mut self, c: &Code, imm: bool, wide: bool) {
        let b = self.get(c.b);
        if imm {
            if let Ok(imm) = i32::try_from(c.imm as i64) {
                dynasm!(self.ops ; .arch x64 ; cmp Rq(b), imm);
            } else {
                self.constant(RCX, c.imm);
                dynasm!(self.ops ; .arch x64 ; cmp Rq(b), rcx);
            }
        } else {
            let c = self.get(c.c);
            sized!(self, wide, cmp b, c);
        }
    }

    fn truth(&mut self, c: &Code) {
        use Bc::*;
        let imm = matches!(c.op, CmpEqI | CmpNeI | CmpUltI | CmpUleI);
        self.compare(c, imm, !matches!(c.op, CmpSlt32 | CmpSle32));
        match c.op {
            CmpEq | CmpEqI => dynasm!(self.ops ; .arch x64 ; sete al),
            CmpNe | CmpNeI => dynasm!(self.ops ; .arch x64 ; setne al),
            CmpUlt | CmpUltI => dynasm!(self.ops ; .arch x64 ; setb al),
            CmpUle | CmpUleI => dynasm!(self.ops ; .arch x64 ; setbe al),
            CmpSlt32 | CmpSlt64 => dynasm!(self.ops ; .arch x64 ; setl al),
            _ => dynasm!(self.ops ; .arch x64 ; setle al),
        }
        let to = self.def(c.a);
        dynasm!(self.ops ; .arch x64 ; movzx Rd(to), al);
    }

    /// Branches where the comparison does not hold.
    fn branch(&mut self, c: &Code) {
        use Bc::*;
        let Some(&label) = self.labels.get(&(c.imm as u32)) else { return };
        self.write_back();
        match c.op {
            Br => return dynasm!(self.ops ; .arch x64 ; jmp =>label),
            BrZ | BrNz => {
                let b = self.get(c.b);
                dynasm!(self.ops ; .arch x64 ; test Rq(b), Rq(b));
            }
            _ => self.compare(c, false, !matches!(c.op, BrSlt32 | BrSle32)),
        }
        match c.op {
            BrZ | BrEq => dynasm!(self.ops ; .arch x64 ; je =>label),
            BrNz | BrNe => dynasm!(self.ops ; .arch x64 ; jne =>label),
            BrUlt => dynasm!(self.ops ; .arch x64 ; jb =>label),
            BrUle => dynasm!(self.ops ; .arch x64 ; jbe =>label),
            BrSlt32 | BrSlt64 => dynasm!(self.ops ; .arch x64 ; jl =>label),
            _ => dynasm!(self.ops ; .arch x64 ; jle =>label),
        }
    }

    /// Addition or subtraction with its flags: negative, zero, carry (or no borrow), overflow.
    fn flags(&mut self, c: &Code) {
        let b = self.get(c.b);
        let minus = matches!(c.op, Bc::SubFlags32 | Bc::SubFlags32I);
        if matches!(c.op, Bc::AddFlags32I | Bc::SubFlags32I) {
            let imm = i32::from(c.c);
            dynasm!(self.ops ; .arch x64 ; mov eax, Rd(b));
            if minus {
                dynasm!(self.ops ; .arch x64 ; sub eax, imm);
            } else {
                dynasm!(self.ops ; .arch x64 ; add eax, imm);
            }
        } else {
            let c = self.get(c.c);
            dynasm!(self.ops ; .arch x64 ; mov eax, Rd(b));
            if minus {
                dynasm!(self.ops ; .arch x64 ; sub eax, Rd(c));
            } else {
                dynasm!(self.ops ; .arch x64 ; add eax, Rd(c));
            }
        }
        // None of what follows changes the host's flags.
        self.set(c.a, RAX);
        for quarter in 0..4 {
            let to = self.def((c.imm >> (16 * quarter)) as u16);
            match quarter {
                0 => dynasm!(self.ops ; .arch x64 ; sets cl),
                1 => dynasm!(self.ops ; .arch x64 ; sete cl),
                2 if minus => dynasm!(self.ops ; .arch x64 ; setae cl),
                2 => dynasm!(self.ops ; .arch x64 ; setb cl),
                _ => dynasm!(self.ops ; .arch x64 ; seto cl),
            }
            dynasm!(self.ops ; .arch x64 ; movzx Rd(to), cl);
        }
    }

    /// The address of an access in `rax`; false if it has no template.
    fn address(&mut self, c: &Code) {
        let b = self.get(c.b);
        let imm = c.imm as i64;
        if c.x == 32 {
            dynasm!(self.ops ; .arch x64 ; lea eax, [Rq(b) + imm as i32]);
        } else if let Ok(imm) = i32::try_from(imm) {
            dynasm!(self.ops ; .arch x64 ; lea rax, [Rq(b) + imm]);
        } else {
            self.constant(RAX, c.imm);
            dynasm!(self.ops ; .arch x64 ; add rax, Rq(b));
        }
    }

    /// Finds the line of the front for the address in `rax`; `rcx` points to it. Goes to `slow` unless the access matches.
    fn look_up(&mut self, c: &Code, size: u8, write: bool, slow: DynamicLabel) {
        let (align, mmu) = ((c.c >> 8) as u8, c.c as u8);
        let front = self.run.front;
        let past = i32::from((size - 1).saturating_sub(align));
        let mask = Front::mask(align) as i64 as i32;
        let tag = if write { offset_of!(Front, write) } else { offset_of!(Front, read) } as i32;
        dynasm!(self.ops
            ; .arch x64
            ; mov rcx, rax
            ; shr rcx, PAGE_BITS as i8
            ; imul ecx, ecx, FRONT_HASH as i32
            ; shr ecx, (32 - FRONT_BITS) as i8
            ; shl ecx, 5
            ; add rcx, [r15 + front]
            ; lea rdx, [rax + past]
            ; and rdx, mask
        );
        const _: () = assert!(size_of::<Front>() == 32);
        let index = Front::index_bits(mmu) as i32;
        if index != 0 {
            dynasm!(self.ops ; .arch x64 ; or edx, index);
        }
        dynasm!(self.ops ; .arch x64 ; cmp rdx, [rcx + tag] ; jne =>slow);
    }

    /// The page's addend in `rcx`, after a match; a write goes to `slow` where code is on the page.
    fn addend(&mut self, write: bool, slow: DynamicLabel) {
        if write {
            let code = offset_of!(Front, code) as i32;
            dynasm!(self.ops ; .arch x64 ; mov rdx, [rcx + code] ; cmp QWORD [rdx], 0 ; jne =>slow);
        }
        let addend = offset_of!(Front, addend) as i32;
        dynasm!(self.ops ; .arch x64 ; mov rcx, [rcx + addend]);
    }

    fn probe(&mut self, c: &Code, at: u32) {
        self.address(c);
        let saved = Snapshot(self.regs);
        let (slow, back) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        self.look_up(c, c.a as u8, c.op == Bc::ProbeWrite, slow);
        dynasm!(self.ops ; .arch x64 ; =>back);
        self.cold.push(Cold::Access { label: slow, back, at, function: self.run.probe, value: None, into: None, saved });
    }

    fn load(&mut self, c: &Code, at: u32, log: usize) {
        self.address(c);
        // What is dirty before the result has its register; the result's own old value too.
        let old = self.find(c.a);
        let index = old.unwrap_or_else(|| self.place(c.a));
        let saved = Snapshot(self.regs);
        let into = REGS[index];
        self.regs[index] = Some(Held { cell: c.a, dirty: true, used: self.clock });
        let (slow, back) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        self.look_up(c, 1 << log, false, slow);
        self.addend(false, slow);
        match log {
            0 => dynasm!(self.ops ; .arch x64 ; movzx Rd(into), BYTE [rcx + rax]),
            1 => dynasm!(self.ops ; .arch x64 ; movzx Rd(into), WORD [rcx + rax]),
            2 => dynasm!(self.ops ; .arch x64 ; mov Rd(into), [rcx + rax]),
            _ => dynasm!(self.ops ; .arch x64 ; mov Rq(into), [rcx + rax]),
        }
        dynasm!(self.ops ; .arch x64 ; =>back);
        let function = self.run.load + 8 * log as i32;
        self.cold.push(Cold::Access { label: slow, back, at, function, value: None, into: Some(into), saved });
    }

    fn store_word(&mut self, c: &Code, at: u32, log: usize) {
        let value = self.get(c.a);
        self.address(c);
        let saved = Snapshot(self.regs);
        let (slow, back) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        self.look_up(c, 1 << log, true, slow);
        self.addend(true, slow);
        match log {
            0 => dynasm!(self.ops ; .arch x64 ; mov [rcx + rax], Rb(value)),
            1 => dynasm!(self.ops ; .arch x64 ; mov [rcx + rax], Rw(value)),
            2 => dynasm!(self.ops ; .arch x64 ; mov [rcx + rax], Rd(value)),
            _ => dynasm!(self.ops ; .arch x64 ; mov [rcx + rax], Rq(value)),
        }
        dynasm!(self.ops ; .arch x64 ; =>back);
        let function = self.run.store + 8 * log as i32;
        self.cold.push(Cold::Access { label: slow, back, at, function, value: Some(value), into: None, saved });
    }

    fn word(&mut self, c: &Code, at: u32) {
        use Bc::*;
        // Accesses of other address widths than 32 and 64 bits.
        let odd = !matches!(c.x, 0 | 32) || c.c >> 8 > 15;
        match c.op {
            Mov => {
                let b = self.get(c.b);
                self.set(c.a, b);
            }
            MovI => {
                let to = self.def(c.a);
                self.constant(to, c.imm);
            }
            And | Or | Xor | Add32 | Add64 | Sub32 | Sub64 | Mul32 | Mul64 => self.two(c.op, c),
            AndI | OrI | XorI | Add64I => self.logic_imm(c.op, c),
            Add32I => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                dynasm!(self.ops ; .arch x64 ; lea Rd(to), [Rq(b) + c.imm as i32]);
            }
            RSub32I => {
                let b = self.get(c.b);
                dynasm!(self.ops ; .arch x64 ; mov eax, c.imm as i32 ; sub eax, Rd(b));
                self.set(c.a, RAX);
            }
            RSub64I => {
                let b = self.get(c.b);
                self.constant(RAX, c.imm);
                dynasm!(self.ops ; .arch x64 ; sub rax, Rq(b));
                self.set(c.a, RAX);
            }
            Shl32 | Shl64 | Shr | Sar32 | Sar64 | Ror32 | Ror64 => self.shift(c),
            Shl32I if c.x >= 32 => {
                let to = self.def(c.a);
                self.constant(to, 0);
            }
            Shl32I | Shl64I | ShrI | Sar32I | Ror32I => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                self.copy(to, b);
                let by = c.x as i8;
                match c.op {
                    Shl32I => dynasm!(self.ops ; .arch x64 ; shl Rd(to), by),
                    Shl64I => dynasm!(self.ops ; .arch x64 ; shl Rq(to), by & 63),
                    ShrI => dynasm!(self.ops ; .arch x64 ; shr Rq(to), by & 63),
                    Sar32I => dynasm!(self.ops ; .arch x64 ; sar Rd(to), by & 31),
                    _ => dynasm!(self.ops ; .arch x64 ; ror Rd(to), by & 31),
                }
                if c.x & 31 == 0 && matches!(c.op, Shl32I | Sar32I | Ror32I) {
                    // A shift by nothing leaves the upper half as it was.
                    dynasm!(self.ops ; .arch x64 ; mov Rd(to), Rd(to));
                }
            }
            Clz => {
                let b = self.get(c.b);
                dynasm!(self.ops
                    ; .arch x64
                    ; mov ecx, 127
                    ; bsr rax, Rq(b)
                    ; cmovz rax, rcx
                    ; xor eax, 63
                    ; sub eax, i32::from(c.x)
                );
                self.set(c.a, RAX);
            }
            Popcnt => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                dynasm!(self.ops ; .arch x64 ; popcnt Rq(to), Rq(b));
            }
            Bswap => {
                let b = self.get(c.b);
                let to = self.def(c.a);
                self.copy(to, b);
                dynasm!(self.ops ; .arch x64 ; bswap Rq(to) ; shr Rq(to), (c.x & 63) as i8);
            }
            Sext => {
                let b = self.get(c.b);
                let (to, by) = (self.def(c.a), (c.x & 63) as i8);
                self.copy(to, b);
                dynasm!(self.ops ; .arch x64 ; shl Rq(to), by ; sar Rq(to), by);
                self.mask(to, c.imm);
            }
            Extract => {
                let b = self.get(c.b);
                let (to, by) = (self.def(c.a), (c.x & 63) as i8);
                self.copy(to, b);
                if by != 0 {
                    dynasm!(self.ops ; .arch x64 ; shr Rq(to), by);
                }
                self.mask(to, c.imm);
            }
            Insert => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                dynasm!(self.ops ; .arch x64 ; mov rax, Rq(x) ; shl rax, (c.x & 63) as i8);
                self.constant(RCX, c.imm);
                dynasm!(self.ops ; .arch x64 ; and rax, rcx ; not rcx ; and rcx, Rq(b) ; or rax, rcx);
                self.set(c.a, RAX);
            }
            Concat => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                dynasm!(self.ops ; .arch x64 ; mov rax, Rq(b) ; shl rax, (c.x & 63) as i8 ; or rax, Rq(x));
                self.set(c.a, RAX);
            }
            CmpEq | CmpEqI | CmpNe | CmpNeI | CmpUlt | CmpUltI | CmpUle | CmpUleI | CmpSlt32 | CmpSle32 | CmpSlt64 | CmpSle64 => {
                self.truth(c)
            }
            Carry32 => {
                let (b, x, carry) = (self.get(c.b), self.get(c.c), self.get(c.imm as u16));
                dynasm!(self.ops ; .arch x64 ; lea rax, [Rq(b) + Rq(x)] ; add rax, Rq(carry) ; shr rax, 32);
                self.set(c.a, RAX);
            }
            CarryAdd32 => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                dynasm!(self.ops ; .arch x64 ; lea rax, [Rq(b) + Rq(x)] ; shr rax, 32);
                self.set(c.a, RAX);
            }
            Overflow32 | OverflowAdd32 => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                dynasm!(self.ops ; .arch x64 ; lea eax, [Rq(b) + Rq(x)]);
                if c.op == Overflow32 {
                    let carry = self.get(c.imm as u16);
                    dynasm!(self.ops ; .arch x64 ; add eax, Rd(carry));
                }
                dynasm!(self.ops
                    ; .arch x64
                    ; mov ecx, Rd(b)
                    ; xor ecx, Rd(x)
                    ; not ecx
                    ; xor eax, Rd(b)
                    ; and eax, ecx
                    ; shr eax, 31
                );
                self.set(c.a, RAX);
            }
            AddFlags32 | AddFlags32I | SubFlags32 | SubFlags32I => self.flags(c),
            Select => {
                let (b, x, y) = (self.get(c.b), self.get(c.c), self.get(c.imm as u16));
                dynasm!(self.ops ; .arch x64 ; mov rax, Rq(y) ; test Rq(b), Rq(b) ; cmovnz rax, Rq(x));
                self.set(c.a, RAX);
            }
            Load8 | Load16 | Load32 | Load64 if !odd => self.load(c, at, c.op as usize - Load8 as usize),
            Store8 | Store16 | Store32 | Store64 if !odd => self.store_word(c, at, c.op as usize - Store8 as usize),
            ProbeRead | ProbeWrite if !odd => self.probe(c, at),
            Fence => dynasm!(self.ops ; .arch x64 ; mfence),
            op if is_branch(op) && op != Poll => self.branch(c),
            Poll => {
                let Some(&label) = self.labels.get(&(c.imm as u32)) else { return };
                self.write_back();
                let again = self.exit(Exit::AGAIN, at, Pc::None);
                let attention = self.run.attention;
                dynasm!(self.ops ; .arch x64 ; mov rcx, [r15 + attention] ; cmp DWORD [rcx], 0 ; jne =>again ; jmp =>label);
            }
            Jump => {
                self.write_back();
                self.uncount(c.a);
                if c.x != 0 {
                    let miss = self.exit(Exit::MISS_LINK, at, Pc::Known(c.imm));
                    self.jump_slot(at, miss);
                } else {
                    self.constant(RAX, c.imm);
                    let miss = self.exit(Exit::MISS, at, Pc::InRax);
                    self.jump_cached(miss);
                }
            }
            JumpTo => {
                let b = self.get(c.b);
                self.copy(RAX, b);
                self.write_back();
                self.uncount(c.a);
                let miss = self.exit(Exit::MISS, at, Pc::InRax);
                self.jump_cached(miss);
            }
            JumpRekey => {
                let b = self.get(c.b);
                self.copy(RDX, b);
                self.write_back();
                let (rekey, stored) = (self.run.rekey, self.stored);
                dynasm!(self.ops
                    ; .arch x64
                    ; mov rdi, r15
                    ; mov esi, at as i32
                    ; call QWORD [r15 + rekey]
                    ; test rax, rax
                    ; jz =>stored
                    ; jmp rax
                );
            }
            // Jumps are linked later than blocks get code.
            Trap | Linked => dynasm!(self.ops ; .arch x64 ; ud2),
            _ => self.one(at),
        }
    }

    // ---- floating point

    /// Goes to `slow` unless the bits of a slot that `mask` names are `value`.
    fn require(&mut self, slot: Slot, mask: u64, value: u64, slow: DynamicLabel) {
        let desc = &self.layout.slots[slot.0 as usize];
        let (mask, value) = (mask << desc.lo, value << desc.lo);
        let cell = self.get(desc.cell);
        if mask > 0x7fff_ffff {
            self.constant(RCX, mask);
            dynasm!(self.ops ; .arch x64 ; and rcx, Rq(cell));
            self.constant(RAX, value);
            dynasm!(self.ops ; .arch x64 ; cmp rcx, rax ; jne =>slow);
        } else if value == 0 {
            dynasm!(self.ops ; .arch x64 ; test Rd(cell), mask as i32 ; jnz =>slow);
        } else if value == mask && mask.is_power_of_two() {
            dynasm!(self.ops ; .arch x64 ; test Rd(cell), mask as i32 ; jz =>slow);
        } else {
            dynasm!(self.ops ; .arch x64 ; mov ecx, Rd(cell) ; and ecx, mask as i32 ; cmp ecx, value as i32 ; jne =>slow);
        }
    }

    /// An operand in an SSE register.
    fn float_operand(&mut self, side: &Side, index: usize) {
        let to = index as u8;
        let reg = match side.args[index] {
            Operand::Cell(cell) => self.get(cell),
            Operand::Const(x) => {
                self.constant(RAX, x as u64);
                RAX
            }
            Operand::None => return,
        };
        dynasm!(self.ops ; .arch x64 ; movq Rx(to), Rq(reg));
    }

    /// Floating point by the host, where it gives the guest's answer for certain: nearest rounding, nothing flushed, inexact raised already, and a
    /// result far from underflow and overflow, which no NaN and no infinity has. All else is the interpreter's. False: the operation has no template.
    ///
    /// The host's MXCSR is as Rust has it: nearest, nothing flushed, exceptions masked.
    fn float(&mut self, side: &Side, at: u32) -> bool {
        let (from, to) = (side.types[0], side.inst.ty);
        let host = |ty: Type| matches!(ty, Type::F32 | Type::F64);
        let Some((env, fits)) = (match side.inst.op {
            Op::Float { op, env } => {
                let known = matches!(op, Fop::Add | Fop::Sub | Fop::Mul | Fop::Div | Fop::Sqrt | Fop::Cmp | Fop::CmpSignal);
                Some((env, known && host(from)))
            }
            Op::FloatConvert { env, alt: false } => Some((env, host(from) && host(to) && from != to)),
            Op::IntToFloat { env, round: Round::Env | Round::Nearest, frac: 0, bits: 32, .. } => Some((env, host(to) && from == Type::I32)),
            Op::FloatToInt { env, round: Round::Zero, frac: 0, bits: 32, signed: true } => Some((env, host(from) && to == Type::I32)),
            _ => None,
        }) else {
            return false;
        };
        let Some(desc) = self.envs.get(env as usize).filter(|_| fits) else { return false };
        // x86 reports denormal operands, which this does not look for.
        let nearest = desc.round_map.iter().position(|r| *r == emu_softfloat::Round::NearestEven);
        let (Some(nearest), false) = (nearest, matches!(desc.nan_rule, NanRule::X86Sse | NanRule::X87)) else { return false };
        if desc.flush == SlotOr::Const(true) || desc.round.is_none() && nearest != 0 {
            return false;
        }
        let (slow, back) = (self.ops.new_dynamic_label(), self.ops.new_dynamic_label());
        let compares = matches!(side.inst.op, Op::Float { op: Fop::Cmp | Fop::CmpSignal, .. });
        // All cells have their registers before the first way to the cold path: registers are there what they are here.
        let flush = if let SlotOr::Slot(flush) = desc.flush { Some(flush) } else { None };
        let controls = [flush, desc.round.filter(|_| !compares), Some(desc.sticky).filter(|_| !compares)];
        for slot in controls.into_iter().flatten() {
            self.get(self.layout.slots[slot.0 as usize].cell);
        }
        for operand in side.args {
            if let Operand::Cell(cell) = operand {
                self.get(cell);
            }
        }
        let saved = Snapshot(self.regs);
        if let Some(flush) = flush {
            self.require(flush, 1, 0, slow);
        }
        if !compares {
            if let Some(round) = desc.round {
                self.require(round, 3, nearest as u64, slow);
            }
            let inexact = Flags::INEXACT.0.into();
            self.require(desc.sticky, inexact, inexact, slow);
        }
        self.float_operand(side, 0);
        self.float_operand(side, 1);
        let cell = side.result;
        let double = from == Type::F64;
        macro_rules! sse {
            ($single:ident, $double:ident) => {
                if double {
                    dynasm!(self.ops ; .arch x64 ; $double xmm0, xmm1);
                } else {
                    dynasm!(self.ops ; .arch x64 ; $single xmm0, xmm1);
                }
            };
        }
        match side.inst.op {
            Op::Float { op, .. } => match op {
                Fop::Add => sse!(addss, addsd),
                Fop::Sub => sse!(subss, subsd),
                Fop::Mul => sse!(mulss, mulsd),
                Fop::Div => sse!(divss, divsd),
                Fop::Sqrt if double => dynasm!(self.ops ; .arch x64 ; sqrtsd xmm0, xmm0),
                Fop::Sqrt => dynasm!(self.ops ; .arch x64 ; sqrtss xmm0, xmm0),
                _ => {
                    sse!(ucomiss, ucomisd);
                    // 0 less, 1 equal, 2 greater.
                    dynasm!(self.ops ; .arch x64 ; jp =>slow ; seta cl ; setae al ; movzx ecx, cl ; movzx eax, al ; add eax, ecx);
                }
            },
            Op::FloatConvert { .. } if double => dynasm!(self.ops ; .arch x64 ; cvtsd2ss xmm0, xmm0),
            Op::FloatConvert { .. } => dynasm!(self.ops ; .arch x64 ; cvtss2sd xmm0, xmm0),
            Op::IntToFloat { signed, .. } => {
                dynasm!(self.ops ; .arch x64 ; movq rax, xmm0);
                if signed {
                    dynasm!(self.ops ; .arch x64 ; movsxd rax, eax);
                }
                if to == Type::F64 {
                    dynasm!(self.ops ; .arch x64 ; cvtsi2sd xmm0, rax ; movq rax, xmm0);
                } else {
                    dynasm!(self.ops ; .arch x64 ; cvtsi2ss xmm0, rax ; movd eax, xmm0);
                }
            }
            _ => {
                if double {
                    dynasm!(self.ops ; .arch x64 ; cvttsd2si rax, xmm0);
                } else {
                    dynasm!(self.ops ; .arch x64 ; cvttss2si rax, xmm0);
                }
                dynasm!(self.ops ; .arch x64 ; movsxd rcx, eax ; cmp rcx, rax ; jne =>slow ; mov eax, eax);
            }
        }
        if host(to) && !matches!(side.inst.op, Op::IntToFloat { .. }) {
            // The exponent is neither of the two lowest nor the highest.
            if to == Type::F64 {
                dynasm!(self.ops
                    ; .arch x64 ; movq rax, xmm0 ; lea rcx, [rax + rax] ; shr rcx, 53 ; sub ecx, 2 ; cmp ecx, 2044 ; ja =>slow
                );
            } else {
                dynasm!(self.ops
                    ; .arch x64 ; movd eax, xmm0 ; lea ecx, [rax + rax] ; shr ecx, 24 ; sub ecx, 2 ; cmp ecx, 252 ; ja =>slow
                );
            }
        }
        let into = self.def(cell);
        self.copy(into, RAX);
        dynasm!(self.ops ; .arch x64 ; =>back);
        self.cold.push(Cold::One { label: slow, back, at, into: (into, cell), saved });
        true
    }

    fn mask(&mut self, reg: u8, mask: u64) {
        match mask {
            u64::MAX => {}
            0xffff_ffff => dynasm!(self.ops ; .arch x64 ; mov Rd(reg), Rd(reg)),
            0xff => dynasm!(self.ops ; .arch x64 ; movzx Rd(reg), Rb(reg)),
            0xffff => dynasm!(self.ops ; .arch x64 ; movzx Rd(reg), Rw(reg)),
            _ if mask <= 0xffff_ffff => dynasm!(self.ops ; .arch x64 ; and Rd(reg), mask as i32),
            _ => {
                self.constant(RCX, mask);
                dynasm!(self.ops ; .arch x64 ; and Rq(reg), rcx);
            }
        }
    }

    // ---- behind the block

    fn finish(mut self, base: usize) -> Option<Made> {
        let exit = self.run.exit;
        for cold in std::mem::take(&mut self.cold) {
            match cold {
                Cold::Stale { label, at, leave } => {
                    dynasm!(self.ops ; .arch x64 ; =>label);
                    self.jump_slot(at, leave);
                }
                Cold::Exit { label, how, at, pc } => {
                    dynasm!(self.ops ; .arch x64 ; =>label);
                    match pc {
                        Pc::None => {}
                        Pc::Known(pc) => self.constant(RDX, pc),
                        Pc::InRax => self.copy(RDX, RAX),
                    }
                    self.constant(RAX, how | u64::from(at) << 32);
                    dynasm!(self.ops ; .arch x64 ; jmp QWORD [r15 + exit]);
                }
                Cold::One { label, back, at, into, saved } => {
                    dynasm!(self.ops ; .arch x64 ; =>label);
                    self.save(&saved);
                    self.call_one(at);
                    self.reload(&saved, Some(into.0));
                    self.fetch(into.0, into.1);
                    dynasm!(self.ops ; .arch x64 ; jmp =>back);
                }
                Cold::Access { label, back, at, function, value, into, saved } => {
                    dynasm!(self.ops ; .arch x64 ; =>label);
                    self.save(&saved);
                    if let Some(value) = value {
                        self.copy(RCX, value);
                    }
                    let stored = self.stored;
                    dynasm!(self.ops
                        ; .arch x64
                        ; mov rdx, rax
                        ; mov rdi, r15
                        ; mov esi, at as i32
                        ; call QWORD [r15 + function]
                        ; test edx, edx
                        ; jnz =>stored
                    );
                    self.reload(&saved, into);
                    if let Some(into) = into {
                        self.copy(into, RAX);
                    }
                    dynasm!(self.ops ; .arch x64 ; jmp =>back);
                }
            }
        }
        let stored = self.stored;
        dynasm!(self.ops ; .arch x64 ; =>stored);
        self.constant(RAX, Exit::STORED);
        dynasm!(self.ops ; .arch x64 ; jmp QWORD [r15 + exit]);
        self.ops.align(8, 0xcc);
        let mut slots = Vec::new();
        let mut firsts = Vec::new();
        for (slot, at, first) in std::mem::take(&mut self.slots) {
            slots.push((at, self.ops.offset().0));
            firsts.push(first);
            dynasm!(self.ops ; .arch x64 ; =>slot ; .u64 0);
        }
        self.ops.commit().ok()?;
        let firsts: Vec<u64> = firsts
            .into_iter()
            .map(|l| self.ops.labels().resolve_dynamic(l).map(|at| (base + at.0) as u64))
            .collect::<Result<_, _>>()
            .ok()?;
        let mut code = self.ops.finalize().ok()?;
        for ((_, offset), first) in slots.iter().zip(firsts) {
            code[*offset..offset + 8].copy_from_slice(&first.to_le_bytes());
        }
        Some(Made { code, slots })
    }
}
