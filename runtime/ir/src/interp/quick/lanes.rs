//! Integer lanes by SSE, where it has the operation or a short way to it; what they mean is written in `vector.rs` of this crate.
//!
//! Operands are in registers that keep them; the result comes to `xmm0`, `xmm1` to `xmm3` are scratch. A saturating operation leaves in `xmm1` what is
//! not zero where it saturated. Of a 64-bit operand, or result, the high half of the register is anything.

use super::emit::Emitter;
use crate::fold::low_mask;
use crate::op::{Shape, Vop};
use crate::vector::join;
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

/// An instruction in its four widths.
macro_rules! by_lane {
    ($e:expr, $lane:expr, [$b:ident $w:ident $d:ident $q:ident] $to:expr, $from:expr) => {
        match $lane {
            0 => dynasm!($e.ops ; .arch x64 ; $b Rx($to), Rx($from)),
            1 => dynasm!($e.ops ; .arch x64 ; $w Rx($to), Rx($from)),
            2 => dynasm!($e.ops ; .arch x64 ; $d Rx($to), Rx($from)),
            _ => dynasm!($e.ops ; .arch x64 ; $q Rx($to), Rx($from)),
        }
    };
}

/// In three; there is none for 64 bits.
macro_rules! by_three {
    ($e:expr, $lane:expr, [$b:ident $w:ident $d:ident] $to:expr, $from:expr) => {
        match $lane {
            0 => dynasm!($e.ops ; .arch x64 ; $b Rx($to), Rx($from)),
            1 => dynasm!($e.ops ; .arch x64 ; $w Rx($to), Rx($from)),
            _ => dynasm!($e.ops ; .arch x64 ; $d Rx($to), Rx($from)),
        }
    };
}

/// One instruction.
macro_rules! sse {
    ($e:expr, $name:ident $to:expr, $from:expr $(, $imm:expr)?) => {
        dynasm!($e.ops ; .arch x64 ; $name Rx($to), Rx($from) $(, $imm)?)
    };
}

/// One instruction whose second operand is a constant.
macro_rules! sse_const {
    ($e:expr, $name:ident $to:expr, $value:expr) => {{
        let label = $e.pooled($value);
        dynasm!($e.ops ; .arch x64 ; $name Rx($to), [=>label])
    }};
}

pub(super) use {by_lane, by_three, sse, sse_const};

/// A value in every lane.
pub fn splat(lane: u8, x: u128) -> u128 {
    let bits = 8u32 << lane;
    join((0..128 / bits).map(|_| x), bits)
}

/// The sign bit of every lane.
pub fn signs(lane: u8) -> u128 {
    splat(lane, 1 << ((8 << lane) - 1))
}

/// For `pshufb`: byte i is that of this number; [`ZERO`] gives 0.
pub fn shuffle(from: impl Fn(u32) -> u32) -> u128 {
    join((0..16).map(|i| from(i).into()), 8)
}

pub const ZERO: u32 = 0x80;

impl Emitter<'_> {
    /// True if an operation has a template; `wide`: its first operand has 128 bits.
    pub fn has_lanes(&self, op: Vop, lane: u8, wide: bool, imm: u64) -> bool {
        use Vop::*;
        let (bits, width) = (8u64 << lane, if wide { 128 } else { 64 });
        if lane > 3 || op.is_float() || matches!(op.shape(), Shape::Widen | Shape::Wide | Shape::Narrow) && lane > 2 {
            return false;
        }
        match op {
            PolyMul | PolyMulLong | RecipEstU | RsqrtEstU | SatShlS | SatShlU | SatRoundShlS | SatRoundShlU => false,
            Mul | MinS | MinU | MaxS | MaxU | AbsDiffS | AbsDiffU | PairMinS | PairMinU | PairMaxS | PairMaxU | Abs | SatAbs => lane < 3,
            PairAddLongS | PairAddLongU | CountLeadSign | CountLeadZero | Rev64 => lane < 3,
            SatDblMulHigh | SatRoundDblMulHigh | SatDblMulLong => lane == 1 || lane == 2,
            ShlS | ShlU | RoundShlS | RoundShlU => lane >= 2 && self.shape.avx2,
            Rev16 | PopCount => lane == 0,
            Rev32 => lane < 2,
            PairAdd | Zip1 | Zip2 | Uzp1 | Uzp2 | Trn1 | Trn2 => lane < 3 || wide,
            ShlImm | SatShlImmS | SatShlImmU | SatShlImmSU | ShlInsert | ShlLongImmS | ShlLongImmU => imm < bits,
            ShrImmS
            | ShrImmU
            | RoundShrImmS
            | RoundShrImmU
            | ShrInsert
            | ShrNarrowImm
            | RoundShrNarrowImm
            | SatShrNarrowImmS
            | SatShrNarrowImmU
            | SatShrNarrowImmSU
            | SatRoundShrNarrowImmS
            | SatRoundShrNarrowImmU
            | SatRoundShrNarrowImmSU => (1..=bits).contains(&imm),
            Dup => imm & 0xff < width / bits,
            Ext => imm < width / 8,
            FAbs | FNeg => lane > 0,
            _ => true,
        }
    }

    /// Emits an operation on integer lanes; false: it has no template.
    pub fn lanes(&mut self, op: Vop, lane: u8, wide: bool, imm: u64, [a, b, c]: [u8; 3]) -> bool {
        use Vop::*;
        if !self.has_lanes(op, lane, wide, imm) {
            return false;
        }
        let (bits, n) = (8u32 << lane, imm as u32);
        // Signed forms of those that share a template.
        let signed =
            matches!(op, HalvAddS | HalvSubS | RoundHalvAddS | CmpGtS | CmpGeS | AddLongS | SubLongS | AddWideS | SubWideS | AbsDiffLongS);
        match op {
            Add | Sub | And | Or | Xor => {
                self.mov(0, a);
                self.plain(op, lane, 0, b);
            }
            Mul if lane == 0 => {
                // Even and odd bytes, in words.
                self.mov(0, a);
                self.mov(1, a);
                self.mov(2, b);
                dynasm!(self.ops ; .arch x64 ; pmullw xmm0, Rx(b) ; psrlw xmm1, 8 ; psrlw xmm2, 8 ; pmullw xmm1, xmm2 ; psllw xmm1, 8);
                sse_const!(self, pand 0, splat(1, 0xff));
                sse!(self, por 0, 1);
            }
            Mul if lane == 1 => dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a) ; pmullw xmm0, Rx(b)),
            Mul => dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a) ; pmulld xmm0, Rx(b)),
            AndNot => dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(b) ; pandn xmm0, Rx(a)),
            OrNot => {
                self.mov(0, b);
                self.invert(0);
                sse!(self, por 0, a);
            }
            MinS | MinU | MaxS | MaxU => {
                self.mov(0, a);
                self.extreme(op, lane, 0, b);
            }
            AbsDiffS | AbsDiffU => self.difference(op == AbsDiffS, lane, a, b),
            HalvAddS | HalvAddU | HalvSubS | HalvSubU | RoundHalvAddS | RoundHalvAddU => {
                self.mov(0, a);
                self.mov(1, b);
                if signed {
                    sse_const!(self, pxor 0, signs(lane));
                    sse_const!(self, pxor 1, signs(lane));
                }
                self.halve(op, lane);
                if matches!(op, HalvAddS | RoundHalvAddS) {
                    sse_const!(self, pxor 0, signs(lane));
                }
            }
            SatAddS | SatAddU | SatSubS | SatSubU => self.saturating(op, lane, a, b),
            SatDblMulHigh | SatRoundDblMulHigh => {
                self.double_high(op == SatRoundDblMulHigh, lane, a, b);
                self.least_to_greatest(lane);
            }
            CmpEq => {
                self.mov(0, a);
                by_lane!(self, lane, [pcmpeqb pcmpeqw pcmpeqd pcmpeqq] 0, b);
            }
            CmpGtS | CmpGtU | CmpGeS | CmpGeU => {
                let turned = matches!(op, CmpGeS | CmpGeU);
                let (x, y) = if turned { (b, a) } else { (a, b) };
                self.mov(0, x);
                let mut y = y;
                if !signed {
                    self.mov(1, y);
                    sse_const!(self, pxor 0, signs(lane));
                    sse_const!(self, pxor 1, signs(lane));
                    y = 1;
                }
                by_lane!(self, lane, [pcmpgtb pcmpgtw pcmpgtd pcmpgtq] 0, y);
                if turned {
                    self.invert(0);
                }
            }
            Test => {
                dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a) ; pand xmm0, Rx(b) ; pxor xmm1, xmm1);
                by_lane!(self, lane, [pcmpeqb pcmpeqw pcmpeqd pcmpeqq] 0, 1);
                self.invert(0);
            }
            ShlS | ShlU | RoundShlS | RoundShlU => self.shift_by_lanes(op, lane, a, b),
            PairAdd | PairMinS | PairMinU | PairMaxS | PairMaxU => {
                self.unzip(lane, wide, false, 0, a, b);
                self.unzip(lane, wide, true, 1, a, b);
                if op == PairAdd { self.plain(Add, lane, 0, 1) } else { self.extreme(op, lane, 0, 1) }
            }
            PairAddLongS | PairAddLongU => self.pair_add_long(op == PairAddLongS, lane, a),
            Neg | SatNeg => {
                sse!(self, pxor 0, 0);
                self.plain(Sub, lane, 0, a);
                if op == SatNeg {
                    self.least_to_greatest_of(lane, a);
                }
            }
            Abs | SatAbs => {
                by_three!(self, lane, [pabsb pabsw pabsd] 0, a);
                if op == SatAbs {
                    self.least_to_greatest_of(lane, a);
                }
            }
            Not => {
                self.mov(0, a);
                self.invert(0);
            }
            CountLeadSign | CountLeadZero => {
                self.mov(0, a);
                if op == CountLeadSign {
                    self.mov(1, a);
                    self.spread_sign(lane, 1);
                    sse!(self, pxor 0, 1);
                }
                self.leading_zeros(lane);
                if op == CountLeadSign {
                    sse_const!(self, movaps 1, splat(lane, 1));
                    self.plain(Sub, lane, 0, 1);
                }
            }
            PopCount => {
                let counts = shuffle(u32::count_ones);
                self.nibbles(a, counts, counts);
                sse!(self, paddb 0, 1);
            }
            Rev16 | Rev32 | Rev64 => {
                let group = match op {
                    Rev16 => 2,
                    Rev32 => 4,
                    _ => 8,
                };
                let size = bits / 8;
                self.mov(0, a);
                sse_const!(self, pshufb 0, shuffle(|i| i / group * group + (group - size - i % group / size * size) + i % size));
            }
            ShlImm => {
                self.mov(0, a);
                self.shl(lane, 0, n);
            }
            ShrImmS | ShrImmU => {
                self.mov(0, a);
                self.shr(op == ShrImmS, lane, 0, n);
            }
            RoundShrImmS | RoundShrImmU => {
                self.mov(0, a);
                self.round_shr(op == RoundShrImmS, lane, n);
            }
            SatShlImmS | SatShlImmU | SatShlImmSU => self.saturating_shl(op, lane, n, a),
            ShlInsert | ShrInsert => {
                self.mov(0, b);
                self.mov(1, a);
                let kept = if op == ShlInsert { low_mask(n) } else { low_mask(bits) & !(low_mask(bits) >> n) };
                if op == ShlInsert {
                    self.shl(lane, 0, n)
                } else {
                    self.shr(false, lane, 0, n)
                }
                sse_const!(self, pand 1, splat(lane, kept));
                sse!(self, por 0, 1);
            }
            WidenS | WidenU => self.widen(op == WidenS, lane, 0, a),
            ShlLongImmS | ShlLongImmU => {
                self.widen(op == ShlLongImmS, lane, 0, a);
                self.shl(lane + 1, 0, n);
            }
            AddLongS | AddLongU | SubLongS | SubLongU | AddWideS | AddWideU | SubWideS | SubWideU => {
                if op.shape() == Shape::Wide {
                    self.mov(0, a)
                } else {
                    self.widen(signed, lane, 0, a)
                }
                self.widen(signed, lane, 1, b);
                let add = matches!(op, AddLongS | AddLongU | AddWideS | AddWideU);
                self.plain(if add { Add } else { Sub }, lane + 1, 0, 1);
            }
            MulLongS | MulLongU => self.mul_long(op == MulLongS, lane, a, b),
            AbsDiffLongS | AbsDiffLongU => {
                self.difference(signed, lane, a, b);
                self.widen(false, lane, 0, 0);
            }
            SatDblMulLong => {
                self.mul_long(true, lane, a, b);
                self.plain(Add, lane + 1, 0, 0);
                self.least_to_greatest(lane + 1);
            }
            Narrow => {
                self.mov(0, a);
                self.narrow(lane, false);
            }
            SatNarrowS | SatNarrowU | SatNarrowSU => {
                self.mov(0, a);
                self.saturating_narrow(op, lane);
            }
            AddHighNarrow | RoundAddHighNarrow | SubHighNarrow | RoundSubHighNarrow => {
                self.mov(0, a);
                let add = matches!(op, AddHighNarrow | RoundAddHighNarrow);
                self.plain(if add { Add } else { Sub }, lane + 1, 0, b);
                if matches!(op, RoundAddHighNarrow | RoundSubHighNarrow) {
                    sse_const!(self, movaps 1, splat(lane + 1, 1 << (bits - 1)));
                    self.plain(Add, lane + 1, 0, 1);
                }
                self.narrow(lane, true);
            }
            ShrNarrowImm
            | RoundShrNarrowImm
            | SatShrNarrowImmS
            | SatShrNarrowImmU
            | SatShrNarrowImmSU
            | SatRoundShrNarrowImmS
            | SatRoundShrNarrowImmU
            | SatRoundShrNarrowImmSU => {
                let (round, saturating) = match op {
                    ShrNarrowImm => (false, None),
                    RoundShrNarrowImm => (true, None),
                    SatShrNarrowImmS => (false, Some(SatNarrowS)),
                    SatShrNarrowImmU => (false, Some(SatNarrowU)),
                    SatShrNarrowImmSU => (false, Some(SatNarrowSU)),
                    SatRoundShrNarrowImmS => (true, Some(SatNarrowS)),
                    SatRoundShrNarrowImmU => (true, Some(SatNarrowU)),
                    _ => (true, Some(SatNarrowSU)),
                };
                let signed = matches!(saturating, Some(SatNarrowS | SatNarrowSU));
                self.mov(0, a);
                if round {
                    self.round_shr(signed, lane + 1, n)
                } else {
                    self.shr(signed, lane + 1, 0, n)
                }
                match saturating {
                    Some(op) => self.saturating_narrow(op, lane),
                    None => self.narrow(lane, false),
                }
            }
            Dup => {
                let size = bits / 8;
                self.mov(0, a);
                sse_const!(self, pshufb 0, shuffle(|i| (n & 0xff) * size + i % size));
            }
            Ext if wide => dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(b) ; palignr xmm0, Rx(a), n as i8),
            Ext => dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a) ; punpcklqdq xmm0, Rx(b) ; psrldq xmm0, n as i8),
            Zip1 | Zip2 => {
                self.mov(0, a);
                if op == Zip2 && wide {
                    by_lane!(self, lane, [punpckhbw punpckhwd punpckhdq punpckhqdq] 0, b);
                } else {
                    by_lane!(self, lane, [punpcklbw punpcklwd punpckldq punpcklqdq] 0, b);
                    if op == Zip2 {
                        dynasm!(self.ops ; .arch x64 ; psrldq xmm0, 8);
                    }
                }
            }
            Uzp1 | Uzp2 => self.unzip(lane, wide, op == Uzp2, 0, a, b),
            Trn1 if lane == 3 => self.unzip(lane, wide, false, 0, a, b),
            Trn2 if lane == 3 => self.unzip(lane, wide, true, 0, a, b),
            Trn1 | Trn2 => {
                let even = splat(lane + 1, low_mask(bits));
                self.mov(0, a);
                self.mov(1, b);
                if op == Trn1 {
                    self.shl(lane + 1, 1, bits);
                    sse_const!(self, pand 0, even);
                } else {
                    self.shr(false, lane + 1, 0, bits);
                    sse_const!(self, pand 1, !even);
                }
                sse!(self, por 0, 1);
            }
            BitSelect => dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a) ; pxor xmm0, Rx(b) ; pand xmm0, Rx(c) ; pxor xmm0, Rx(b)),
            FAbs => {
                self.mov(0, a);
                sse_const!(self, pand 0, !signs(lane));
            }
            _ => {
                // FNeg
                self.mov(0, a);
                sse_const!(self, pxor 0, signs(lane));
            }
        }
        true
    }
}
