//! Integer words of a region, and conditions of its branches.

use super::super::code::{Bc, Code};
use super::Exit;
use super::compare::Fact;
use super::inline::is_inline;
use super::lower::{Lower, ours};
use crate::interp::quick::flags_of;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, InstructionData, Opcode, Value};

impl Lower<'_> {
    /// Emits a word that is no branch and does not end the block.
    pub fn word(&mut self, c: &Code) {
        if self.flag_word(c) {
            return;
        }
        let (fact, late) = (self.fact(c), self.late_values());
        self.plain_word(c);
        if let Some((recipe, values)) = late {
            self.set_late(c.a, recipe, values);
        }
        if let Some(fact) = fact {
            self.known.facts.insert(c.a, fact);
        }
    }

    /// The same, without what it tells of the cell it writes.
    pub fn plain_word(&mut self, c: &Code) {
        use Bc::*;
        macro_rules! wide {
            ($op:ident) => {{
                let (b, x) = (self.get(c.b), self.get(c.c));
                let value = self.b.ins().$op(b, x);
                self.set(c.a, value);
            }};
            ($op:ident, $swap:expr) => {{
                let (b, i) = (self.get(c.b), self.k64(c.imm));
                let value = if $swap { self.b.ins().$op(i, b) } else { self.b.ins().$op(b, i) };
                self.set(c.a, value);
            }};
        }
        macro_rules! narrow {
            ($op:ident) => {{
                let (b, x) = (self.low(c.b), self.low(c.c));
                let value = self.b.ins().$op(b, x);
                self.set_narrow(c.a, value);
            }};
            ($op:ident, $swap:expr) => {{
                let (b, i) = (self.low(c.b), self.k32(c.imm as u32));
                let value = if $swap { self.b.ins().$op(i, b) } else { self.b.ins().$op(b, i) };
                self.set_narrow(c.a, value);
            }};
        }
        if self.number_word(c) {
            return;
        }
        match c.op {
            Enter => self.enter(c),
            Mov => {
                let value = self.get(c.b);
                self.set(c.a, value);
            }
            MovI => {
                let value = self.k64(c.imm);
                self.set(c.a, value);
            }
            And => wide!(band),
            AndI => wide!(band, false),
            Or => match self.plan.sets_sticky(c) {
                Some(bits) => self.stick(c.a, bits),
                None => wide!(bor),
            },
            OrI => wide!(bor, false),
            Xor => wide!(bxor),
            XorI => wide!(bxor, false),
            Add32 => match self.known.sum {
                Some((operands, sum)) if operands == [c.b, c.c] => self.set_narrow(c.a, sum),
                _ => narrow!(iadd),
            },
            Add32I => narrow!(iadd, false),
            Add64 => wide!(iadd),
            Add64I => wide!(iadd, false),
            Sub32 => narrow!(isub),
            RSub32I => narrow!(isub, true),
            Sub64 => wide!(isub),
            RSub64I => wide!(isub, true),
            Mul32 => narrow!(imul),
            Mul64 => wide!(imul),
            Shl32 | Shl64 | Shr | Sar32 | Sar64 | Ror32 | Ror64 => self.shift(c),
            Shl32I | Shl64I | ShrI | Sar32I | Ror32I => self.shift_by_constant(c),
            DivU | DivS32 | DivS64 | RemU => self.divide(c),
            Clz => {
                let b = self.get(c.b);
                let (zeros, less) = (self.b.ins().clz(b), self.k64(c.x.into()));
                let value = self.b.ins().isub(zeros, less);
                self.set(c.a, value);
            }
            Popcnt => {
                let b = self.get(c.b);
                let value = self.b.ins().popcnt(b);
                self.set(c.a, value);
            }
            Bswap | Bitrev => {
                let b = self.get(c.b);
                let turned = if c.op == Bswap { self.b.ins().bswap(b) } else { self.b.ins().bitrev(b) };
                let by = self.k64((c.x & 63).into());
                let value = self.b.ins().ushr(turned, by);
                self.set(c.a, value);
            }
            Sext if c.imm == u32::MAX.into() && matches!(c.x, 48 | 56) => {
                let b = self.get(c.b);
                let part = self.b.ins().ireduce(if c.x == 56 { I8 } else { I16 }, b);
                let value = self.b.ins().sextend(I32, part);
                self.set_narrow(c.a, value);
            }
            Sext => {
                let (b, by, mask) = (self.get(c.b), self.k64((c.x & 63).into()), self.k64(c.imm));
                let up = self.b.ins().ishl(b, by);
                let down = self.b.ins().sshr(up, by);
                let value = self.b.ins().band(down, mask);
                self.set(c.a, value);
            }
            Extract => {
                let (b, by, mask) = (self.get(c.b), self.k64((c.x & 63).into()), self.k64(c.imm));
                let down = self.b.ins().ushr(b, by);
                let value = self.b.ins().band(down, mask);
                self.set(c.a, value);
            }
            Insert => {
                let (b, x, by) = (self.get(c.b), self.get(c.c), self.k64((c.x & 63).into()));
                let (mask, rest) = (self.k64(c.imm), self.k64(!c.imm));
                let up = self.b.ins().ishl(x, by);
                let (new, old) = (self.b.ins().band(up, mask), self.b.ins().band(b, rest));
                let value = self.b.ins().bor(old, new);
                self.set(c.a, value);
            }
            Concat => {
                let (b, x, by) = (self.get(c.b), self.get(c.c), self.k64((c.x & 63).into()));
                let up = self.b.ins().ishl(b, by);
                let value = self.b.ins().bor(up, x);
                self.set(c.a, value);
            }
            CmpEq | CmpEqI | CmpNe | CmpNeI | CmpUlt | CmpUltI | CmpUle | CmpUleI | CmpSlt32 | CmpSle32 | CmpSlt64 | CmpSle64 => {
                let truth = self.comparison(c);
                self.set_narrow(c.a, truth);
            }
            Carry32 | CarryAdd32 => {
                let (b, x) = (self.get(c.b), self.get(c.c));
                let mut sum = self.b.ins().iadd(b, x);
                if c.op == Carry32 {
                    let carry = self.get(c.imm as u16);
                    sum = self.b.ins().iadd(sum, carry);
                }
                let by = self.k64(32);
                let value = self.b.ins().ushr(sum, by);
                self.set(c.a, value);
            }
            Overflow32 => {
                let (b, x, carry) = (self.low(c.b), self.low(c.c), self.low(c.imm as u16));
                let sum = self.b.ins().iadd(b, x);
                let sum = self.b.ins().iadd(sum, carry);
                let value = self.overflow(b, x, sum, false);
                self.set_narrow(c.a, value);
            }
            OverflowAdd32 => {
                let (b, x) = (self.low(c.b), self.low(c.c));
                let (sum, value) = self.b.ins().sadd_overflow(b, x);
                self.known.sum = Some(([c.b, c.c], sum));
                self.set_narrow(c.a, value);
            }
            AddFlags32 | AddFlags32I | SubFlags32 | SubFlags32I => self.flags(c),
            Select => {
                let (b, x, y) = (self.get(c.b), self.get(c.c), self.get(c.imm as u16));
                let value = self.b.ins().select(b, x, y);
                self.set(c.a, value);
            }
            Load8 | Load16 | Load32 | Load64 | Store8 | Store16 | Store32 | Store64 | ProbeRead | ProbeWrite => self.access(c),
            Fence => {
                self.look();
                self.b.ins().fence();
            }
            Count => {
                self.look();
                let (at, one) = (self.k64(c.imm), self.k64(1));
                let count = self.b.ins().load(I64, ours(), at, 0);
                let count = self.b.ins().iadd(count, one);
                self.b.ins().store(ours(), count, at, 0);
            }
            Generic | Float if is_inline(c) => self.inline(c),
            Generic | Float | Memory | Call | ClearExclusive => self.call_word(c),
            op => unreachable!("no region has a word {op:?}"),
        }
    }

    /// What sticky cells hold now.
    pub fn load_sticky(&mut self) {
        for cell in &self.plan.sticky {
            let (variable, held) = (self.variable(*cell), self.b.ins().load(I64, ours(), self.cells, i32::from(*cell) * 8));
            self.b.def_var(variable, held);
        }
    }

    /// Sets bits of a sticky cell. None is new, as a rule: if one is, the interpreter does it.
    fn stick(&mut self, cell: u16, bits: u16) {
        let (bits, variable) = (self.get(bits), self.variable(cell));
        let held = self.b.use_var(variable);
        let new = match self.made_by(bits) {
            Some(InstructionData::Unary { opcode: Opcode::Uextend, arg }) => {
                let ty = self.b.func.dfg.value_type(arg);
                let held = self.b.ins().ireduce(ty, held);
                self.b.ins().band_not(arg, held)
            }
            _ => self.b.ins().band_not(bits, held),
        };
        self.leave_if(new, Exit::Resume(self.at));
    }

    /// Bit 31 says whether a sum or difference of 32 bits overflowed: as 0 or 1.
    pub fn overflow(&mut self, x: Value, y: Value, result: Value, minus: bool) -> Value {
        let (a, b) = (self.b.ins().bxor(x, result), self.b.ins().bxor(if minus { x } else { y }, if minus { y } else { result }));
        let both = self.b.ins().band(a, b);
        let by = self.k32(31);
        self.b.ins().ushr(both, by)
    }

    fn flags(&mut self, c: &Code) {
        let minus = matches!(c.op, Bc::SubFlags32 | Bc::SubFlags32I);
        let x = self.low(c.b);
        let y = if matches!(c.op, Bc::AddFlags32I | Bc::SubFlags32I) { self.constant(c.c.into()) } else { self.low(c.c) };
        let result = if minus { self.b.ins().isub(x, y) } else { self.b.ins().iadd(x, y) };
        if c.x == 0 {
            self.set_narrow(c.a, result);
        }
        if self.plan.sets_flags(c) {
            return self.set_flags(c, [x, y], result);
        }
        for (number, cell) in flags_of(c).into_iter().enumerate() {
            let value = self.flag_of(number, [x, y], minus);
            self.set(cell, value);
        }
    }

    /// By a cell: too large an amount moves all bits out.
    fn shift(&mut self, c: &Code) {
        use Bc::*;
        let by = self.get(c.c);
        let narrow = matches!(c.op, Shl32 | Sar32 | Ror32);
        let value = if narrow { self.low(c.b) } else { self.get(c.b) };
        let bits = if narrow { 32 } else { 64 };
        let is_less = self.most(by, 2) < bits || self.known.limits.get(&c.c).is_some_and(|limit| u64::from(*limit) < bits);
        let shifted = match c.op {
            Ror32 | Ror64 => self.b.ins().rotr(value, by),
            Sar32 | Sar64 => {
                let most = self.k64(bits - 1);
                let by = if is_less { by } else { self.b.ins().umin(by, most) };
                self.b.ins().sshr(value, by)
            }
            _ => {
                let shifted = if c.op == Shr { self.b.ins().ushr(value, by) } else { self.b.ins().ishl(value, by) };
                let bits = self.k64(bits);
                let fits = self.b.ins().icmp(IntCC::UnsignedLessThan, by, bits);
                let none = if narrow { self.k32(0) } else { self.k64(0) };
                if is_less { shifted } else { self.b.ins().select(fits, shifted, none) }
            }
        };
        if narrow { self.set_narrow(c.a, shifted) } else { self.set(c.a, shifted) }
    }

    /// What a value is at most, as far as the last few operations that made it say.
    pub fn most(&self, value: Value, deep: u32) -> u64 {
        let all = u64::MAX >> (64 - self.b.func.dfg.value_type(value).bits().min(64));
        let most = |value| deep.checked_sub(1).map_or(all, |deep| self.most(value, deep).min(all));
        match self.made_by(value) {
            Some(InstructionData::Unary { opcode: Opcode::Uextend | Opcode::Ireduce, arg }) => most(arg),
            Some(InstructionData::Load { opcode: Opcode::Uload8, .. }) => 0xff,
            Some(InstructionData::Binary { opcode: Opcode::Band, args: [x, y] }) => most(x).min(most(y)),
            Some(InstructionData::Binary { opcode: Opcode::Ushr, args: [x, by] }) => match self.constant_of(by) {
                Some(by) if by < 64 => most(x) >> by,
                _ => all,
            },
            _ => self.constant_of(value).unwrap_or(all),
        }
    }

    fn shift_by_constant(&mut self, c: &Code) {
        use Bc::*;
        if c.op == Shl32I && c.x >= 32 {
            let none = self.k64(0);
            return self.set(c.a, none);
        }
        if matches!(c.op, Shl64I | ShrI) {
            let (b, by) = (self.get(c.b), self.k64((c.x & 63).into()));
            let value = if c.op == ShrI { self.b.ins().ushr(b, by) } else { self.b.ins().ishl(b, by) };
            return self.set(c.a, value);
        }
        let (b, by) = (self.low(c.b), self.k32((c.x & 31).into()));
        let value = match c.op {
            Shl32I => self.b.ins().ishl(b, by),
            Sar32I => self.b.ins().sshr(b, by),
            _ => self.b.ins().rotr(b, by),
        };
        self.set_narrow(c.a, value);
    }

    /// A quotient by 0 is 0, and a remainder the dividend; the least number divided by -1 is itself.
    fn divide(&mut self, c: &Code) {
        use Bc::*;
        let narrow = c.op == DivS32;
        let (b, x) = if narrow { (self.low(c.b), self.low(c.c)) } else { (self.get(c.b), self.get(c.c)) };
        let [zero, one, minus] = [0, 1, -1i64].map(|n| if narrow { self.k32(n as u32) } else { self.k64(n as u64) });
        let nothing = self.b.ins().icmp(IntCC::Equal, x, zero);
        let mut divisor = self.b.ins().select(nothing, one, x);
        let value = match c.op {
            DivU => {
                let quotient = self.b.ins().udiv(b, divisor);
                self.b.ins().select(nothing, zero, quotient)
            }
            RemU => {
                let remainder = self.b.ins().urem(b, divisor);
                self.b.ins().select(nothing, b, remainder)
            }
            _ => {
                let turns = self.b.ins().icmp(IntCC::Equal, x, minus);
                divisor = self.b.ins().select(turns, one, divisor);
                let quotient = self.b.ins().sdiv(b, divisor);
                let negative = self.b.ins().ineg(b);
                let quotient = self.b.ins().select(turns, negative, quotient);
                self.b.ins().select(nothing, zero, quotient)
            }
        };
        if narrow { self.set_narrow(c.a, value) } else { self.set(c.a, value) }
    }

    fn comparison(&mut self, c: &Code) -> Value {
        use Bc::*;
        if matches!(c.op, CmpEq | CmpNe)
            && let Some(truth) = self.holds(c)
        {
            return truth;
        }
        let condition = match c.op {
            CmpEq | CmpEqI => IntCC::Equal,
            CmpNe | CmpNeI => IntCC::NotEqual,
            CmpUlt | CmpUltI => IntCC::UnsignedLessThan,
            CmpUle | CmpUleI => IntCC::UnsignedLessThanOrEqual,
            CmpSlt32 | CmpSlt64 => IntCC::SignedLessThan,
            _ => IntCC::SignedLessThanOrEqual,
        };
        let (x, y) = match c.op {
            CmpEqI | CmpNeI | CmpUltI | CmpUleI => (self.get(c.b), self.k64(c.imm)),
            CmpSlt32 | CmpSle32 => (self.low(c.b), self.low(c.c)),
            _ => (self.get(c.b), self.get(c.c)),
        };
        self.b.ins().icmp(condition, x, y)
    }

    /// When a branch is taken: not zero.
    pub fn condition(&mut self, c: &Code) -> Value {
        use Bc::*;
        if let Some(truth) = self.compares(c) {
            return truth;
        }
        let condition = match c.op {
            BrNz | BrZ if let Some(Fact::Other(x, y)) = self.known.facts.get(&c.b).copied() => {
                let condition = if c.op == BrNz { IntCC::NotEqual } else { IntCC::Equal };
                return self.b.ins().icmp(condition, x, y);
            }
            BrNz => return self.get(c.b),
            BrZ => {
                let (b, zero) = (self.get(c.b), self.k64(0));
                return self.b.ins().icmp(IntCC::Equal, b, zero);
            }
            BrEq => IntCC::Equal,
            BrNe => IntCC::NotEqual,
            BrUlt => IntCC::UnsignedLessThan,
            BrUle => IntCC::UnsignedLessThanOrEqual,
            BrSlt32 | BrSlt64 => IntCC::SignedLessThan,
            _ => IntCC::SignedLessThanOrEqual,
        };
        let narrow = matches!(c.op, BrSlt32 | BrSle32);
        let (x, y) = if narrow { (self.low(c.b), self.low(c.c)) } else { (self.get(c.b), self.get(c.c)) };
        self.b.ins().icmp(condition, x, y)
    }
}
