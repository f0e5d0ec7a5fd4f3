//! Saturating operations on lanes ([`super::lanes`]): the result in `xmm0`, and in `xmm1` what is not zero where it saturated.

use super::emit::Emitter;
use super::lanes::{by_lane, signs, splat, sse, sse_const};
use crate::fold::low_mask;
use crate::op::Vop;
use dynasmrt::{DynasmApi, DynasmLabelApi, dynasm};

impl Emitter<'_> {
    /// The high half of twice the product; what overflows gives the least number, which nothing else does.
    pub fn double_high(&mut self, round: bool, lane: u8, a: u8, b: u8) {
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
    pub fn least_to_greatest(&mut self, lane: u8) {
        self.least_to_greatest_of(lane, 0);
    }

    /// The same where another register has it.
    pub fn least_to_greatest_of(&mut self, lane: u8, of: u8) {
        sse_const!(self, movaps 1, signs(lane));
        by_lane!(self, lane, [pcmpeqb pcmpeqw pcmpeqd pcmpeqq] 1, of);
        sse!(self, pxor 0, 1);
    }

    pub fn saturating(&mut self, op: Vop, lane: u8, a: u8, b: u8) {
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
    pub fn greatest_or_least(&mut self, lane: u8, a: u8) {
        self.mov(2, a);
        self.spread_sign(lane, 2);
        sse_const!(self, pxor 2, !signs(lane));
        dynasm!(self.ops ; .arch x64 ; pxor xmm2, xmm0 ; pand xmm2, xmm1 ; pxor xmm0, xmm2);
    }

    pub fn saturating_shl(&mut self, op: Vop, lane: u8, n: u32, a: u8) {
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

    pub fn saturating_narrow(&mut self, op: Vop, lane: u8) {
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
