//! From a block of IR to bytecode.
//!
//! Data path: one pass counts uses and decides what fuses with its only user (comparisons into branches, constant offsets into
//! accesses), a second finds where each value is used last, a third emits words and gives each value a cell. `get` and `set` mostly
//! vanish: a value read from a slot stays in the slot's cell as long as nothing overwrites it, and a result goes to its slot's cell
//! directly when nobody can see it there too early.

use super::analysis::{Analysis, Flags, NEVER, Place, Places};
use super::code::*;
use super::coverage::Coverage;
use crate::fold::low_mask;
use crate::guest::FloatEnvDesc;
use crate::op::*;
use crate::state::{Slot, StateLayout};

/// The block needs more temporaries than a frame has.
#[derive(Debug, PartialEq, Eq)]
pub struct TooBig;

/// What the compiler must know of the state.
pub struct Target {
    pub layout: &'static StateLayout,
    /// For each slot: it has its cell (or cells) to itself.
    whole: Vec<bool>,
    /// For each slot: where it is.
    places: Vec<Places>,
    /// State bit ranges floating-point operations read or write behind the IR's back.
    pub float: Vec<Slot>,
}

impl Target {
    pub fn new(layout: &'static StateLayout, envs: &[FloatEnvDesc]) -> Target {
        let alone = |desc: &crate::state::SlotDesc| {
            let bits = u32::from(desc.bits);
            let (first, last) = (u32::from(desc.cell) * 64, u32::from(desc.cell) * 64 + bits.div_ceil(64) * 64);
            let inside = |other: &crate::state::SlotDesc| {
                let (from, to) = other.bit_range();
                to <= first || from >= last || (from >= first && to <= first + bits) || bits % 64 == 0
            };
            desc.lo == 0 && layout.slots.iter().all(inside)
        };
        let places = |desc: &crate::state::SlotDesc| Places { cell: desc.cell, cells: desc.ty.cells(), integer: desc.ty.is_int() };
        let mut float: Vec<Slot> = envs.iter().map(|env| env.sticky).collect();
        float.dedup();
        Target { layout, whole: layout.slots.iter().map(alone).collect(), places: layout.slots.iter().map(places).collect(), float }
    }
}

impl Target {
    pub fn places(&self, slot: Slot) -> Places {
        self.places[slot.0 as usize]
    }
}

/// What a block's head checks.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub ram: u16,
    pub page: u32,
    pub generation: u32,
}

/// What the compiler works with, kept from block to block for its memory.
#[derive(Default)]
pub struct Work {
    known: Analysis,
    /// Sets that need no code: their value was put in place.
    placed: Vec<bool>,
    vars: Vec<u16>,
    /// For each state cell, how long values read from it are needed.
    alias_until: Vec<u32>,
    free: [Vec<u16>; 2],
    /// By instruction: the first of the cells to be freed after it, in `dead`.
    dies: Vec<u32>,
    /// Cells to be freed: the first, how many, and the next entry.
    dead: Vec<(u16, u16, u32)>,
    scratch: Vec<u16>,
}

struct Compiler<'a> {
    target: &'a Target,
    block: &'a Block,
    arena: &'a mut Arena,
    work: &'a mut Work,
    next_temp: u16,
    at: u32,
    mark: u32,
    mark_info: Option<(u64, u16)>,
    page_of: Option<u64>,
    coverage: Option<&'a Coverage>,
    open: Vec<Open>,
}

struct Open {
    /// Words to be pointed at the other side, and at the end.
    to_else: Vec<u32>,
    to_end: Vec<u32>,
    /// A loop's first word.
    start: Option<u32>,
}

/// Appends the code of `block` to the arena; its [`BlockInfo`] is the caller's to add. Without a head it has no `Enter` (exception entries).
/// `page_of`: direct jumps into the page of this address may be linked. `coverage`: where its instructions are counted, if they are.
pub fn compile(
    target: &Target,
    work: &mut Work,
    block: &Block,
    arena: &mut Arena,
    head: Option<Head>,
    page_of: Option<u64>,
    coverage: Option<&Coverage>,
) -> Result<(), TooBig> {
    let (code, side, marks) = (arena.code.len(), arena.side.len(), arena.marks.len());
    work.begin(target, block);
    let next_temp = target.layout.cells as u16;
    let mut compiler =
        Compiler { target, block, arena, work, next_temp, at: 0, mark: 0, mark_info: None, page_of, coverage, open: Vec::new() };
    let result = compiler.run(head);
    if result.is_err() {
        arena.code.truncate(code);
        arena.side.truncate(side);
        arena.marks.truncate(marks);
    }
    result
}

impl Work {
    fn begin(&mut self, target: &Target, block: &Block) {
        self.known.of(target, block);
        self.placed.clear();
        self.placed.resize(block.insts.len(), false);
        self.alias_until.clear();
        self.alias_until.resize(target.layout.cells, 0);
        self.dies.clear();
        self.dies.resize(block.insts.len(), NEVER);
        self.free.iter_mut().chain([&mut self.vars, &mut self.scratch]).for_each(Vec::clear);
        self.dead.clear();
    }

    fn free_after(&mut self, at: u32, cell: u16, cells: u16) {
        self.dead.push((cell, cells, self.dies[at as usize]));
        self.dies[at as usize] = self.dead.len() as u32 - 1;
    }

    /// Frees what no instruction behind one needs.
    fn free_dead(&mut self, at: usize) {
        self.free[0].append(&mut self.scratch);
        let mut next = self.dies[at];
        while let Some((cell, cells, more)) = self.dead.get(next as usize).copied() {
            self.free[usize::from(cells) - 1].push(cell);
            next = more;
        }
    }
}

impl Compiler<'_> {
    fn run(&mut self, head: Option<Head>) -> Result<(), TooBig> {
        for ty in &self.block.vars {
            let cell = self.temp(ty.cells())?;
            self.work.vars.push(cell);
        }
        if let Some(head) = head {
            let imm = u64::from(head.page) << 32 | u64::from(head.generation);
            self.emit(Code { op: Bc::Enter, x: 0, a: self.block.guest_insns as u16, b: head.ram, c: 0, imm });
        }
        // Locals begin as 0; most are written before they are read, which the dead-value pass has used up already.
        for at in 0..self.work.vars.len() {
            if self.reads_var_first(Var(at as u32)) {
                for cell in 0..self.block.vars[at].cells() {
                    self.word(Bc::MovI, self.work.vars[at] + cell, 0, 0, 0);
                }
            }
        }
        for (at, inst) in self.block.insts.iter().enumerate() {
            self.at = at as u32;
            self.inst(inst)?;
            self.work.free_dead(at);
        }
        self.word(Bc::Trap, 0, 0, 0, 0);
        Ok(())
    }

    // ---- what is known of the block

    fn root(&self, v: Value) -> Value {
        self.work.known.values[v.0 as usize].root
    }

    fn last(&self, v: Value) -> u32 {
        self.work.known.values[v.0 as usize].last
    }

    fn def(&self, v: Value) -> Option<&Inst> {
        self.work.known.def(self.block, v)
    }

    fn constant(&self, v: Value) -> Option<u128> {
        self.work.known.constant(self.block, v)
    }

    fn two_ways(&self, inst: &Inst) -> Option<(Value, u64, u64)> {
        self.work.known.two_ways(self.block, inst)
    }

    fn is_fused(&self, v: Value) -> bool {
        self.work.known.values[v.0 as usize].fused
    }

    fn bits(&self, v: Value) -> u32 {
        self.block.values[v.0 as usize].bits()
    }

    fn reads_var_first(&self, var: Var) -> bool {
        let mut depth = 0;
        for inst in &self.block.insts {
            match inst.op {
                Op::VarGet(v) if v == var => return true,
                Op::VarSet(v) if v == var && depth == 0 => return false,
                Op::If | Op::Repeat => depth += 1,
                Op::EndIf | Op::EndRepeat => depth -= 1,
                _ => {}
            }
        }
        false
    }

    // ---- cells

    fn temp(&mut self, cells: u16) -> Result<u16, TooBig> {
        if let Some(cell) = self.work.free[cells as usize - 1].pop() {
            return Ok(cell);
        }
        let cell = self.next_temp;
        self.next_temp += cells;
        if self.next_temp as usize > FRAME { Err(TooBig) } else { Ok(cell) }
    }

    /// The cell of a value; a constant is put into a scratch cell.
    fn cell(&mut self, v: Value) -> Result<u16, TooBig> {
        if let Some(x) = self.constant(v) {
            let cell = self.temp(1)?;
            self.work.scratch.push(cell);
            self.word(Bc::MovI, cell, 0, 0, x as u64);
            return Ok(cell);
        }
        Ok(self.work.known.values[self.root(v).0 as usize].cell)
    }

    fn place_cells(&self, place: Place) -> (u16, u16) {
        match place {
            Place::Slot(slot) => {
                let desc = self.target.layout.slots[slot.0 as usize];
                (desc.cell, desc.ty.cells())
            }
            Place::Var(var) => (self.work.vars[var.0 as usize], self.block.vars[var.0 as usize].cells()),
        }
    }

    /// Where instruction `at`'s result may be computed in place: the slot or local it is set to soon.
    fn home(&self, at: u32, v: Value) -> Option<(u32, Place)> {
        let info = self.work.known.values[v.0 as usize];
        let set = self.block.insts.get(info.set as usize)?;
        let access = self.work.known.accesses[info.set as usize];
        // Nobody may see the place before the set, and it must stay there as long as it is needed.
        if access.free_from > at + 1 || access.next_write < info.last {
            return None;
        }
        let result = self.block.values[v.0 as usize];
        match set.op {
            Op::Set(slot) => {
                let desc = self.target.layout.slots[slot.0 as usize];
                // The value may be shared by a narrower root; it must fill the slot.
                let fills =
                    self.target.whole[slot.0 as usize] && u32::from(desc.bits) >= result.bits() && desc.ty.cells() == result.cells();
                let aliased = (desc.cell..desc.cell + desc.ty.cells()).any(|cell| self.work.alias_until[cell as usize] > at);
                (fills && !aliased).then_some((info.set, Place::Slot(slot)))
            }
            Op::VarSet(var) => {
                let fits = set.ty.cells() == result.cells() && !self.var_aliased(var, at);
                fits.then_some((info.set, Place::Var(var)))
            }
            _ => None,
        }
    }

    fn var_aliased(&self, var: Var, at: u32) -> bool {
        let cell = self.work.vars[var.0 as usize];
        let aliases = |v: Value| self.work.known.values[v.0 as usize].cell == cell && self.last(v) > at;
        self.block.insts[..at as usize].iter().any(|inst| matches!(inst.op, Op::VarGet(v) if v == var) && aliases(inst.res))
    }

    /// The cell for the result of the current instruction.
    fn result(&mut self, v: Value) -> Result<u16, TooBig> {
        let ty = self.block.values[v.0 as usize];
        let cell = if let Some((set, place)) = self.home(self.at, v) {
            self.work.placed[set as usize] = true;
            let (cell, cells) = self.place_cells(place);
            if let Place::Slot(_) = place {
                for cell in cell..cell + cells {
                    let last = self.last(v);
                    let until = &mut self.work.alias_until[cell as usize];
                    *until = (*until).max(last);
                }
            }
            cell
        } else {
            let cell = self.temp(ty.cells())?;
            self.work.free_after(self.last(v).max(self.at), cell, ty.cells());
            cell
        };
        self.work.known.values[v.0 as usize].cell = cell;
        Ok(cell)
    }

    // ---- emission

    fn emit(&mut self, code: Code) -> u32 {
        self.arena.code.push(code);
        self.arena.code.len() as u32 - 1
    }

    fn word(&mut self, op: Bc, a: u16, b: u16, c: u16, imm: u64) {
        self.emit(Code { op, x: 0, a, b, c, imm });
    }

    fn here(&self) -> u64 {
        self.arena.code.len() as u64
    }

    fn patch(&mut self, at: u32) {
        let here = self.here();
        self.arena.code[at as usize].imm = here;
    }

    fn inst(&mut self, inst: &Inst) -> Result<(), TooBig> {
        let v = inst.res;
        if v != Value::NONE {
            if let Some(flags) = self.work.known.flags(v) {
                return self.with_flags(inst, flags);
            }
            let info = self.work.known.values[v.0 as usize];
            let unused = info.last == 0;
            if info.fused || info.flag || matches!(inst.op, Op::Const) || self.root(v) != v || (unused && inst.op.is_pure()) {
                return Ok(());
            }
        }
        match inst.op {
            Op::Mark => {
                self.mark += 1;
                let code = self.here() as u32;
                self.arena.marks.push(MarkInfo { code, pc: inst.imm });
                self.mark_info = Some((inst.imm, (self.block.guest_insns + 1).saturating_sub(self.mark) as u16));
                if let Some(coverage) = self.coverage {
                    self.word(Bc::Count, 0, 0, 0, coverage.counter(inst.imm) as u64);
                }
                Ok(())
            }
            Op::Get(slot) => self.get(inst, Place::Slot(slot)),
            Op::VarGet(var) => self.get(inst, Place::Var(var)),
            Op::Set(slot) => self.set(inst, Place::Slot(slot)),
            Op::VarSet(var) => self.set(inst, Place::Var(var)),
            Op::If | Op::Else | Op::EndIf | Op::Repeat | Op::BreakIf | Op::EndRepeat => self.control(inst),
            Op::Jump | Op::JumpTo | Op::JumpRekey | Op::Raise(_) | Op::Wait => self.exit(inst),
            Op::Load(mem) | Op::Store(mem) | Op::Probe(mem) if !mem.physical && mem.size <= 8 => self.access(inst, mem),
            op if op.is_memory() => self.side(Bc::Memory, inst),
            Op::ClearExclusive => {
                self.word(Bc::ClearExclusive, 0, 0, 0, 0);
                Ok(())
            }
            Op::Fence(_) => {
                self.word(Bc::Fence, 0, 0, 0, 0);
                Ok(())
            }
            Op::Call(_) => self.side(Bc::Call, inst),
            Op::Float { .. } | Op::FloatRound { .. } | Op::FloatConvert { .. } | Op::FloatToInt { .. } | Op::IntToFloat { .. } => {
                self.side(Bc::Float, inst)
            }
            Op::Vec(op, _) if op.is_float() => self.side(Bc::Float, inst),
            _ => self.pure(inst),
        }
    }

    fn get(&mut self, inst: &Inst, place: Place) -> Result<(), TooBig> {
        let v = inst.res;
        let last = self.last(v);
        if last == 0 {
            return Ok(());
        }
        let (cell, cells) = self.place_cells(place);
        let whole = match place {
            Place::Slot(slot) => self.target.whole[slot.0 as usize],
            Place::Var(_) => true,
        };
        if whole && self.work.known.accesses[self.at as usize].next_write >= last {
            self.work.known.values[v.0 as usize].cell = cell;
            if let Place::Slot(_) = place {
                for cell in cell..cell + cells {
                    let until = &mut self.work.alias_until[cell as usize];
                    *until = (*until).max(last);
                }
            }
            return Ok(());
        }
        let to = self.result(v)?;
        match place {
            Place::Slot(slot) if !whole => {
                let desc = self.target.layout.slots[slot.0 as usize];
                debug_assert!(cells == 1, "a 128-bit slot begins at a cell");
                self.emit(Code { op: Bc::Extract, x: desc.lo, a: to, b: cell, c: 0, imm: low_mask(desc.bits.into()) as u64 });
            }
            _ => (0..cells).for_each(|i| self.word(Bc::Mov, to + i, cell + i, 0, 0)),
        }
        Ok(())
    }

    fn set(&mut self, inst: &Inst, place: Place) -> Result<(), TooBig> {
        if self.work.placed[self.at as usize] {
            return Ok(());
        }
        let v = inst.args[0];
        let (cell, cells) = self.place_cells(place);
        let (whole, lo, bits) = match place {
            Place::Slot(slot) => {
                let desc = self.target.layout.slots[slot.0 as usize];
                (self.target.whole[slot.0 as usize], desc.lo, u32::from(desc.bits))
            }
            Place::Var(_) => (true, 0, inst.ty.bits()),
        };
        if whole {
            let mask = low_mask(bits);
            match self.constant(v) {
                Some(x) => (0..cells).for_each(|i| self.word(Bc::MovI, cell + i, 0, 0, ((x & mask) >> (64 * i)) as u64)),
                None => {
                    let from = self.cell(v)?;
                    if cells == 1 && bits < self.bits(v) {
                        self.word(Bc::AndI, cell, from, 0, mask as u64);
                    } else if from != cell {
                        (0..cells).for_each(|i| self.word(Bc::Mov, cell + i, from + i, 0, 0));
                    }
                }
            }
            return Ok(());
        }
        let from = self.cell(v)?;
        self.emit(Code { op: Bc::Insert, x: lo, a: cell, b: cell, c: from, imm: (low_mask(bits) as u64) << lo });
        Ok(())
    }

    fn side_operands(&mut self, inst: &Inst, result: u16) -> u64 {
        let mut side = Side { inst: *inst, types: [Type::I64; 6], args: [Operand::None; 6], mark: self.mark_info, result };
        for (at, v) in inst.args.iter().enumerate() {
            if *v == Value::NONE {
                continue;
            }
            side.types[at] = self.block.values[v.0 as usize];
            side.args[at] = match self.constant(*v) {
                Some(x) => Operand::Const(x),
                None => Operand::Cell(self.work.known.values[self.root(*v).0 as usize].cell),
            };
        }
        self.arena.side.push(side);
        self.arena.side.len() as u64 - 1
    }

    fn side(&mut self, op: Bc, inst: &Inst) -> Result<(), TooBig> {
        let result = if inst.res == Value::NONE { 0 } else { self.result(inst.res)? };
        let index = self.side_operands(inst, result);
        let fenced =
            |op: Op| matches!(op, Op::Load(m) | Op::Store(m) | Op::LoadExclusive(m) | Op::StoreExclusive(m) if m.order != Order::Relaxed);
        if fenced(inst.op) {
            self.word(Bc::Fence, 0, 0, 0, 0);
        }
        self.word(op, 0, 0, 0, index);
        if fenced(inst.op) {
            self.word(Bc::Fence, 0, 0, 0, 0);
        }
        Ok(())
    }

    /// The base cell and offset of an address.
    fn address(&mut self, v: Value) -> Result<(u16, u64), TooBig> {
        if self.is_fused(v)
            && let Some(def) = self.def(v).copied()
        {
            let offset = self.constant(def.args[1]).unwrap_or(0);
            let bits = self.bits(v);
            return Ok((self.cell(def.args[0])?, crate::fold::sign_extend(offset, bits) as u64));
        }
        Ok((self.cell(v)?, 0))
    }

    fn access(&mut self, inst: &Inst, mem: Mem) -> Result<(), TooBig> {
        let (base, offset) = self.address(inst.args[0])?;
        let x = 64 - self.bits(inst.args[0]).min(64) as u8;
        let c = u16::from(mem.mmu) | u16::from(mem.align.max(1) - 1) << 8;
        let swap = mem.big && mem.size > 1;
        let swap_x = 64 - mem.size * 8;
        let index = mem.size.trailing_zeros() as usize;
        if mem.order != Order::Relaxed {
            self.word(Bc::Fence, 0, 0, 0, 0);
        }
        if let Op::Probe(_) = inst.op {
            let op = if inst.imm == 0 { Bc::ProbeRead } else { Bc::ProbeWrite };
            self.emit(Code { op, x, a: mem.size.into(), b: base, c, imm: offset });
        } else if let Op::Load(_) = inst.op {
            let a = self.result(inst.res)?;
            let op = [Bc::Load8, Bc::Load16, Bc::Load32, Bc::Load64][index & 3];
            self.emit(Code { op, x, a, b: base, c, imm: offset });
            if swap {
                self.emit(Code { op: Bc::Bswap, x: swap_x, a, b: a, c: 0, imm: 0 });
            }
        } else {
            let mut a = self.cell(inst.args[1])?;
            if swap {
                let swapped = self.temp(1)?;
                self.work.scratch.push(swapped);
                self.emit(Code { op: Bc::Bswap, x: swap_x, a: swapped, b: a, c: 0, imm: 0 });
                a = swapped;
            }
            let op = [Bc::Store8, Bc::Store16, Bc::Store32, Bc::Store64][index & 3];
            self.emit(Code { op, x, a, b: base, c, imm: offset });
        }
        if mem.order != Order::Relaxed {
            self.word(Bc::Fence, 0, 0, 0, 0);
        }
        Ok(())
    }

    /// Branches taken if `cond` is `when`; the words to be pointed at their target are added to `out`.
    fn branch_if(&mut self, cond: Value, when: bool, out: &mut Vec<u32>) -> Result<(), TooBig> {
        if let Some(x) = self.constant(cond) {
            // Constant conditions are folded before; a branch on itself keeps this total.
            if (x != 0) == when {
                out.push(self.emit(Code { op: Bc::Br, x: 0, a: 0, b: 0, c: 0, imm: 0 }));
            }
            return Ok(());
        }
        if self.is_fused(cond)
            && let Some(def) = self.def(cond).copied()
        {
            match def.op {
                Op::Cmp(c) => out.push(self.compare_branch(c, def.args[0], def.args[1], when)?),
                // All must hold, or one does: what decides early leads past the rest.
                Op::And | Op::Or if (def.op == Op::And) == when => {
                    let mut past = Vec::new();
                    self.branch_if(def.args[0], !when, &mut past)?;
                    self.branch_if(def.args[1], when, out)?;
                    past.into_iter().for_each(|at| self.patch(at));
                }
                Op::And | Op::Or => {
                    self.branch_if(def.args[0], when, out)?;
                    self.branch_if(def.args[1], when, out)?;
                }
                _ => self.branch_if(def.args[0], !when, out)?,
            }
            return Ok(());
        }
        let b = self.cell(cond)?;
        let op = if when { Bc::BrNz } else { Bc::BrZ };
        out.push(self.emit(Code { op, x: 0, a: 0, b, c: 0, imm: 0 }));
        Ok(())
    }

    /// A branch taken if the comparison gives `taken`.
    fn compare_branch(&mut self, cond: Cond, a: Value, b: Value, taken: bool) -> Result<u32, TooBig> {
        // Branches exist for comparisons that hold; the negations swap sides.
        let (cond, a, b) = match (cond, taken) {
            (_, true) => (cond, a, b),
            (Cond::Eq, _) => (Cond::Ne, a, b),
            (Cond::Ne, _) => (Cond::Eq, a, b),
            (Cond::Ult, _) => (Cond::Ule, b, a),
            (Cond::Ule, _) => (Cond::Ult, b, a),
            (Cond::Slt, _) => (Cond::Sle, b, a),
            (Cond::Sle, _) => (Cond::Slt, b, a),
        };
        if let (Cond::Eq | Cond::Ne, Some(zero)) = (cond, self.work.known.zero_flag(self.block, a, b)) {
            let b = self.cell(zero)?;
            let op = if cond == Cond::Eq { Bc::BrNz } else { Bc::BrZ };
            return Ok(self.emit(Code { op, x: 0, a: 0, b, c: 0, imm: 0 }));
        }
        if self.constant(b) == Some(0) && matches!(cond, Cond::Eq | Cond::Ne) {
            let b = self.cell(a)?;
            let op = if cond == Cond::Eq { Bc::BrZ } else { Bc::BrNz };
            return Ok(self.emit(Code { op, x: 0, a: 0, b, c: 0, imm: 0 }));
        }
        let wide = self.bits(a) == 64;
        let (b, c) = (self.cell(a)?, self.cell(b)?);
        let op = match (cond, wide) {
            (Cond::Eq, _) => Bc::BrEq,
            (Cond::Ne, _) => Bc::BrNe,
            (Cond::Ult, _) => Bc::BrUlt,
            (Cond::Ule, _) => Bc::BrUle,
            (Cond::Slt, false) => Bc::BrSlt32,
            (Cond::Sle, false) => Bc::BrSle32,
            (Cond::Slt, true) => Bc::BrSlt64,
            (Cond::Sle, true) => Bc::BrSle64,
        };
        Ok(self.emit(Code { op, x: 0, a: 0, b, c, imm: 0 }))
    }

    fn control(&mut self, inst: &Inst) -> Result<(), TooBig> {
        match inst.op {
            Op::If => {
                let mut to_else = Vec::new();
                self.branch_if(inst.args[0], false, &mut to_else)?;
                self.open.push(Open { to_else, to_end: Vec::new(), start: None });
            }
            Op::Else => {
                let ended = self.block.insts[..self.at as usize].last().is_some_and(|i| i.op.is_exit());
                let end = (!ended).then(|| self.emit(Code { op: Bc::Br, x: 0, a: 0, b: 0, c: 0, imm: 0 }));
                let Some(open) = self.open.last_mut() else { return Ok(()) };
                open.to_end.extend(end);
                let to_else = std::mem::take(&mut open.to_else);
                to_else.into_iter().for_each(|at| self.patch(at));
            }
            Op::Repeat => {
                let start = self.here() as u32;
                self.open.push(Open { to_else: Vec::new(), to_end: Vec::new(), start: Some(start) });
            }
            Op::BreakIf => {
                let mut leave = Vec::new();
                self.branch_if(inst.args[0], true, &mut leave)?;
                if let Some(open) = self.open.iter_mut().rev().find(|o| o.start.is_some()) {
                    open.to_end.extend(leave);
                }
            }
            _ => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                if let Some(start) = open.start {
                    self.word(Bc::Poll, 0, 0, 0, start.into());
                }
                for at in open.to_else.into_iter().chain(open.to_end) {
                    self.patch(at);
                }
            }
        }
        Ok(())
    }

    fn jump(&mut self, pc: u64, a: u16) {
        let near = self.page_of.is_some_and(|page| page >> emu_memory::PAGE_BITS == pc >> emu_memory::PAGE_BITS);
        self.emit(Code { op: Bc::Jump, x: near.into(), a, b: 0, c: 0, imm: pc });
    }

    fn exit(&mut self, inst: &Inst) -> Result<(), TooBig> {
        let a = (self.block.guest_insns - self.mark.min(self.block.guest_insns)) as u16;
        match inst.op {
            Op::Jump => self.jump(inst.imm, a),
            Op::JumpTo if self.two_ways(inst).is_some() => {
                // A branch with a delay slot: two jumps that can be linked.
                let Some((cond, yes, no)) = self.two_ways(inst) else { return Ok(()) };
                let mut otherwise = Vec::new();
                self.branch_if(cond, false, &mut otherwise)?;
                self.jump(yes, a);
                otherwise.into_iter().for_each(|at| self.patch(at));
                self.jump(no, a);
            }
            Op::JumpTo | Op::JumpRekey => {
                let b = self.cell(inst.args[0])?;
                self.word(if inst.op == Op::JumpTo { Bc::JumpTo } else { Bc::JumpRekey }, a, b, 0, 0);
            }
            Op::Raise(id) => {
                let index = self.side_operands(inst, 0);
                self.word(Bc::Raise, a, 0, id, index);
            }
            _ => {
                self.emit(Code { op: Bc::Wait, x: inst.imm as u8, a, b: 0, c: 0, imm: inst.imm_hi });
            }
        }
        Ok(())
    }

    // ---- pure operations

    fn pure(&mut self, inst: &Inst) -> Result<(), TooBig> {
        let narrow = inst.operands().all(|v| self.bits(v) <= 64) && inst.ty.bits() <= 64 && !inst.ty.is_vector();
        let vector = inst.operands().any(|v| self.block.values[v.0 as usize].is_vector());
        if narrow && !vector && self.scalar(inst)? {
            return Ok(());
        }
        if let Op::Extract { lo, len } = inst.op
            && self.bits(inst.args[0]) == 128
            && inst.ty.bits() <= 64
            && (lo >= 64 || lo + len <= 64)
        {
            let b = self.work.known.values[self.root(inst.args[0]).0 as usize].cell + u16::from(lo / 64);
            let a = self.result(inst.res)?;
            self.emit(Code { op: Bc::Extract, x: lo % 64, a, b, c: 0, imm: low_mask(len.into()) as u64 });
            return Ok(());
        }
        self.side(Bc::Generic, inst)
    }

    /// An addition or subtraction and its flags.
    fn with_flags(&mut self, inst: &Inst, flags: Flags) -> Result<(), TooBig> {
        let [x, y, ..] = inst.args;
        let subtract = inst.op == Op::Sub
            || flags.values[2..].iter().flatten().any(|v| match self.def(*v).map(|d| (d.op, d.args[2])) {
                Some((Op::Cmp(_), _)) => true,
                Some((_, carry)) => self.constant(carry) == Some(1),
                None => false,
            });
        let b = self.cell(x)?;
        let constant = if subtract && inst.op == Op::Add { flags.minus } else { self.constant(y) };
        let (c, immediate) = match constant {
            Some(k) if k <= u128::from(u16::MAX) => (k as u16, true),
            Some(k) => {
                let cell = self.temp(1)?;
                self.work.scratch.push(cell);
                self.word(Bc::MovI, cell, 0, 0, k as u64);
                (cell, false)
            }
            None => (self.cell(y)?, false),
        };
        let mut nowhere = None;
        let mut cells = [0; 5];
        for (v, cell) in [Some(inst.res)].into_iter().chain(flags.values).zip(&mut cells) {
            *cell = match v.filter(|v| self.last(*v) > 0) {
                Some(v) => self.result(v)?,
                None => match nowhere {
                    Some(cell) => cell,
                    None => {
                        let cell = self.temp(1)?;
                        self.work.scratch.push(cell);
                        *nowhere.insert(cell)
                    }
                },
            };
        }
        let op = match (subtract, immediate) {
            (false, false) => Bc::AddFlags32,
            (false, true) => Bc::AddFlags32I,
            (true, false) => Bc::SubFlags32,
            (true, true) => Bc::SubFlags32I,
        };
        let imm = cells[1..].iter().rev().fold(0, |imm, cell| imm << 16 | u64::from(*cell));
        let unwanted = u8::from(self.last(inst.res) == 0);
        self.emit(Code { op, x: unwanted, a: cells[0], b, c, imm });
        Ok(())
    }

    /// Emits an operation on at most 64 bits; false if it has no bytecode.
    fn scalar(&mut self, inst: &Inst) -> Result<bool, TooBig> {
        let ty = inst.ty;
        let bits = ty.bits();
        let mask = ty.mask() as u64;
        let [p, q, r, ..] = inst.args;
        let from = self.bits(p);
        let shift_x = 64 - from as u8;
        let small = |v: Value, c: &Compiler| c.constant(v).map(|x| x as u64);
        let wide = bits == 64;
        // Narrow arithmetic is done wide and cut.
        let cut = !(bits == 32 || bits == 64);
        let imm = if q == Value::NONE { None } else { small(q, self) };
        macro_rules! finish {
            ($op:expr, $x:expr, $b:expr, $c:expr, $imm:expr) => {{
                let a = self.result(inst.res)?;
                self.emit(Code { op: $op, x: $x, a, b: $b, c: $c, imm: $imm });
                if cut && matches!(inst.op, Op::Add | Op::Sub | Op::Mul | Op::Shl | Op::Neg) {
                    self.word(Bc::AndI, a, a, 0, mask);
                }
                return Ok(true);
            }};
        }
        macro_rules! two {
            ($op:expr) => {{
                let (b, c) = (self.cell(p)?, self.cell(q)?);
                finish!($op, 0, b, c, 0)
            }};
        }
        macro_rules! one_imm {
            ($op:expr, $imm:expr) => {{
                let b = self.cell(p)?;
                finish!($op, 0, b, 0, $imm)
            }};
        }
        macro_rules! one_x {
            ($op:expr, $x:expr) => {{
                let b = self.cell(p)?;
                finish!($op, $x, b, 0, mask)
            }};
        }
        let is32 = bits == 32;
        match (inst.op, imm) {
            (Op::Add, Some(k)) => one_imm!(if is32 { Bc::Add32I } else { Bc::Add64I }, k),
            (Op::Add, None) => two!(if is32 { Bc::Add32 } else { Bc::Add64 }),
            (Op::Sub, Some(k)) => one_imm!(if is32 { Bc::Add32I } else { Bc::Add64I }, k.wrapping_neg()),
            (Op::Sub, None) => {
                if let Some(k) = small(p, self) {
                    let b = self.cell(q)?;
                    finish!(if is32 { Bc::RSub32I } else { Bc::RSub64I }, 0, b, 0, k)
                }
                two!(if is32 { Bc::Sub32 } else { Bc::Sub64 })
            }
            (Op::Neg, _) => one_imm!(if is32 { Bc::RSub32I } else { Bc::RSub64I }, 0),
            (Op::Mul, _) => two!(if is32 { Bc::Mul32 } else { Bc::Mul64 }),
            (Op::And, Some(k)) => one_imm!(Bc::AndI, k),
            (Op::And, None) => two!(Bc::And),
            (Op::Or, Some(k)) => one_imm!(Bc::OrI, k),
            (Op::Or, None) => two!(Bc::Or),
            (Op::Xor, Some(k)) => one_imm!(Bc::XorI, k),
            (Op::Xor, None) => two!(Bc::Xor),
            (Op::Not, _) => one_imm!(Bc::XorI, mask),
            (Op::Shl, Some(k)) if k < 64 => one_x!(if is32 { Bc::Shl32I } else { Bc::Shl64I }, k as u8),
            (Op::Shr, Some(k)) if k < 64 => one_x!(Bc::ShrI, k as u8),
            (Op::Sar, Some(k)) if is32 => one_x!(Bc::Sar32I, k.min(31) as u8),
            (Op::Ror, Some(k)) if is32 => one_x!(Bc::Ror32I, (k % 32) as u8),
            (Op::Shl, _) => two!(if is32 { Bc::Shl32 } else { Bc::Shl64 }),
            (Op::Shr, _) => two!(Bc::Shr),
            (Op::Sar, _) if is32 || wide => two!(if is32 { Bc::Sar32 } else { Bc::Sar64 }),
            (Op::Ror, _) if is32 || wide => two!(if is32 { Bc::Ror32 } else { Bc::Ror64 }),
            (Op::DivU, _) => two!(Bc::DivU),
            (Op::DivS, _) if is32 || wide => two!(if is32 { Bc::DivS32 } else { Bc::DivS64 }),
            (Op::RemU, _) => two!(Bc::RemU),
            (Op::Clz, _) => one_x!(Bc::Clz, shift_x),
            (Op::Popcnt, _) => one_x!(Bc::Popcnt, 0),
            (Op::Bswap, _) if from >= 8 => one_x!(Bc::Bswap, shift_x),
            (Op::Bitrev, _) => one_x!(Bc::Bitrev, shift_x),
            (Op::Sext, _) => one_x!(Bc::Sext, shift_x),
            (Op::Trunc, _) => one_imm!(Bc::AndI, mask),
            (Op::Zext | Op::Bitcast, _) => one_imm!(Bc::AndI, u64::MAX),
            (Op::Extract { lo, len }, _) => {
                let b = self.cell(p)?;
                finish!(Bc::Extract, lo, b, 0, low_mask(len.into()) as u64)
            }
            (Op::Insert { lo, len }, _) => {
                let (b, c) = (self.cell(p)?, self.cell(q)?);
                finish!(Bc::Insert, lo, b, c, (low_mask(len.into()) as u64) << lo)
            }
            (Op::Concat, _) => {
                let (b, c) = (self.cell(p)?, self.cell(q)?);
                finish!(Bc::Concat, from as u8, b, c, 0)
            }
            (Op::Cmp(cond), k) => {
                let narrow = from != 32 && from != 64;
                match (cond, k) {
                    (Cond::Eq, Some(k)) => one_imm!(Bc::CmpEqI, k),
                    (Cond::Ne, Some(k)) => one_imm!(Bc::CmpNeI, k),
                    (Cond::Ult, Some(k)) => one_imm!(Bc::CmpUltI, k),
                    (Cond::Ule, Some(k)) => one_imm!(Bc::CmpUleI, k),
                    (Cond::Eq, None) => two!(Bc::CmpEq),
                    (Cond::Ne, None) => two!(Bc::CmpNe),
                    (Cond::Ult, None) => two!(Bc::CmpUlt),
                    (Cond::Ule, None) => two!(Bc::CmpUle),
                    _ if narrow => Ok(false),
                    (Cond::Slt, _) => {
                        if from == 32 && k == Some(0) {
                            let b = self.cell(p)?;
                            finish!(Bc::ShrI, 31, b, 0, 0)
                        }
                        two!(if from == 32 { Bc::CmpSlt32 } else { Bc::CmpSlt64 })
                    }
                    (Cond::Sle, _) => two!(if from == 32 { Bc::CmpSle32 } else { Bc::CmpSle64 }),
                }
            }
            (Op::CarryAdd, _) if from == 32 && small(r, self) == Some(0) => two!(Bc::CarryAdd32),
            (Op::OverflowAdd, _) if from == 32 && small(r, self) == Some(0) => two!(Bc::OverflowAdd32),
            (Op::CarryAdd, _) if from == 32 => {
                let (b, c, third) = (self.cell(p)?, self.cell(q)?, self.cell(r)?);
                finish!(Bc::Carry32, 0, b, c, third.into())
            }
            (Op::OverflowAdd, _) if from == 32 => {
                let (b, c, third) = (self.cell(p)?, self.cell(q)?, self.cell(r)?);
                finish!(Bc::Overflow32, 0, b, c, third.into())
            }
            (Op::Select, _) => {
                let (b, c, third) = (self.cell(p)?, self.cell(q)?, self.cell(r)?);
                finish!(Bc::Select, 0, b, c, third.into())
            }
            _ => Ok(false),
        }
    }
}
