//! Evaluates the pure scalar operations on constants: what the builder and the passes fold with, and what the interpreter
//! runs for the operations it has no bytecode for. The meaning of every integer operation is written here once.

use crate::op::{Cond, Op, Type};

/// `x` of `bits` bits, sign-extended.
pub fn sign_extend(x: u128, bits: u32) -> i128 {
    let shift = 128 - bits;
    (x << shift) as i128 >> shift
}

/// Low `bits` bits.
pub const fn low_mask(bits: u32) -> u128 {
    if bits == 0 { 0 } else { u128::MAX >> (128 - bits) }
}

/// The result of pure scalar operation `op` with result type `ty`, first operand type `from` and zero-extended operands;
/// `None` if `op` is none.
pub fn eval(op: Op, ty: Type, from: Type, args: &[u128]) -> Option<u128> {
    let arg = |i: usize| args.get(i).copied().unwrap_or(0);
    let (a, b, c) = (arg(0), arg(1), arg(2));
    let bits = from.bits();
    let signed = |x| sign_extend(x, bits);
    let value = match op {
        Op::Bitcast | Op::Zext | Op::Trunc => a,
        Op::Add => a.wrapping_add(b),
        Op::Sub => a.wrapping_sub(b),
        Op::Mul => a.wrapping_mul(b),
        Op::MulHighU if bits <= 64 => (a * b) >> bits,
        Op::MulHighS if bits <= 64 => ((signed(a) * signed(b)) >> bits) as u128,
        Op::MulHighU => multiply_high(a, b),
        Op::MulHighS => {
            let high = multiply_high(a, b);
            high.wrapping_sub(if (a as i128) < 0 { b } else { 0 }).wrapping_sub(if (b as i128) < 0 { a } else { 0 })
        }
        Op::DivU => a.checked_div(b).unwrap_or(0),
        Op::DivS => {
            if b == 0 {
                0
            } else {
                signed(a).wrapping_div(signed(b)) as u128
            }
        }
        Op::RemU => a.checked_rem(b).unwrap_or(a),
        Op::RemS => {
            if b == 0 {
                a
            } else {
                signed(a).wrapping_rem(signed(b)) as u128
            }
        }
        Op::And => a & b,
        Op::Or => a | b,
        Op::Xor => a ^ b,
        Op::Shl => shift_amount(b, bits).map_or(0, |n| a << n),
        Op::Shr => shift_amount(b, bits).map_or(0, |n| a >> n),
        Op::Sar => (signed(a) >> shift_amount(b, bits).unwrap_or(bits - 1)) as u128,
        Op::Ror => {
            let n = (b % u128::from(bits)) as u32;
            if n == 0 { a } else { a >> n | a << (bits - n) }
        }
        Op::Not => !a,
        Op::Neg => a.wrapping_neg(),
        Op::Clz => u128::from(a.leading_zeros() - (128 - bits)),
        Op::Ctz => u128::from(a.trailing_zeros().min(bits)),
        Op::Popcnt => u128::from(a.count_ones()),
        Op::Bswap if bits >= 8 => a.swap_bytes() >> (128 - bits),
        Op::Bswap => a,
        Op::Bitrev => a.reverse_bits() >> (128 - bits),
        Op::CarryAdd if bits == 128 => {
            let (sum, first) = a.overflowing_add(b);
            u128::from(first | sum.overflowing_add(c).1)
        }
        Op::CarryAdd => (a + b + c) >> bits,
        Op::OverflowAdd => {
            let sum = a.wrapping_add(b).wrapping_add(c);
            (!(a ^ b) & (a ^ sum)) >> (bits - 1) & 1
        }
        Op::Cmp(cond) => u128::from(match cond {
            Cond::Eq => a == b,
            Cond::Ne => a != b,
            Cond::Ult => a < b,
            Cond::Ule => a <= b,
            Cond::Slt => signed(a) < signed(b),
            Cond::Sle => signed(a) <= signed(b),
        }),
        Op::Select => {
            if a != 0 {
                b
            } else {
                c
            }
        }
        Op::Sext => signed(a) as u128,
        Op::Extract { lo, len } => a >> lo & low_mask(len.into()),
        Op::Insert { lo, len } => {
            let mask = low_mask(len.into());
            a & !(mask << lo) | (b & mask) << lo
        }
        Op::Concat => a << bits | b,
        _ => return None,
    };
    Some(value & ty.mask())
}

fn shift_amount(n: u128, bits: u32) -> Option<u32> {
    (n < u128::from(bits)).then_some(n as u32)
}

fn multiply_high(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let middle = a1 * b0 + ((a0 * b0) >> 64);
    let other = a0 * b1 + (middle & LOW);
    a1 * b1 + (middle >> 64) + (other >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: Op, ty: Type, from: Type, args: &[u128]) -> u128 {
        eval(op, ty, from, args).unwrap()
    }

    #[test]
    fn edges() {
        use Type::*;
        assert_eq!(run(Op::DivS, I32, I32, &[0x8000_0000, 0xffff_ffff]), 0x8000_0000);
        assert_eq!(run(Op::RemS, I32, I32, &[0x8000_0000, 0xffff_ffff]), 0);
        assert_eq!(run(Op::DivU, I32, I32, &[5, 0]), 0);
        assert_eq!(run(Op::Sar, I32, I32, &[0x8000_0000, 99]), 0xffff_ffff);
        assert_eq!(run(Op::Shl, I32, I32, &[1, 32]), 0);
        assert_eq!(run(Op::Ror, I32, I32, &[1, 33]), 0x8000_0000);
        assert_eq!(run(Op::CarryAdd, I1, I32, &[0xffff_ffff, 0, 1]), 1);
        assert_eq!(run(Op::OverflowAdd, I1, I32, &[0x7fff_ffff, 0, 1]), 1);
        assert_eq!(run(Op::CarryAdd, I1, I128, &[u128::MAX, 0, 1]), 1);
        assert_eq!(run(Op::MulHighS, I128, I128, &[u128::MAX, u128::MAX]), 0);
        assert_eq!(run(Op::MulHighU, I128, I128, &[u128::MAX, u128::MAX]), u128::MAX - 1);
        assert_eq!(run(Op::Clz, I8, I8, &[1]), 7);
        assert_eq!(run(Op::Bswap, I16, I16, &[0x1234]), 0x3412);
        assert_eq!(run(Op::Concat, I64, I32, &[1, 2]), 0x1_0000_0002);
    }
}
