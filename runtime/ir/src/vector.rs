//! What every integer vector operation means, written once, exactly; JIT tiers must agree with it.
//!
//! Values are raw little-endian bits: lane 0 is the least significant. Lane arithmetic is done on 128-bit integers, so nothing
//! overflows before it is cut or saturated. Floating-point lanes are in [`crate::float`].

use crate::fold::{low_mask, sign_extend};
use crate::op::{Inst, Op, Type, Vop};
use emu_softfloat::{recip_estimate_u32, rsqrt_estimate_u32};

/// The lanes of `bits` bits of a value of `width` bits, lowest first, zero-extended.
pub(crate) fn lanes(x: u128, width: u32, bits: u32) -> impl Iterator<Item = u128> + Clone {
    (0..width / bits).map(move |i| x >> (i * bits) & low_mask(bits))
}

/// The value of these lanes, cut to `bits` bits each.
pub(crate) fn join(lanes: impl Iterator<Item = u128>, bits: u32) -> u128 {
    lanes.enumerate().fold(0, |x, (i, lane)| x | (lane & low_mask(bits)) << (i as u32 * bits))
}

/// Cuts to a range, and remembers that it had to.
struct Saturation(bool);

impl Saturation {
    fn signed(&mut self, x: i128, bits: u32) -> u128 {
        let (min, max) = (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
        self.0 |= x < min || x > max;
        x.clamp(min, max) as u128
    }
    fn unsigned(&mut self, x: i128, bits: u32) -> u128 {
        let max = low_mask(bits) as i128;
        self.0 |= x < 0 || x > max;
        x.clamp(0, max) as u128
    }
}

/// Carry-less product.
fn polynomial(a: u128, b: u128) -> u128 {
    (0..64).filter(|i| b >> i & 1 != 0).fold(0, |x, i| x ^ a << i)
}

/// x shifted left by n (right if negative), rounding a right shift if asked: a value of more bits than the lane's, or `None` if it
/// lies beyond what any lane holds.
fn shift(x: i128, n: i32, bits: u32, round: bool) -> Option<i128> {
    if n >= 0 {
        return if n as u32 >= bits { if x == 0 { Some(0) } else { None } } else { Some(x << n) };
    }
    let n = n.unsigned_abs();
    let rounding = if round && n <= bits { 1i128 << (n - 1) } else { 0 };
    Some(match (round, n > bits) {
        (true, true) => 0,
        _ => (x + rounding) >> n.min(127),
    })
}

/// The result of a pure vector operation whose first operand has type `from`; `None` if it is none.
pub fn eval(inst: &Inst, from: Type, args: &[u128; 6]) -> Option<u128> {
    let width = from.bits();
    let value = match inst.op {
        Op::Vec(op, lane) => vector(op, lane, width, inst.imm, args)?.0,
        Op::VecSat(op, lane) => vector(op, lane, width, inst.imm, args)?.1.into(),
        Op::LaneGet(lane) => lanes(args[0], width, 8 << lane).nth(inst.imm as usize)?,
        Op::LaneSet(lane) => {
            let bits = 8u32 << lane;
            join(lanes(args[0], width, bits).enumerate().map(|(i, x)| if i as u64 == inst.imm { args[1] } else { x }), bits)
        }
        Op::TableLookup => {
            let table: Vec<u128> = args[2..].iter().take(inst.imm as usize).flat_map(|t| lanes(*t, 64, 8)).collect();
            let pick = |(index, fallback): (u128, u128)| table.get(index as usize).copied().unwrap_or(fallback);
            join(lanes(args[0], 64, 8).zip(lanes(args[1], 64, 8)).map(pick), 8)
        }
        _ => return None,
    };
    Some(value & inst.ty.mask())
}

/// The result, and whether any lane saturated. `width` is the first operand's.
fn vector(op: Vop, lane: u8, width: u32, imm: u64, args: &[u128; 6]) -> Option<(u128, bool)> {
    let bits = 8u32 << lane;
    let wide = bits * 2;
    let [a, b, c, ..] = *args;
    let whole = low_mask(width);
    let mut q = Saturation(false);
    let n = imm as i32;
    let s = |x: u128| sign_extend(x, bits);
    let u = |x: u128| x as i128;
    // One and two lanes to one, of the same size.
    macro_rules! one {
        (|$x:ident| $f:expr) => {
            join(lanes(a, width, bits).map(|$x| ($f) as u128), bits)
        };
    }
    macro_rules! two {
        (|$x:ident, $y:ident| $f:expr) => {
            join(lanes(a, width, bits).zip(lanes(b, width, bits)).map(|($x, $y)| ($f) as u128), bits)
        };
    }
    // Adjacent lanes of a, then of b.
    macro_rules! pairs {
        (|$x:ident, $y:ident| $f:expr) => {{
            let even = lanes(a, width, bits).step_by(2).chain(lanes(b, width, bits).step_by(2));
            let odd = lanes(a, width, bits).skip(1).step_by(2).chain(lanes(b, width, bits).skip(1).step_by(2));
            join(even.zip(odd).map(|($x, $y)| ($f) as u128), bits)
        }};
    }
    // Narrow lanes to wide ones.
    macro_rules! widen {
        (|$x:ident, $y:ident| $f:expr) => {
            join(lanes(a, 64, bits).zip(lanes(b, 64, bits)).map(|($x, $y)| ($f) as u128), wide)
        };
    }
    // Wide lanes of a with narrow ones of b.
    macro_rules! wide {
        (|$x:ident, $y:ident| $f:expr) => {
            join(lanes(a, 128, wide).zip(lanes(b, 64, bits)).map(|($x, $y)| ($f) as u128), wide)
        };
    }
    // Wide lanes to narrow ones.
    macro_rules! narrow {
        (|$x:ident| $f:expr) => {
            join(lanes(a, 128, wide).map(|$x| ($f) as u128), bits)
        };
    }
    macro_rules! narrow_two {
        (|$x:ident, $y:ident| $f:expr) => {
            join(lanes(a, 128, wide).zip(lanes(b, 128, wide)).map(|($x, $y)| ($f) as u128), bits)
        };
    }
    let ws = |x: u128| sign_extend(x, wide);
    let truth = |yes: bool| if yes { u128::MAX } else { 0 };
    let amount = |y: u128| i32::from(y as u8 as i8);
    let half = |n: i32| if n > 0 { 1i128 << (n - 1) } else { 0 };
    let value = match op {
        Vop::Add => two!(|x, y| x + y),
        Vop::Sub => two!(|x, y| x.wrapping_sub(y)),
        Vop::Mul => two!(|x, y| x.wrapping_mul(y)),
        Vop::And => a & b,
        Vop::Or => a | b,
        Vop::Xor => a ^ b,
        Vop::AndNot => a & !b,
        Vop::OrNot => (a | !b) & whole,
        Vop::MinS => two!(|x, y| s(x).min(s(y))),
        Vop::MinU => two!(|x, y| x.min(y)),
        Vop::MaxS => two!(|x, y| s(x).max(s(y))),
        Vop::MaxU => two!(|x, y| x.max(y)),
        Vop::AbsDiffS => two!(|x, y| (s(x) - s(y)).unsigned_abs()),
        Vop::AbsDiffU => two!(|x, y| x.abs_diff(y)),
        Vop::HalvAddS => two!(|x, y| (s(x) + s(y)) >> 1),
        Vop::HalvAddU => two!(|x, y| (x + y) >> 1),
        Vop::HalvSubS => two!(|x, y| (s(x) - s(y)) >> 1),
        Vop::HalvSubU => two!(|x, y| (u(x) - u(y)) >> 1),
        Vop::RoundHalvAddS => two!(|x, y| (s(x) + s(y) + 1) >> 1),
        Vop::RoundHalvAddU => two!(|x, y| (x + y + 1) >> 1),
        Vop::SatAddS => two!(|x, y| q.signed(s(x) + s(y), bits)),
        Vop::SatAddU => two!(|x, y| q.unsigned(u(x) + u(y), bits)),
        Vop::SatSubS => two!(|x, y| q.signed(s(x) - s(y), bits)),
        Vop::SatSubU => two!(|x, y| q.unsigned(u(x) - u(y), bits)),
        Vop::SatDblMulHigh => two!(|x, y| q.signed((2 * s(x) * s(y)) >> bits, bits)),
        Vop::SatRoundDblMulHigh => two!(|x, y| q.signed((2 * s(x) * s(y) + (1 << (bits - 1))) >> bits, bits)),
        Vop::CmpEq => two!(|x, y| truth(x == y)),
        Vop::CmpGtS => two!(|x, y| truth(s(x) > s(y))),
        Vop::CmpGtU => two!(|x, y| truth(x > y)),
        Vop::CmpGeS => two!(|x, y| truth(s(x) >= s(y))),
        Vop::CmpGeU => two!(|x, y| truth(x >= y)),
        Vop::Test => two!(|x, y| truth(x & y != 0)),
        Vop::PolyMul => two!(|x, y| polynomial(x, y)),
        Vop::ShlS => two!(|x, y| shift(s(x), amount(y), bits, false).unwrap_or(0)),
        Vop::ShlU => two!(|x, y| shift(u(x), amount(y), bits, false).unwrap_or(0)),
        Vop::RoundShlS => two!(|x, y| shift(s(x), amount(y), bits, true).unwrap_or(0)),
        Vop::RoundShlU => two!(|x, y| shift(u(x), amount(y), bits, true).unwrap_or(0)),
        Vop::SatShlS | Vop::SatRoundShlS => {
            let round = op == Vop::SatRoundShlS;
            let beyond = |x: i128| if x < 0 { i128::MIN } else { i128::MAX };
            two!(|x, y| q.signed(shift(s(x), amount(y), bits, round).unwrap_or_else(|| beyond(s(x))), bits))
        }
        Vop::SatShlU | Vop::SatRoundShlU => {
            let round = op == Vop::SatRoundShlU;
            two!(|x, y| q.unsigned(shift(u(x), amount(y), bits, round).unwrap_or(i128::MAX), bits))
        }
        Vop::PairAdd => pairs!(|x, y| x + y),
        Vop::PairMinS => pairs!(|x, y| s(x).min(s(y))),
        Vop::PairMinU => pairs!(|x, y| x.min(y)),
        Vop::PairMaxS => pairs!(|x, y| s(x).max(s(y))),
        Vop::PairMaxU => pairs!(|x, y| x.max(y)),
        Vop::PairAddLongS | Vop::PairAddLongU => {
            let extend = |x: u128| if op == Vop::PairAddLongS { s(x) } else { u(x) };
            let (even, odd) = (lanes(a, width, bits).step_by(2), lanes(a, width, bits).skip(1).step_by(2));
            join(even.zip(odd).map(|(x, y)| (extend(x) + extend(y)) as u128), wide)
        }
        Vop::Neg => one!(|x| x.wrapping_neg()),
        Vop::Abs => one!(|x| s(x).unsigned_abs()),
        Vop::SatNeg => one!(|x| q.signed(-s(x), bits)),
        Vop::SatAbs => one!(|x| q.signed(s(x).abs(), bits)),
        Vop::Not => !a & whole,
        // Bits after the sign that equal it.
        Vop::CountLeadSign => one!(|x| (if s(x) < 0 { !s(x) } else { s(x) }).leading_zeros() - (128 - bits) - 1),
        Vop::CountLeadZero => one!(|x| x.leading_zeros() - (128 - bits)),
        Vop::PopCount => one!(|x| x.count_ones()),
        Vop::Rev16 | Vop::Rev32 | Vop::Rev64 => {
            let group = match op {
                Vop::Rev16 => 16,
                Vop::Rev32 => 32,
                _ => 64,
            };
            let reverse = |x: u128| {
                let mut parts: Vec<u128> = lanes(x, group, bits).collect();
                parts.reverse();
                join(parts.into_iter(), bits)
            };
            join(lanes(a, width, group).map(reverse), group)
        }
        Vop::RecipEstU => one!(|x| recip_estimate_u32(x as u32)),
        Vop::RsqrtEstU => one!(|x| rsqrt_estimate_u32(x as u32)),
        Vop::ShlImm => one!(|x| shift(u(x), n, bits, false).unwrap_or(0)),
        Vop::ShrImmS => one!(|x| s(x) >> n.min(127)),
        Vop::ShrImmU => one!(|x| x >> n.min(127)),
        Vop::RoundShrImmS => one!(|x| (s(x) + half(n)) >> n.min(127)),
        Vop::RoundShrImmU => one!(|x| (u(x) + half(n)) >> n.min(127)),
        Vop::SatShlImmS => one!(|x| q.signed(shift(s(x), n, bits, false).unwrap_or(if s(x) < 0 { i128::MIN } else { i128::MAX }), bits)),
        Vop::SatShlImmU => one!(|x| q.unsigned(shift(u(x), n, bits, false).unwrap_or(i128::MAX), bits)),
        Vop::SatShlImmSU => one!(|x| q.unsigned(shift(s(x), n, bits, false).unwrap_or(if s(x) < 0 { -1 } else { i128::MAX }), bits)),
        Vop::ShlInsert => two!(|d, x| d & low_mask(n as u32) | x << n),
        Vop::ShrInsert => two!(|d, x| d & !(low_mask(bits) >> n) | x >> n),
        Vop::WidenS => widen_one(a, bits, s),
        Vop::WidenU => widen_one(a, bits, u),
        Vop::AddLongS => widen!(|x, y| s(x) + s(y)),
        Vop::AddLongU => widen!(|x, y| x + y),
        Vop::SubLongS => widen!(|x, y| s(x) - s(y)),
        Vop::SubLongU => widen!(|x, y| u(x) - u(y)),
        Vop::MulLongS => widen!(|x, y| s(x) * s(y)),
        Vop::MulLongU => widen!(|x, y| x * y),
        Vop::PolyMulLong => widen!(|x, y| polynomial(x, y)),
        Vop::AbsDiffLongS => widen!(|x, y| (s(x) - s(y)).unsigned_abs()),
        Vop::AbsDiffLongU => widen!(|x, y| x.abs_diff(y)),
        Vop::SatDblMulLong => widen!(|x, y| q.signed(2 * s(x) * s(y), wide)),
        Vop::ShlLongImmS => widen_one(a, bits, |x| s(x) << n),
        Vop::ShlLongImmU => widen_one(a, bits, |x| u(x) << n),
        Vop::AddWideS => wide!(|x, y| ws(x).wrapping_add(s(y))),
        Vop::AddWideU => wide!(|x, y| x.wrapping_add(y)),
        Vop::SubWideS => wide!(|x, y| ws(x).wrapping_sub(s(y))),
        Vop::SubWideU => wide!(|x, y| x.wrapping_sub(y)),
        Vop::Narrow => narrow!(|x| x),
        Vop::SatNarrowS => narrow!(|x| q.signed(ws(x), bits)),
        Vop::SatNarrowU => narrow!(|x| q.unsigned(u(x), bits)),
        Vop::SatNarrowSU => narrow!(|x| q.unsigned(ws(x), bits)),
        Vop::AddHighNarrow => narrow_two!(|x, y| x.wrapping_add(y) >> bits),
        Vop::RoundAddHighNarrow => narrow_two!(|x, y| x.wrapping_add(y).wrapping_add(1 << (bits - 1)) >> bits),
        Vop::SubHighNarrow => narrow_two!(|x, y| x.wrapping_sub(y) >> bits),
        Vop::RoundSubHighNarrow => narrow_two!(|x, y| x.wrapping_sub(y).wrapping_add(1 << (bits - 1)) >> bits),
        Vop::ShrNarrowImm => narrow!(|x| x >> n),
        Vop::RoundShrNarrowImm => narrow!(|x| (u(x) + half(n)) >> n),
        Vop::SatShrNarrowImmS => narrow!(|x| q.signed(ws(x) >> n, bits)),
        Vop::SatShrNarrowImmU => narrow!(|x| q.unsigned(u(x) >> n, bits)),
        Vop::SatShrNarrowImmSU => narrow!(|x| q.unsigned(ws(x) >> n, bits)),
        Vop::SatRoundShrNarrowImmS => narrow!(|x| q.signed((ws(x) + half(n)) >> n, bits)),
        Vop::SatRoundShrNarrowImmU => narrow!(|x| q.unsigned((u(x) + half(n)) >> n, bits)),
        Vop::SatRoundShrNarrowImmSU => narrow!(|x| q.unsigned((ws(x) + half(n)) >> n, bits)),
        Vop::Dup => {
            let x = lanes(a, width, bits).nth((imm & 0xff) as usize)?;
            let to = if imm & 0x100 != 0 { 128 } else { 64 };
            join((0..to / bits).map(|_| x), bits)
        }
        Vop::Ext => {
            let bytes = lanes(a, width, 8).chain(lanes(b, width, 8)).skip(imm as usize).take(width as usize / 8);
            join(bytes, 8)
        }
        Vop::Zip1 | Vop::Zip2 => {
            let skip = if op == Vop::Zip2 { width / bits / 2 } else { 0 } as usize;
            let pairs = lanes(a, width, bits).zip(lanes(b, width, bits)).skip(skip).take((width / bits / 2).max(1) as usize);
            join(pairs.flat_map(|(x, y)| [x, y]), bits) & whole
        }
        Vop::Uzp1 | Vop::Uzp2 => {
            let skip = usize::from(op == Vop::Uzp2);
            join(lanes(a, width, bits).chain(lanes(b, width, bits)).skip(skip).step_by(2), bits)
        }
        Vop::Trn1 | Vop::Trn2 => {
            let skip = usize::from(op == Vop::Trn2);
            let pairs = lanes(a, width, bits).zip(lanes(b, width, bits)).skip(skip).step_by(2);
            join(pairs.flat_map(|(x, y)| [x, y]), bits)
        }
        Vop::BitSelect => a & c | b & !c & whole,
        Vop::FAbs => one!(|x| x & low_mask(bits - 1)),
        Vop::FNeg => one!(|x| x ^ 1 << (bits - 1)),
        _ => return None,
    };
    Some((value, q.0))
}

fn widen_one(a: u128, bits: u32, f: impl Fn(u128) -> i128) -> u128 {
    join(lanes(a, 64, bits).map(|x| f(x) as u128), bits * 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(op: Vop, lane: u8, width: u32, imm: u64, a: u128, b: u128) -> (u128, bool) {
        vector(op, lane, width, imm, &[a, b, 0, 0, 0, 0]).unwrap()
    }

    #[test]
    fn saturation() {
        assert_eq!(run(Vop::SatAddS, 0, 64, 0, 0x7f80, 0x01ff), (0x7f80, true));
        assert_eq!(run(Vop::SatSubU, 1, 64, 0, 1, 2), (0, true));
        assert_eq!(run(Vop::SatDblMulHigh, 1, 64, 0, 0x8000, 0x8000), (0x7fff, true));
        assert_eq!(run(Vop::SatShlS, 3, 64, 0, 1, 63), (i64::MAX as u128, true));
        assert_eq!(run(Vop::SatShlS, 3, 64, 0, u64::MAX.into(), 63), (1 << 63, false));
        assert_eq!(run(Vop::SatShlU, 0, 64, 0, 0x81, 1), (0xff, true));
        assert_eq!(run(Vop::SatShlImmSU, 0, 64, 1, 0xff40, 0), (0x0080, true));
        assert_eq!(run(Vop::SatNarrowSU, 0, 128, 0, 0xffff_0100_0080, 0), (0x00_ff_80, true));
        assert_eq!(run(Vop::SatDblMulLong, 2, 64, 0, 0x8000_0000, 0x8000_0000), (i64::MAX as u128, true));
        assert_eq!(run(Vop::SatAbs, 3, 64, 0, 1 << 63, 0), (i64::MAX as u128, true));
    }

    #[test]
    fn shifts() {
        // -1 >> 1, rounded: 0; by more than the lane: 0.
        assert_eq!(run(Vop::RoundShlS, 2, 64, 0, 0xffff_ffff, 0xff), (0, false));
        assert_eq!(run(Vop::RoundShlS, 2, 64, 0, 0x8000_0000, 0xdf), (0, false));
        assert_eq!(run(Vop::RoundShlU, 3, 64, 0, 1 << 63, 0xc0), (1, false));
        assert_eq!(run(Vop::ShlS, 0, 64, 0, 0x80, 0x80), (0xff, false));
        assert_eq!(run(Vop::ShlU, 0, 64, 0, 0x80, 0xf9), (1, false));
        assert_eq!(run(Vop::ShlU, 0, 64, 0, 0x80, 8), (0, false));
        assert_eq!(run(Vop::ShrInsert, 0, 64, 4, 0xab, 0xcd), (0xac, false));
        assert_eq!(run(Vop::ShrInsert, 0, 64, 8, 0xab, 0xcd), (0xab, false));
        assert_eq!(run(Vop::ShlInsert, 0, 64, 4, 0xab, 0xcd), (0xdb, false));
        assert_eq!(run(Vop::RoundShrImmU, 3, 64, 64, u64::MAX.into(), 0), (1, false));
    }

    #[test]
    fn permutations() {
        let (a, b) = (0x0706_0504_0302_0100u128, 0x1716_1514_1312_1110u128);
        assert_eq!(run(Vop::Zip1, 0, 64, 0, a, b).0, 0x1303_1202_1101_1000);
        assert_eq!(run(Vop::Zip2, 0, 64, 0, a, b).0, 0x1707_1606_1505_1404);
        assert_eq!(run(Vop::Uzp1, 1, 64, 0, a, b).0, 0x1514_1110_0504_0100);
        assert_eq!(run(Vop::Uzp2, 1, 64, 0, a, b).0, 0x1716_1312_0706_0302);
        assert_eq!(run(Vop::Trn1, 2, 64, 0, a, b).0, 0x1312_1110_0302_0100);
        assert_eq!(run(Vop::Trn2, 2, 64, 0, a, b).0, 0x1716_1514_0706_0504);
        assert_eq!(run(Vop::Ext, 0, 64, 3, a, b).0, 0x1211_1007_0605_0403);
        assert_eq!(run(Vop::Dup, 1, 64, 0x101, a, 0).0, 0x0302_0302_0302_0302_0302_0302_0302_0302);
        assert_eq!(run(Vop::Rev32, 0, 64, 0, a, 0).0, 0x0405_0607_0001_0203);
        assert_eq!(run(Vop::Rev64, 1, 64, 0, a, 0).0, 0x0100_0302_0504_0706);
        assert_eq!(run(Vop::PairAdd, 1, 64, 0, 0x0004_0003_0002_0001, 0x0040_0030_0020_0010).0, 0x0070_0030_0007_0003);
        assert_eq!(run(Vop::PairAddLongS, 0, 64, 0, 0xff_ff, 0).0, 0xfffe);
    }

    #[test]
    fn widths() {
        assert_eq!(run(Vop::MulLongS, 0, 64, 0, 0xff, 0x02).0, 0xfffe);
        assert_eq!(run(Vop::PolyMulLong, 0, 64, 0, 0xff, 0xff).0, 0x5555);
        assert_eq!(run(Vop::PolyMulLong, 3, 64, 0, u64::MAX.into(), u64::MAX.into()).0, 0x5555_5555_5555_5555_5555_5555_5555_5555);
        assert_eq!(run(Vop::RoundAddHighNarrow, 0, 128, 0, 0x1280, 0x0100).0, 0x14);
        assert_eq!(run(Vop::AddWideS, 0, 128, 0, 0x0001, 0xff).0, 0);
        assert_eq!(run(Vop::CountLeadSign, 0, 64, 0, 0x00_01_ff_f0, 0).0 & 0xffff_ffff, 0x07_06_07_03);
    }
}
