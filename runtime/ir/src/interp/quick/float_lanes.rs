//! Single-precision lanes by the host, in an environment that flushes denormal numbers and rounds to nearest, as Advanced SIMD's.
//!
//! The host does not flush: what has, or might have, a denormal number or a NaN is called, and is found before the host could raise a flag that the
//! guest would not see. A sum with a denormal result is exact; a product is looked at by its factors' exponents.

use super::super::code::Side;
use super::cold::{Cold, Into};
use super::emit::Emitter;
use super::lanes::{splat, sse, sse_const};
use crate::op::{Type, Vop};
use dynasmrt::{DynamicLabel, DynasmApi, DynasmLabelApi, dynasm};

/// The least normal number, and all but the sign.
const NORMAL: u128 = 1 << 23;
const MAGNITUDE: u128 = 0x7fff_ffff;

impl Emitter<'_> {
    /// Emits an operation on floating-point lanes; false: it has no template.
    pub fn float_lanes(&mut self, op: Vop, lane: u8, side: &Side, at: u32) -> bool {
        use Vop::*;
        let frac = side.inst.imm >> 32;
        let known = match op {
            FAdd | FSub | FMul | FMulAdd | FMulSub | FMin | FMax | FAbsDiff | FCmpEq | FCmpGe | FCmpGt | FAbsGe | FAbsGt | FPairAdd
            | FPairMin | FPairMax => true,
            FToS | FToU => frac == 0,
            SToF | UToF => frac <= 32,
            _ => false,
        };
        if !known || lane != 2 || !self.shape.flushes(side.inst.imm as u8) {
            return false;
        }
        let wide = side.types[0].bits() == 128;
        let operands = self.vector_operands(side, op.operands());
        // Copies; what is beyond the lanes becomes zeros.
        for (to, from) in (0..op.operands() as u8).zip(operands) {
            if wide {
                self.mov(to, from);
            } else {
                sse!(self, movq to, from);
            }
        }
        let scratch = [self.scratch_vector(3), self.scratch_vector(4)];
        self.forget_scratch();
        let saved = self.regs;
        let (slow, back) = (self.label(), self.label());
        match op {
            FAdd | FSub | FAbsDiff | FPairAdd => {
                self.pairs_of_floats(op, wide);
                self.refuse_denormal(&[0, 1], scratch[0], slow);
                if op == FAdd || op == FPairAdd {
                    sse!(self, addps 0, 1)
                } else {
                    sse!(self, subps 0, 1)
                }
                self.refuse_result(scratch[0], slow);
                if op == FAbsDiff {
                    sse_const!(self, andps 0, splat(2, MAGNITUDE));
                }
            }
            FMul => {
                self.refuse_denormal(&[0, 1], scratch[0], slow);
                self.refuse_small(0, 1, scratch, slow);
                sse!(self, mulps 0, 1);
                self.refuse_nan(0, 0, slow);
            }
            FMulAdd | FMulSub => {
                self.refuse_denormal(&[0, 1, 2], scratch[0], slow);
                // What the product raises, it raises for the guest too, even if the sum is called.
                self.refuse_small(1, 2, scratch, slow);
                sse!(self, mulps 1, 2);
                self.refuse_nan(1, 1, slow);
                if op == FMulAdd {
                    sse!(self, addps 0, 1)
                } else {
                    sse!(self, subps 0, 1)
                }
                self.refuse_result(scratch[0], slow);
            }
            FMin | FMax | FPairMin | FPairMax => {
                self.pairs_of_floats(op, wide);
                self.refuse_nan(0, 1, slow);
                self.refuse_denormal(&[0, 1], scratch[0], slow);
                // Of two zeros the second operand is taken: both ways, so that the sign can be made of both.
                self.mov(2, 1);
                if matches!(op, FMin | FPairMin) {
                    dynasm!(self.ops ; .arch x64 ; minps xmm2, xmm0 ; minps xmm0, xmm1 ; orps xmm0, xmm2);
                } else {
                    dynasm!(self.ops ; .arch x64 ; maxps xmm2, xmm0 ; maxps xmm0, xmm1 ; andps xmm0, xmm2);
                }
            }
            FCmpEq | FCmpGe | FCmpGt | FAbsGe | FAbsGt => {
                self.refuse_denormal(&[0, 1], scratch[0], slow);
                if matches!(op, FAbsGe | FAbsGt) {
                    sse_const!(self, andps 0, splat(2, MAGNITUDE));
                    sse_const!(self, andps 1, splat(2, MAGNITUDE));
                }
                match op {
                    FCmpEq => dynasm!(self.ops ; .arch x64 ; cmpps xmm0, xmm1, 0),
                    FCmpGe | FAbsGe => dynasm!(self.ops ; .arch x64 ; cmpps xmm1, xmm0, 2 ; movaps xmm0, xmm1),
                    _ => dynasm!(self.ops ; .arch x64 ; cmpps xmm1, xmm0, 1 ; movaps xmm0, xmm1),
                }
            }
            FToS => {
                self.refuse_denormal(&[0], scratch[0], slow);
                self.mov(1, 0);
                sse!(self, cvttps2dq 0, 0);
                // What does not fit is the least integer.
                sse_const!(self, movaps 2, splat(2, 1 << 31));
                dynasm!(self.ops ; .arch x64 ; pcmpeqd xmm2, xmm0);
                self.refuse(2, slow);
            }
            FToU => {
                self.refuse_denormal(&[0], scratch[0], slow);
                // As signed numbers: from 0 to less than 2^31.
                self.mov(1, 0);
                sse_const!(self, pminud 1, splat(2, 0x4eff_ffff));
                dynasm!(self.ops ; .arch x64 ; pcmpeqd xmm1, xmm0);
                self.invert(1);
                self.refuse(1, slow);
                sse!(self, cvttps2dq 0, 0);
            }
            _ => {
                if op == UToF {
                    // Both halves are exact, and their sum is rounded.
                    dynasm!(self.ops ; .arch x64 ; movaps xmm1, xmm0 ; psrld xmm1, 16 ; cvtdq2ps xmm1, xmm1);
                    sse_const!(self, mulps 1, splat(2, f32::to_bits(65536.0).into()));
                    sse_const!(self, pand 0, splat(2, 0xffff));
                }
                sse!(self, cvtdq2ps 0, 0);
                if op == UToF {
                    sse!(self, addps 0, 1);
                }
                if frac != 0 {
                    sse_const!(self, mulps 0, splat(2, u128::from((1.0 / (1u64 << frac) as f32).to_bits())));
                }
            }
        }
        if matches!(op, SToF | UToF) {
            self.put_vector(side);
            return true;
        }
        dynasm!(self.ops ; .arch x64 ; =>back);
        self.put_vector(side);
        let into = if side.inst.ty == Type::V128 { Into::Wide } else { Into::Xmm0 };
        self.cold.push(Cold::Word { label: slow, back, at, cell: side.result, into, saved });
        true
    }

    /// Of a pairwise operation: the even lanes of both in `xmm0`, the odd ones in `xmm1`.
    fn pairs_of_floats(&mut self, op: Vop, wide: bool) {
        if !matches!(op, Vop::FPairAdd | Vop::FPairMin | Vop::FPairMax) {
            return;
        }
        if !wide {
            dynasm!(self.ops ; .arch x64 ; punpcklqdq xmm0, xmm1 ; pxor xmm1, xmm1);
        }
        dynasm!(self.ops ; .arch x64 ; movaps xmm2, xmm0 ; shufps xmm0, xmm1, 0x88_u8 as i8 ; shufps xmm2, xmm1, 0xdd_u8 as i8 ; movaps xmm1, xmm2);
    }

    /// Goes to `slow` if any bit of a register is set.
    fn refuse(&mut self, xmm: u8, slow: DynamicLabel) {
        dynasm!(self.ops ; .arch x64 ; ptest Rx(xmm), Rx(xmm) ; jne =>slow);
    }

    /// ... if there is a denormal number, or the least normal one: magnitudes less one, zeros being out of the way. `xmm3` is lost.
    fn refuse_denormal(&mut self, registers: &[u8], scratch: u8, slow: DynamicLabel) {
        for (number, register) in registers.iter().enumerate() {
            let to = if number == 0 { scratch } else { 3 };
            self.mov(to, *register);
            sse_const!(self, pand to, splat(2, MAGNITUDE));
            sse_const!(self, paddd to, u128::MAX);
            if number > 0 {
                sse!(self, pminud scratch, 3);
            }
        }
        let most = self.pooled(splat(2, NORMAL - 1));
        dynasm!(self.ops ; .arch x64 ; pmaxud Rx(scratch), [=>most] ; pcmpeqd Rx(scratch), [=>most]);
        self.refuse(scratch, slow);
    }

    /// ... if a pair of numbers is unordered. `xmm3` is lost.
    fn refuse_nan(&mut self, a: u8, b: u8, slow: DynamicLabel) {
        self.mov(3, a);
        dynasm!(self.ops ; .arch x64 ; cmpps xmm3, Rx(b), 3);
        self.refuse(3, slow);
    }

    /// ... if a sum in `xmm0` is denormal or a NaN.
    fn refuse_result(&mut self, scratch: u8, slow: DynamicLabel) {
        self.refuse_denormal(&[0], scratch, slow);
        self.refuse_nan(0, 0, slow);
    }

    /// ... if a product may not be normal although no factor is zero. `xmm3` is lost.
    fn refuse_small(&mut self, a: u8, b: u8, [sum, least]: [u8; 2], slow: DynamicLabel) {
        // Exponents are added with their bias. Mantissas may add two to that.
        let small = self.pooled(splat(2, (127 + 4) << 23));
        self.mov(sum, a);
        self.mov(3, b);
        sse_const!(self, pand sum, splat(2, MAGNITUDE));
        sse_const!(self, pand 3, splat(2, MAGNITUDE));
        self.mov(least, 3);
        dynasm!(self.ops
            ; .arch x64
            ; pminud Rx(least), Rx(sum) ; paddd Rx(sum), xmm3
            ; pmaxud Rx(sum), [=>small] ; pcmpeqd Rx(sum), [=>small]
            ; pxor xmm3, xmm3 ; pcmpeqd Rx(least), xmm3 ; pandn Rx(least), Rx(sum)
        );
        self.refuse(least, slow);
    }
}
