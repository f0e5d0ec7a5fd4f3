//! Words on vectors and on 128 bits: integer lanes, permutations, lanes one by one, moves of both halves of a cell pair.
//!
//! A value is sixteen bytes, whatever its lanes; of one of 64 bits the high half is anything. A pair of cells that words use as one value of 128 bits is a
//! variable of that type ([`super::kinds`]).

use super::super::code::{Bc, Code, Operand, Side};
use super::kinds::Kind;
use super::lower::Lower;
use crate::op::{Op, Shape, Type, Vop};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{self, F32X4, F64, F64X2, I8X16, I16X8, I32X4, I64, I64X2};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Value};

/// A region has code of its own for an operation of the side table on vectors.
pub fn has(side: &Side) -> bool {
    let inst = &side.inst;
    match inst.op {
        Op::Vec(op, lane) => has_lanes(op, lane, side),
        Op::And | Op::Or | Op::Xor | Op::Not => inst.ty == Type::I128,
        Op::Insert { lo, len } => inst.ty == Type::I128 && matches!(len, 8 | 16 | 32 | 64) && lo % len == 0,
        _ => false,
    }
}

fn has_lanes(op: Vop, lane: u8, side: &Side) -> bool {
    use Vop::*;
    let operands = side.args.iter().take(op.operands()).all(|arg| !matches!(arg, Operand::None));
    operands
        && match op {
            Add | Sub | And | Or | Xor | AndNot | OrNot | BitSelect | Not | Neg | Ext | Dup => true,
            CmpEq | Test | CmpGtS | ShlImm | ShrImmS | ShrImmU | Trn1 | Trn2 | Zip1 | Zip2 | Uzp1 | Uzp2 => true,
            Mul => matches!(lane, 1 | 2),
            MinS | MinU | MaxS | MaxU | CmpGtU | CmpGeS | CmpGeU | Abs | Rev64 => lane < 3,
            Rev16 => lane == 0,
            Rev32 => lane < 2,
            PairAdd | PairMinS | PairMinU | PairMaxS | PairMaxU => lane < 3,
            RoundHalvAddU => lane < 2,
            WidenS | WidenU | ShlLongImmS | ShlLongImmU | AddLongS | AddLongU | SubLongS | SubLongU | AddWideS | AddWideU | SubWideS
            | SubWideU | MulLongS | MulLongU | Narrow | ShrNarrowImm => lane < 3,
            FAbs | FNeg => lane == 2,
            _ => false,
        }
}

/// A vector of these lanes.
fn lanes(lane: u8) -> types::Type {
    [I8X16, I16X8, I32X4, I64X2][usize::from(lane & 3)]
}

fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}

impl Lower<'_> {
    pub fn as_type(&mut self, ty: types::Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == ty { value } else { self.b.ins().bitcast(ty, little(), value) }
    }

    /// A pair of cells.
    pub fn get_wide(&mut self, cell: u16) -> Value {
        if self.cell_kind(cell) == Kind::Wide {
            return self.defined(cell);
        }
        if let Some(value) = self.known.numbers.wides.get(&cell) {
            return *value;
        }
        let (low, high) = (self.get(cell), self.get(cell + 1));
        let low = self.b.ins().scalar_to_vector(I64X2, low);
        let both = self.b.ins().insertlane(low, high, 1);
        let value = self.as_type(I8X16, both);
        self.known.numbers.wides.insert(cell, value);
        value
    }

    pub fn set_wide(&mut self, cell: u16, value: Value) {
        let value = self.as_type(I8X16, value);
        if self.cell_kind(cell) == Kind::Wide {
            self.known.numbers.forget(cell);
            return self.define(cell, value);
        }
        let both = self.as_type(I64X2, value);
        let (low, high) = (self.b.ins().extractlane(both, 0), self.b.ins().extractlane(both, 1));
        self.set(cell, low);
        self.set(cell + 1, high);
        self.known.numbers.wides.insert(cell, value);
    }

    /// A cell in the low half.
    fn get_short(&mut self, cell: u16) -> Value {
        let vector = match self.cell_kind(cell) {
            Kind::Wide => return self.get_wide(cell),
            Kind::Double => {
                let value = self.get_float(cell, F64);
                self.b.ins().scalar_to_vector(F64X2, value)
            }
            _ => {
                let value = self.get(cell);
                self.b.ins().scalar_to_vector(I64X2, value)
            }
        };
        self.as_type(I8X16, vector)
    }

    fn set_short(&mut self, cell: u16, value: Value) {
        if self.cell_kind(cell) == Kind::Double {
            let both = self.as_type(F64X2, value);
            let low = self.b.ins().extractlane(both, 0);
            let low = self.made(low);
            return self.set_float(cell, low);
        }
        let both = self.as_type(I64X2, value);
        let low = self.b.ins().extractlane(both, 0);
        self.set(cell, low);
    }

    fn constant_bytes(&mut self, value: u128) -> Value {
        let handle = self.b.func.dfg.constants.insert(value.to_le_bytes().to_vec().into());
        self.b.ins().vconst(I8X16, handle)
    }

    fn vector_operand(&mut self, side: &Side, index: usize) -> Value {
        match side.args[index] {
            Operand::Cell(cell) if side.types[index].bits() == 128 => self.get_wide(cell),
            Operand::Cell(cell) => self.get_short(cell),
            Operand::Const(x) => self.constant_bytes(x),
            Operand::None => self.constant_bytes(0),
        }
    }

    /// A word on vectors.
    pub fn vector(&mut self, c: &Code, side: &Side) {
        let value = match side.inst.op {
            Op::Vec(op, lane) => {
                let mut operands = [self.vector_operand(side, 0); 3];
                for (index, operand) in operands.iter_mut().enumerate().take(op.operands()).skip(1) {
                    *operand = self.vector_operand(side, index);
                }
                self.lanes(op, lane, side, operands)
            }
            Op::Insert { lo, len } => {
                let lane = (len / 8).trailing_zeros() as u8;
                let vector = self.vector_operand(side, 0);
                let vector = self.as_type(lanes(lane), vector);
                let x = match side.args[1] {
                    Operand::Cell(cell) => self.get(cell),
                    Operand::Const(x) => self.k64(x as u64),
                    Operand::None => self.k64(0),
                };
                let ty = lanes(lane).lane_type();
                let x = if ty == I64 { x } else { self.b.ins().ireduce(ty, x) };
                self.b.ins().insertlane(vector, x, lo / len)
            }
            op => {
                let a = self.vector_operand(side, 0);
                match op {
                    Op::Not => self.b.ins().bnot(a),
                    _ => {
                        let b = self.vector_operand(side, 1);
                        match op {
                            Op::And => self.b.ins().band(a, b),
                            Op::Or => self.b.ins().bor(a, b),
                            _ => self.b.ins().bxor(a, b),
                        }
                    }
                }
            }
        };
        if side.inst.ty.bits() == 128 { self.set_wide(c.a, value) } else { self.set_short(c.a, value) }
    }

    /// Bytes of two vectors, the second one's from 16 on, by the number of the result's.
    fn shuffle(&mut self, a: Value, b: Value, byte: impl Fn(u8) -> u8) -> Value {
        let bytes: Vec<u8> = (0..16).map(|i| byte(i) & 31).collect();
        let mask = self.b.func.dfg.immediates.push(bytes.into());
        self.b.ins().shuffle(a, b, mask)
    }

    /// Lanes of two vectors of `count` each, by the number of the result's.
    fn pick(&mut self, lane: u8, count: u8, [a, b]: [Value; 2], from: impl Fn(u8) -> u8) -> Value {
        let size = 1 << lane;
        self.shuffle(a, b, |i| {
            let from = from(i / size % count);
            let vector = if from >= count { 16 } else { 0 };
            vector + from % count * size + i % size
        })
    }

    fn widened(&mut self, signed: bool, lane: u8, value: Value) -> Value {
        let value = self.as_type(lanes(lane), value);
        if signed { self.b.ins().swiden_low(value) } else { self.b.ins().uwiden_low(value) }
    }

    /// By a constant, which may be all bits.
    fn shifted_right(&mut self, signed: bool, bits: u32, value: Value, by: u32) -> Value {
        if signed {
            let by = self.k32(by.min(bits - 1));
            return self.b.ins().sshr(value, by);
        }
        if by >= bits {
            let none = self.constant_bytes(0);
            let ty = self.b.func.dfg.value_type(value);
            return self.as_type(ty, none);
        }
        let by = self.k32(by);
        self.b.ins().ushr(value, by)
    }

    /// What the operations mean is written in `vector.rs` of this crate.
    fn lanes(&mut self, op: Vop, lane: u8, side: &Side, [a, b, c]: [Value; 3]) -> Value {
        use Vop::*;
        let ty = lanes(lane);
        let imm = side.inst.imm;
        let (bits, n) = (8u32 << lane, imm as u32);
        let wide = side.types[0].bits() == 128;
        let count = if wide { 16u8 >> lane } else { 8 >> lane };
        let signed = matches!(op, WidenS | ShlLongImmS | AddLongS | SubLongS | AddWideS | SubWideS | MulLongS | ShrImmS);
        macro_rules! two {
            ($op:ident) => {{
                let (a, b) = (self.as_type(ty, a), self.as_type(ty, b));
                self.b.ins().$op(a, b)
            }};
            ($cc:expr) => {{
                let (a, b) = (self.as_type(ty, a), self.as_type(ty, b));
                self.b.ins().icmp($cc, a, b)
            }};
        }
        macro_rules! one {
            ($ty:expr, $op:ident) => {{
                let a = self.as_type($ty, a);
                self.b.ins().$op(a)
            }};
        }
        macro_rules! pairs {
            ($op:ident) => {{
                let even = self.pick(lane, count, [a, b], |i| 2 * i);
                let odd = self.pick(lane, count, [a, b], |i| 2 * i + 1);
                let (even, odd) = (self.as_type(ty, even), self.as_type(ty, odd));
                self.b.ins().$op(even, odd)
            }};
        }
        match op {
            Add => two!(iadd),
            Sub => two!(isub),
            Mul => two!(imul),
            And => self.b.ins().band(a, b),
            Or => self.b.ins().bor(a, b),
            Xor => self.b.ins().bxor(a, b),
            AndNot => self.b.ins().band_not(a, b),
            OrNot => self.b.ins().bor_not(a, b),
            BitSelect => self.b.ins().bitselect(c, a, b),
            MinS => two!(smin),
            MinU => two!(umin),
            MaxS => two!(smax),
            MaxU => two!(umax),
            RoundHalvAddU => two!(avg_round),
            CmpEq => two!(IntCC::Equal),
            CmpGtS => two!(IntCC::SignedGreaterThan),
            CmpGtU => two!(IntCC::UnsignedGreaterThan),
            CmpGeS => two!(IntCC::SignedGreaterThanOrEqual),
            CmpGeU => two!(IntCC::UnsignedGreaterThanOrEqual),
            Test => {
                let both = self.b.ins().band(a, b);
                let (both, none) = (self.as_type(ty, both), self.constant_bytes(0));
                let none = self.as_type(ty, none);
                self.b.ins().icmp(IntCC::NotEqual, both, none)
            }
            Not => self.b.ins().bnot(a),
            Neg => one!(ty, ineg),
            Abs => one!(ty, iabs),
            FAbs => one!(F32X4, fabs),
            FNeg => one!(F32X4, fneg),
            ShlImm => {
                let (a, by) = (self.as_type(ty, a), self.k32(n));
                self.b.ins().ishl(a, by)
            }
            ShrImmS | ShrImmU => {
                let a = self.as_type(ty, a);
                self.shifted_right(signed, bits, a, n)
            }
            PairAdd => pairs!(iadd),
            PairMinS => pairs!(smin),
            PairMinU => pairs!(umin),
            PairMaxS => pairs!(smax),
            PairMaxU => pairs!(umax),
            WidenS | WidenU => self.widened(signed, lane, a),
            ShlLongImmS | ShlLongImmU => {
                let (wider, by) = (self.widened(signed, lane, a), self.k32(n));
                self.b.ins().ishl(wider, by)
            }
            AddLongS | AddLongU | SubLongS | SubLongU | AddWideS | AddWideU | SubWideS | SubWideU | MulLongS | MulLongU => {
                let a = if op.shape() == Shape::Wide { self.as_type(lanes(lane + 1), a) } else { self.widened(signed, lane, a) };
                let b = self.widened(signed, lane, b);
                match op {
                    AddLongS | AddLongU | AddWideS | AddWideU => self.b.ins().iadd(a, b),
                    MulLongS | MulLongU => self.b.ins().imul(a, b),
                    _ => self.b.ins().isub(a, b),
                }
            }
            Narrow | ShrNarrowImm => {
                let wider = self.as_type(lanes(lane + 1), a);
                let shifted = if op == Narrow { wider } else { self.shifted_right(false, 2 * bits, wider, n) };
                let shifted = self.as_type(I8X16, shifted);
                // The low one of each two lanes.
                self.pick(lane, 16 >> lane, [shifted, shifted], |i| 2 * i)
            }
            Dup => self.pick(lane, 16 >> lane, [a, a], |_| imm as u8),
            Ext if wide => self.shuffle(a, b, |i| i + imm as u8),
            Ext => self.shuffle(a, b, |i| {
                let from = i % 8 + imm as u8;
                if from < 8 { from } else { from + 8 }
            }),
            Zip1 => self.pick(lane, count, [a, b], |i| i / 2 + i % 2 * count),
            Zip2 => self.pick(lane, count, [a, b], |i| count / 2 + i / 2 + i % 2 * count),
            Uzp1 => self.pick(lane, count, [a, b], |i| 2 * i),
            Uzp2 => self.pick(lane, count, [a, b], |i| 2 * i + 1),
            Trn1 => self.pick(lane, count, [a, b], |i| i / 2 * 2 + i % 2 * count),
            Trn2 => self.pick(lane, count, [a, b], |i| i / 2 * 2 + 1 + i % 2 * count),
            _ => {
                // Rev16, Rev32, Rev64.
                let group = match op {
                    Rev16 => 2u8,
                    Rev32 => 4,
                    _ => 8,
                };
                let size = 1u8 << lane;
                self.shuffle(a, a, |i| i / group * group + (group - size - i % group / size * size) + i % size)
            }
        }
    }

    /// Two words that move, load or store both halves of a pair of cells, as one; false: they are not that.
    pub fn pair(&mut self, c: &Code, d: &Code) -> bool {
        if c.op != d.op || d.a != c.a + 1 || !(self.cell_kind(c.a) == Kind::Wide || self.known.numbers.wides.contains_key(&c.a)) {
            let moved = c.op == Bc::Mov && d.op == Bc::Mov && d.a == c.a + 1 && self.cell_kind(c.a) == Kind::Wide;
            if !moved {
                return false;
            }
        }
        match c.op {
            Bc::Mov if d.b == c.b + 1 && c.a.abs_diff(c.b) > 1 => {
                if self.flag_number(c.b).is_some() || self.flag_number(d.b).is_some() {
                    return false;
                }
                let value = self.get_wide(c.b);
                self.set_wide(c.a, value);
                true
            }
            Bc::Load64 | Bc::Store64 if self.input.layout.is_mapped() => self.pair_access(c, d),
            _ => false,
        }
    }
}
