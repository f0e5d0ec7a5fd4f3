//! Floating point by the host, as in the quick tier: to nearest, nothing flushed; MXCSR gathers the sticky flags. A result that is a NaN, or the least
//! normal number, is the interpreter's: the region leaves, at the first operation since somebody looked.
//!
//! The compiler takes floating point for pure. So that exactly the flags are raised that the guest's operations raise:
//!
//! - *Before its time*: an operation whose operands are those of every round would be done before the loop, though perhaps the loop never comes to it. One
//!   operand has to be what only this run of words knows: loaded in it, or the result of such an operation; or zeros of a load are or-ed in ([`Lower::anchor`]).
//!   That is no constant either, so nothing is computed at compile time.
//! - *Not at all*: every operation is looked at, so none is dropped: its result is compared, unless another operation that is looked at has it for an
//!   operand, and would be a NaN if it is.
//! - *On what is not the guest's*: what the host refused may be anything, a NaN may be another one, and an integer or a truth made of it. A number of which
//!   another is computed is a NaN then as well, but before an operation whose operands integer words made, or a comparison led to, somebody looks.
//! - *Twice* is no harm: flags are sticky, and the interpreter computes the same from the same state. Stores wait until somebody has looked.
//!
//! The controls are looked at where the region is entered; no region has a word that changes them, or that looks at the sticky flags.

use super::super::code::{Code, Operand, Side};
use super::Exit;
use super::kinds::host_type;
use super::lower::{Lower, ours};
use crate::op::{Fop, Op, Type};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::types::{F32, F64, I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, MemFlagsData, Value, types};

/// Operations at most until somebody looks.
const MAX_UNSEEN: usize = 12;

/// What is to be looked at.
#[derive(Clone, Default)]
pub(super) struct Unseen {
    operations: usize,
    /// Results that may be NaNs, and that no operation has had for an operand.
    last: Vec<Value>,
    /// Pairs that may be unordered.
    compared: Vec<[Value; 2]>,
    /// Results that may be the least normal number.
    least: Vec<Value>,
    /// Conditions that may hold.
    others: Vec<Value>,
}

impl Unseen {
    pub fn is_empty(&self) -> bool {
        self.operations == 0
    }
}

impl Lower<'_> {
    /// At the entry: leaves if the controls are not the host's.
    pub fn require_controls(&mut self) {
        let input = self.input;
        let Some((piece, enter)) = input.pieces.first().and_then(|piece| Some((piece, piece.words.first()?))) else { return };
        if input.controls.is_empty() {
            return;
        }
        let out = self.b.create_block();
        self.b.set_cold_block(out);
        for control in &input.controls {
            let cell = self.b.ins().load(I64, ours(), self.cells, i32::from(control.cell) * 8);
            let (by, mask) = (self.k64(control.shift.into()), self.k64(control.mask));
            let down = self.b.ins().ushr(cell, by);
            let (now, right) = (self.b.ins().band(down, mask), self.k64(control.value));
            let other = self.b.ins().icmp(IntCC::NotEqual, now, right);
            self.go_if(other, out);
        }
        let on = self.b.create_block();
        self.b.ins().jump(on, &[]);
        self.b.switch_to_block(out);
        // The interpreter has the rest of the first block.
        self.at = piece.code;
        self.enter(enter);
        self.at += 1;
        self.leave(Exit::Resume(self.at), None);
        self.b.switch_to_block(on);
    }

    /// A value that nothing knows before this run of words.
    fn anchor(&mut self, value: Value) -> Value {
        if let Some(anchor) = self.known.numbers.anchors.get(&value) {
            return *anchor;
        }
        let ty = self.b.func.dfg.value_type(value);
        let zeros = self.b.ins().load(ty, ours(), self.cells, self.input.layout.zero);
        let anchor = self.b.ins().bor(value, zeros);
        self.known.numbers.anchors.insert(value, anchor);
        self.known.numbers.anchored.insert(anchor);
        anchor
    }

    /// One of the operands is.
    fn anchored<const N: usize>(&mut self, mut operands: [Value; N]) -> [Value; N] {
        for operand in &mut operands {
            if let Some(anchor) = self.known.numbers.anchors.get(operand) {
                *operand = *anchor;
            }
        }
        if !operands.iter().any(|operand| self.known.numbers.anchored.contains(operand)) {
            let last = operands[N - 1];
            let anchor = self.anchor(last);
            operands.iter_mut().filter(|operand| **operand == last).for_each(|operand| *operand = anchor);
        }
        operands
    }

    /// An operation comes. What integer words made of results that nobody has looked at is none of its operands, as the host's may have been others.
    fn before_float(&mut self, operands: &[Value]) {
        if operands.iter().any(|operand| self.known.numbers.made.contains(operand)) {
            self.look();
        }
        if self.pending.as_ref().is_some_and(|pending| pending.accesses || pending.floats.operations >= MAX_UNSEEN) {
            self.look();
        }
        self.begin_pending().floats.operations += 1;
    }

    fn unseen(&mut self) -> &mut Unseen {
        &mut self.begin_pending().floats
    }

    /// Whoever looks at a result has looked at these.
    fn consume(&mut self, operands: &[Value]) {
        self.unseen().last.retain(|result| !operands.contains(result));
    }

    /// Ways out for what is not the host's.
    pub fn look_at_floats(&mut self, unseen: &Unseen, out: Block) {
        let mut pairs = unseen.compared.clone();
        for ty in [F32, F64] {
            let last: Vec<Value> = unseen.last.iter().copied().filter(|value| self.b.func.dfg.value_type(*value) == ty).collect();
            pairs.extend(last.chunks(2).map(|pair| [pair[0], *pair.last().unwrap_or(&pair[0])]));
        }
        for [x, y] in pairs {
            let nan = self.b.ins().fcmp(FloatCC::Unordered, x, y);
            self.go_if(nan, out);
        }
        for value in &unseen.least {
            // Its bits without the sign.
            let ty = self.b.func.dfg.value_type(*value);
            let bits = if ty == F64 { I64 } else { I32 };
            let bits = self.b.ins().bitcast(bits, MemFlagsData::new(), *value);
            let one = self.k64(1);
            let magnitude = self.b.ins().ishl(bits, one);
            let least = if ty == F64 { self.k64(1 << 53) } else { self.k32(1 << 24) };
            let odd = self.b.ins().icmp(IntCC::Equal, magnitude, least);
            self.go_if(odd, out);
        }
        for condition in &unseen.others {
            self.go_if(*condition, out);
        }
    }

    /// A power of 2.
    fn power(&mut self, ty: types::Type, exponent: u64) -> Value {
        if ty == F64 {
            self.b.ins().f64const(Ieee64::with_bits((1023 + exponent) << 52))
        } else {
            self.b.ins().f32const(Ieee32::with_bits((127 + exponent as u32) << 23))
        }
    }

    /// A word of the side table that a region has code of its own for.
    pub fn inline(&mut self, c: &Code) {
        let side = &self.input.pieces[self.place.0].sides[usize::from(c.c)];
        match side.inst.op {
            Op::Float { op, .. } => self.arithmetic(c, side, op),
            Op::FloatConvert { .. } => {
                let operand = self.number_operand(side, 0);
                self.before_float(&[operand]);
                self.consume(&[operand]);
                let [x] = self.anchored([operand]);
                let value = if side.inst.ty == Type::F64 { self.b.ins().fpromote(F64, x) } else { self.b.ins().fdemote(F32, x) };
                self.result(c, value, side.inst.ty == Type::F32);
            }
            Op::IntToFloat { signed, .. } => self.int_to_float(c, side, signed),
            Op::FloatToInt { signed, .. } => self.float_to_int(c, side, signed),
            _ => self.vector(c, side),
        }
    }

    fn result(&mut self, c: &Code, value: Value, may_be_least: bool) {
        let unseen = self.unseen();
        unseen.last.push(value);
        if may_be_least {
            unseen.least.push(value);
        }
        self.known.numbers.anchored.insert(value);
        self.set_float(c.a, value);
    }

    fn arithmetic(&mut self, c: &Code, side: &Side, op: Fop) {
        if op == Fop::Sqrt {
            let operand = self.number_operand(side, 0);
            self.before_float(&[operand]);
            self.consume(&[operand]);
            let [x] = self.anchored([operand]);
            let value = self.b.ins().sqrt(x);
            return self.result(c, value, false);
        }
        let operands = [self.number_operand(side, 0), self.number_operand(side, 1)];
        self.before_float(&operands);
        self.consume(&operands);
        let [x, y] = self.anchored(operands);
        let value = match op {
            Fop::Add => self.b.ins().fadd(x, y),
            Fop::Sub => self.b.ins().fsub(x, y),
            Fop::Mul => self.b.ins().fmul(x, y),
            Fop::Div => self.b.ins().fdiv(x, y),
            _ => {
                self.unseen().compared.push([x, y]);
                // Others go by it.
                self.look_next = true;
                return self.set_compared(c.a, [x, y]);
            }
        };
        self.result(c, value, matches!(op, Fop::Mul | Fop::Div));
    }

    /// From 32 bits: a double has room for them all.
    fn int_to_float(&mut self, c: &Code, side: &Side, signed: bool) {
        let operand = match side.args[0] {
            Operand::Cell(cell) => self.low(cell),
            Operand::Const(x) => self.k32(x as u32),
            Operand::None => self.k32(0),
        };
        // It may have been a number's bits.
        self.look();
        let exact = side.inst.ty == Type::F64;
        let mut operand = operand;
        if !exact {
            self.before_float(&[]);
            [operand] = self.anchored([operand]);
        }
        let wide = if signed { self.b.ins().sextend(I64, operand) } else { self.b.ins().uextend(I64, operand) };
        let value = self.b.ins().fcvt_from_sint(host_type(side.inst.ty), wide);
        if exact {
            return self.set_float(c.a, value);
        }
        self.result(c, value, false);
    }

    /// To 32 bits, towards zero. What does not fit is not the host's, nor is the least result, which is looked at so that there is one.
    fn float_to_int(&mut self, c: &Code, side: &Side, signed: bool) {
        let operand = self.number_operand(side, 0);
        self.before_float(&[operand]);
        self.consume(&[operand]);
        let [x] = self.anchored([operand]);
        let ty = host_type(side.types[0]);
        let value = if signed {
            let (magnitude, most) = (self.b.ins().fabs(x), self.power(ty, 31));
            let large = self.b.ins().fcmp(FloatCC::UnorderedOrGreaterThanOrEqual, magnitude, most);
            let value = self.b.ins().fcvt_to_sint_sat(I32, x);
            let least = self.k32(1 << 31);
            let odd = self.b.ins().icmp(IntCC::Equal, value, least);
            self.unseen().others.extend([large, odd]);
            value
        } else {
            let (most, minus) = (self.power(ty, 32), self.power(ty, 0));
            let minus = self.b.ins().fneg(minus);
            let large = self.b.ins().fcmp(FloatCC::UnorderedOrGreaterThanOrEqual, x, most);
            let small = self.b.ins().fcmp(FloatCC::UnorderedOrLessThanOrEqual, x, minus);
            let wide = self.b.ins().fcvt_to_sint_sat(I64, x);
            let least = self.k64(1 << 63);
            let odd = self.b.ins().icmp(IntCC::Equal, wide, least);
            self.unseen().others.extend([large, small, odd]);
            self.b.ins().ireduce(I32, wide)
        };
        self.look_next = true;
        self.set_narrow(c.a, value);
    }
}
