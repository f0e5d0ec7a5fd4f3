//! Builds one block of IR, folding constants as it goes.
//!
//! Data path: generated lowering code calls one method per operation; operations on constants give constants, identities give their
//! operand, parts under constant conditions and after the end of a path vanish. Constants are interned and stand first in the block.
//!
//! For authors of generated code:
//! - Call [`Builder::context_at_entry`] for every decoder-context slot before the first mark, with the value the block key gives it:
//!   then an instruction that leaves it as it is writes nothing, and [`Builder::get`] of it gives a constant.
//! - A block whose path has not ended when it is finished jumps to the last mark's next pc: reaching the instruction limit needs no
//!   code of its own. If decoder context then differs from that at entry, the jump recomputes the key by itself.
//! - After the path has [`Builder::ended`], whatever is built is dropped; results are zero constants.

use crate::fold;
use crate::guest::{FloatEnvDesc, HelperDesc, Isa};
use crate::op::*;
use crate::state::{Slot, StateLayout};

/// A decoder-context slot.
#[derive(Clone, Copy, Debug)]
struct Context {
    slot: Slot,
    /// What the block key says it holds at entry.
    entry: Option<u64>,
    /// What it is known to hold here.
    known: Option<u64>,
    /// What it must hold when the current instruction retires.
    pending: Option<u64>,
}

/// What is known at one point of the path.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Known and pending values.
    context: Vec<(Option<u64>, Option<u64>)>,
    vars: Vec<Option<Value>>,
    slots: Vec<(Slot, Value)>,
}

#[derive(Debug)]
struct Scope {
    /// `If` was emitted; else the condition was this constant, or the whole is dead (`None`).
    emitted: bool,
    constant: Option<bool>,
    /// Body index of its first instruction.
    start: usize,
    repeat: bool,
    dead_outside: bool,
    /// What held at the beginning, for the other side; with an `Else` passed, what held at the end of the first side.
    other: Known,
    /// Once in the second side: whether the first one ended.
    first_dead: Option<bool>,
}

/// Builds a block. Every method that takes values of known constants folds; types are checked in debug builds.
pub struct Builder {
    block: Block,
    layout: &'static StateLayout,
    /// For each slot, whether another one may overlap it.
    shared: Vec<bool>,
    /// For each value: its constant, or the body instruction that defines it.
    defs: Vec<Def>,
    constants: Constants,
    context: Vec<Context>,
    vars: Vec<Option<Value>>,
    /// What slots are known to hold; overlapping ones may both have been read.
    slots: Vec<(Slot, Value)>,
    /// Whether that is used.
    forward: bool,
    helpers: Option<&'static [HelperDesc]>,
    envs: Option<&'static [FloatEnvDesc]>,
    scopes: Vec<Scope>,
    dead: bool,
    next_pc: u64,
    /// State writes of the current instruction that are not in the block yet: they take effect when it retires, or at the border of the
    /// `If` they stand in, so that an instruction may read memory after it wrote a register and still be precise.
    deferred: Vec<(Slot, Value)>,
    /// A helper was called after which a block ends.
    ends: bool,
    /// Storage for another block's instructions, and for knowledge.
    spare_insts: Vec<Inst>,
    spare_known: Vec<Known>,
}

#[derive(Clone, Copy, Debug)]
enum Def {
    /// By number in [`Constants`].
    Const(u32),
    Inst(u32),
}

#[derive(Clone, Copy, Debug)]
struct Constant {
    x: u128,
    value: Value,
    /// The constant before with the same hash.
    before: u32,
    ty: Type,
    used: bool,
}

/// The constants of a block, by type and value.
#[derive(Debug)]
struct Constants {
    /// In order of their values.
    all: Vec<Constant>,
    /// The last constant of each hash.
    last: [u32; 128],
}

impl Constants {
    /// No constant's number.
    const NONE: u32 = u32::MAX;

    fn new() -> Constants {
        Constants { all: Vec::new(), last: [Self::NONE; 128] }
    }

    fn clear(&mut self) {
        self.all.clear();
        self.last.fill(Self::NONE);
    }

    /// The value of this constant; else it becomes `next`.
    fn intern(&mut self, ty: Type, x: u128, next: Value) -> Value {
        let hash = (x as u64 ^ (ty as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 57;
        let last = &mut self.last[hash as usize];
        let mut at = *last;
        while let Some(known) = self.all.get(at as usize) {
            if known.x == x && known.ty == ty {
                return known.value;
            }
            at = known.before;
        }
        self.all.push(Constant { x, value: next, before: *last, ty, used: false });
        *last = self.all.len() as u32 - 1;
        next
    }
}

impl Builder {
    /// An empty block over this instruction set's state, whose helpers' and environments' effects are known.
    pub fn for_isa<I: Isa>(isa: &I) -> Builder {
        Builder { helpers: Some(isa.helpers()), envs: Some(isa.float_envs()), ..Builder::new(isa.layout()) }
    }

    /// As [`Builder::new`], but every `get` reads its slot: what is built is what was asked for, for comparisons of executors.
    pub fn plain(layout: &'static StateLayout) -> Builder {
        Builder { forward: false, ..Builder::new(layout) }
    }

    /// An empty block over this state. Helpers and floating point are taken to change all of it.
    pub fn new(layout: &'static StateLayout) -> Builder {
        Builder {
            block: Block::default(),
            layout,
            shared: layout.shared_slots(),
            defs: Vec::new(),
            constants: Constants::new(),
            context: Vec::new(),
            vars: Vec::new(),
            slots: Vec::new(),
            forward: true,
            helpers: None,
            envs: None,
            scopes: Vec::new(),
            dead: false,
            next_pc: 0,
            deferred: Vec::new(),
            ends: false,
            spare_insts: Vec::new(),
            spare_known: Vec::new(),
        }
    }

    /// The block. A path still open jumps to the instruction after the last.
    pub fn finish(mut self) -> Block {
        self.take()
    }

    /// As [`Builder::finish`], but another block may be built after it.
    pub fn take(&mut self) -> Block {
        debug_assert!(self.scopes.is_empty(), "an If or Repeat is open");
        if !self.dead && self.block.guest_insns > 0 {
            self.jump(self.next_pc);
        }
        let mut insts = std::mem::take(&mut self.spare_insts);
        insts.reserve(self.constants.all.len() + self.block.insts.len());
        for constant in self.constants.all.iter().filter(|c| c.used) {
            let mut inst = Inst::new(Op::Const, constant.ty, &[]);
            (inst.imm, inst.imm_hi, inst.res) = (constant.x as u64, (constant.x >> 64) as u64, constant.value);
            insts.push(inst);
        }
        insts.append(&mut self.block.insts);
        self.spare_insts = std::mem::replace(&mut self.block.insts, insts);
        self.defs.clear();
        self.constants.clear();
        self.block.context.extend(self.context.drain(..).filter_map(|c| Some((c.slot, c.entry?))));
        self.vars.clear();
        self.slots.clear();
        self.deferred.clear();
        (self.dead, self.next_pc, self.ends) = (false, 0, false);
        std::mem::take(&mut self.block)
    }

    /// Gives back a block that was taken, for its storage; before the next one is begun.
    pub fn recycle(&mut self, mut block: Block) {
        debug_assert!(self.defs.is_empty(), "a block is being built");
        block.insts.clear();
        block.values.clear();
        block.vars.clear();
        block.context.clear();
        block.guest_insns = 0;
        self.block = block;
    }

    // ---- instructions and pending context

    /// Begins a guest instruction.
    pub fn mark(&mut self, pc: u64, next_pc: u64) {
        debug_assert!(self.scopes.is_empty(), "a mark inside an If or Repeat");
        for context in &mut self.context {
            context.pending = None;
        }
        if self.dead {
            return;
        }
        self.next_pc = next_pc;
        let mut inst = Inst::new(Op::Mark, Type::I64, &[]);
        (inst.imm, inst.imm_hi) = (pc, next_pc);
        self.block.insts.push(inst);
        self.block.guest_insns += 1;
    }

    /// Says that `slot` is decoder context and holds `value` wherever a block with this key begins. Call before the first mark.
    pub fn context_at_entry(&mut self, slot: Slot, value: u64) {
        let at = self.context_index(slot);
        self.context[at].entry = Some(value);
        self.context[at].known = Some(value);
    }

    /// Decoder-context slots (ITSTATE ...) that must hold these constants once the current instruction retires: written before every exit
    /// of the instruction (jump, wait) and at its end by `end_insn`, but only if different from what the slot is known to hold. A `set` of
    /// the slot by the instruction itself (an exception return) stands instead, on its path.
    pub fn pending_context(&mut self, slot: Slot, value: u64) {
        let at = self.context_index(slot);
        self.context[at].pending = Some(value);
    }

    fn context_index(&mut self, slot: Slot) -> usize {
        self.context.iter().position(|c| c.slot == slot).unwrap_or_else(|| {
            self.context.push(Context { slot, entry: None, known: None, pending: None });
            self.context.len() - 1
        })
    }

    /// Writes the pending context now (before a `raise` whose state is the next instruction's, e.g. SVC).
    pub fn commit_context(&mut self) {
        for at in 0..self.context.len() {
            let Context { slot, known, pending, .. } = self.context[at];
            if let Some(value) = pending
                && known != pending
            {
                let v = self.iconst(self.layout.slots[slot.0 as usize].ty, value.into());
                self.set(slot, v);
            }
        }
        self.flush_sets();
    }

    /// Puts the deferred state writes into the block.
    fn flush_sets(&mut self) {
        if self.deferred.is_empty() {
            return;
        }
        let mut deferred = std::mem::take(&mut self.deferred);
        for (slot, v) in deferred.drain(..) {
            self.push(Inst::new(Op::Set(slot), self.layout.slots[slot.0 as usize].ty, &[v]));
        }
        self.deferred = deferred;
    }

    /// Puts them into the block if they change part of `slot`.
    fn flush_overlapping(&mut self, slot: Slot) {
        if self.shared[slot.0 as usize] && self.deferred.iter().any(|d| self.layout.overlap(d.0, slot)) {
            self.flush_sets();
        }
    }

    /// Ends a guest instruction: its pending context is written.
    pub fn end_insn(&mut self) {
        self.commit_context();
        for context in &mut self.context {
            context.pending = None;
        }
    }

    /// True if the block ends after the current instruction: it called a helper that may have changed mappings, or the block key.
    pub fn ends_block(&self) -> bool {
        self.ends
    }

    /// True once the current path ended: after a jump, raise or wait, until the other side or the end of the enclosing `If`.
    pub fn ended(&self) -> bool {
        self.dead
    }

    // ---- values

    /// The constant `x` (its low bits).
    pub fn iconst(&mut self, ty: Type, x: u128) -> Value {
        let next = Value(self.block.values.len() as u32);
        let v = self.constants.intern(ty, x & ty.mask(), next);
        if v == next {
            self.block.values.push(ty);
            self.defs.push(Def::Const(self.constants.all.len() as u32 - 1));
        }
        v
    }

    /// The value's constant, if it is one.
    pub fn as_const(&self, v: Value) -> Option<u128> {
        match self.defs[v.0 as usize] {
            Def::Const(number) => Some(self.constants.all[number as usize].x),
            Def::Inst(_) => None,
        }
    }

    /// The value's type.
    pub fn ty(&self, v: Value) -> Type {
        self.block.values[v.0 as usize]
    }

    fn def(&self, v: Value) -> Option<&Inst> {
        match self.defs[v.0 as usize] {
            Def::Const(_) => None,
            Def::Inst(at) => Some(&self.block.insts[at as usize]),
        }
    }

    /// Appends an instruction without result.
    fn push(&mut self, inst: Inst) {
        if self.dead {
            return;
        }
        for v in inst.operands() {
            if let Def::Const(number) = self.defs[v.0 as usize] {
                self.constants.all[number as usize].used = true;
            }
        }
        self.block.insts.push(inst);
    }

    /// Appends an instruction with a result of type `ty`.
    fn push_value(&mut self, mut inst: Inst) -> Value {
        if self.dead {
            return self.iconst(inst.ty, 0);
        }
        let v = Value(self.block.values.len() as u32);
        inst.res = v;
        self.block.values.push(inst.ty);
        self.defs.push(Def::Inst(self.block.insts.len() as u32));
        self.push(inst);
        v
    }

    /// A pure operation: a constant if all operands are.
    #[inline]
    fn pure<const N: usize>(&mut self, op: Op, ty: Type, args: [Value; N]) -> Value {
        if args.iter().all(|v| matches!(self.defs[v.0 as usize], Def::Const(_)))
            && let Some(x) = fold::eval(op, ty, self.ty(args[0]), &args.map(|v| self.as_const(v).unwrap_or(0)))
        {
            return self.iconst(ty, x);
        }
        self.push_value(Inst::new(op, ty, &args))
    }

    /// The slot's value.
    pub fn get(&mut self, slot: Slot) -> Value {
        let desc = &self.layout.slots[slot.0 as usize];
        if let Some(known) = self.context.iter().find(|c| c.slot == slot).and_then(|c| c.known) {
            return self.iconst(desc.ty, known.into());
        }
        if let Some(&(_, v)) = self.deferred.iter().find(|d| d.0 == slot) {
            if u32::from(desc.bits) == desc.ty.bits() {
                return v;
            }
            // Not written yet, and so not cut to the slot's width yet.
            let mask = fold::low_mask(desc.bits.into());
            return match self.as_const(v) {
                Some(x) => self.iconst(desc.ty, x & mask),
                None => {
                    let mask = self.iconst(desc.ty, mask);
                    self.binary(Op::And, v, mask)
                }
            };
        }
        if let Some((_, v)) = self.slots.iter().find(|d| d.0 == slot) {
            return *v;
        }
        self.flush_overlapping(slot);
        let v = self.push_value(Inst::new(Op::Get(slot), desc.ty, &[]));
        self.learn(slot, v);
        v
    }

    /// From here on `slot` holds `v`.
    fn learn(&mut self, slot: Slot, v: Value) {
        if self.forward && !self.dead {
            self.slots.push((slot, v));
        }
    }

    /// Something may have written `slot`.
    fn forget(&mut self, slot: Slot) {
        let layout = self.layout;
        if self.shared[slot.0 as usize] {
            self.slots.retain(|known| !layout.overlap(known.0, slot));
        } else if let Some(at) = self.slots.iter().position(|known| known.0 == slot) {
            self.slots.swap_remove(at);
        }
        self.forget_context(slot);
    }

    fn forget_context(&mut self, slot: Slot) {
        let layout = self.layout;
        let shared = self.shared[slot.0 as usize];
        for context in self.context.iter_mut().filter(|c| c.slot == slot || shared && layout.overlap(c.slot, slot)) {
            context.known = None;
        }
    }

    fn forget_all(&mut self) {
        self.slots.clear();
        self.context.iter_mut().for_each(|c| c.known = None);
    }

    /// A floating-point operation or-s into its environment's sticky flags.
    fn float_flags(&mut self, env: u8) {
        if self.dead {
            return;
        }
        self.flush_sets();
        match self.envs.and_then(|envs| envs.get(env as usize)) {
            Some(env) => self.forget(env.sticky),
            None => self.forget_all(),
        }
    }

    /// Writes a slot.
    pub fn set(&mut self, slot: Slot, v: Value) {
        let desc = &self.layout.slots[slot.0 as usize];
        let v = if self.ty(v) == desc.ty { v } else { self.bitcast(desc.ty, v) };
        let known = self.slots.iter().position(|known| known.0 == slot);
        if self.dead {
            return;
        }
        let context = self.context.iter().position(|c| c.slot == slot);
        if let Some(at) = context {
            self.context[at].pending = None;
        }
        if known.is_some_and(|at| self.slots[at].1 == v) {
            return;
        }
        let constant = self.as_const(v).map(|x| x & fold::low_mask(desc.bits.into()));
        self.forget_context(slot);
        if let Some(at) = context {
            self.context[at].known = constant.map(|x| x as u64);
        }
        // A slot narrower than its type cuts what is written.
        let held = match constant {
            _ if u32::from(desc.bits) == desc.ty.bits() => Some(v),
            Some(x) => Some(self.iconst(desc.ty, x)),
            None => None,
        };
        let held = held.filter(|_| self.forward);
        match (known, held) {
            (Some(at), Some(v)) if !self.shared[slot.0 as usize] => self.slots[at].1 = v,
            _ => {
                self.forget(slot);
                self.slots.extend(held.map(|v| (slot, v)));
            }
        }
        let v = held.unwrap_or(v);
        if let Some(deferred) = self.deferred.iter_mut().find(|d| d.0 == slot) {
            deferred.1 = v;
            return;
        }
        self.flush_overlapping(slot);
        self.deferred.push((slot, v));
    }

    /// A new local; it holds 0.
    pub fn var(&mut self, ty: Type) -> Var {
        let var = Var(self.block.vars.len() as u32);
        self.block.vars.push(ty);
        self.vars.push(None);
        var
    }

    /// The local's value.
    pub fn var_get(&mut self, var: Var) -> Value {
        let ty = self.block.vars[var.0 as usize];
        if let Some(v) = self.vars[var.0 as usize] {
            return v;
        }
        let v = self.push_value(Inst::new(Op::VarGet(var), ty, &[]));
        self.vars[var.0 as usize] = Some(v);
        v
    }

    /// Writes the local.
    pub fn var_set(&mut self, var: Var, v: Value) {
        let ty = self.block.vars[var.0 as usize];
        debug_assert_eq!(ty, self.ty(v), "a local keeps its type");
        if self.dead {
            return;
        }
        self.vars[var.0 as usize] = Some(v);
        self.push(Inst::new(Op::VarSet(var), ty, &[v]));
    }

    /// Two-operand integer operation: Add Sub Mul MulHigh* Div* Rem* And Or Xor (same types), Shl Shr Sar Ror (amount: any integer type).
    pub fn binary(&mut self, op: Op, mut a: Value, mut b: Value) -> Value {
        let ty = self.ty(a);
        debug_assert!(ty.is_int() && self.ty(b).is_int(), "{op:?} takes integers");
        let shift = matches!(op, Op::Shl | Op::Shr | Op::Sar | Op::Ror);
        debug_assert!(shift || ty == self.ty(b), "{op:?} of {ty:?} and {:?}", self.ty(b));
        if let Some(x) = self.as_const(a) {
            if let Some(y) = self.as_const(b) {
                let folded = match op {
                    Op::Add => Some(x.wrapping_add(y)),
                    Op::Sub => Some(x.wrapping_sub(y)),
                    Op::And => Some(x & y),
                    Op::Or => Some(x | y),
                    Op::Xor => Some(x ^ y),
                    _ => None,
                };
                if let Some(x) = folded {
                    return self.iconst(ty, x);
                }
            }
            if matches!(op, Op::Add | Op::Mul | Op::And | Op::Or | Op::Xor) {
                std::mem::swap(&mut a, &mut b);
            }
        }
        if a == b {
            match op {
                Op::Sub | Op::Xor => return self.iconst(ty, 0),
                Op::And | Op::Or => return a,
                _ => {}
            }
        }
        let Some(c) = self.as_const(b) else {
            if self.as_const(a) == Some(0) && matches!(op, Op::Shl | Op::Shr | Op::Sar | Op::Ror) {
                return a;
            }
            // Rotation takes its amount modulo the width by itself.
            if matches!(op, Op::Ror)
                && let Some(&Inst { op: Op::And, args: [x, y, ..], .. }) = self.def(b)
                && self.as_const(y).is_some_and(|m| m & u128::from(ty.bits() - 1) == u128::from(ty.bits() - 1))
            {
                return self.binary(op, a, x);
            }
            return self.pure(op, ty, [a, b]);
        };
        let all = ty.mask();
        let bits = u128::from(ty.bits());
        match (op, c) {
            (Op::Add | Op::Sub | Op::Or | Op::Xor | Op::Shl | Op::Shr | Op::Sar | Op::Ror, 0) => return a,
            (Op::Mul | Op::DivU | Op::DivS, 1) => return a,
            (Op::Mul | Op::And, 0) => return b,
            (Op::And, x) if x == all => return a,
            (Op::Or, x) if x == all => return b,
            (Op::Xor, x) if x == all => return self.unary(Op::Not, a),
            (Op::Shl | Op::Shr, n) if n >= bits => return self.iconst(ty, 0),
            (Op::Ror, n) if n >= bits => {
                let n = self.iconst(Type::I32, n % bits);
                return self.binary(op, a, n);
            }
            (Op::RemU, x) if x.is_power_of_two() => {
                let low = self.iconst(ty, x - 1);
                return self.binary(Op::And, a, low);
            }
            (Op::DivU, x) if x.is_power_of_two() => {
                let n = self.iconst(Type::I32, x.trailing_zeros().into());
                return self.binary(Op::Shr, a, n);
            }
            (Op::Mul, x) if x.is_power_of_two() && self.as_const(a).is_none() => {
                let n = self.iconst(Type::I32, x.trailing_zeros().into());
                return self.binary(Op::Shl, a, n);
            }
            _ => {}
        }
        // What a register holds is computed anyway; what is added to it is compared with it, or an offset from it.
        if let Some(&Inst { op: inner, args: [x, y, ..], .. }) = self.def(a)
            && matches!((op, inner), (Op::Add | Op::Sub, Op::Add) | (Op::And, Op::And))
            && (matches!(op, Op::And) || !self.slots.iter().any(|(_, v)| *v == a))
        {
            match (op, inner, self.as_const_or_none(y)) {
                // (x + !y) + 1 is x - y; (x + k) + c is x + (k + c).
                (Op::Add, Op::Add, None) if c == 1 => {
                    for (x, y) in [(x, y), (y, x)] {
                        if let Some(&Inst { op: Op::Not, args: [y, ..], .. }) = self.def(y) {
                            return self.binary(Op::Sub, x, y);
                        }
                    }
                }
                (Op::Add, Op::Add, Some(k)) => {
                    let sum = self.iconst(ty, k.wrapping_add(c));
                    return self.binary(Op::Add, x, sum);
                }
                (Op::Sub, Op::Add, Some(k)) => {
                    let sum = self.iconst(ty, k.wrapping_sub(c));
                    return self.binary(Op::Add, x, sum);
                }
                (Op::And, Op::And, Some(k)) => {
                    let both = self.iconst(ty, k & c);
                    return self.binary(Op::And, x, both);
                }
                _ => {}
            }
        }
        if matches!(op, Op::Sub) && self.as_const(a).is_none() {
            let minus = self.iconst(ty, c.wrapping_neg());
            return self.binary(Op::Add, a, minus);
        }
        self.pure(op, ty, [a, b])
    }

    fn as_const_or_none(&self, v: Value) -> Option<u128> {
        if v == Value::NONE { None } else { self.as_const(v) }
    }

    /// Not Neg Clz Ctz Popcnt Bswap Bitrev.
    pub fn unary(&mut self, op: Op, a: Value) -> Value {
        let ty = self.ty(a);
        debug_assert!(ty.is_int(), "{op:?} takes integers");
        match (op, self.def(a)) {
            (Op::Not | Op::Neg | Op::Bswap | Op::Bitrev, Some(inst)) if inst.op == op => return inst.args[0],
            (Op::Not, Some(&Inst { op: Op::Cmp(cond), args: [x, y, ..], .. })) => {
                let (cond, x, y) = match cond {
                    Cond::Eq => (Cond::Ne, x, y),
                    Cond::Ne => (Cond::Eq, x, y),
                    Cond::Ult => (Cond::Ule, y, x),
                    Cond::Ule => (Cond::Ult, y, x),
                    Cond::Slt => (Cond::Sle, y, x),
                    Cond::Sle => (Cond::Slt, y, x),
                };
                return self.cmp(cond, x, y);
            }
            _ => {}
        }
        self.pure(op, ty, [a])
    }

    /// Carry out of a + b + c.
    pub fn carry_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        debug_assert!(self.ty(a) == self.ty(b) && self.ty(c) == Type::I1);
        match self.as_const(c) {
            Some(0) => {
                for x in [a, b] {
                    if self.as_const(x) == Some(0) {
                        return self.iconst(Type::I1, 0);
                    }
                }
            }
            Some(_) => {
                let all = self.ty(a).mask();
                if self.as_const(a) == Some(all) || self.as_const(b) == Some(all) {
                    return self.iconst(Type::I1, 1);
                }
                // The carry of x + !y + 1 is "no borrow": y <= x.
                for (x, y) in [(a, b), (b, a)] {
                    if let Some(&Inst { op: Op::Not, args: [y, ..], .. }) = self.def(y) {
                        return self.cmp(Cond::Ule, y, x);
                    }
                    if let Some(k) = self.as_const(y) {
                        let y = self.iconst(self.ty(y), !k);
                        return self.cmp(Cond::Ule, y, x);
                    }
                }
            }
            None => {}
        }
        self.pure(Op::CarryAdd, Type::I1, [a, b, c])
    }

    /// Signed overflow of a + b + c.
    pub fn overflow_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        debug_assert!(self.ty(a) == self.ty(b) && self.ty(c) == Type::I1);
        let (carry, all) = (self.as_const(c), self.ty(a).mask());
        for x in [a, b] {
            // x + 0 + 0 and x - 0 never overflow.
            if (carry == Some(0) && self.as_const(x) == Some(0)) || (carry == Some(1) && self.as_const(x) == Some(all)) {
                return self.iconst(Type::I1, 0);
            }
        }
        self.pure(Op::OverflowAdd, Type::I1, [a, b, c])
    }

    /// Comparison.
    pub fn cmp(&mut self, cond: Cond, mut a: Value, mut b: Value) -> Value {
        debug_assert_eq!(self.ty(a), self.ty(b), "comparison of unlike types");
        if a == b {
            return self.iconst(Type::I1, matches!(cond, Cond::Eq | Cond::Ule | Cond::Sle).into());
        }
        if matches!(cond, Cond::Eq | Cond::Ne) && self.as_const(a).is_some() {
            std::mem::swap(&mut a, &mut b);
        }
        let ty = self.ty(a);
        match (cond, self.as_const(a), self.as_const(b)) {
            (Cond::Ult, _, Some(0)) => return self.iconst(Type::I1, 0),
            (Cond::Ule, Some(0), _) => return self.iconst(Type::I1, 1),
            (Cond::Ule, _, Some(x)) if x == ty.mask() => return self.iconst(Type::I1, 1),
            (Cond::Slt | Cond::Sle, _, Some(0)) if let Some(sign) = self.sign(a) => {
                if cond == Cond::Slt {
                    return sign;
                }
                let zero = self.cmp(Cond::Eq, a, b);
                return self.binary(Op::Or, sign, zero);
            }
            (Cond::Slt | Cond::Sle, Some(0), _) if self.sign(b).is_some() => {
                let turned = self.cmp(if cond == Cond::Slt { Cond::Sle } else { Cond::Slt }, b, a);
                return self.unary(Op::Not, turned);
            }
            (Cond::Eq | Cond::Ne, _, Some(x)) => {
                let flip = (cond == Cond::Eq) == (x == 0);
                if ty == Type::I1 {
                    return if flip { self.unary(Op::Not, a) } else { a };
                }
                if let Some(&Inst { op: Op::Zext, args: [inner, ..], .. }) = self.def(a) {
                    if x > self.ty(inner).mask() {
                        return self.iconst(Type::I1, (cond == Cond::Ne).into());
                    }
                    let x = self.iconst(self.ty(inner), x);
                    return self.cmp(cond, inner, x);
                }
            }
            _ => {}
        }
        self.pure(Op::Cmp(cond), Type::I1, [a, b])
    }

    /// `a` if `c` else `b`.
    pub fn select(&mut self, c: Value, a: Value, b: Value) -> Value {
        debug_assert!(self.ty(c) == Type::I1 && self.ty(a) == self.ty(b));
        if a == b {
            return a;
        }
        match self.as_const(c) {
            Some(0) => return b,
            Some(_) => return a,
            None => {}
        }
        if self.ty(a) == Type::I1 {
            match (self.as_const(a), self.as_const(b)) {
                (Some(1), Some(0)) => return c,
                (Some(0), Some(1)) => return self.unary(Op::Not, c),
                (None, Some(0)) => return self.binary(Op::And, c, a),
                (Some(1), None) => return self.binary(Op::Or, c, b),
                _ => {}
            }
        }
        if let Some(&Inst { op: Op::Xor, ty: Type::I1, args: [x, y, ..], .. }) = self.def(c)
            && self.as_const(y) == Some(1)
        {
            return self.select(x, b, a);
        }
        self.pure(Op::Select, self.ty(a), [c, a, b])
    }

    /// Zero-extension; nothing if the type is the same.
    pub fn zext(&mut self, ty: Type, a: Value) -> Value {
        let from = self.ty(a);
        debug_assert!(from.is_int() && ty.is_int() && ty.bits() >= from.bits(), "zext of {from:?} to {ty:?}");
        if ty == from {
            return a;
        }
        match self.def(a) {
            Some(&Inst { op: Op::Zext, args: [inner, ..], .. }) => self.zext(ty, inner),
            Some(&Inst { op: Op::Extract { lo, len }, args: [inner, ..], .. }) => self.pure(Op::Extract { lo, len }, ty, [inner]),
            _ => self.pure(Op::Zext, ty, [a]),
        }
    }

    /// Sign-extension.
    pub fn sext(&mut self, ty: Type, a: Value) -> Value {
        let from = self.ty(a);
        debug_assert!(from.is_int() && ty.is_int() && ty.bits() >= from.bits(), "sext of {from:?} to {ty:?}");
        if ty == from {
            return a;
        }
        match self.def(a) {
            Some(&Inst { op: Op::Sext, args: [inner, ..], .. }) => self.sext(ty, inner),
            Some(&Inst { op: Op::Zext, args: [inner, ..], .. }) => self.zext(ty, inner),
            _ => self.pure(Op::Sext, ty, [a]),
        }
    }

    /// Low bits.
    pub fn trunc(&mut self, ty: Type, a: Value) -> Value {
        let from = self.ty(a);
        debug_assert!(from.is_int() && ty.is_int() && ty.bits() <= from.bits(), "trunc of {from:?} to {ty:?}");
        if ty == from {
            return a;
        }
        if let Some(&Inst { op, args: [inner, low, ..], .. }) = self.def(a) {
            let width = if matches!(op, Op::Zext | Op::Sext | Op::Trunc | Op::Concat) { self.ty(inner).bits() } else { 0 };
            match op {
                Op::Zext | Op::Sext if width >= ty.bits() => return self.trunc(ty, inner),
                Op::Zext => return self.zext(ty, inner),
                Op::Sext => return self.sext(ty, inner),
                Op::Trunc => return self.trunc(ty, inner),
                Op::Concat if width >= ty.bits() => return self.trunc(ty, low),
                Op::Extract { lo, len } => return self.extract(ty, inner, lo, len.min(ty.bits() as u8)),
                _ => {}
            }
        }
        self.pure(Op::Trunc, ty, [a])
    }

    /// Bits lo..lo+len of a, zero-extended, as `ty`.
    pub fn extract(&mut self, ty: Type, a: Value, lo: u8, len: u8) -> Value {
        let from = self.ty(a);
        debug_assert!(
            u32::from(lo) + u32::from(len) <= from.bits() && u32::from(len) <= ty.bits() && len > 0,
            "extract {lo}+{len} of {from:?}"
        );
        if lo == 0 && u32::from(len) == from.bits() {
            return self.zext(ty, a);
        }
        if lo == 0 && u32::from(len) == ty.bits() {
            return self.trunc(ty, a);
        }
        match self.def(a) {
            Some(&Inst { op: Op::Zext, args: [inner, ..], .. }) => {
                let bits = self.ty(inner).bits() as u8;
                if lo >= bits {
                    return self.iconst(ty, 0);
                }
                let part = len.min(bits - lo);
                return self.extract(ty, inner, lo, part);
            }
            Some(&Inst { op: Op::Extract { lo: first, len: width }, args: [inner, ..], .. }) => {
                if lo >= width {
                    return self.iconst(ty, 0);
                }
                return self.extract(ty, inner, first + lo, len.min(width - lo));
            }
            Some(&Inst { op: Op::Concat, args: [high, low, ..], .. }) => {
                let half = self.ty(low).bits() as u8;
                if lo >= half {
                    return self.extract(ty, high, lo - half, len);
                }
                if lo + len <= half {
                    return self.extract(ty, low, lo, len);
                }
            }
            _ => {}
        }
        self.pure(Op::Extract { lo, len }, ty, [a])
    }

    /// a with its bits lo.. replaced by the low `len` bits of b; `b` of any integer type.
    pub fn insert(&mut self, a: Value, b: Value, lo: u8, len: u8) -> Value {
        let ty = self.ty(a);
        debug_assert!(u32::from(lo) + u32::from(len) <= ty.bits() && len > 0, "insert {lo}+{len} into {ty:?}");
        let b = match self.ty(b).bits() {
            bits if bits > ty.bits() => self.trunc(ty, b),
            _ => self.zext(ty, b),
        };
        if lo == 0 && u32::from(len) == ty.bits() {
            return b;
        }
        if self.as_const(a) == Some(0) {
            let part = self.extract(ty, b, 0, len);
            let n = self.iconst(Type::I32, lo.into());
            return self.binary(Op::Shl, part, n);
        }
        if ty.bits() > 64 {
            return self.pure(Op::Insert { lo, len }, ty, [a, b]);
        }
        let low = fold::low_mask(len.into()) as u64;
        let gap = low << lo;
        if let Some(x) = self.as_const(b).map(|x| x as u64 & low) {
            let kept = if self.possible(a) & gap == 0 {
                a
            } else {
                let others = self.iconst(ty, u128::from(!gap) & ty.mask());
                self.binary(Op::And, a, others)
            };
            let part = self.iconst(ty, u128::from(x << lo));
            return if x == 0 { kept } else { self.binary(Op::Or, kept, part) };
        }
        // Where bits come from in the part of a value and what goes above it.
        let part_of = |v: Value| match self.def(v) {
            Some(&Inst { op: Op::Extract { lo, len }, args: [inner, ..], .. }) => Some((inner, u32::from(lo), u32::from(len))),
            _ => None,
        };
        if let (Some((x, 1, rest)), Some((y, sign, 1))) = (part_of(a), part_of(b))
            && (x, rest, sign, u32::from(lo)) == (y, sign, ty.bits() - 1, rest)
            && self.ty(x) == ty
            && ty.bits() >= 32
        {
            let one = self.iconst(Type::I32, 1);
            return self.binary(Op::Sar, x, one);
        }
        if self.possible(a) & gap == 0 {
            let part = if self.possible(b) & !low == 0 { b } else { self.extract(ty, b, 0, len) };
            let n = self.iconst(Type::I32, lo.into());
            let part = self.binary(Op::Shl, part, n);
            return self.binary(Op::Or, a, part);
        }
        self.pure(Op::Insert { lo, len }, ty, [a, b])
    }

    /// The sign of an integer, if it is that of a truth value that was put there.
    fn sign(&self, v: Value) -> Option<Value> {
        let top = self.ty(v).bits() - 1;
        let &Inst { op: Op::Or, args: [others, part, ..], .. } = self.def(v)? else { return None };
        let &Inst { op: Op::Shl, args: [truth, n, ..], .. } = self.def(part)? else { return None };
        let &Inst { op: Op::Zext, args: [truth, ..], .. } = self.def(truth)? else { return None };
        let alone = self.as_const(n) == Some(top.into()) && top < 64 && self.possible(others) >> top & 1 == 0;
        (alone && self.ty(truth) == Type::I1).then_some(truth)
    }

    /// The bits of an integer of at most 64 bits that may be 1.
    fn possible(&self, v: Value) -> u64 {
        let all = self.ty(v).mask() as u64;
        if let Some(x) = self.as_const(v) {
            return x as u64;
        }
        match self.def(v) {
            Some(&Inst { op: Op::Extract { len, .. }, .. }) => all & fold::low_mask(len.into()) as u64,
            Some(&Inst { op: Op::Zext, args: [inner, ..], .. }) => self.possible(inner),
            Some(&Inst { op: Op::Or, args: [a, b, ..], .. }) => self.possible(a) | self.possible(b),
            Some(&Inst { op: Op::Shl, args: [a, n, ..], .. }) => match self.as_const(n) {
                Some(n) if n < 64 => all & self.possible(a) << n,
                _ => all,
            },
            _ => all,
        }
    }

    /// hi:lo, twice as wide.
    pub fn concat(&mut self, hi: Value, lo: Value) -> Value {
        let half = self.ty(lo);
        debug_assert_eq!(self.ty(hi), half, "concat of unlike types");
        let Some(ty) = Type::int(half.bits() * 2) else {
            debug_assert!(false, "concat of {half:?}");
            return lo;
        };
        if self.as_const(hi) == Some(0) {
            return self.zext(ty, lo);
        }
        self.pure(Op::Concat, ty, [hi, lo])
    }

    /// The same bits as a type of the same width; nothing if it has it already.
    pub fn bitcast(&mut self, ty: Type, a: Value) -> Value {
        let from = self.ty(a);
        debug_assert_eq!(ty.bits(), from.bits(), "bitcast of {from:?} to {ty:?}");
        if ty == from {
            return a;
        }
        if let Some(&Inst { op: Op::Bitcast, args: [inner, ..], .. }) = self.def(a) {
            return self.bitcast(ty, inner);
        }
        self.pure(Op::Bitcast, ty, [a])
    }

    // ---- memory

    fn memory_type(mem: Mem) -> Type {
        Type::int(u32::from(mem.size) * 8).unwrap_or(Type::I64)
    }

    /// Loads an integer of `mem.size`.
    pub fn load(&mut self, mem: Mem, addr: Value) -> Value {
        self.push_value(Inst::new(Op::Load(mem), Self::memory_type(mem), &[addr]))
    }

    /// Stores an integer of `mem.size`.
    pub fn store(&mut self, mem: Mem, addr: Value, v: Value) {
        debug_assert_eq!(self.ty(v), Self::memory_type(mem), "store of another size");
        self.push(Inst::new(Op::Store(mem), Self::memory_type(mem), &[addr, v]));
    }

    /// Faults if an access of this kind would.
    pub fn probe(&mut self, mem: Mem, addr: Value, write: bool) {
        let mut inst = Inst::new(Op::Probe(mem), Self::memory_type(mem), &[addr]);
        inst.imm = write.into();
        self.push(inst);
    }

    /// Loads and sets the exclusive monitor.
    pub fn load_exclusive(&mut self, mem: Mem, addr: Value) -> Value {
        self.push_value(Inst::new(Op::LoadExclusive(mem), Self::memory_type(mem), &[addr]))
    }

    /// Stores if the monitor holds; I1: 1 if stored.
    pub fn store_exclusive(&mut self, mem: Mem, addr: Value, v: Value) -> Value {
        self.push_value(Inst::new(Op::StoreExclusive(mem), Type::I1, &[addr, v]))
    }

    /// Clears the exclusive monitor.
    pub fn clear_exclusive(&mut self) {
        self.push(Inst::new(Op::ClearExclusive, Type::I1, &[]));
    }

    /// Atomic swap; the old value.
    pub fn swap(&mut self, mem: Mem, addr: Value, v: Value) -> Value {
        self.push_value(Inst::new(Op::Swap(mem), Self::memory_type(mem), &[addr, v]))
    }

    /// Compare and swap; the old value.
    pub fn compare_swap(&mut self, mem: Mem, addr: Value, expected: Value, v: Value) -> Value {
        self.push_value(Inst::new(Op::CompareSwap(mem), Self::memory_type(mem), &[addr, expected, v]))
    }

    /// Memory barrier.
    pub fn fence(&mut self, order: Order) {
        self.push(Inst::new(Op::Fence(order), Type::I1, &[]));
    }

    // ---- floating point: operands and results are integers of the format's width (I16/I32/I64/I128); the builder bitcasts

    fn as_float(&mut self, v: Value) -> Value {
        let Some(ty) = self.ty(v).to_float() else {
            debug_assert!(false, "{:?} is no float's width", self.ty(v));
            return v;
        };
        self.bitcast(ty, v)
    }

    fn float_value(&mut self, inst: Inst, ty: Type, env: u8) -> Value {
        self.float_flags(env);
        let v = self.push_value(inst);
        self.bitcast(ty, v)
    }

    /// A floating-point operation in environment `env`; comparisons give I8.
    pub fn float(&mut self, op: Fop, env: u8, args: &[Value]) -> Value {
        let ty = self.ty(args[0]);
        let mut cast = [Value::NONE; 3];
        for (to, from) in cast.iter_mut().zip(args) {
            *to = self.as_float(*from);
        }
        let result = if matches!(op, Fop::Cmp | Fop::CmpSignal) { Type::I8 } else { self.ty(cast[0]) };
        let inst = Inst::new(Op::Float { op, env }, result, &cast[..args.len()]);
        self.float_value(inst, if result == Type::I8 { result } else { ty.to_int() }, env)
    }

    /// Rounds to an integral value of the same format.
    pub fn float_round(&mut self, round: Round, exact: bool, env: u8, a: Value) -> Value {
        let ty = self.ty(a).to_int();
        let a = self.as_float(a);
        self.float_value(Inst::new(Op::FloatRound { round, exact, env }, self.ty(a), &[a]), ty, env)
    }

    /// Converts between formats given by the integer types' widths.
    pub fn float_convert(&mut self, to: Type, env: u8, alt: bool, a: Value) -> Value {
        let a = self.as_float(a);
        let ty = to.to_float().unwrap_or(to);
        self.float_value(Inst::new(Op::FloatConvert { env, alt }, ty, &[a]), to.to_int(), env)
    }

    /// Float to integer.
    #[allow(clippy::too_many_arguments)] // the operation has that many independent properties
    pub fn float_to_int(&mut self, to: Type, env: u8, signed: bool, round: Round, frac: u8, bits: u8, a: Value) -> Value {
        let a = self.as_float(a);
        self.float_value(Inst::new(Op::FloatToInt { env, signed, round, frac, bits }, to, &[a]), to, env)
    }

    /// Integer to float.
    #[allow(clippy::too_many_arguments)] // the operation has that many independent properties
    pub fn int_to_float(&mut self, to: Type, env: u8, signed: bool, round: Round, frac: u8, bits: u8, a: Value) -> Value {
        let ty = to.to_float().unwrap_or(to);
        self.float_value(Inst::new(Op::IntToFloat { env, signed, round, frac, bits }, ty, &[a]), to.to_int(), env)
    }

    // ---- vectors: operands and results are I64/I128; the builder bitcasts

    fn as_vectors(&mut self, args: &[Value]) -> [Value; 6] {
        let mut cast = [Value::NONE; 6];
        for (to, from) in cast.iter_mut().zip(args) {
            let ty = self.ty(*from);
            debug_assert!(ty.to_vector().is_some(), "{ty:?} is no vector's width");
            *to = ty.to_vector().map_or(*from, |ty| self.bitcast(ty, *from));
        }
        cast
    }

    /// The result's width follows from the operation and its operands (see [`Vop::shape`]).
    pub fn vec(&mut self, op: Vop, lane: u8, args: &[Value], imm: u64) -> Value {
        debug_assert_eq!(args.len(), op.operands(), "operands of {op:?}");
        let cast = self.as_vectors(args);
        let ty = match op.shape() {
            Shape::Same => self.ty(cast[0]),
            Shape::Widen | Shape::Wide => Type::V128,
            Shape::Narrow => Type::V64,
            Shape::Dup if imm & 0x100 != 0 => Type::V128,
            Shape::Dup => Type::V64,
        };
        let mut inst = Inst::new(Op::Vec(op, lane), ty, &cast[..args.len()]);
        inst.imm = imm;
        if op.is_float() {
            self.float_flags(imm as u8);
        }
        let v = self.push_value(inst);
        self.bitcast(ty.to_int(), v)
    }

    /// I1: 1 if the saturating operation saturates a lane.
    pub fn vec_sat(&mut self, op: Vop, lane: u8, args: &[Value], imm: u64) -> Value {
        let cast = self.as_vectors(args);
        let mut inst = Inst::new(Op::VecSat(op, lane), Type::I1, &cast[..args.len()]);
        inst.imm = imm;
        self.push_value(inst)
    }

    /// Lane `index`, zero-extended to I64.
    pub fn lane_get(&mut self, lane: u8, v: Value, index: u8) -> Value {
        let v = self.bitcast(self.ty(v).to_int(), v);
        self.extract(Type::I64, v, index * (8 << lane), 8 << lane)
    }

    /// `x`: I64; low bits used.
    pub fn lane_set(&mut self, lane: u8, v: Value, index: u8, x: Value) -> Value {
        let v = self.bitcast(self.ty(v).to_int(), v);
        self.insert(v, x, index * (8 << lane), 8 << lane)
    }

    /// Table lookup: each byte of `index` (V64) picks a byte of `table` (one to four V64), or keeps `fallback`'s.
    pub fn table_lookup(&mut self, index: Value, fallback: Value, table: &[Value]) -> Value {
        debug_assert!((1..=4).contains(&table.len()));
        let mut args = [index, fallback, Value::NONE, Value::NONE, Value::NONE, Value::NONE];
        args[2..2 + table.len()].copy_from_slice(table);
        let cast = self.as_vectors(&args[..2 + table.len()]);
        let mut inst = Inst::new(Op::TableLookup, Type::V64, &cast[..2 + table.len()]);
        inst.imm = table.len() as u64;
        let v = self.push_value(inst);
        self.bitcast(Type::I64, v)
    }

    // ---- control

    /// Calls helper `helper`; its result, if it has one.
    pub fn call(&mut self, helper: u16, args: &[Value], result: Option<Type>) -> Option<Value> {
        self.flush_sets();
        let inst = Inst::new(Op::Call(helper), result.unwrap_or(Type::I1), args);
        if !self.dead {
            let helper = self.helpers.and_then(|helpers| helpers.get(helper as usize));
            self.ends |= helper.is_some_and(HelperDesc::ends_block);
            match helper.and_then(|helper| helper.writes) {
                Some(slots) => slots.iter().for_each(|slot| self.forget(*slot)),
                None => self.forget_all(),
            }
        }
        match result {
            Some(_) => Some(self.push_value(inst)),
            None => {
                self.push(inst);
                None
            }
        }
    }

    /// What is known here.
    fn known(&mut self) -> Known {
        let mut known = self.spare_known.pop().unwrap_or_default();
        known.context.clear();
        known.context.extend(self.context.iter().map(|c| (c.known, c.pending)));
        known.vars.clone_from(&self.vars);
        known.slots.clone_from(&self.slots);
        known
    }

    fn restore(&mut self, known: &Known) {
        // Slots and locals that came up since hold nothing known.
        for (index, context) in self.context.iter_mut().enumerate() {
            (context.known, context.pending) = known.context.get(index).copied().unwrap_or((None, context.pending));
        }
        for (index, var) in self.vars.iter_mut().enumerate() {
            *var = known.vars.get(index).copied().flatten();
        }
        self.slots.clone_from(&known.slots);
    }

    /// Only what is known on the other path too stays known.
    fn join(&mut self, other: &Known) {
        for (index, context) in self.context.iter_mut().enumerate() {
            let (known, pending) = other.context.get(index).copied().unwrap_or_default();
            context.known = context.known.filter(|_| context.known == known);
            context.pending = context.pending.or(pending);
        }
        for (index, var) in self.vars.iter_mut().enumerate() {
            *var = var.filter(|_| *var == other.vars.get(index).copied().flatten());
        }
        // Most stand where they stood.
        let mut index = 0..;
        self.slots.retain(|known| index.next().and_then(|at| other.slots.get(at)) == Some(known) || other.slots.contains(known));
    }

    /// Begins the part executed if `cond` holds.
    pub fn begin_if(&mut self, cond: Value) {
        debug_assert_eq!(self.ty(cond), Type::I1, "a condition is I1");
        self.flush_sets();
        let constant = self.as_const(cond).map(|x| x != 0);
        let emitted = !self.dead && constant.is_none();
        let (dead_outside, start) = (self.dead, self.block.insts.len());
        if emitted {
            self.push(Inst::new(Op::If, Type::I1, &[cond]));
        }
        let other = self.known();
        self.scopes.push(Scope { emitted, constant, start, repeat: false, dead_outside, other, first_dead: None });
        self.dead |= constant == Some(false);
    }

    /// Its other side.
    pub fn begin_else(&mut self) {
        self.flush_sets();
        let (dead, known) = (self.dead, self.known());
        let Some(scope) = self.scopes.last_mut() else {
            debug_assert!(false, "else without if");
            return;
        };
        debug_assert!(!scope.repeat && scope.first_dead.is_none(), "else without if");
        scope.first_dead = Some(dead);
        let before = std::mem::replace(&mut scope.other, known);
        self.dead = scope.dead_outside || scope.constant == Some(true);
        if scope.emitted {
            self.block.insts.push(Inst::new(Op::Else, Type::I1, &[]));
        }
        self.restore(&before);
        self.spare_known.push(before);
    }

    /// Ends the conditional part.
    pub fn end_if(&mut self) {
        self.flush_sets();
        let Some(scope) = self.scopes.pop() else {
            debug_assert!(false, "end of no if");
            return;
        };
        debug_assert!(!scope.repeat, "end of no if");
        if scope.emitted {
            self.block.insts.push(Inst::new(Op::EndIf, Type::I1, &[]));
        }
        // Without an else, the other side is what held before.
        let other_dead = scope.first_dead.unwrap_or(scope.dead_outside || scope.constant == Some(true));
        match (self.dead, other_dead) {
            (true, true) if scope.first_dead.is_some() => {}
            (true, _) => self.restore(&scope.other),
            (false, true) => {}
            (false, false) => self.join(&scope.other),
        }
        self.dead &= other_dead;
        if scope.emitted && scope.first_dead.is_some() {
            self.forget_inner(scope.start);
        }
        self.spare_known.push(scope.other);
    }

    /// What is known to be a value defined inside the closed part is not known outside, where that value does not exist.
    fn forget_inner(&mut self, start: usize) {
        let defs = &self.defs;
        let inner = |v: Value| matches!(defs[v.0 as usize], Def::Inst(def) if def as usize >= start);
        for var in &mut self.vars {
            *var = var.filter(|v| !inner(*v));
        }
        self.slots.retain(|(_, v)| !inner(*v));
    }

    /// Begins a restartable loop.
    pub fn begin_repeat(&mut self) {
        self.flush_sets();
        let other = Known::default();
        let (dead_outside, start) = (self.dead, self.block.insts.len());
        self.push(Inst::new(Op::Repeat, Type::I1, &[]));
        self.restore(&other);
        self.scopes.push(Scope { emitted: !dead_outside, constant: None, start, repeat: true, dead_outside, other, first_dead: None });
    }

    /// Leaves the loop if `cond` holds.
    pub fn break_if(&mut self, cond: Value) {
        debug_assert!(self.scopes.last().is_some_and(|s| s.repeat), "break outside a loop's own level");
        self.flush_sets();
        self.push(Inst::new(Op::BreakIf, Type::I1, &[cond]));
    }

    /// Next round.
    pub fn end_repeat(&mut self) {
        self.flush_sets();
        let Some(scope) = self.scopes.pop() else {
            debug_assert!(false, "end of no loop");
            return;
        };
        debug_assert!(scope.repeat, "end of no loop");
        if scope.emitted {
            self.block.insts.push(Inst::new(Op::EndRepeat, Type::I1, &[]));
        }
        self.dead = scope.dead_outside;
        self.restore(&Known::default());
    }

    fn exit(&mut self, mut op: Op, pc: u64, target: Option<Value>) {
        if self.dead {
            return;
        }
        self.commit_context();
        let moved = self.ends || self.context.iter().any(|c| c.known != c.entry);
        let constant = self.iconst(Type::I64, pc.into());
        let target = target.or((moved && op == Op::Jump).then_some(constant));
        if moved && matches!(op, Op::Jump | Op::JumpTo) {
            op = Op::JumpRekey;
        }
        let mut inst = Inst::new(op, Type::I64, &[target.unwrap_or(Value::NONE)]);
        inst.imm = pc;
        self.push(inst);
        self.dead = true;
    }

    /// Ends the block: execution continues at `pc` with the same key.
    pub fn jump(&mut self, pc: u64) {
        self.exit(Op::Jump, pc, None);
    }

    /// Ends the block at a computed address (I32 or I64) with the same key.
    pub fn jump_to(&mut self, pc: Value) {
        match self.as_const(pc) {
            Some(x) => self.exit(Op::Jump, x as u64, None),
            None => self.exit(Op::JumpTo, 0, Some(pc)),
        }
    }

    /// Ends the block at `pc` (I32 or I64); the key is computed anew from state.
    pub fn jump_rekey(&mut self, pc: Value) {
        self.exit(Op::JumpRekey, 0, Some(pc));
    }

    /// Raises an exception with up to four arguments (zero-extended); state as at the last mark plus what was set since.
    pub fn raise(&mut self, exception: u16, args: &[Value]) {
        debug_assert!(args.len() <= 4);
        self.deferred.clear();
        self.push(Inst::new(Op::Raise(exception), Type::I64, args));
        self.dead = true;
    }

    /// Ends the block at `next_pc`, asleep until an interrupt (or event).
    pub fn wait(&mut self, event: bool, next_pc: u64) {
        if self.dead {
            return;
        }
        self.commit_context();
        let mut inst = Inst::new(Op::Wait, Type::I64, &[]);
        (inst.imm, inst.imm_hi) = (event.into(), next_pc);
        self.push(inst);
        self.dead = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::SlotDesc;

    static SLOTS: [SlotDesc; 4] = [
        SlotDesc { name: "r0", ty: Type::I32, bits: 32, cell: 0, lo: 0 },
        SlotDesc { name: "it", ty: Type::I8, bits: 8, cell: 1, lo: 0 },
        SlotDesc { name: "pc", ty: Type::I32, bits: 32, cell: 2, lo: 0 },
        SlotDesc { name: "five", ty: Type::I8, bits: 5, cell: 3, lo: 0 },
    ];
    static LAYOUT: StateLayout = StateLayout { slots: &SLOTS, cells: 4 };
    const R0: Slot = Slot(0);
    const IT: Slot = Slot(1);

    fn ops(block: &Block) -> Vec<Op> {
        block.insts.iter().map(|i| i.op).filter(|op| *op != Op::Const).collect()
    }

    #[test]
    fn folds_and_subtracts() {
        let mut b = Builder::plain(&LAYOUT);
        let (one, two) = (b.iconst(Type::I32, 1), b.iconst(Type::I32, 2));
        let three = b.binary(Op::Add, one, two);
        assert_eq!(b.as_const(three), Some(3));
        b.mark(0, 4);
        let x = b.get(R0);
        let y = b.get(R0);
        let not = b.unary(Op::Not, y);
        let sum = b.binary(Op::Add, x, not);
        let diff = b.binary(Op::Add, sum, one);
        assert_eq!(b.def(diff).map(|i| (i.op, i.args[0], i.args[1])), Some((Op::Sub, x, y)));
        let c = b.iconst(Type::I1, 1);
        let carry = b.carry_add(x, not, c);
        assert_eq!(b.def(carry).map(|i| i.op), Some(Op::Cmp(Cond::Ule)));
    }

    #[test]
    fn the_sign_of_a_truth_value_above_others_is_the_truth_value() {
        let mut b = Builder::plain(&LAYOUT);
        let y = b.iconst(Type::I32, 0x1234_5678);
        let x = b.get(R0);
        let difference = b.binary(Op::Sub, x, y);
        let rest = b.extract(Type::I32, difference, 0, 31);
        let less = b.cmp(Cond::Ult, x, y);
        let outcome = b.insert(rest, less, 31, 1);
        let zero = b.iconst(Type::I32, 0);
        assert_eq!(b.cmp(Cond::Slt, outcome, zero), less);
        let not_less = b.cmp(Cond::Sle, zero, outcome);
        assert_eq!(b.def(not_less).map(|i| (i.op, i.args[0], i.args[1])), Some((Op::Cmp(Cond::Ule), y, x)));
        let either = b.cmp(Cond::Sle, outcome, zero);
        assert_eq!(b.def(either).map(|i| (i.op, i.args[0])), Some((Op::Or, less)));
        // A sign of its own.
        let other = b.insert(difference, less, 30, 1);
        let below = b.cmp(Cond::Slt, other, zero);
        assert_eq!(b.def(below).map(|i| i.op), Some(Op::Cmp(Cond::Slt)));
    }

    #[test]
    fn what_was_set_is_cut_to_the_slot_before_it_is_written() {
        let mut b = Builder::plain(&LAYOUT);
        b.mark(0, 4);
        let all = b.iconst(Type::I8, 0xff);
        b.set(Slot(3), all);
        let got = b.get(Slot(3));
        assert_eq!(b.as_const(got), Some(0x1f));
        let it = b.get(IT);
        b.set(Slot(3), it);
        let got = b.get(Slot(3));
        assert_eq!(b.def(got).map(|i| i.op), Some(Op::And));
    }

    #[test]
    fn context_is_written_when_it_moves() {
        let block = |entry| {
            let mut b = Builder::new(&LAYOUT);
            b.context_at_entry(IT, entry);
            b.mark(0, 2);
            b.pending_context(IT, 4);
            b.end_insn();
            b.mark(2, 4);
            b.pending_context(IT, 4);
            b.end_insn();
            b.finish()
        };
        assert_eq!(ops(&block(4)), [Op::Mark, Op::Mark, Op::Jump]);
        assert_eq!(ops(&block(0)), [Op::Mark, Op::Set(IT), Op::Mark, Op::JumpRekey]);
    }

    #[test]
    fn an_explicit_write_of_context_stands_on_its_path() {
        let mut b = Builder::new(&LAYOUT);
        b.context_at_entry(IT, 8);
        b.mark(0, 2);
        b.pending_context(IT, 4);
        let x = b.get(R0);
        let zero = b.iconst(Type::I32, 0);
        let cond = b.cmp(Cond::Eq, x, zero);
        b.begin_if(cond);
        let part = b.extract(Type::I8, x, 0, 8);
        b.set(IT, part);
        b.jump_rekey(x);
        b.end_if();
        b.end_insn();
        let block = b.finish();
        let sets: Vec<_> = block.insts.iter().filter(|i| i.op == Op::Set(IT)).map(|i| i.args[0]).collect();
        assert_eq!(sets.len(), 2);
        assert_eq!(sets[0], part);
        assert_eq!(ops(&block)[3..], [Op::If, Op::Trunc, Op::Set(IT), Op::JumpRekey, Op::EndIf, Op::Set(IT), Op::JumpRekey]);
    }

    #[test]
    fn dead_sides_vanish() {
        let mut b = Builder::new(&LAYOUT);
        b.mark(0, 4);
        let (yes, x) = (b.iconst(Type::I1, 1), b.get(R0));
        let local = b.var(Type::I32);
        b.begin_if(yes);
        b.var_set(local, x);
        b.begin_else();
        assert!(b.ended());
        b.set(R0, x);
        b.end_if();
        assert_eq!(b.var_get(local), x);
        let zero = b.iconst(Type::I32, 0);
        let cond = b.cmp(Cond::Eq, x, zero);
        b.begin_if(cond);
        b.jump(8);
        assert!(b.ended());
        b.begin_else();
        b.jump(12);
        b.end_if();
        assert!(b.ended());
        b.set(R0, x);
        let block = b.finish();
        assert_eq!(
            ops(&block),
            [Op::Mark, Op::Get(R0), Op::VarSet(local), Op::Cmp(Cond::Eq), Op::If, Op::Jump, Op::Else, Op::Jump, Op::EndIf]
        );
    }

    #[test]
    fn locals_join() {
        let mut b = Builder::new(&LAYOUT);
        b.mark(0, 4);
        let x = b.get(R0);
        let zero = b.iconst(Type::I32, 0);
        let local = b.var(Type::I32);
        b.var_set(local, x);
        let cond = b.cmp(Cond::Eq, x, zero);
        b.begin_if(cond);
        let sum = b.binary(Op::Add, x, x);
        b.var_set(local, sum);
        b.end_if();
        let v = b.var_get(local);
        assert_eq!(b.def(v).map(|i| i.op), Some(Op::VarGet(local)));
    }
}
