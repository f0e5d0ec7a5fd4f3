//! Conversions between formats, to and from integers and fixed point, and rounding to integral values
//! (Arm ARM `FPConvert`, `FPToFixed`, `FixedToFP`, `FPRoundInt`).

use crate::unpack::{Class, Unpacked, infinity, overflow, round_pack, rounds_up, unpack, zero};
use crate::{Env, Flags, Format, IntInvalid, Round, nan};

/// Converts from format `S` to format `D`, rounding as the environment says. A NaN keeps its sign and the upper bits of its fraction,
/// quieted.
///
/// Half precision is a storage format here: it is not flushed on either side, whatever the environment says (ARM without FZ16, x86). To
/// alternative half precision NaNs give a zero, infinities and overflow the largest number, all invalid.
pub fn convert<S: Format, D: Format>(a: u64, env: &Env, flags: &mut Flags) -> u64 {
    let source_env = if S::WIDTH == 16 { &Env { flush_inputs: false, ..*env } } else { env };
    let x = unpack::<S>(a, source_env, flags);
    match x.class {
        Class::QuietNan | Class::SignallingNan if !D::HAS_INF_NAN => {
            flags.raise(Flags::INVALID);
            zero::<D>(x.sign)
        }
        Class::QuietNan | Class::SignallingNan => nan::one::<D>(&x, env, flags),
        Class::Infinity if !D::HAS_INF_NAN => overflow::<D>(x.sign, env.round, flags),
        Class::Infinity => infinity::<D>(x.sign),
        Class::Zero => zero::<D>(x.sign),
        Class::Finite => {
            let target_env = if D::WIDTH == 16 { &Env { flush_outputs: false, ..*env } } else { env };
            round_pack::<D>(x.sign, x.exp, x.sig, env.round, target_env, flags)
        }
    }
}

/// A finite value times 2^`frac` as an integer magnitude, rounded, and whether that lost anything. `None` from 2^64 up.
#[inline(always)]
fn round_magnitude(x: &Unpacked, frac: i32, round: Round) -> Option<(u128, bool)> {
    let exp = x.exp + frac;
    let (whole, rest) = match exp {
        64.. => return None,
        63 => (x.sig, 0),
        0..=62 => (x.sig >> (63 - exp), x.sig << (exp + 1)),
        -1 => (0, x.sig),
        _ => (0, 1),
    };
    Some((u128::from(whole) + u128::from(rounds_up(round, x.sign, whole & 1 != 0, rest)), rest != 0))
}

/// Rounds to an integral value of the same format, in direction `round`. With `exact`, raises inexact if the value changed. A zero result
/// keeps the operand's sign.
pub fn round_to_int<F: Format>(a: u64, round: Round, exact: bool, env: &Env, flags: &mut Flags) -> u64 {
    let x = unpack::<F>(a, env, flags);
    match x.class {
        Class::QuietNan | Class::SignallingNan => nan::one::<F>(&x, env, flags),
        Class::Infinity => infinity::<F>(x.sign),
        Class::Zero => zero::<F>(x.sign),
        Class::Finite => match round_magnitude(&x, 0, round) {
            Some((whole, inexact)) if x.exp < F::FRAC_BITS as i32 => {
                if exact && inexact {
                    flags.raise(Flags::INEXACT);
                }
                if whole == 0 {
                    return zero::<F>(x.sign);
                }
                let whole = whole as u64;
                let shift = whole.leading_zeros();
                round_pack::<F>(x.sign, 63 - shift as i32, whole << shift, round, env, flags)
            }
            // The last place is worth at least one.
            _ => a & (F::SIGN | (F::SIGN - 1)),
        },
    }
}

/// Converts to an integer of `bits` bits (1-64), or to fixed point with `frac` fraction bits (-64 to 64), rounding once in direction `round`.
/// The result is sign- or zero-extended to 64 bits. A value out of range, after rounding, and a NaN raise invalid alone and give what
/// [`Env::int_invalid`] says.
pub fn to_int<F: Format>(a: u64, signed: bool, bits: u32, frac: i32, round: Round, env: &Env, flags: &mut Flags) -> u64 {
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

/// The ends of an integer type's range.
fn range(signed: bool, bits: u32) -> (i128, i128) {
    let bits = bits.clamp(1, 64);
    if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// Converts from the integer in the low `bits` bits (1-64) of `value`, or from fixed point with `frac` fraction bits (-64 to 64), rounding once
/// in direction `round`. Zero gives +0.
pub fn from_int<F: Format>(value: u64, signed: bool, bits: u32, frac: i32, round: Round, env: &Env, flags: &mut Flags) -> u64 {
    let unused = 64 - bits.clamp(1, 64);
    let aligned = value << unused;
    let sign = signed && aligned >> 63 != 0;
    let magnitude = if sign { ((aligned as i64) >> unused).unsigned_abs() } else { aligned >> unused };
    if magnitude == 0 {
        return 0;
    }
    let shift = magnitude.leading_zeros();
    round_pack::<F>(sign, 63 - shift as i32 - frac, magnitude << shift, round, env, flags)
}
