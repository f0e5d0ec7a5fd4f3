//! ARM's reciprocal and reciprocal square root estimates and Newton-Raphson steps (Arm ARM `FPRecipEstimate`, `FPRSqrtEstimate`,
//! `FPRecipStep`, `FPRSqrtStep`, `UnsignedRecipEstimate`, `UnsignedRSqrtEstimate`). AArch32 Advanced SIMD calls them with
//! [`Env::ARM_STANDARD`].

use crate::unpack::{Class, infinity, overflows_to_infinity, unpack, zero};
use crate::{Env, Flags, Format, div, fma, mul, nan, neg, sub};

/// 1/x to nine bits: `a` is x in units of 2^-9, from 256 (0.5) to 511; the result is in units of 2^-8, from 256 (1.0) to 511.
fn recip_table(a: u64) -> u64 {
    let midpoint = 2 * a + 1;
    ((1 << 19) / midpoint).div_ceil(2)
}

/// 1/sqrt(x) to nine bits: `a` is x in units of 2^-9, from 128 (0.25) to 511; the result is in units of 2^-8, from 256 (1.0) to 511.
fn rsqrt_table(a: u64) -> u64 {
    let midpoint = if a < 256 { 2 * a + 1 } else { ((a >> 1) * 2 + 1) * 2 };
    // The largest root b with midpoint * b^2 below 2^28.
    let root = (((1u64 << 28) - 1) / midpoint).isqrt();
    root.div_ceil(2)
}

/// Estimates 1/`a` (ARM `VRECPE`, `FRECPE`).
pub fn recip_estimate<F: Format<Bits = u64>>(a: u64, env: &Env, flags: &mut Flags) -> u64 {
    let x = unpack::<F>(a, env, flags);
    match x.class {
        Class::QuietNan | Class::SignallingNan | Class::Unsupported => return nan::one::<F>(&x, env, flags),
        Class::Infinity => return zero::<F>(x.sign),
        Class::Zero => {
            flags.raise(Flags::DIV_BY_ZERO);
            return infinity::<F>(x.sign);
        }
        Class::Finite => {}
    }
    // The reciprocal of a value below 2^(-bias - 1) overflows.
    if x.exp < -F::BIAS - 1 {
        flags.raise(Flags::OVERFLOW | Flags::INEXACT);
        let magnitude = if overflows_to_infinity(env.round, x.sign) { F::INF } else { F::MAX_FINITE };
        return zero::<F>(x.sign) | magnitude;
    }
    let biased = -x.exp - 1 + F::BIAS;
    if biased < 1 && env.flush_outputs {
        flags.raise(Flags::UNDERFLOW);
        return zero::<F>(x.sign);
    }
    let significand = recip_table(x.sig >> 55) << (F::FRAC_BITS - 8);
    let magnitude = if biased < 1 { significand >> (1 - biased) } else { ((biased as u64) << F::FRAC_BITS) | (significand & F::FRAC_MASK) };
    zero::<F>(x.sign) | magnitude
}

/// Estimates 1/sqrt(`a`) (ARM `VRSQRTE`, `FRSQRTE`).
pub fn rsqrt_estimate<F: Format<Bits = u64>>(a: u64, env: &Env, flags: &mut Flags) -> u64 {
    let x = unpack::<F>(a, env, flags);
    match x.class {
        Class::QuietNan | Class::SignallingNan | Class::Unsupported => return nan::one::<F>(&x, env, flags),
        Class::Zero => {
            flags.raise(Flags::DIV_BY_ZERO);
            return infinity::<F>(x.sign);
        }
        _ if x.sign => return nan::invalid::<F>(env, flags),
        Class::Infinity => return 0,
        Class::Finite => {}
    }
    // Scaled by an even power of two to between 0.25 and 1.
    let odd = x.exp & 1 != 0;
    let scaled = if odd { x.sig >> 55 } else { x.sig >> 56 };
    let exp = -(x.exp + 2 - i32::from(odd)) / 2;
    let biased = (exp + F::BIAS) as u64;
    biased << F::FRAC_BITS | rsqrt_table(scaled) << (F::FRAC_BITS - 8) & F::FRAC_MASK
}

/// Estimates the reciprocal of an unsigned fixed-point number with 32 fraction bits, from 0.5 up, as one with 31 fraction bits; all ones
/// below (ARM `VRECPE.U32`).
#[must_use]
pub fn recip_estimate_u32(a: u32) -> u32 {
    if a >> 31 == 0 { u32::MAX } else { (recip_table(u64::from(a >> 23)) << 23) as u32 }
}

/// Estimates the reciprocal square root of an unsigned fixed-point number with 32 fraction bits, from 0.25 up, as one with 31 fraction
/// bits; all ones below (ARM `VRSQRTE.U32`).
#[must_use]
pub fn rsqrt_estimate_u32(a: u32) -> u32 {
    if a >> 30 == 0 { u32::MAX } else { (rsqrt_table(u64::from(a >> 23)) << 23) as u32 }
}

/// A small integer as an encoding.
const fn small<F: Format<Bits = u64>>(value: u64) -> u64 {
    let log = 63 - value.leading_zeros();
    ((F::BIAS as u64 + log as u64) << F::FRAC_BITS) | ((value << (F::FRAC_BITS - log)) & F::FRAC_MASK)
}

/// 1.5.
const fn one_and_a_half<F: Format<Bits = u64>>() -> u64 {
    (F::BIAS as u64) << F::FRAC_BITS | F::QUIET
}

/// Whether the product is infinity times zero (a denormal counts if inputs are flushed), which the steps define as zero.
fn inf_times_zero<F: Format<Bits = u64>>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> bool {
    let mut raised = Flags::NONE;
    let classes = (unpack::<F>(a, env, &mut raised).class, unpack::<F>(b, env, &mut raised).class);
    let found = matches!(classes, (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity));
    if found {
        flags.raise(raised);
    }
    found
}

/// `2 - a * b`, product and difference each rounded: AArch32's step towards 1/x (ARM `VRECPS`).
pub fn recip_step<F: Format<Bits = u64>>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    if inf_times_zero::<F>(a, b, env, flags) {
        return small::<F>(2);
    }
    let product = mul::<F>(a, b, env, flags);
    sub::<F>(small::<F>(2), product, env, flags)
}

/// `(3 - a * b) / 2`, product and difference each rounded: AArch32's step towards 1/sqrt(x) (ARM `VRSQRTS`).
pub fn rsqrt_step<F: Format<Bits = u64>>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    if inf_times_zero::<F>(a, b, env, flags) {
        return one_and_a_half::<F>();
    }
    let product = mul::<F>(a, b, env, flags);
    let difference = sub::<F>(small::<F>(3), product, env, flags);
    div::<F>(difference, small::<F>(2), env, flags)
}

/// `2 - a * b`, rounded once: AArch64's step (`FRECPS`).
pub fn recip_step_fused<F: Format<Bits = u64>>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    if inf_times_zero::<F>(a, b, env, flags) {
        return small::<F>(2);
    }
    fma::<F>(small::<F>(2), neg::<F>(a), b, env, flags)
}

/// `(3 - a * b) / 2`, rounded once: AArch64's step (`FRSQRTS`).
pub fn rsqrt_step_fused<F: Format<Bits = u64>>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    if inf_times_zero::<F>(a, b, env, flags) {
        return one_and_a_half::<F>();
    }
    // Halving beforehand keeps the difference from overflowing where its half does not. The larger factor can take it, unless both are so
    // small that the product only makes the result inexact.
    let field = |bits: u64| bits >> F::FRAC_BITS & F::EXP_MAX;
    let halve = |bits: u64| if (2..F::EXP_MAX).contains(&field(bits)) { bits - F::MIN_NORMAL } else { bits };
    let finite = field(a) != F::EXP_MAX && field(b) != F::EXP_MAX;
    let (a, b) = match finite {
        true if field(a) >= field(b) => (halve(a), b),
        true => (a, halve(b)),
        false => (a, b),
    };
    fma::<F>(one_and_a_half::<F>(), neg::<F>(a), b, env, flags)
}
