//! What generated lowering code is made of: operations on values of any width from 1 to 128 bits.
//!
//! The specification language has `uN` for every N; the IR has a few integer types. A `uN` lives zero-extended in the next larger
//! type, and these functions keep it so.

use crate::builder::Builder;
use crate::op::{Cond, Op, Type, Value};
use crate::state::Slot;

/// The IR type that holds a value of `bits` bits.
pub const fn ty(bits: u8) -> Type {
    match bits {
        0 | 1 => Type::I1,
        2..=8 => Type::I8,
        9..=16 => Type::I16,
        17..=32 => Type::I32,
        33..=64 => Type::I64,
        _ => Type::I128,
    }
}

/// Width in bits of the IR type that holds a value of `bits` bits.
const fn held(bits: u8) -> u8 {
    match bits {
        0 | 1 => 1,
        2..=8 => 8,
        9..=16 => 16,
        17..=32 => 32,
        33..=64 => 64,
        _ => 128,
    }
}

/// All ones in `bits` bits.
pub const fn mask(bits: u8) -> u128 {
    if bits >= 128 { u128::MAX } else { (1 << bits) - 1 }
}

/// A constant.
pub fn constant(b: &mut Builder, bits: u8, x: u128) -> Value {
    b.iconst(ty(bits), x & mask(bits))
}

fn cut(b: &mut Builder, bits: u8, x: Value) -> Value {
    if held(bits) == bits {
        return x;
    }
    let m = b.iconst(ty(bits), mask(bits));
    b.binary(Op::And, x, m)
}

/// Wrapping arithmetic and logic.
pub fn arith(b: &mut Builder, op: Op, bits: u8, x: Value, y: Value) -> Value {
    if bits == 1 && matches!(op, Op::Add | Op::Sub) {
        return b.binary(Op::Xor, x, y);
    }
    if bits == 1 && op == Op::Mul {
        return b.binary(Op::And, x, y);
    }
    let r = b.binary(op, x, y);
    if matches!(op, Op::Add | Op::Sub | Op::Mul) { cut(b, bits, r) } else { r }
}

/// Inversion of all bits.
pub fn not(b: &mut Builder, bits: u8, x: Value) -> Value {
    let m = b.iconst(ty(bits), mask(bits));
    b.binary(Op::Xor, x, m)
}

/// Two's complement negation.
pub fn neg(b: &mut Builder, bits: u8, x: Value) -> Value {
    if bits == 1 {
        return x;
    }
    let r = b.unary(Op::Neg, x);
    cut(b, bits, r)
}

/// Shifts; `amount` has `amount_bits` bits. Amounts of the width or more give 0 or copies of the sign.
pub fn shift(b: &mut Builder, op: Op, bits: u8, x: Value, amount: Value, amount_bits: u8) -> Value {
    // The IR's amounts are I32 or of the operand's type; wider ones must not lose their high bits.
    let amount = if amount_bits > 32 {
        let limit = b.iconst(ty(amount_bits), 255);
        let small = b.cmp(Cond::Ule, amount, limit);
        let low = b.trunc(Type::I32, amount);
        let big = b.iconst(Type::I32, 255);
        b.select(small, low, big)
    } else {
        zext(b, amount_bits, 32, amount)
    };
    if bits == 1 {
        let zero = b.iconst(Type::I32, 0);
        let none = b.cmp(Cond::Eq, amount, zero);
        return if op == Op::Sar { x } else { b.binary(Op::And, x, none) };
    }
    match op {
        Op::Shl => {
            let r = b.binary(Op::Shl, x, amount);
            cut(b, bits, r)
        }
        Op::Sar if held(bits) != bits => {
            let wide = sext(b, bits, held(bits), x);
            let r = b.binary(Op::Sar, wide, amount);
            cut(b, bits, r)
        }
        other => b.binary(other, x, amount),
    }
}

/// Rotation right; `left`: left. Odd widths are rotated by shifts.
pub fn rotate(b: &mut Builder, left: bool, bits: u8, x: Value, amount: Value, amount_bits: u8) -> Value {
    if bits == 1 {
        return x;
    }
    let amount = if amount_bits > 32 { b.trunc(Type::I32, amount) } else { zext(b, amount_bits, 32, amount) };
    let width = b.iconst(Type::I32, bits.into());
    let amount = b.binary(Op::RemU, amount, width);
    let amount = if left {
        let other = b.binary(Op::Sub, width, amount);
        b.binary(Op::RemU, other, width)
    } else {
        amount
    };
    if held(bits) == bits {
        return b.binary(Op::Ror, x, amount);
    }
    let up = b.binary(Op::Sub, width, amount);
    let low = b.binary(Op::Shr, x, amount);
    let high = b.binary(Op::Shl, x, up);
    let all = b.binary(Op::Or, low, high);
    cut(b, bits, all)
}

/// Zero-extension.
pub fn zext(b: &mut Builder, from: u8, to: u8, x: Value) -> Value {
    if held(from) == held(to) { x } else { b.zext(ty(to), x) }
}

/// Sign-extension.
pub fn sext(b: &mut Builder, from: u8, to: u8, x: Value) -> Value {
    if held(from) == from {
        if held(from) == held(to) {
            return x;
        }
        let r = b.sext(ty(to), x);
        return cut(b, to, r);
    }
    let wide = zext(b, from, to, x);
    let n = b.iconst(Type::I32, u128::from(held(to) - from));
    let up = b.binary(Op::Shl, wide, n);
    let r = b.binary(Op::Sar, up, n);
    cut(b, to, r)
}

/// Bits `hi..=lo`.
pub fn slice(b: &mut Builder, from: u8, hi: u8, lo: u8, x: Value) -> Value {
    let len = hi - lo + 1;
    if len == from {
        return x;
    }
    b.extract(ty(len), x, lo, len)
}

/// One bit at a static index.
pub fn bit(b: &mut Builder, from: u8, x: Value, index: u64) -> Value {
    if index >= u64::from(from) {
        return b.iconst(Type::I1, 0);
    }
    slice(b, from, index as u8, index as u8, x)
}

/// `len` bits from a dynamic (or static) position on.
pub fn bits_at(b: &mut Builder, from: u8, x: Value, lo: Value, lo_bits: u8, len: u8) -> Value {
    let moved = shift(b, Op::Shr, from, x, lo, lo_bits);
    if len >= from { zext(b, from, len, moved) } else { slice(b, from, len - 1, 0, moved) }
}

/// Concatenation, most significant first.
pub fn cat(b: &mut Builder, parts: &[(Value, u8)]) -> Value {
    let total: u8 = parts.iter().map(|p| p.1).sum();
    let mut all: Option<(Value, u8)> = None;
    for &(x, n) in parts.iter().rev() {
        all = Some(match all {
            None => (zext(b, n, total, x), n),
            Some((low, at)) => {
                let x = zext(b, n, total, x);
                (b.insert(low, x, at, n), at + n)
            }
        });
    }
    match all {
        Some((v, _)) => v,
        None => b.iconst(Type::I1, 0),
    }
}

/// `n` copies.
pub fn repeat(b: &mut Builder, bits: u8, x: Value, n: u8) -> Value {
    let parts = vec![(x, bits); usize::from(n)];
    cat(b, &parts)
}

/// Comparisons of the specification language.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Compare {
    Eq,
    Ne,
    Ult,
    Ule,
    Ugt,
    Uge,
    Slt,
    Sle,
    Sgt,
    Sge,
}

/// A comparison of two values of `bits` bits.
pub fn compare(b: &mut Builder, how: Compare, bits: u8, x: Value, y: Value) -> Value {
    let (cond, swap, signed) = match how {
        Compare::Eq => (Cond::Eq, false, false),
        Compare::Ne => (Cond::Ne, false, false),
        Compare::Ult => (Cond::Ult, false, false),
        Compare::Ule => (Cond::Ule, false, false),
        Compare::Ugt => (Cond::Ult, true, false),
        Compare::Uge => (Cond::Ule, true, false),
        Compare::Slt => (Cond::Slt, false, true),
        Compare::Sle => (Cond::Sle, false, true),
        Compare::Sgt => (Cond::Slt, true, true),
        Compare::Sge => (Cond::Sle, true, true),
    };
    let (x, y) = if signed && held(bits) != bits { (sext(b, bits, held(bits), x), sext(b, bits, held(bits), y)) } else { (x, y) };
    if swap { b.cmp(cond, y, x) } else { b.cmp(cond, x, y) }
}

/// Carry out (or signed overflow) of `x + y + c`.
pub fn carry(b: &mut Builder, overflow: bool, bits: u8, x: Value, y: Value, c: Value) -> Value {
    if held(bits) == bits && bits > 1 {
        return if overflow { b.overflow_add(x, y, c) } else { b.carry_add(x, y, c) };
    }
    // Odd widths: the sum one bit wider.
    let wide = bits + 1;
    let c = zext(b, 1, wide, c);
    if overflow {
        let (x, y) = (sext(b, bits, wide, x), sext(b, bits, wide, y));
        let sum = arith(b, Op::Add, wide, x, y);
        let sum = arith(b, Op::Add, wide, sum, c);
        let (top, sign) = (bit(b, wide, sum, bits.into()), bit(b, wide, sum, u64::from(bits - 1)));
        return b.binary(Op::Xor, top, sign);
    }
    let (x, y) = (zext(b, bits, wide, x), zext(b, bits, wide, y));
    let sum = arith(b, Op::Add, wide, x, y);
    let sum = arith(b, Op::Add, wide, sum, c);
    bit(b, wide, sum, bits.into())
}

/// Unary built-ins of full or odd widths.
pub fn count(b: &mut Builder, op: Op, bits: u8, x: Value) -> Value {
    let gap = held(bits) - bits;
    let r = match op {
        Op::Clz if gap > 0 => {
            let r = b.unary(Op::Clz, x);
            let n = b.iconst(ty(bits), gap.into());
            b.binary(Op::Sub, r, n)
        }
        Op::Ctz if gap > 0 => {
            let stop = b.iconst(ty(bits), 1 << bits);
            let marked = b.binary(Op::Or, x, stop);
            b.unary(Op::Ctz, marked)
        }
        Op::Bswap | Op::Bitrev if gap > 0 => {
            let r = b.unary(op, x);
            let n = b.iconst(Type::I32, gap.into());
            b.binary(Op::Shr, r, n)
        }
        other => b.unary(other, x),
    };
    cut(b, bits, r)
}

/// Signed division and remainder, with odd widths.
pub fn divide(b: &mut Builder, op: Op, bits: u8, x: Value, y: Value) -> Value {
    let signed = matches!(op, Op::DivS | Op::RemS);
    let (x, y) = if signed { (sext(b, bits, held(bits), x), sext(b, bits, held(bits), y)) } else { (x, y) };
    let r = b.binary(op, x, y);
    cut(b, bits, r)
}

/// Writes bits `hi..=lo` of a slot of `from` bits.
pub fn set_bits(b: &mut Builder, slot: Slot, from: u8, hi: u8, lo: u8, x: Value) {
    if hi - lo + 1 == from {
        return b.set(slot, x);
    }
    let old = b.get(slot);
    let x = zext(b, hi - lo + 1, from, x);
    let new = b.insert(old, x, lo, hi - lo + 1);
    b.set(slot, new);
}
