//! Conversions between formats, to and from integers and fixed point, and rounding to integral values
//! (Arm ARM `FPConvert`, `FPToFixed`, `FixedToFP`, `FPRoundInt`).

use crate::unpack::{Class, Unpacked, infinity, overflow, report_denormals, round_pack, rounds_up, unpack, zero};
use crate::word::{Bits, Word};
use crate::{Env, Flags, Format, IntInvalid, Round, nan};

/// Converts from format `S` to format `D`, rounding as the environment says. A NaN keeps its sign and the upper bits of its fraction,
/// quieted.
///
/// Half precision is a storage format here: it is not flushed on either side, whatever the environment says (ARM without FZ16, x86). To
/// alternative half precision NaNs give a zero, infinities and overflow the largest number, all invalid.
pub fn convert<S: Format, D: Format>(a: S::Bits, env: &Env, flags: &mut Flags) -> D::Bits {
    let source_env = if S::WIDTH == 16 { &Env { flush_inputs: false, ..*env } } else { env };
    let from = unpack::<S>(a, source_env, flags);
    let x = Unpacked { class: from.class, sign: from.sign, exp: from.exp, sig: resize::<S::Bits, D::Bits>(from.sig) };
    match x.class {
        Class::Zero => zero::<D>(x.sign),
        Class::Finite => {
            // Neither SSE's conversion from half precision nor x87's stores report them.
            if S::WIDTH > 16 && !S::EXPLICIT {
                report_denormals::<S>(&[a], env, flags);
            }
            let target_env = &Env { flush_outputs: env.flush_outputs && D::WIDTH != 16, precision: Env::WHOLE, ..*env };
            round_pack::<D>(x.sign, x.exp, x.sig, env.round, target_env, flags)
        }
        Class::Infinity if D::HAS_INF_NAN => infinity::<D>(x.sign),
        Class::Infinity => overflow::<D>(x.sign, env.round, env, flags),
        _ if D::HAS_INF_NAN => nan::one::<D>(&x, env, flags),
        _ => {
            flags.raise(Flags::INVALID);
            zero::<D>(x.sign)
        }
    }
}

/// A significand in another word, its leading bit at the top again; what a narrower word cannot hold is jammed.
#[inline(always)]
fn resize<S: Word, D: Word>(sig: S) -> D {
    if S::BITS == D::BITS {
        D::from_u128(sig.to_u128())
    } else if S::BITS < D::BITS {
        D::from_u128(sig.to_u128() << (D::BITS - S::BITS))
    } else {
        D::from_u128(sig.to_u128().shift_right_jam(S::BITS - D::BITS))
    }
}

/// The whole part of a finite value times 2^(`exp` - its exponent), for an `exp` below the word's width less one, and what lies below as a fraction
/// of the word.
#[inline(always)]
fn split<W: Word>(sig: W, exp: i32) -> (W, W) {
    let top = W::BITS as i32 - 1;
    match exp {
        0.. => (sig >> (top - exp) as u32, sig << (exp + 1) as u32),
        -1 => (W::ZERO, sig),
        _ => (W::ZERO, W::ONE),
    }
}

/// Rounds to an integral value of the same format, in direction `round`. With `exact`, raises inexact if the value changed. A zero result
/// keeps the operand's sign.
pub fn round_to_int<F: Format>(a: F::Bits, round: Round, exact: bool, env: &Env, flags: &mut Flags) -> F::Bits {
    let x = unpack::<F>(a, env, flags);
    match x.class {
        Class::Infinity => infinity::<F>(x.sign),
        Class::Zero => zero::<F>(x.sign),
        Class::Finite => {
            // x87's FRNDINT reports what SSE's ROUNDSD does not.
            if F::EXPLICIT {
                report_denormals::<F>(&[a], env, flags);
            }
            if x.exp >= F::FRAC_BITS as i32 {
                // The last place is worth at least one.
                return a & (F::SIGN | F::MAGNITUDE);
            }
            let (whole, rest) = split(x.sig, x.exp);
            if exact && rest != F::Bits::ZERO {
                flags.raise(Flags::INEXACT);
            }
            let up = rounds_up(round, x.sign, whole & F::Bits::ONE != F::Bits::ZERO, rest);
            let whole = if up { whole.overflowing_add(F::Bits::ONE).0 } else { whole };
            if whole == F::Bits::ZERO {
                return zero::<F>(x.sign);
            }
            let shift = whole.leading_zeros();
            let env = &Env { precision: Env::WHOLE, ..*env };
            round_pack::<F>(x.sign, (F::Bits::BITS - 1 - shift) as i32, whole << shift, round, env, flags)
        }
        _ => nan::one::<F>(&x, env, flags),
    }
}

/// Converts to an integer of `bits` bits (1-64), or to fixed point with `frac` fraction bits (-64 to 64), rounding once in direction `round`.
/// The result is sign- or zero-extended to 64 bits. A value out of range, after rounding, and a NaN raise invalid alone and give what
/// [`Env::int_invalid`] says.
pub fn to_int<F: Format>(a: F::Bits, signed: bool, bits: u32, frac: i32, round: Round, env: &Env, flags: &mut Flags) -> u64 {
    let x = unpack::<F>(a, env, flags);
    let (lowest, highest) = range(signed, bits);
    let value = match x.class {
        Class::Zero => return 0,
        Class::Finite => round_magnitude(&x, frac, round),
        _ => None,
    };
    if let Some((magnitude, inexact)) = value {
        let value = if x.sign { -(magnitude as i128) } else { magnitude as i128 };
        if (lowest..=highest).contains(&value) {
            if inexact {
                flags.raise(Flags::INEXACT);
            }
            return value as u64;
        }
    }
    flags.raise(Flags::INVALID);
    let saturated = if x.sign { lowest } else { highest };
    let result = match (env.int_invalid, x.is_nan()) {
        (IntInvalid::SaturateNanZero, true) => 0,
        (IntInvalid::SaturateNanMax, true) | (IntInvalid::Max, _) => highest,
        (IntInvalid::SaturateNanMin, true) => lowest,
        (IntInvalid::Indefinite, _) => {
            if signed {
                lowest
            } else {
                highest
            }
        }
        _ => saturated,
    };
    result as u64
}

/// A finite value times 2^`frac` as an integer magnitude, rounded, and whether that lost anything. `None` from 2^64 up.
#[inline(always)]
fn round_magnitude<W: Word>(x: &Unpacked<W>, frac: i32, round: Round) -> Option<(u128, bool)> {
    let exp = x.exp + frac;
    let (whole, rest) = match exp {
        64.. => return None,
        63 if W::BITS == 64 => (x.sig, W::ZERO),
        _ => split(x.sig, exp),
    };
    let up = rounds_up(round, x.sign, whole & W::ONE != W::ZERO, rest);
    Some((whole.to_u128() + u128::from(up), rest != W::ZERO))
}

/// The ends of an integer type's range.
fn range(signed: bool, bits: u32) -> (i128, i128) {
    let bits = bits.clamp(1, 64);
    if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// Converts from the integer in the low `bits` bits (1-64) of `value`, or from fixed point with `frac` fraction bits (-64 to 64), rounding once
/// in direction `round`. Zero gives +0.
pub fn from_int<F: Format>(value: u64, signed: bool, bits: u32, frac: i32, round: Round, env: &Env, flags: &mut Flags) -> F::Bits {
    let unused = 64 - bits.clamp(1, 64);
    let aligned = value << unused;
    let sign = signed && aligned >> 63 != 0;
    let magnitude = if sign { ((aligned as i64) >> unused).unsigned_abs() } else { aligned >> unused };
    if magnitude == 0 {
        return F::Bits::ZERO;
    }
    let magnitude = F::Bits::from_u64(magnitude);
    let shift = magnitude.leading_zeros();
    let exp = (F::Bits::BITS - 1 - shift) as i32 - frac;
    round_pack::<F>(sign, exp, magnitude << shift, round, &Env { precision: Env::WHOLE, ..*env }, flags)
}
