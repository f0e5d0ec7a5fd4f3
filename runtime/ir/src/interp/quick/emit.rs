//! From bytecode to x86-64: the block as a whole, its ways out, and what lies out of line.
//!
//! `rbx` points to the cells, `r14` to the TLB's front (or to the byte at virtual address 0, if the host maps the guest's memory), `r15` counts down the instructions that may still be executed; `rax`, `rcx`, `rdx` and `xmm0` to `xmm3` are scratch, the
//! other registers hold cells ([`super::regs`]). What a register holds beyond its cell is written back before anything can look: at branches and their
//! targets, calls in line and exits, and on the paths out of line.

use super::super::code::{Arena, Bc, BlockInfo, Code, Operand};
use super::super::exec::{JUMP_MASK, JumpEntry, jump_slot};
use super::super::hot::heat_slot;
use super::access::Group;
use super::assembler::Assembler;
use super::cold::Cold;
use super::effects::{Writes, flags_of, is_branch, is_jump, is_written, result_of, writes};
use super::labels::Labels;
use super::regs::{NUMBERS, RAX, RCX, RDX, Registers};
use super::shape::{CONTROLS, Copied, KEY, Shape};
use super::stubs::Stubs;
use crate::guest::BlockKey;
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};
use std::mem::offset_of;

/// Code of a block, and where its slots are in it: code index, offset of the slot, offset of what it leads to at first.
pub struct Made<'a> {
    pub code: &'a [u8],
    pub slots: &'a [(u32, usize, usize)],
    /// Offsets of accesses that the host may refuse, ascending, and of what is to be executed instead.
    pub faults: &'a [(usize, usize)],
}

/// Memory that the making of one block leaves to the next.
#[derive(Default)]
pub struct Scratch {
    ops: Assembler,
    cold: Vec<Cold>,
    pool: Vec<(DynamicLabel, u128)>,
    groups: Vec<Group>,
    suited: Vec<u16>,
    labels: Labels,
    jumps: Vec<(DynamicLabel, u32, DynamicLabel)>,
    rekeyed: Vec<u16>,
    slots: Vec<(u32, usize, usize)>,
    refused: Vec<(usize, DynamicLabel)>,
    faults: Vec<(usize, usize)>,
}

impl Scratch {
    /// The block made last.
    pub fn made(&self) -> Made<'_> {
        Made { code: self.ops.code(), slots: &self.slots, faults: &self.faults }
    }

    /// Where it is.
    pub fn ops(&self) -> &Assembler {
        &self.ops
    }

    /// The parts of [`Scratch::made`], for code that is there already.
    pub fn parts(&mut self) -> (&mut Assembler, &mut Vec<(u32, usize, usize)>, &mut Vec<(usize, usize)>) {
        (&mut self.ops, &mut self.slots, &mut self.faults)
    }

    /// For code that is no block's.
    pub fn assembler(&mut self) -> &mut Assembler {
        &mut self.ops
    }

    pub fn clear(&mut self, base: usize) {
        self.ops.restart(base);
        self.cold.clear();
        self.pool.clear();
        self.groups.clear();
        self.suited.clear();
        self.jumps.clear();
        self.rekeyed.clear();
        self.slots.clear();
        self.refused.clear();
        self.faults.clear();
    }
}

/// The block being made.
pub struct Emitter<'a> {
    pub ops: &'a mut Assembler,
    pub regs: Registers,
    /// By number of a register: the word that used it last.
    pub ages: [u32; NUMBERS],
    /// Number of the word.
    pub clock: u32,
    pub shape: &'a Shape,
    pub stubs: &'a Stubs,
    pub arena: &'a Arena,
    pub words: &'a [Code],
    /// Code index of the first word.
    pub first: u32,
    pub cold: &'a mut Vec<Cold>,
    /// A word to come that is done already.
    pub ahead: Option<u32>,
    /// Constants of 128 bits, and their labels.
    pub pool: &'a mut Vec<(DynamicLabel, u128)>,
    /// Pointers to pages that were looked up.
    pub groups: &'a mut Vec<Group>,
    /// Accesses that the host may refuse: their offsets, and where it goes on then.
    pub refused: &'a mut Vec<(usize, DynamicLabel)>,
    /// The host's flags are those of the last addition or subtraction with flags: its word.
    pub host_flags: Option<Code>,
    /// Floating-point environments whose controls are known to suit the host.
    pub suited: &'a mut Vec<u16>,
    key: BlockKey,
    /// The block's first pc.
    pc: u64,
    labels: &'a mut Labels,
    /// Jumps through a slot: label of the slot, code index, where it leads at first.
    jumps: &'a mut Vec<(DynamicLabel, u32, DynamicLabel)>,
    /// Cells the block has written, of those the key is made of; [`u16::MAX`]: any.
    rekeyed: &'a mut Vec<u16>,
}

/// Translates one block; `base` is where it will be executed. Without a head it is an exception's entry: any key may be before it and after it.
pub fn block<'a>(
    scratch: &'a mut Scratch,
    shape: &Shape,
    stubs: &Stubs,
    arena: &Arena,
    block: &BlockInfo,
    base: usize,
) -> Option<Made<'a>> {
    block_seen(scratch, shape, stubs, arena, block, base, &mut |_, _| ())
}

/// Says instead of a code index that what follows is out of line.
pub const OUT_OF_LINE: u32 = u32::MAX;

/// The same, for who wants to see where the code of each word begins, in line and out of line: `seen` gets code indices and offsets.
pub fn block_seen<'a>(
    scratch: &'a mut Scratch,
    shape: &Shape,
    stubs: &Stubs,
    arena: &Arena,
    block: &BlockInfo,
    base: usize,
    seen: &mut impl FnMut(u32, usize),
) -> Option<Made<'a>> {
    let words = &arena.code[block.code as usize..block.end as usize];
    scratch.clear(base);
    scratch.labels.restart(words, block.code, &mut scratch.ops)?;
    let mut e = Emitter {
        ops: &mut scratch.ops,
        regs: Registers::default(),
        ages: [0; NUMBERS],
        clock: 0,
        shape,
        stubs,
        arena,
        words,
        first: block.code,
        cold: &mut scratch.cold,
        ahead: None,
        pool: &mut scratch.pool,
        groups: &mut scratch.groups,
        refused: &mut scratch.refused,
        host_flags: None,
        suited: &mut scratch.suited,
        key: block.key,
        pc: block.pc,
        labels: &mut scratch.labels,
        jumps: &mut scratch.jumps,
        rekeyed: &mut scratch.rekeyed,
    };
    let head = words.first().filter(|c| c.op == Bc::Enter);
    match head {
        Some(head) => e.enter(head),
        None => e.rekeyed.push(u16::MAX),
    }
    let mut index = usize::from(head.is_some());
    while index < words.len() {
        seen(e.first + index as u32, e.ops.offset().0);
        index = e.step(index);
        if e.ops.is_full() {
            return None;
        }
    }
    e.finish(base, &mut scratch.slots, &mut scratch.faults, seen)?;
    Some(scratch.made())
}

impl Emitter<'_> {
    pub fn label(&mut self) -> DynamicLabel {
        self.ops.new_dynamic_label()
    }

    /// The label of a branch's target.
    pub fn target(&self, c: &Code) -> Option<DynamicLabel> {
        self.labels.get(c.imm as u32).map(|l| l.label)
    }

    /// A branch to here is being made: registers are clean, and hold this.
    pub fn branches_to(&mut self, target: u64) {
        if let Some(label) = self.labels.get_mut(target as u32) {
            label.regs.get_or_insert(self.regs).meet(&self.regs);
        }
    }

    /// How many branches lead to a word.
    pub fn branches(&self, at: u32) -> u32 {
        self.labels.get(at).map_or(0, |l| l.branches)
    }

    /// All branches to a word were made without its label.
    pub fn forget_label(&mut self, at: u32) {
        self.labels.remove(at);
    }

    /// Emits the word at an index, and others with it if they go together; the index of the next.
    fn step(&mut self, index: usize) -> usize {
        let at = self.first + index as u32;
        if self.labels.get(at).is_some() {
            self.write_back();
            self.arrive(at);
        }
        self.clock += 1;
        let c = self.words[index];
        if is_branch(c.op) && c.op != Bc::Poll {
            self.invalidates_flags(false);
            return self.branch(index);
        }
        self.sticky(&c);
        if self.halves(index) {
            self.invalidates_flags(true);
            self.words[index..index + 2].iter().for_each(|c| self.after(c));
            return index + 2;
        }
        let keeps = matches!(c.op, Bc::Mov | Bc::MovI | Bc::Add32I);
        self.invalidates_flags(!keeps);
        let done = match c.op {
            Bc::Float => self.float(&self.arena.side[c.imm as usize], at) || self.vector(&c, at),
            Bc::Generic => self.ahead.take_if(|ahead| *ahead == at).is_some() || self.vector(&c, at),
            _ => false,
        };
        if !done {
            self.word(&c, at);
        }
        self.after(&c);
        index + 1
    }

    fn invalidates_flags(&mut self, gone: bool) {
        if gone {
            self.host_flags = None;
        }
    }

    /// A place that branches lead to: registers hold what they hold on every way.
    fn arrive(&mut self, at: u32) {
        let Some(label) = self.labels.get(at) else { return };
        let (name, known) = (label.label, label.regs.filter(|_| !label.backward));
        match known {
            Some(known) => self.regs.meet(&known),
            None => self.forget(),
        }
        self.forget_pointers();
        self.suited.clear();
        self.host_flags = None;
        dynasm!(self.ops ; .arch x64 ; =>name);
    }

    /// What a word wrote is no longer what was known of it.
    fn after(&mut self, c: &Code) {
        match writes(c.op) {
            Writes::Nothing => {}
            Writes::One => self.cell_written(c, c.a),
            Writes::Flags => {
                self.cell_written(c, c.a);
                flags_of(c).into_iter().for_each(|flag| self.cell_written(c, flag));
            }
            Writes::Result => {
                let (first, count) = result_of(self.arena, c);
                (0..count).for_each(|n| self.cell_written(c, first + n));
            }
            Writes::Any => {
                self.suited.clear();
                self.rekeyed.push(u16::MAX);
            }
        }
    }

    fn cell_written(&mut self, c: &Code, cell: u16) {
        if !self.groups.is_empty() {
            self.base_written(c, cell);
        }
        // Those of this very word are new.
        if writes(c.op) != Writes::Flags {
            self.host_flags.take_if(|f| f.a == cell || flags_of(f).into_iter().any(|flag| flag == cell));
        }
        let role = self.shape.role(cell);
        if role & KEY != 0 && !self.rekeyed.contains(&cell) {
            self.rekeyed.push(cell);
        }
        if role & CONTROLS != 0 {
            self.suited.clear();
        }
    }

    // ---- ways in and out

    fn enter(&mut self, head: &Code) {
        if !self.shape.counted {
            return;
        }
        let label = self.label();
        let count = i32::from(head.a);
        let attention = self.shape.attention;
        dynasm!(self.ops
            ; .arch x64
            ; sub r15, count
            ; jl =>label
            ; mov rax, [rbx + attention]
            ; cmp DWORD [rax], 0
            ; jne =>label
        );
        self.cold.push(Cold::Refuse { label, count, at: self.first });
    }

    /// Gives `n` instructions back to the count.
    fn uncount(&mut self, n: u16) {
        if n != 0 && self.shape.counted {
            dynasm!(self.ops ; .arch x64 ; add r15, i32::from(n));
        }
    }

    /// A way out of line that leaves by a stub.
    pub fn leave(&mut self, stub: usize, at: u32) -> DynamicLabel {
        let label = self.label();
        self.cold.push(Cold::Leave { label, stub, at, saved: self.regs });
        label
    }

    /// Leaves by a jump word, for the pc in a register if it names a cell. The state is written back.
    fn jump(&mut self, c: &Code, at: u32, target: Option<u8>) {
        if let Some(target) = target {
            self.copy(RAX, target);
        }
        match c.op {
            Bc::Jump if self.words[0].op != Bc::Enter => {
                self.constant(RAX, c.imm);
                self.rekey();
            }
            Bc::Jump if c.x != 0 => {
                self.uncount(c.a);
                let (slot, miss) = (self.label(), self.label());
                self.cold.push(Cold::Miss { label: miss, at, pc: c.imm });
                self.jumps.push((slot, at, miss));
                if let (Some(heat), true) = (self.shape.heat, c.imm <= self.pc) {
                    let (label, counter) = (self.label(), heat + 4 * heat_slot(c.imm) as i32);
                    self.cold.push(Cold::Hot { label, at, pc: c.imm });
                    dynasm!(self.ops ; .arch x64 ; dec DWORD [rbx + counter] ; jz =>label);
                }
                if !self.shape.counted && c.imm <= self.pc {
                    let attention = self.shape.attention;
                    dynasm!(self.ops ; .arch x64 ; mov rcx, [rbx + attention] ; cmp DWORD [rcx], 0 ; jne =>miss);
                }
                dynasm!(self.ops ; .arch x64 ; jmp QWORD [=>slot]);
            }
            Bc::Jump => {
                self.uncount(c.a);
                self.constant(RAX, c.imm);
                self.constant(RDX, self.key.0);
                self.jump_cached(Some(c.imm));
            }
            Bc::JumpTo if self.words[0].op == Bc::Enter => {
                self.uncount(c.a);
                self.constant(RDX, self.key.0);
                self.jump_cached(None);
            }
            _ => {
                self.uncount(c.a);
                self.rekey();
            }
        }
    }

    /// Goes on at the pc in `rax`, with the key that the state says.
    fn rekey(&mut self) {
        let rekey = self.stubs.rekey;
        let Some((key, copies)) = self.shape.key_after(self.key, self.rekeyed) else {
            return dynasm!(self.ops ; .arch x64 ; jmp extern rekey);
        };
        look_for_interrupts(self.ops, self.shape, self.stubs);
        self.constant(RDX, key);
        for copy in copies {
            let reg = self.get(copy.cell);
            or_shifted(self.ops, reg, copy.lo);
        }
        self.jump_cached(None);
    }

    /// Goes to the block for the pc in `rax` and the key in `rdx`, which the jump cache knows.
    fn jump_cached(&mut self, known: Option<u64>) {
        jump_cached(self.ops, self.shape, self.stubs, known);
    }

    // ---- words that are more than one instruction's pattern

    /// Executes the word by a call.
    pub fn call_word(&mut self, c: &Code, at: u32) {
        self.write_back();
        let stub = self.stubs.word;
        self.index(at);
        dynasm!(self.ops ; .arch x64 ; call extern stub);
        match writes(c.op) {
            Writes::Nothing => {}
            Writes::One => self.drop_cell(c.a),
            Writes::Flags => {
                self.drop_cell(c.a);
                flags_of(c).into_iter().for_each(|flag| self.drop_cell(flag));
            }
            Writes::Result => {
                let (first, count) = result_of(self.arena, c);
                (0..count).for_each(|n| self.drop_cell(first + n));
            }
            Writes::Any => self.forget(),
        }
        self.called();
    }

    pub fn jump_word(&mut self, c: &Code, at: u32) {
        let target = if c.op == Bc::Jump { None } else { Some(self.get(c.b)) };
        self.only_state();
        self.write_back();
        self.jump(c, at, target);
    }

    /// Tells a stub which word it is for.
    pub fn index(&mut self, at: u32) {
        dynasm!(self.ops ; .arch x64 ; mov edx, at as i32);
        self.ops.was_index();
    }

    /// Leaves by an exception.
    pub fn raise(&mut self, at: u32) {
        self.write_back();
        let raise = self.stubs.raise;
        dynasm!(self.ops ; .arch x64 ; mov eax, at as i32);
        self.ops.was_index();
        dynasm!(self.ops ; .arch x64 ; jmp extern raise);
    }

    /// The end of a round of a loop.
    pub fn poll(&mut self, c: &Code, at: u32) {
        let Some(label) = self.target(c) else { return };
        self.write_back();
        let again = self.leave(self.stubs.again, at);
        let attention = self.shape.attention;
        dynasm!(self.ops ; .arch x64 ; mov rcx, [rbx + attention] ; cmp DWORD [rcx], 0 ; jne =>again ; jmp =>label);
    }

    /// What the host gathered of sticky flags goes to the state before a word looks there.
    fn sticky(&mut self, c: &Code) {
        let Some(cell) = self.shape.sticky else { return };
        let operand = |o: &Operand| matches!(o, Operand::Cell(at) if *at == cell);
        let touched = match c.op {
            Bc::Generic | Bc::Memory | Bc::Float => {
                let side = &self.arena.side[c.imm as usize];
                side.args.iter().any(operand) || side.result == cell
            }
            Bc::AddFlags32 | Bc::AddFlags32I | Bc::SubFlags32 | Bc::SubFlags32I => {
                c.b == cell || c.c == cell || is_written(self.arena, c, cell)
            }
            Bc::Enter | Bc::MovI | Bc::Call => c.op == Bc::MovI && c.a == cell,
            Bc::Select if c.imm as u16 == cell => true,
            _ => c.a == cell || c.b == cell || c.c == cell,
        };
        if touched && !is_branch(c.op) && !is_jump(c.op) {
            self.write_back();
            self.drop_cell(cell);
            let gather = self.stubs.gather;
            dynasm!(self.ops ; .arch x64 ; call extern gather);
            self.called();
            self.invalidates_flags(true);
        }
        if c.op == Bc::Float {
            // What is called out of line writes it.
            self.release(cell);
        }
    }

    // ---- out of line

    fn finish(
        mut self,
        base: usize,
        slots: &mut Vec<(u32, usize, usize)>,
        faults: &mut Vec<(usize, usize)>,
        seen: &mut impl FnMut(u32, usize),
    ) -> Option<()> {
        seen(OUT_OF_LINE, self.ops.offset().0);
        // Jumps out of line have ways out of line of their own.
        while let Some(cold) = self.cold.pop() {
            seen(cold.at(), self.ops.offset().0);
            self.out_of_line(cold);
            if self.ops.is_full() {
                return None;
            }
        }
        self.constants()?;
        self.ops.align(8, 0xcc);
        for (slot, at, first) in self.jumps.drain(..) {
            let (offset, first) = (self.ops.offset().0, self.ops.place(first)?);
            slots.push((at, offset, first));
            dynasm!(self.ops ; .arch x64 ; =>slot ; .u64 (base + first) as u64);
            if self.ops.is_full() {
                return None;
            }
        }
        for (access, instead) in self.refused.drain(..) {
            faults.push((access, self.ops.place(instead)?));
        }
        self.ops.commit()
    }
}

/// Puts a number into a register.
pub fn constant(ops: &mut Assembler, reg: u8, value: u64) {
    if let Ok(value) = u32::try_from(value) {
        dynasm!(ops ; .arch x64 ; mov Rd(reg), value as i32);
    } else if let Ok(value) = i32::try_from(value as i64) {
        dynasm!(ops ; .arch x64 ; mov Rq(reg), DWORD value);
    } else {
        dynasm!(ops ; .arch x64 ; mov Rq(reg), QWORD value as i64);
    }
}

/// Where an interrupt may have been unmasked: while a line is high, a call looks whether to go on at the pc in `rax`.
pub fn look_for_interrupts(ops: &mut Assembler, shape: &Shape, stubs: &Stubs) {
    dynasm!(ops ; .arch x64 ; cmp QWORD [rbx + shape.levels], 0 ; jne extern stubs.rekey);
}

/// Goes to the block for the pc in `rax` and the key in `rdx`, which the jump cache knows.
pub fn jump_cached(ops: &mut Assembler, shape: &Shape, stubs: &Stubs, known: Option<u64>) {
    let (epoch, jumps, miss) = (shape.epoch, shape.jumps, stubs.miss);
    let field = |field: usize| jumps + field as i32;
    let (pc, stamp, native) = (field(offset_of!(JumpEntry, pc)), field(offset_of!(JumpEntry, stamp)), field(offset_of!(JumpEntry, native)));
    const _: () = assert!(size_of::<JumpEntry>() == 32);
    if !shape.counted {
        let (attention, leave) = (shape.attention, stubs.no_code);
        dynasm!(ops ; .arch x64 ; mov rcx, [rbx + attention] ; cmp DWORD [rcx], 0 ; jne extern leave);
    }
    dynasm!(ops ; .arch x64 ; or rdx, [rbx + epoch]);
    match known {
        Some(to) => constant(ops, 1, 32 * jump_slot(to) as u64),
        None => dynasm!(ops
            ; .arch x64
            ; movzx ecx, al
            ; shl ecx, 4
            ; xor ecx, eax
            ; and ecx, 32 * JUMP_MASK as i32
        ),
    }
    dynasm!(ops
        ; .arch x64
        ; cmp [rbx + rcx + pc], rax
        ; jne extern miss
        ; cmp [rbx + rcx + stamp], rdx
        ; jne extern miss
        ; jmp QWORD [rbx + rcx + native]
    );
}

/// Adds a register to the key in `rdx`, at a bit.
fn or_shifted(ops: &mut Assembler, reg: u8, lo: u8) {
    if lo == 0 {
        dynasm!(ops ; .arch x64 ; or rdx, Rq(reg));
    } else {
        dynasm!(ops ; .arch x64 ; mov rcx, Rq(reg) ; shl rcx, lo as i8 ; or rdx, rcx);
    }
}

/// The key of these bits and these cells, which are clean, into `rdx`.
pub fn key_of(ops: &mut Assembler, known: u64, copies: &[Copied]) {
    constant(ops, RDX, known);
    for copy in copies {
        dynasm!(ops ; .arch x64 ; mov rcx, [rbx + i32::from(copy.cell) * 8]);
        or_shifted(ops, RCX, copy.lo);
    }
}
