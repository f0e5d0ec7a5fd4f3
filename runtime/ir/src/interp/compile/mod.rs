//! From a block of IR to bytecode.
//!
//! Data path: one pass counts uses and decides what fuses with its only user (comparisons into branches, constant offsets into
//! accesses), a second finds where each value is used last, a third emits words and gives each value a cell. `get` and `set` mostly
//! vanish: a value read from a slot stays in the slot's cell as long as nothing overwrites it, and a result goes to its slot's cell
//! directly when nobody can see it there too early.

mod control;
mod pure;

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

impl Head {
    /// The immediate of its word.
    pub fn imm(self) -> u64 {
        u64::from(self.page) << 32 | u64::from(self.generation)
    }
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
            self.emit(Code { op: Bc::Enter, x: 0, a: self.block.guest_insns as u16, b: head.ram, c: 0, imm: head.imm() });
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
                self.arena.marks.push(MarkInfo { code, note: 0, pc: inst.imm });
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
            Op::Load(mem) | Op::Store(mem) | Op::Probe(mem) if !mem.physical && mem.size <= 8 => {
                if let Some(mark) = self.arena.marks.last_mut().filter(|_| mem.note != 0) {
                    mark.note = mem.note;
                }
                self.access(inst, mem)
            }
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
                        let x = u8::from(cells == 1 && self.moves(v, place, cell, from));
                        (0..cells).for_each(|i| _ = self.emit(Code { op: Bc::Mov, x, a: cell + i, b: from + i, c: 0, imm: 0 }));
                    }
                }
            }
            return Ok(());
        }
        let from = self.cell(v)?;
        self.emit(Code { op: Bc::Insert, x: lo, a: cell, b: cell, c: from, imm: (low_mask(bits) as u64) << lo });
        Ok(())
    }

    /// The current instruction sets a place to a value that has a temporary cell (it could fault until now, say). True if that cell is of no use from here on:
    /// the value is not read again, or from where it is now.
    fn moves(&mut self, v: Value, place: Place, cell: u16, from: u16) -> bool {
        if from < self.target.layout.cells as u16 || self.work.vars.contains(&from) {
            return false;
        }
        let root = self.root(v);
        let last = self.last(root);
        if last <= self.at {
            return true;
        }
        let stays = self.open.is_empty() && self.work.known.accesses[self.at as usize].next_write >= last;
        if !stays || !matches!(place, Place::Slot(_)) || self.block.values[root.0 as usize].cells() != 1 {
            return false;
        }
        self.work.known.values[root.0 as usize].cell = cell;
        let until = &mut self.work.alias_until[cell as usize];
        *until = (*until).max(last);
        true
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
}
