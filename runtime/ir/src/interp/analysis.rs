//! What the bytecode compiler must know of a block before it emits a word: who uses a value and until when, what fuses with its only user, which flags an
//! addition computes beside its result, and which places keep a value for how long.
//!
//! A few walks over the block, each linear; their memory is kept from block to block.

use super::compile::Target;
use crate::op::*;
use crate::state::Slot;

pub const NEVER: u32 = u32::MAX;
const NO_GROUP: u16 = u16::MAX;

/// Where the value of a set-able thing lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Slot(Slot),
    Var(Var),
}

/// The flags of an addition or subtraction of 32 bits: negative, zero, carry, overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flags {
    pub values: [Option<Value>; 4],
    /// The constant subtracted, if it is written as an addition.
    pub minus: Option<u128>,
}

/// What is known of a value.
#[derive(Clone, Copy)]
pub struct Info {
    /// Index of the defining instruction.
    pub def: u32,
    uses: u32,
    /// Of a root: index of the last instruction that reads it, or 0.
    pub last: u32,
    /// The value whose cell this one shares.
    pub root: Value,
    /// Index of the first set of it, if it is a root.
    pub set: u32,
    group: u16,
    pub cell: u16,
    /// Emitted with its user.
    pub fused: bool,
    /// Computed with the addition or subtraction it is a flag of.
    pub flag: bool,
}

/// What is known of an instruction that reads or writes a place.
#[derive(Clone, Copy)]
pub struct Access {
    /// The first instruction behind it that may write the place.
    pub next_write: u32,
    /// Of a set: the last instruction before it that must not see the place changed early, or changes it, or ends a straight way; plus one.
    pub free_from: u32,
}

/// What is known of a block.
#[derive(Default)]
pub struct Analysis {
    pub values: Vec<Info>,
    pub accesses: Vec<Access>,
    groups: Vec<Flags>,
    /// Loops around the instruction at hand: first and last instruction.
    open: Vec<(u32, u32)>,
    ends: Vec<u32>,
    /// By cell of the state, then by local.
    touched: Vec<u32>,
}

impl Analysis {
    /// Forgets the last block and looks at another.
    pub fn of(&mut self, target: &Target, block: &Block) {
        self.groups.clear();
        let none = Info {
            def: NEVER,
            uses: 0,
            last: 0,
            root: Value::NONE,
            set: NEVER,
            group: NO_GROUP,
            cell: u16::MAX,
            fused: false,
            flag: false,
        };
        self.values.clear();
        self.values.resize(block.values.len(), none);
        let loops = self.count_uses(block);
        self.fuse(block);
        self.group_flags(block);
        self.find_last_uses(target, block, loops);
        self.find_writes(target, block);
    }

    fn info(&self, v: Value) -> &Info {
        &self.values[v.0 as usize]
    }

    pub fn def<'b>(&self, block: &'b Block, v: Value) -> Option<&'b Inst> {
        block.insts.get(self.info(v).def as usize)
    }

    pub fn constant(&self, block: &Block, v: Value) -> Option<u128> {
        self.def(block, v).and_then(Inst::constant)
    }

    /// The flags computed with this result.
    pub fn flags(&self, v: Value) -> Option<Flags> {
        self.groups.get(usize::from(self.info(v).group)).copied()
    }

    /// The flag that says whether the first is the second, if the second is 0 and the first has such a flag beside it.
    pub fn zero_flag(&self, block: &Block, a: Value, b: Value) -> Option<Value> {
        self.flags(a)?.values[1].filter(|_| self.constant(block, b) == Some(0))
    }

    /// Finds definitions and roots; true if there are loops.
    fn count_uses(&mut self, block: &Block) -> bool {
        let mut loops = false;
        for (at, inst) in block.insts.iter().enumerate() {
            for v in inst.operands() {
                self.values[v.0 as usize].uses += 1;
            }
            if inst.res == Value::NONE {
                loops |= matches!(inst.op, Op::Repeat);
                continue;
            }
            let bits = |v: Value| block.values[v.0 as usize].bits();
            let from = inst.args[0];
            let shares = match inst.op {
                Op::Bitcast => true,
                Op::Zext => inst.ty.bits() <= 64 && bits(from) <= 64,
                Op::Trunc => inst.ty.bits() == 64 && bits(from) == 128,
                _ => false,
            };
            let root = if shares && self.constant(block, from).is_none() { self.info(from).root } else { inst.res };
            let info = &mut self.values[inst.res.0 as usize];
            (info.def, info.root) = (at as u32, root);
        }
        loops
    }

    /// A condition with no other use is not computed: comparisons become branches, and what joins them several.
    fn fuse_condition(&mut self, block: &Block, v: Value) {
        let Some(def) = self.def(block, v).filter(|_| self.info(v).uses == 1) else { return };
        let joins = matches!(def.op, Op::And | Op::Or | Op::Not) && def.ty == Type::I1;
        self.values[v.0 as usize].fused = match def.op {
            Op::Cmp(cond) => {
                let bits = block.values[def.args[0].0 as usize].bits();
                bits == 32 || bits == 64 || (bits < 64 && !matches!(cond, Cond::Slt | Cond::Sle))
            }
            _ => joins,
        };
        if joins {
            def.operands().for_each(|v| self.fuse_condition(block, v));
        }
    }

    fn fuse(&mut self, block: &Block) {
        for inst in &block.insts {
            match inst.op {
                Op::If | Op::BreakIf => self.fuse_condition(block, inst.args[0]),
                Op::JumpTo => {
                    if let Some((cond, ..)) = self.two_ways(block, inst).filter(|_| self.info(inst.args[0]).uses == 1) {
                        self.values[inst.args[0].0 as usize].fused = true;
                        self.fuse_condition(block, cond);
                    }
                }
                Op::Load(mem) | Op::Store(mem) | Op::Probe(mem) if !mem.physical && mem.size <= 8 => {
                    let v = inst.args[0];
                    let fits = |def: &Inst| matches!(def.op, Op::Add) && self.constant(block, def.args[1]).is_some();
                    self.values[v.0 as usize].fused = self.info(v).uses == 1 && self.def(block, v).is_some_and(fits);
                }
                _ => {}
            }
        }
    }

    /// Finds the flags computed beside additions and subtractions, so that one word does it all.
    fn group_flags(&mut self, block: &Block) {
        for (at, inst) in block.insts.iter().enumerate() {
            // Two flags at least are of the result.
            if !matches!(inst.op, Op::Add | Op::Sub) || inst.ty != Type::I32 || self.info(inst.res).uses < 2 {
                continue;
            }
            let (r, [x, y, ..]) = (inst.res, inst.args);
            let plus = self.constant(block, y);
            let minus = plus.map(|k| k.wrapping_neg() & Type::I32.mask());
            let is = |v: Value, k: Option<u128>| k.is_some() && self.constant(block, v) == k;
            // y inverted, as the overflow of a subtraction has it.
            let inverted = |v: Value| match minus {
                Some(k) => self.constant(block, v) == Some(!k & Type::I32.mask()),
                None => self.def(block, v).is_some_and(|def| matches!(def.op, Op::Not) && def.args[0] == y),
            };
            let (mut added, mut subtracted) = (Flags::default(), Flags { minus, ..Flags::default() });
            let beside = |i: &&Inst| i.op.is_pure() || matches!(i.op, Op::Set(_) | Op::Get(_));
            for other in block.insts[at + 1..].iter().take(16).take_while(beside) {
                let ([a, b, c, ..], v) = (other.args, other.res);
                let found = match other.op {
                    Op::Extract { lo: 31, len: 1 } if a == r && other.ty.bits() <= 64 => (Some(0), Some(0)),
                    Op::Cmp(Cond::Slt) if a == r && is(b, Some(0)) => (Some(0), Some(0)),
                    Op::Cmp(Cond::Eq) if a == r && is(b, Some(0)) => (Some(1), Some(1)),
                    Op::CarryAdd if (a, b) == (x, y) && is(c, Some(0)) => (Some(2), None),
                    Op::Cmp(Cond::Ule) if b == x && (a == y && plus.is_none() || is(a, minus)) => (None, Some(2)),
                    Op::OverflowAdd if (a, b) == (x, y) && is(c, Some(0)) => (Some(3), None),
                    Op::OverflowAdd if a == x && inverted(b) && is(c, Some(1)) => (None, Some(3)),
                    _ => continue,
                };
                let info = self.info(v);
                if info.uses == 0 || info.fused || info.flag {
                    continue;
                }
                for (flags, index) in [(&mut added, found.0), (&mut subtracted, found.1)] {
                    if let Some(index) = index {
                        flags.values[index].get_or_insert(v);
                    }
                }
            }
            // An addition of a constant is a subtraction if its carry or overflow say so.
            let known = |f: &Flags| f.values[2..].iter().flatten().count();
            let as_subtraction = matches!(inst.op, Op::Sub) || minus.is_some() && known(&subtracted) > known(&added);
            let flags = if as_subtraction { subtracted } else { added };
            if matches!(inst.op, Op::Sub) && minus.is_some() || flags.values.iter().flatten().count() < 3 {
                continue;
            }
            for v in flags.values.into_iter().flatten() {
                self.values[v.0 as usize].flag = true;
            }
            self.values[r.0 as usize].group = self.groups.len() as u16;
            self.groups.push(flags);
        }
    }

    /// The condition and the two pcs, if a jump's pc is one of two constants.
    pub fn two_ways(&self, block: &Block, inst: &Inst) -> Option<(Value, u64, u64)> {
        let pc = if let Op::JumpTo = inst.op { inst.args[0] } else { return None };
        let select = self.def(block, pc).filter(|def| matches!(def.op, Op::Select))?;
        let [cond, yes, no, ..] = select.args;
        self.constant(block, cond).is_none().then_some(())?;
        Some((cond, self.constant(block, yes)? as u64, self.constant(block, no)? as u64))
    }

    /// When each value is read last, and for each place written since when nobody has looked at it.
    fn find_last_uses(&mut self, target: &Target, block: &Block, loops: bool) {
        self.open.clear();
        self.ends.clear();
        if loops {
            self.ends.resize(block.insts.len(), 0);
            let mut starts = Vec::new();
            for (at, inst) in block.insts.iter().enumerate() {
                match inst.op {
                    Op::Repeat => starts.push(at),
                    Op::EndRepeat => _ = starts.pop().map(|start| self.ends[start] = at as u32),
                    _ => {}
                }
            }
        }
        // One past the last border of any kind, of those for slots, and of those for integer slots.
        let (mut control, mut seen, mut float) = (0, 0, 0);
        let locals = target.layout.cells;
        self.accesses.clear();
        self.accesses.resize(block.insts.len(), Access { next_write: NEVER, free_from: 0 });
        self.touched.clear();
        self.touched.resize(locals + block.vars.len(), 0);
        for (at, inst) in block.insts.iter().enumerate() {
            let next = at as u32 + 1;
            match inst.op {
                Op::Const => continue,
                Op::Get(slot) => {
                    target.places(slot).touch(&mut self.touched, next);
                    continue;
                }
                Op::VarGet(var) => {
                    self.touched[locals + var.0 as usize] = next;
                    continue;
                }
                Op::Set(slot) => {
                    self.sets(inst.args[0], at);
                    let places = target.places(slot);
                    let before = places.touch(&mut self.touched, next).max(control).max(seen);
                    self.accesses[at].free_from = if places.integer { before.max(float) } else { before };
                }
                Op::VarSet(var) => {
                    self.sets(inst.args[0], at);
                    let before = std::mem::replace(&mut self.touched[locals + var.0 as usize], next);
                    self.accesses[at].free_from = before.max(control);
                }
                Op::Mark => {
                    seen = next;
                    continue;
                }
                Op::If | Op::Else | Op::EndIf | Op::BreakIf => control = next,
                Op::Repeat => {
                    self.open.push((at as u32, self.ends[at]));
                    control = next;
                }
                Op::EndRepeat => {
                    self.open.pop();
                    control = next;
                }
                Op::JumpTo => {
                    seen = next;
                    if let Some((cond, ..)) = self.two_ways(block, inst) {
                        self.used(block, cond, at as u32);
                        continue;
                    }
                }
                op if op.is_memory() || op.is_exit() || matches!(op, Op::Call(_)) => seen = next,
                // Environments read rounding, flush and NaN slots, and write the sticky ones: no control register is computed across an operation.
                op if computes_float(op) => {
                    float = next;
                    target.float.iter().for_each(|slot| _ = target.places(*slot).touch(&mut self.touched, next));
                }
                _ => {}
            }
            if inst.res != Value::NONE && (self.info(inst.res).fused || self.info(inst.res).flag) {
                continue;
            }
            for v in inst.operands() {
                self.used(block, v, at as u32);
            }
        }
    }

    /// A set of a value: its first?
    fn sets(&mut self, v: Value, at: usize) {
        let root = self.info(v).root;
        let set = &mut self.values[root.0 as usize].set;
        *set = (*set).min(at as u32);
    }

    /// A value is read by an instruction; what is computed with that, through it.
    fn used(&mut self, block: &Block, v: Value, at: u32) {
        let info = *self.info(v);
        if info.fused {
            if let Some(def) = self.def(block, v) {
                if let (Op::Cmp(Cond::Eq | Cond::Ne), Some(zero)) = (def.op, self.zero_flag(block, def.args[0], def.args[1])) {
                    return self.used(block, zero, at);
                }
                def.operands().for_each(|v| self.used(block, v, at));
            }
            return;
        }
        // A value from outside a loop is needed in every round.
        let def = self.info(info.root).def;
        let at = self.open.iter().find(|(start, _)| *start > def).map_or(at, |(_, end)| *end);
        let last = &mut self.values[info.root.0 as usize].last;
        *last = (*last).max(at);
    }

    /// For each place read or written: when it changes next. Slots that overlap share a cell; a cell that holds several slots is never a value's.
    fn find_writes(&mut self, target: &Target, block: &Block) {
        let locals = target.layout.cells;
        self.touched.fill(NEVER);
        let mut call = NEVER;
        for (at, inst) in block.insts.iter().enumerate().rev() {
            let now = at as u32;
            match inst.op {
                Op::Get(slot) => self.accesses[at].next_write = target.places(slot).least(&self.touched).min(call),
                Op::Set(slot) => self.accesses[at].next_write = target.places(slot).pull(&mut self.touched, now).min(call),
                Op::VarGet(var) => self.accesses[at].next_write = self.touched[locals + var.0 as usize],
                Op::VarSet(var) => {
                    self.accesses[at].next_write = std::mem::replace(&mut self.touched[locals + var.0 as usize], now);
                }
                Op::Call(_) => call = now,
                op if computes_float(op) => {
                    target.float.iter().for_each(|slot| _ = target.places(*slot).pull(&mut self.touched, now));
                }
                _ => {}
            }
        }
    }
}

/// The cells a slot lies in.
#[derive(Clone, Copy)]
pub struct Places {
    pub cell: u16,
    pub cells: u16,
    /// The slot holds an integer.
    pub integer: bool,
}

impl Places {
    fn range(self) -> std::ops::Range<usize> {
        usize::from(self.cell)..usize::from(self.cell + self.cells)
    }

    fn least(self, touched: &[u32]) -> u32 {
        match &touched[self.range()] {
            [one] => *one,
            more => more.iter().copied().fold(NEVER, u32::min),
        }
    }

    /// Sets them to `now`, and gives the greatest number they had.
    fn touch(self, touched: &mut [u32], now: u32) -> u32 {
        match &mut touched[self.range()] {
            [one] => std::mem::replace(one, now),
            more => more.iter_mut().fold(0, |most, one| most.max(std::mem::replace(one, now))),
        }
    }

    /// The same, and gives the least.
    fn pull(self, touched: &mut [u32], now: u32) -> u32 {
        match &mut touched[self.range()] {
            [one] => std::mem::replace(one, now),
            more => more.iter_mut().fold(NEVER, |least, one| least.min(std::mem::replace(one, now))),
        }
    }
}

/// It computes in a floating-point environment.
pub fn computes_float(op: Op) -> bool {
    match op {
        Op::Float { .. } | Op::FloatRound { .. } | Op::FloatConvert { .. } | Op::FloatToInt { .. } | Op::IntToFloat { .. } => true,
        Op::Vec(op, _) => op.is_float(),
        _ => false,
    }
}
