//! From steps to IR.

use super::*;

pub const INTS: [Type; 6] = [Type::I1, Type::I8, Type::I16, Type::I32, Type::I64, Type::I128];

pub struct Maker<'a> {
    pub b: &'a mut Builder,
    pub pool: Vec<Value>,
    pub vars: [Var; 3],
    pub pc: u64,
    pub depth: usize,
}

impl Maker<'_> {
    pub fn pick(&mut self, index: u8) -> Value {
        self.pool[index as usize % self.pool.len()]
    }
    /// The first of this type from an index on, or else one made from it.
    pub fn pick_of(&mut self, index: u8, ty: Type) -> Value {
        let count = self.pool.len();
        let from = (0..count).map(|n| self.pool[(usize::from(index) + n) % count]).find(|v| self.b.ty(*v) == ty);
        from.unwrap_or_else(|| self.pick_as(index, ty))
    }
    pub fn pick_as(&mut self, index: u8, ty: Type) -> Value {
        let v = self.pick(index);
        self.resize(v, ty, false)
    }
    pub fn resize(&mut self, v: Value, ty: Type, signed: bool) -> Value {
        let from = self.b.ty(v);
        if from.bits() > ty.bits() {
            self.b.trunc(ty, v)
        } else if signed {
            self.b.sext(ty, v)
        } else {
            self.b.zext(ty, v)
        }
    }
    pub fn address(&mut self, index: u8) -> Value {
        let v = self.pick_as(index, Type::I64);
        let mask = self.b.iconst(Type::I64, 0x1f38);
        let v = self.b.binary(Op::And, v, mask);
        let base = self.b.iconst(Type::I64, 0x7f00 + u128::from(index % 8));
        self.b.binary(Op::Add, v, base)
    }
    pub fn mem(&self, size: u8, big: bool) -> Mem {
        Mem { size: 1 << size, big, align: if big { 4 } else { 1 }, note: 0, mmu: 0, order: Order::Relaxed, atomic: false, physical: false }
    }
    pub fn mark(&mut self) {
        if self.depth == 0 {
            self.b.end_insn();
            self.b.mark(self.pc, self.pc + 4);
            self.pc += 4;
        }
    }
    pub fn body(&mut self, steps: &[Step]) {
        let outside = self.pool.len();
        self.depth += 1;
        for step in steps {
            self.step(step);
        }
        self.depth -= 1;
        self.pool.truncate(outside);
    }
    pub fn step(&mut self, step: &Step) {
        if self.b.ended() {
            return;
        }
        let v = match step {
            Step::Get(slot) => self.b.get(Slot(*slot)),
            Step::Set(slot, a) => {
                let v = self.pick_as(*a, SLOTS[*slot as usize].ty);
                return self.b.set(Slot(*slot), v);
            }
            Step::Const(ty, x) => self.b.iconst(INTS[*ty as usize % 6], u128::from(*x) | u128::from(*x) << 64),
            Step::Binary(op, a, b) => {
                let ops = [
                    Op::Add,
                    Op::Sub,
                    Op::Mul,
                    Op::And,
                    Op::Or,
                    Op::Xor,
                    Op::MulHighU,
                    Op::MulHighS,
                    Op::DivU,
                    Op::DivS,
                    Op::RemU,
                    Op::RemS,
                ];
                let a = self.pick(*a);
                let b = self.pick_as(*b, self.b.ty(a));
                self.b.binary(ops[*op as usize], a, b)
            }
            Step::Shift(op, a, b) => {
                let (a, b) = (self.pick(*a), self.pick(*b));
                self.b.binary([Op::Shl, Op::Shr, Op::Sar, Op::Ror][*op as usize], a, b)
            }
            Step::Unary(op, a) => {
                let a = self.pick(*a);
                self.b.unary([Op::Not, Op::Neg, Op::Clz, Op::Ctz, Op::Popcnt, Op::Bswap, Op::Bitrev][*op as usize], a)
            }
            Step::Carry(carry, a, b, c) => {
                let a = self.pick(*a);
                let (b, c) = (self.pick_as(*b, self.b.ty(a)), self.pick_as(*c, Type::I1));
                if *carry { self.b.carry_add(a, b, c) } else { self.b.overflow_add(a, b, c) }
            }
            Step::Cmp(cond, a, b) => {
                let a = self.pick(*a);
                let b = self.pick_as(*b, self.b.ty(a));
                self.b.cmp(Cond::ALL[*cond as usize], a, b)
            }
            Step::Select(c, a, b) => {
                let (c, a) = (self.pick_as(*c, Type::I1), self.pick(*a));
                let b = self.pick_as(*b, self.b.ty(a));
                self.b.select(c, a, b)
            }
            Step::Resize(a, ty, signed) => {
                let a = self.pick(*a);
                self.resize(a, INTS[*ty as usize % 6], *signed)
            }
            Step::Extract(a, ty, lo, len) => {
                let (a, ty) = (self.pick(*a), INTS[*ty as usize % 6]);
                let lo = u32::from(*lo) % self.b.ty(a).bits();
                let len = (1 + u32::from(*len) % 64).min(self.b.ty(a).bits() - lo).min(ty.bits());
                self.b.extract(ty, a, lo as u8, len as u8)
            }
            Step::Insert(a, b, lo, len) => {
                let (a, b) = (self.pick(*a), self.pick(*b));
                let lo = u32::from(*lo) % self.b.ty(a).bits();
                let len = (1 + u32::from(*len) % 64).min(self.b.ty(a).bits() - lo);
                self.b.insert(a, b, lo as u8, len as u8)
            }
            Step::Concat(a, b) => {
                let ty = [Type::I8, Type::I16, Type::I32, Type::I64][(*a % 4) as usize];
                let (a, b) = (self.pick_as(*a, ty), self.pick_as(*b, ty));
                self.b.concat(a, b)
            }
            Step::Load(a, size, big) => {
                if self.depth > 0 {
                    return;
                }
                self.mark();
                let at = self.address(*a);
                let mem = self.mem(*size, *big);
                self.b.load(mem, at)
            }
            Step::Store(a, x, size) => {
                if self.depth > 0 {
                    return;
                }
                self.mark();
                let at = self.address(*a);
                let x = self.pick_as(*x, INTS[*size as usize + 1]);
                let mem = self.mem(*size, *a & 1 != 0);
                return self.b.store(mem, at, x);
            }
            Step::Exclusive(a, x) => {
                if self.depth > 0 {
                    return;
                }
                self.mark();
                let at = self.address(*a & !7);
                let mem = Mem { align: 4, ..self.mem(2, false) };
                let old = self.b.load_exclusive(mem, at);
                self.pool.push(old);
                self.mark();
                let x = self.pick_as(*x, Type::I32);
                self.b.store_exclusive(mem, at, x)
            }
            Step::Vec(op, lane, a, b, c) => {
                let op = Vop::ALL[*op as usize];
                let lane = match op {
                    Vop::F32ToF16 | Vop::F16ToF32 => 1,
                    Vop::RecipEstU | Vop::RsqrtEstU => 2,
                    // Pairs and permutations are of two lanes at least, and what widens has room.
                    _ if op.is_float() => 2,
                    _ if op.shape() != Shape::Same && op.shape() != Shape::Dup => *lane % 3,
                    Vop::PairAddLongS | Vop::PairAddLongU => *lane % 3,
                    _ if *a & 1 == 0 => *lane % 3,
                    _ => *lane,
                };
                let ty = |at: usize| match op.shape() {
                    Shape::Widen => Type::I64,
                    Shape::Wide if at == 1 => Type::I64,
                    Shape::Wide | Shape::Narrow => Type::I128,
                    _ if *a & 1 == 0 => Type::I64,
                    _ => Type::I128,
                };
                let args: Vec<Value> =
                    [*a, *b, *c].into_iter().take(op.operands()).enumerate().map(|(at, v)| self.pick_as(v, ty(at))).collect();
                let bits = 8u64 << lane;
                let imm = match op {
                    Vop::FToS | Vop::FToU | Vop::SToF | Vop::UToF => u64::from(*c & 1) | u64::from(*c >> 3 & *c >> 1 & 31) << 32,
                    _ if op.is_float() => u64::from(*c % 4 != 0),
                    Vop::Dup => (u64::from(*b & 1) << 8) | (u64::from(*c) % (64 / bits)),
                    Vop::Ext => u64::from(*c % 8),
                    Vop::ShlImm
                    | Vop::SatShlImmS
                    | Vop::SatShlImmU
                    | Vop::SatShlImmSU
                    | Vop::ShlInsert
                    | Vop::ShlLongImmS
                    | Vop::ShlLongImmU => u64::from(*c) % bits,
                    _ => 1 + u64::from(*c) % bits,
                };
                if *c & 0x40 != 0 && !op.is_float() {
                    let saturated = self.b.vec_sat(op, lane, &args, imm);
                    self.pool.push(saturated);
                    if *c & 0x20 != 0 {
                        // Sticky.
                        let old = self.b.get(Slot(13));
                        let new = self.b.binary(Op::Or, old, saturated);
                        self.b.set(Slot(13), new);
                    }
                }
                self.b.vec(op, lane, &args, imm)
            }
            Step::Table(n, a, b) => {
                let args: Vec<Value> = (0..3 + n % 4).map(|at| self.pick_as(a.wrapping_add(at.wrapping_mul(*b)), Type::I64)).collect();
                self.b.table_lookup(args[0], args[1], &args[2..])
            }
            Step::Quad(store, a, q) => {
                if self.depth > 0 {
                    return;
                }
                self.mark();
                let at = self.address(*a);
                let eight = self.b.iconst(Type::I64, 8);
                let next = self.b.binary(Op::Add, at, eight);
                let (first, mem) = (self.mem(3, false), self.mem(3, false));
                let first = Mem { align: if a & 1 != 0 { 8 } else { 1 }, ..first };
                let (low, high) = [(6, 7), (28, 29)][usize::from(q & 1)];
                if *store {
                    let (x, y) = (self.b.get(Slot(low)), self.b.get(Slot(high)));
                    self.b.store(first, at, x);
                    return self.b.store(mem, next, y);
                }
                let x = self.b.load(first, at);
                self.b.set(Slot(low), x);
                let y = self.b.load(mem, next);
                return self.b.set(Slot(high), y);
            }
            Step::Half(a, lo) => {
                let a = self.pick_as(*a, Type::I128);
                self.b.extract(Type::I64, a, 64 * (lo & 1), 64)
            }
            Step::Float(op, a, b, double) => {
                let ty = if *double { Type::I64 } else { Type::I32 };
                let (a, b) = (self.pick_as(*a, ty), self.pick_as(*b, ty));
                match op {
                    0 => self.b.float(Fop::Add, 0, &[a, b]),
                    1 => self.b.float(Fop::Mul, 0, &[a, b]),
                    2 => self.b.float(Fop::Sqrt, 0, &[a]),
                    3 => self.b.float(Fop::Cmp, 0, &[a, b]),
                    4 => self.b.float(Fop::Fma, 0, &[a, b, a]),
                    5 => self.b.float_to_int(Type::I32, 0, true, Round::Zero, 0, 32, a),
                    6 => self.b.int_to_float(Type::I64, 0, true, Round::Env, 0, 32, a),
                    _ => self.b.float_convert(if *double { Type::I32 } else { Type::I64 }, 0, false, a),
                }
            }
            Step::Number(op, a, b, double) => {
                let ty = if *double { Type::I64 } else { Type::I32 };
                let (first, second) = (*a, *b);
                let (a, b) = (self.pick_of(first, ty), self.pick_of(second, ty));
                match op {
                    0 | 1 => self.b.float(Fop::Add, 0, &[a, b]),
                    2 => self.b.float(Fop::Sub, 0, &[a, b]),
                    3 | 4 => self.b.float(Fop::Mul, 0, &[a, b]),
                    5 | 6 => self.b.float(Fop::Div, 0, &[a, b]),
                    7 => self.b.float(Fop::Sqrt, 0, &[a]),
                    8 | 9 => {
                        let how = self.b.float(if *op == 8 { Fop::Cmp } else { Fop::CmpSignal }, 0, &[a, b]);
                        let result = self.b.iconst(Type::I8, u128::from(second % 4));
                        self.b.cmp(Cond::Eq, how, result)
                    }
                    10 => self.b.float_to_int(Type::I32, 0, second % 3 != 0, Round::Zero, 0, 32, a),
                    11 | 12 => {
                        let a = self.pick_of(first, Type::I32);
                        self.b.int_to_float(ty, 0, *op == 11, Round::Env, 0, 32, a)
                    }
                    13 => self.b.float_convert(if *double { Type::I32 } else { Type::I64 }, 0, false, a),
                    _ => {
                        // A sign.
                        let mask = if *double { 1u128 << 63 } else { 1 << 31 };
                        let mask = self.b.iconst(ty, if *op == 14 { mask } else { mask - 1 });
                        self.b.binary(if *op == 14 { Op::Xor } else { Op::And }, a, mask)
                    }
                }
            }
            Step::Call(id, a) => {
                if *id == 1 && self.depth > 0 {
                    return;
                }
                self.mark();
                let a = self.pick_as(*a, Type::I32);
                match self.b.call(u16::from(*id), &[a], HELPERS[*id as usize].result) {
                    Some(v) => v,
                    None => return,
                }
            }
            Step::VarGet(var) => self.b.var_get(self.vars[*var as usize]),
            Step::VarSet(var, a) => {
                let v = self.pick_as(*a, Type::I32);
                return self.b.var_set(self.vars[*var as usize], v);
            }
            Step::If(c, yes, no) => {
                let c = self.pick_as(*c, Type::I1);
                self.b.begin_if(c);
                self.body(yes);
                self.b.begin_else();
                self.body(no);
                return self.b.end_if();
            }
            Step::Repeat(n, body) => {
                // A counted loop over r0, with the work in between.
                let n = self.b.iconst(Type::I32, u128::from(*n % 5));
                self.b.set(Slot(0), n);
                self.b.begin_repeat();
                let left = self.b.get(Slot(0));
                let zero = self.b.iconst(Type::I32, 0);
                let done = self.b.cmp(Cond::Sle, left, zero);
                self.b.break_if(done);
                let one = self.b.iconst(Type::I32, 1);
                let left = self.b.binary(Op::Sub, left, one);
                // The body may write r0 itself: the counter is kept in a local then written after it.
                let counter = self.b.var(Type::I32);
                self.b.var_set(counter, left);
                let outside = self.pool.len();
                self.pool.push(left);
                let no_exits: Vec<Step> = body
                    .iter()
                    .filter(|s| {
                        matches!(
                            s,
                            Step::Get(_)
                                | Step::Set(..)
                                | Step::Binary(..)
                                | Step::Cmp(..)
                                | Step::VarGet(_)
                                | Step::VarSet(..)
                                | Step::Select(..)
                        )
                    })
                    .cloned()
                    .collect();
                self.body(&no_exits);
                self.pool.truncate(outside);
                let left = self.b.var_get(counter);
                self.b.set(Slot(0), left);
                self.b.commit_context();
                return self.b.end_repeat();
            }
            Step::Exit(kind, a) => {
                if self.depth == 0 {
                    return;
                }
                let a = self.pick_as(*a, Type::I64);
                return match kind {
                    0 => self.b.raise(2, &[a]),
                    _ => self.b.wait(*kind == 1, 0x2000 + u64::from(*kind)),
                };
            }
            Step::Flags(subtract, a, b, which) => {
                // As instruction sets write it: a + b, or a + !b + 1, with some of the flags.
                let (x, y) = (self.pick_as(*a, Type::I32), self.pick_as(*b, Type::I32));
                let y = if *subtract { self.b.unary(Op::Not, y) } else { y };
                let carry = self.b.iconst(Type::I1, (*subtract).into());
                let one = self.b.iconst(Type::I32, (*subtract).into());
                let sum = self.b.binary(Op::Add, x, y);
                let sum = self.b.binary(Op::Add, sum, one);
                let zero = self.b.iconst(Type::I32, 0);
                let n = self.b.extract(Type::I1, sum, 31, 1);
                let z = self.b.cmp(Cond::Eq, sum, zero);
                let (c, v) = (self.b.carry_add(x, y, carry), self.b.overflow_add(x, y, carry));
                for (bit, (slot, flag)) in [(13, n), (14, z), (16, c), (13, v)].into_iter().enumerate() {
                    if which >> bit & 1 != 0 {
                        self.b.set(Slot(slot), flag);
                    }
                    self.pool.push(flag);
                }
                if which & 16 != 0 {
                    self.b.set(Slot(u16::from(which >> 6)), sum);
                }
                sum
            }
            Step::Mark => return self.mark(),
        };
        self.pool.push(v);
    }
}
