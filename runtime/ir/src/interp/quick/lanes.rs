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

pub(super) use {sse, sse_const};

/// A value in every lane.
pub fn splat(lane: u8, x: u128) -> u128 {
    let bits = 8u32 << lane;
    join((0..128 / bits).map(|_| x), bits)
}

/// The sign bit of every lane.
fn signs(lane: u8) -> u128 {
    splat(lane, 1 << ((8 << lane) - 1))
}

/// For `pshufb`: byte i is that of this number; [`ZERO`] gives 0.
fn shuffle(from: impl Fn(u32) -> u32) -> u128 {
    join((0..16).map(|i| from(i).into()), 8)
}

const ZERO: u32 = 0x80;

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

    // ---- pieces: those that name no registers work on xmm0

    pub fn mov(&mut self, to: u8, from: u8) {
        if to != from {
            sse!(self, movaps to, from);
        }
    }

    fn plain(&mut self, op: Vop, lane: u8, to: u8, from: u8) {
        match op {
            Vop::Add => by_lane!(self, lane, [paddb paddw paddd paddq] to, from),
            Vop::Sub => by_lane!(self, lane, [psubb psubw psubd psubq] to, from),
            Vop::And => sse!(self, pand to, from),
            Vop::Or => sse!(self, por to, from),
            _ => sse!(self, pxor to, from),
        }
    }

    fn extreme(&mut self, op: Vop, lane: u8, to: u8, from: u8) {
        match op {
            Vop::MinS | Vop::PairMinS => by_three!(self, lane, [pminsb pminsw pminsd] to, from),
            Vop::MinU | Vop::PairMinU => by_three!(self, lane, [pminub pminuw pminud] to, from),
            Vop::MaxS | Vop::PairMaxS => by_three!(self, lane, [pmaxsb pmaxsw pmaxsd] to, from),
            _ => by_three!(self, lane, [pmaxub pmaxuw pmaxud] to, from),
        }
    }

    pub fn invert(&mut self, xmm: u8) {
        sse_const!(self, pxor xmm, u128::MAX);
    }

    fn difference(&mut self, signed: bool, lane: u8, a: u8, b: u8) {
        self.mov(0, a);
        self.mov(1, a);
        self.extreme(if signed { Vop::MaxS } else { Vop::MaxU }, lane, 0, b);
        self.extreme(if signed { Vop::MinS } else { Vop::MinU }, lane, 1, b);
        self.plain(Vop::Sub, lane, 0, 1);
    }

    /// Each lane's sign in all its bits; `xmm3` is lost.
    fn spread_sign(&mut self, lane: u8, xmm: u8) {
        match lane {
            0 => {
                dynasm!(self.ops ; .arch x64 ; pxor xmm3, xmm3 ; pcmpgtb xmm3, Rx(xmm) ; movaps Rx(xmm), xmm3);
            }
            1 => dynasm!(self.ops ; .arch x64 ; psraw Rx(xmm), 15),
            2 => dynasm!(self.ops ; .arch x64 ; psrad Rx(xmm), 31),
            _ => dynasm!(self.ops ; .arch x64 ; psrad Rx(xmm), 31 ; pshufd Rx(xmm), Rx(xmm), 0xf5_u8 as i8),
        }
    }

    /// Shifts left by at most the lane's bits.
    fn shl(&mut self, lane: u8, xmm: u8, n: u32) {
        let by = n as i8;
        match lane {
            0 => {
                dynasm!(self.ops ; .arch x64 ; psllw Rx(xmm), by);
                sse_const!(self, pand xmm, splat(0, 0xff << n));
            }
            1 => dynasm!(self.ops ; .arch x64 ; psllw Rx(xmm), by),
            2 => dynasm!(self.ops ; .arch x64 ; pslld Rx(xmm), by),
            _ => dynasm!(self.ops ; .arch x64 ; psllq Rx(xmm), by),
        }
    }

    /// Shifts right by at most the lane's bits.
    fn shr(&mut self, signed: bool, lane: u8, xmm: u8, n: u32) {
        let by = n as i8;
        let arithmetic = n.min((8 << lane) - 1);
        match (lane, signed) {
            (0, false) => {
                dynasm!(self.ops ; .arch x64 ; psrlw Rx(xmm), by);
                sse_const!(self, pand xmm, splat(0, 0xff >> n));
            }
            (1, false) => dynasm!(self.ops ; .arch x64 ; psrlw Rx(xmm), by),
            (2, false) => dynasm!(self.ops ; .arch x64 ; psrld Rx(xmm), by),
            (_, false) => dynasm!(self.ops ; .arch x64 ; psrlq Rx(xmm), by),
            (1, true) => dynasm!(self.ops ; .arch x64 ; psraw Rx(xmm), arithmetic as i8),
            (2, true) => dynasm!(self.ops ; .arch x64 ; psrad Rx(xmm), arithmetic as i8),
            (_, true) => {
                // The sign's bit, where the shift puts it, becomes the bits above.
                let sign = signs(lane) >> arithmetic;
                self.shr(false, lane, xmm, arithmetic);
                sse_const!(self, pxor xmm, sign);
                if lane == 0 {
                    sse_const!(self, psubb xmm, sign);
                } else {
                    sse_const!(self, psubq xmm, sign);
                }
            }
        }
    }

    /// The same, adding the last bit shifted out.
    fn round_shr(&mut self, signed: bool, lane: u8, n: u32) {
        self.mov(1, 0);
        self.shr(signed, lane, 0, n);
        self.shr(false, lane, 1, n - 1);
        sse_const!(self, pand 1, splat(lane, 1));
        self.plain(Vop::Add, lane, 0, 1);
    }

    /// Halving operations on unsigned lanes of `xmm0` and `xmm1`.
    fn halve(&mut self, op: Vop, lane: u8) {
        match op {
            Vop::HalvAddS | Vop::HalvAddU => {
                // What both have, and half of what one has.
                dynasm!(self.ops ; .arch x64 ; movaps xmm2, xmm0 ; pand xmm2, xmm1 ; pxor xmm0, xmm1);
                self.shr(false, lane, 0, 1);
                self.plain(Vop::Add, lane, 0, 2);
            }
            _ => {
                // The rounded mean, or a less it.
                self.mov(2, 0);
                match lane {
                    0 => sse!(self, pavgb 2, 1),
                    1 => sse!(self, pavgw 2, 1),
                    _ => {
                        dynasm!(self.ops ; .arch x64 ; por xmm2, xmm1 ; pxor xmm1, xmm0);
                        self.shr(false, lane, 1, 1);
                        self.plain(Vop::Sub, lane, 2, 1);
                    }
                }
                match op {
                    Vop::HalvSubS | Vop::HalvSubU => self.plain(Vop::Sub, lane, 0, 2),
                    _ => self.mov(0, 2),
                }
            }
        }
    }

    /// The even or odd lanes of a, then of b; `xmm3` is lost.
    fn unzip(&mut self, lane: u8, wide: bool, odd: bool, to: u8, a: u8, b: u8) {
        let (size, odd) = (1 << lane, u32::from(odd));
        let pick = shuffle(|i| if i < 8 { (2 * (i / size) + odd) * size + i % size } else { ZERO });
        self.mov(to, a);
        match (wide, lane, odd) {
            (true, 3, 0) => sse!(self, punpcklqdq to, b),
            (true, 3, _) => sse!(self, punpckhqdq to, b),
            (true, 2, 0) => sse!(self, shufps to, b, 0x88_u8 as i8),
            (true, 2, _) => sse!(self, shufps to, b, 0xdd_u8 as i8),
            (true, ..) => {
                self.mov(3, b);
                sse_const!(self, pshufb to, pick);
                sse_const!(self, pshufb 3, pick);
                sse!(self, punpcklqdq to, 3);
            }
            (false, ..) => {
                sse!(self, punpcklqdq to, b);
                sse_const!(self, pshufb to, pick);
            }
        }
    }

    fn pair_add_long(&mut self, signed: bool, lane: u8, a: u8) {
        let ones = splat(lane, 1);
        match (lane, signed) {
            (0, true) => {
                sse_const!(self, movaps 0, ones);
                sse!(self, pmaddubsw 0, a);
            }
            (0, false) => {
                self.mov(0, a);
                sse_const!(self, pmaddubsw 0, ones);
            }
            (1, true) => {
                self.mov(0, a);
                sse_const!(self, pmaddwd 0, ones);
            }
            (2, true) => {
                self.mov(0, a);
                self.mov(1, a);
                dynasm!(self.ops ; .arch x64 ; psrlq xmm1, 32);
                sse_const!(self, pmuldq 0, ones);
                sse_const!(self, pmuldq 1, ones);
                sse!(self, paddq 0, 1);
            }
            _ => {
                self.mov(0, a);
                self.mov(1, a);
                self.shr(false, lane + 1, 1, 8 << lane);
                sse_const!(self, pand 0, splat(lane + 1, low_mask(8 << lane)));
                self.plain(Vop::Add, lane + 1, 0, 1);
            }
        }
    }

    /// Looks the high nibbles of a's bytes up in one table, into `xmm0`, and the low ones in another, into `xmm1`.
    fn nibbles(&mut self, a: u8, high: u128, low: u128) {
        self.mov(2, a);
        self.mov(3, a);
        dynasm!(self.ops ; .arch x64 ; psrlw xmm2, 4);
        sse_const!(self, pand 2, splat(0, 15));
        sse_const!(self, pand 3, splat(0, 15));
        sse_const!(self, movaps 0, high);
        sse_const!(self, movaps 1, low);
        dynasm!(self.ops ; .arch x64 ; pshufb xmm0, xmm2 ; pshufb xmm1, xmm3);
    }

    fn leading_zeros(&mut self, lane: u8) {
        let zeros = |i: u32| if i == 0 { 8 } else { i.leading_zeros() - 28 };
        self.nibbles(0, shuffle(zeros), shuffle(|i| if i == 0 { 8 } else { zeros(i) + 4 }));
        sse!(self, pminub 0, 1);
        for half in 0..lane {
            // The low half counts if the high one is all zeros.
            let bits = 8 << half;
            self.mov(1, 0);
            self.shr(false, half + 1, 1, bits);
            self.mov(2, 1);
            sse_const!(self, movaps 3, splat(half + 1, bits.into()));
            if half == 0 {
                sse!(self, pcmpeqw 2, 3);
            } else {
                sse!(self, pcmpeqd 2, 3);
            }
            sse_const!(self, pand 0, splat(half + 1, low_mask(bits)));
            sse!(self, pand 0, 2);
            self.plain(Vop::Add, half + 1, 0, 1);
        }
    }

    /// Shifts each lane by the signed low byte of b's (AVX2, 32 and 64 bits).
    fn shift_by_lanes(&mut self, op: Vop, lane: u8, a: u8, b: u8) {
        let signed = matches!(op, Vop::ShlS | Vop::RoundShlS);
        let round = matches!(op, Vop::RoundShlS | Vop::RoundShlU);
        self.mov(2, b);
        // Counts beyond the lane's bits, and so negative ones, give what they should.
        if lane == 2 {
            dynasm!(self.ops ; .arch x64 ; pslld xmm2, 24 ; psrad xmm2, 24 ; vpsllvd xmm0, Rx(a), xmm2 ; pxor xmm3, xmm3 ; psubd xmm3, xmm2);
        } else {
            self.shl(3, 2, 56);
            self.shr(true, 3, 2, 56);
            dynasm!(self.ops ; .arch x64 ; vpsllvq xmm0, Rx(a), xmm2 ; pxor xmm3, xmm3 ; psubq xmm3, xmm2);
        }
        if round {
            // To the last bit that goes.
            let ones = self.pooled(u128::MAX);
            if lane == 2 {
                dynasm!(self.ops ; .arch x64 ; paddd xmm3, [=>ones]);
            } else {
                dynasm!(self.ops ; .arch x64 ; paddq xmm3, [=>ones]);
            }
        }
        match (lane, signed) {
            (2, false) => dynasm!(self.ops ; .arch x64 ; vpsrlvd xmm1, Rx(a), xmm3),
            (2, true) => dynasm!(self.ops ; .arch x64 ; vpsravd xmm1, Rx(a), xmm3),
            (_, false) => dynasm!(self.ops ; .arch x64 ; vpsrlvq xmm1, Rx(a), xmm3),
            (_, true) => dynasm!(self.ops
                ; .arch x64
                ; pshufd xmm1, Rx(a), 0xf5_u8 as i8 ; psrad xmm1, 31
                ; vpxor xmm1, xmm1, Rx(a) ; vpsrlvq xmm1, xmm1, xmm3
                ; pshufd xmm3, Rx(a), 0xf5_u8 as i8 ; psrad xmm3, 31
                ; pxor xmm1, xmm3
            ),
        }
        if round {
            self.mov(3, 1);
            self.shr_rounded(signed, lane);
        }
        // Where the amount is negative, the right shift.
        self.spread_sign(lane, 2);
        dynasm!(self.ops ; .arch x64 ; pxor xmm1, xmm0 ; pand xmm1, xmm2 ; pxor xmm0, xmm1);
    }

    /// Halves `xmm1`, whose copy is in `xmm3`, rounding up.
    fn shr_rounded(&mut self, signed: bool, lane: u8) {
        self.shr(signed, lane, 1, 1);
        sse_const!(self, pand 3, splat(lane, 1));
        self.plain(Vop::Add, lane, 1, 3);
    }

    // ---- widths

    pub fn widen(&mut self, signed: bool, lane: u8, to: u8, from: u8) {
        if signed {
            by_three!(self, lane, [pmovsxbw pmovsxwd pmovsxdq] to, from);
        } else {
            by_three!(self, lane, [pmovzxbw pmovzxwd pmovzxdq] to, from);
        }
    }

    /// The low halves of wide lanes, or the high ones.
    fn narrow(&mut self, lane: u8, high: bool) {
        let size = 1 << lane;
        let from = if high { size } else { 0 };
        sse_const!(self, pshufb 0, shuffle(|i| if i < 8 { i / size * 2 * size + from + i % size } else { ZERO }));
    }

    fn mul_long(&mut self, signed: bool, lane: u8, a: u8, b: u8) {
        match lane {
            0 => {
                self.widen(signed, 0, 0, a);
                self.widen(signed, 0, 1, b);
                sse!(self, pmullw 0, 1);
            }
            1 => {
                dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a) ; pmullw xmm0, Rx(b) ; movaps xmm1, Rx(a));
                if signed {
                    sse!(self, pmulhw 1, b);
                } else {
                    sse!(self, pmulhuw 1, b);
                }
                sse!(self, punpcklwd 0, 1);
            }
            _ => {
                dynasm!(self.ops ; .arch x64 ; pshufd xmm0, Rx(a), 0x10 ; pshufd xmm1, Rx(b), 0x10);
                if signed {
                    sse!(self, pmuldq 0, 1);
                } else {
                    sse!(self, pmuludq 0, 1);
                }
            }
        }
    }

    // ---- saturation

    /// The high half of twice the product; what overflows gives the least number, which nothing else does.
    fn double_high(&mut self, round: bool, lane: u8, a: u8, b: u8) {
        match (lane, round) {
            (1, true) => dynasm!(self.ops ; .arch x64 ; movaps xmm0, Rx(a) ; pmulhrsw xmm0, Rx(b)),
            (1, false) => dynasm!(self.ops
                ; .arch x64
                ; movaps xmm0, Rx(a) ; pmulhw xmm0, Rx(b) ; psllw xmm0, 1
                ; movaps xmm1, Rx(a) ; pmullw xmm1, Rx(b) ; psrlw xmm1, 15
                ; por xmm0, xmm1
            ),
            _ => {
                dynasm!(self.ops
                    ; .arch x64
                    ; movaps xmm0, Rx(a) ; pmuldq xmm0, Rx(b)
                    ; pshufd xmm1, Rx(a), 0xf5_u8 as i8 ; pshufd xmm2, Rx(b), 0xf5_u8 as i8 ; pmuldq xmm1, xmm2
                    ; psllq xmm0, 1 ; psllq xmm1, 1
                );
                if round {
                    sse_const!(self, paddq 0, splat(3, 1 << 31));
                    sse_const!(self, paddq 1, splat(3, 1 << 31));
                }
                dynasm!(self.ops ; .arch x64 ; psrlq xmm0, 32 ; pblendw xmm0, xmm1, 0xcc_u8 as i8);
            }
        }
    }

    /// Turns the least number of each lane, which is an overflow, into the greatest.
    fn least_to_greatest(&mut self, lane: u8) {
        self.least_to_greatest_of(lane, 0);
    }

    /// The same where another register has it.
    fn least_to_greatest_of(&mut self, lane: u8, of: u8) {
        sse_const!(self, movaps 1, signs(lane));
        by_lane!(self, lane, [pcmpeqb pcmpeqw pcmpeqd pcmpeqq] 1, of);
        sse!(self, pxor 0, 1);
    }

    fn saturating(&mut self, op: Vop, lane: u8, a: u8, b: u8) {
        let plain = if matches!(op, Vop::SatAddS | Vop::SatAddU) { Vop::Add } else { Vop::Sub };
        self.mov(0, a);
        self.mov(1, a);
        if lane < 2 {
            self.plain(plain, lane, 1, b);
            match (op, lane) {
                (Vop::SatAddS, 0) => sse!(self, paddsb 0, b),
                (Vop::SatAddS, _) => sse!(self, paddsw 0, b),
                (Vop::SatAddU, 0) => sse!(self, paddusb 0, b),
                (Vop::SatAddU, _) => sse!(self, paddusw 0, b),
                (Vop::SatSubS, 0) => sse!(self, psubsb 0, b),
                (Vop::SatSubS, _) => sse!(self, psubsw 0, b),
                (_, 0) => sse!(self, psubusb 0, b),
                _ => sse!(self, psubusw 0, b),
            }
            return sse!(self, pxor 1, 0);
        }
        self.plain(plain, lane, 0, b);
        // In the sign of xmm1: overflow, carry or borrow.
        match op {
            Vop::SatAddS => dynasm!(self.ops ; .arch x64 ; pxor xmm1, xmm0 ; movaps xmm2, Rx(b) ; pxor xmm2, xmm0 ; pand xmm1, xmm2),
            Vop::SatSubS => dynasm!(self.ops ; .arch x64 ; pxor xmm1, xmm0 ; movaps xmm2, Rx(b) ; pxor xmm2, Rx(a) ; pand xmm1, xmm2),
            Vop::SatAddU => dynasm!(self.ops
                ; .arch x64 ; por xmm1, Rx(b) ; movaps xmm2, xmm0 ; pandn xmm2, xmm1 ; movaps xmm1, Rx(a) ; pand xmm1, Rx(b) ; por xmm1, xmm2
            ),
            _ => dynasm!(self.ops
                ; .arch x64 ; movaps xmm2, Rx(a) ; pxor xmm2, Rx(b) ; pandn xmm2, xmm0 ; pandn xmm1, Rx(b) ; por xmm1, xmm2
            ),
        }
        self.spread_sign(lane, 1);
        match op {
            Vop::SatAddU => sse!(self, por 0, 1),
            Vop::SatSubU => dynasm!(self.ops ; .arch x64 ; movaps xmm2, xmm1 ; pandn xmm2, xmm0 ; movaps xmm0, xmm2),
            _ => self.greatest_or_least(lane, a),
        }
    }

    /// Where `xmm1` is all ones, the greatest or least number, by a's sign.
    fn greatest_or_least(&mut self, lane: u8, a: u8) {
        self.mov(2, a);
        self.spread_sign(lane, 2);
        sse_const!(self, pxor 2, !signs(lane));
        dynasm!(self.ops ; .arch x64 ; pxor xmm2, xmm0 ; pand xmm2, xmm1 ; pxor xmm0, xmm2);
    }

    fn saturating_shl(&mut self, op: Vop, lane: u8, n: u32, a: u8) {
        // It saturates if it cannot be shifted back.
        self.mov(0, a);
        self.shl(lane, 0, n);
        self.mov(1, 0);
        self.shr(op == Vop::SatShlImmS, lane, 1, n);
        by_lane!(self, lane, [pcmpeqb pcmpeqw pcmpeqd pcmpeqq] 1, a);
        self.invert(1);
        if op == Vop::SatShlImmS {
            return self.greatest_or_least(lane, a);
        }
        sse!(self, por 0, 1);
        if op == Vop::SatShlImmSU {
            self.mov(2, a);
            self.spread_sign(lane, 2);
            dynasm!(self.ops ; .arch x64 ; por xmm1, xmm2 ; pandn xmm2, xmm0 ; movaps xmm0, xmm2);
        }
    }

    fn saturating_narrow(&mut self, op: Vop, lane: u8) {
        self.mov(1, 0);
        if lane == 2 {
            return self.saturating_narrow_64(op);
        }
        // What is not the same when widened again has saturated.
        if op == Vop::SatNarrowU {
            // As signed numbers they would be too small.
            let most = splat(lane + 1, low_mask(8 << lane));
            if lane == 0 {
                sse_const!(self, pminuw 0, most);
            } else {
                sse_const!(self, pminud 0, most);
            }
        }
        match (op, lane) {
            (Vop::SatNarrowS, 0) => sse!(self, packsswb 0, 0),
            (Vop::SatNarrowS, _) => sse!(self, packssdw 0, 0),
            (_, 0) => sse!(self, packuswb 0, 0),
            _ => sse!(self, packusdw 0, 0),
        }
        self.widen(op == Vop::SatNarrowS, lane, 2, 0);
        sse!(self, pxor 1, 2);
    }

    /// From 64 bits to 32; `xmm1` is a copy.
    fn saturating_narrow_64(&mut self, op: Vop) {
        // High halves to xmm3, the result's low halves to xmm0.
        dynasm!(self.ops ; .arch x64 ; pshufd xmm3, xmm0, 0x0d ; pshufd xmm0, xmm0, 0x08);
        if op == Vop::SatNarrowS {
            // Saturated if the high half is not the low half's sign.
            dynasm!(self.ops ; .arch x64 ; movaps xmm1, xmm0 ; psrad xmm1, 31 ; pcmpeqd xmm1, xmm3);
            self.invert(1);
            dynasm!(self.ops ; .arch x64 ; psrad xmm3, 31);
            sse_const!(self, pxor 3, splat(2, 0x7fff_ffff));
            dynasm!(self.ops ; .arch x64 ; pxor xmm3, xmm0 ; pand xmm3, xmm1 ; pxor xmm0, xmm3);
        } else {
            // Or if there is one.
            dynasm!(self.ops ; .arch x64 ; pxor xmm1, xmm1 ; pcmpeqd xmm1, xmm3);
            self.invert(1);
            sse!(self, por 0, 1);
            if op == Vop::SatNarrowSU {
                dynasm!(self.ops ; .arch x64 ; psrad xmm3, 31 ; pandn xmm3, xmm0 ; movaps xmm0, xmm3);
            }
        }
        // Only the low half counts.
        dynasm!(self.ops ; .arch x64 ; movq xmm1, xmm1);
    }
}
