//! What operations on lanes ([`super::lanes`]) are made of. What names no register works on `xmm0`; `xmm1` to `xmm3` may be lost.

use super::emit::Emitter;
use super::lanes::{ZERO, by_lane, by_three, shuffle, signs, splat, sse, sse_const};
use crate::fold::low_mask;
use crate::op::Vop;
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

impl Emitter<'_> {
    pub fn mov(&mut self, to: u8, from: u8) {
        if to != from {
            sse!(self, movaps to, from);
        }
    }

    pub fn plain(&mut self, op: Vop, lane: u8, to: u8, from: u8) {
        match op {
            Vop::Add => by_lane!(self, lane, [paddb paddw paddd paddq] to, from),
            Vop::Sub => by_lane!(self, lane, [psubb psubw psubd psubq] to, from),
            Vop::And => sse!(self, pand to, from),
            Vop::Or => sse!(self, por to, from),
            _ => sse!(self, pxor to, from),
        }
    }

    pub fn extreme(&mut self, op: Vop, lane: u8, to: u8, from: u8) {
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

    pub fn difference(&mut self, signed: bool, lane: u8, a: u8, b: u8) {
        self.mov(0, a);
        self.mov(1, a);
        self.extreme(if signed { Vop::MaxS } else { Vop::MaxU }, lane, 0, b);
        self.extreme(if signed { Vop::MinS } else { Vop::MinU }, lane, 1, b);
        self.plain(Vop::Sub, lane, 0, 1);
    }

    /// Each lane's sign in all its bits; `xmm3` is lost.
    pub fn spread_sign(&mut self, lane: u8, xmm: u8) {
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
    pub fn shl(&mut self, lane: u8, xmm: u8, n: u32) {
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
    pub fn shr(&mut self, signed: bool, lane: u8, xmm: u8, n: u32) {
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
    pub fn round_shr(&mut self, signed: bool, lane: u8, n: u32) {
        self.mov(1, 0);
        self.shr(signed, lane, 0, n);
        self.shr(false, lane, 1, n - 1);
        sse_const!(self, pand 1, splat(lane, 1));
        self.plain(Vop::Add, lane, 0, 1);
    }

    /// Halving operations on unsigned lanes of `xmm0` and `xmm1`.
    pub fn halve(&mut self, op: Vop, lane: u8) {
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
    pub fn unzip(&mut self, lane: u8, wide: bool, odd: bool, to: u8, a: u8, b: u8) {
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

    pub fn pair_add_long(&mut self, signed: bool, lane: u8, a: u8) {
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
    pub fn nibbles(&mut self, a: u8, high: u128, low: u128) {
        self.mov(2, a);
        self.mov(3, a);
        dynasm!(self.ops ; .arch x64 ; psrlw xmm2, 4);
        sse_const!(self, pand 2, splat(0, 15));
        sse_const!(self, pand 3, splat(0, 15));
        sse_const!(self, movaps 0, high);
        sse_const!(self, movaps 1, low);
        dynasm!(self.ops ; .arch x64 ; pshufb xmm0, xmm2 ; pshufb xmm1, xmm3);
    }

    pub fn leading_zeros(&mut self, lane: u8) {
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
    pub fn shift_by_lanes(&mut self, op: Vop, lane: u8, a: u8, b: u8) {
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
    pub fn narrow(&mut self, lane: u8, high: bool) {
        let size = 1 << lane;
        let from = if high { size } else { 0 };
        sse_const!(self, pshufb 0, shuffle(|i| if i < 8 { i / size * 2 * size + from + i % size } else { ZERO }));
    }

    pub fn mul_long(&mut self, signed: bool, lane: u8, a: u8, b: u8) {
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
}
