//! Between encodings and the unpacked form: sign, unbiased exponent, significand with its leading bit at bit 63. The ten or more bits below
//! a format's last place hold what rounding needs; bit 0 is sticky ("jammed": or-ed with everything shifted out).
//!
//! A format wider than 64 bits needs a wider significand here; the operations use only its leading bit and these helpers.

use crate::{Env, Flags, Format, Round};

/// What kind of value an encoding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Zero,
    Finite,
    Infinity,
    QuietNan,
    SignallingNan,
}

/// A value taken apart. `exp` counts for finite values only; a NaN's `sig` holds the fraction field left-aligned below bit 63.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacked {
    pub class: Class,
    pub sign: bool,
    pub exp: i32,
    pub sig: u64,
}

impl Unpacked {
    #[inline(always)]
    pub fn is_nan(&self) -> bool {
        matches!(self.class, Class::QuietNan | Class::SignallingNan)
    }
}

/// The leading bit of an unpacked significand.
pub(crate) const LEAD: u64 = 1 << 63;

#[inline(always)]
pub(crate) fn unpack<F: Format>(bits: u64, env: &Env, flags: &mut Flags) -> Unpacked {
    let sign = bits & F::SIGN != 0;
    let field = bits >> F::FRAC_BITS & F::EXP_MAX;
    let aligned = (bits & F::FRAC_MASK) << (63 - F::FRAC_BITS);
    if field == 0 {
        if aligned == 0 {
            return Unpacked { class: Class::Zero, sign, exp: 0, sig: 0 };
        }
        if env.flush_inputs {
            // ARM's FZ16 is the only control that flushes half precision, and its flushing goes unreported (Arm ARM `FPUnpackBase`).
            if F::WIDTH > 16 {
                flags.raise(Flags::INPUT_DENORMAL);
            }
            return Unpacked { class: Class::Zero, sign, exp: 0, sig: 0 };
        }
        let shift = aligned.leading_zeros();
        return Unpacked { class: Class::Finite, sign, exp: 1 - F::BIAS - shift as i32, sig: aligned << shift };
    }
    if F::HAS_INF_NAN && field == F::EXP_MAX {
        let class = if aligned == 0 {
            Class::Infinity
        } else if env.nan_rule.is_signalling(aligned) {
            Class::SignallingNan
        } else {
            Class::QuietNan
        };
        return Unpacked { class, sign, exp: 0, sig: aligned };
    }
    Unpacked { class: Class::Finite, sign, exp: field as i32 - F::BIAS, sig: aligned | LEAD }
}

#[inline(always)]
pub(crate) fn zero<F: Format>(sign: bool) -> u64 {
    if sign { F::SIGN } else { 0 }
}

#[inline(always)]
pub(crate) fn infinity<F: Format>(sign: bool) -> u64 {
    zero::<F>(sign) | F::INF
}

/// Shifts right, or-ing what falls out into bit 0.
#[inline(always)]
pub(crate) fn shift_right_jam(sig: u64, by: u32) -> u64 {
    match by {
        0 => sig,
        1..=63 => sig >> by | u64::from(sig << (64 - by) != 0),
        _ => u64::from(sig != 0),
    }
}

/// As [`shift_right_jam`], for a double-width significand.
#[inline(always)]
pub(crate) fn shift_right_jam_wide(sig: u128, by: u32) -> u128 {
    match by {
        0 => sig,
        1..=127 => sig >> by | u128::from(sig << (128 - by) != 0),
        _ => u128::from(sig != 0),
    }
}

/// The upper half of a double-width significand, the lower half jammed in.
#[inline(always)]
pub(crate) fn narrow_jam(sig: u128) -> u64 {
    (sig >> 64) as u64 | u64::from(sig as u64 != 0)
}

/// Whether rounding adds one in the last place; `rest` is what lies below it as a fraction of 2^64.
#[inline(always)]
pub(crate) fn rounds_up(round: Round, sign: bool, odd: bool, rest: u64) -> bool {
    const HALF: u64 = 1 << 63;
    match round {
        Round::NearestEven => rest > HALF || rest == HALF && odd,
        Round::NearestAway => rest >= HALF,
        Round::Zero => false,
        Round::Up => !sign && rest != 0,
        Round::Down => sign && rest != 0,
    }
}

/// Rounds `sig` (leading bit at 63, bit 0 sticky) times 2^(`exp` - 63) into the format: the one place where results become encodings.
#[inline(always)]
pub(crate) fn round_pack<F: Format>(sign: bool, exp: i32, sig: u64, round: Round, env: &Env, flags: &mut Flags) -> u64 {
    debug_assert!(sig & LEAD != 0);
    let biased = exp + F::BIAS;
    if biased < 1 {
        return round_pack_tiny::<F>(sign, biased, sig, round, env, flags);
    }
    let (rounded, inexact) = round_sig::<F>(sign, sig, round);
    // The leading bit adds one to the exponent field, and so does a carry out of the fraction.
    let magnitude = ((biased as u64 - 1) << F::FRAC_BITS) + rounded;
    if magnitude > F::MAX_FINITE {
        return overflow::<F>(sign, round, flags);
    }
    if inexact {
        flags.raise(Flags::INEXACT);
    }
    zero::<F>(sign) | magnitude
}

/// Rounds to the format's precision: the significand with its leading bit at `FRAC_BITS` (or one higher), and whether that lost anything.
#[inline(always)]
fn round_sig<F: Format>(sign: bool, sig: u64, round: Round) -> (u64, bool) {
    let drop = 63 - F::FRAC_BITS;
    let rest = sig << (64 - drop);
    let kept = sig >> drop;
    (kept + u64::from(rounds_up(round, sign, kept & 1 != 0, rest)), rest != 0)
}

/// [`round_pack`] below the normal range: `biased` is at most 0.
#[cold]
fn round_pack_tiny<F: Format>(sign: bool, biased: i32, sig: u64, round: Round, env: &Env, flags: &mut Flags) -> u64 {
    let tiny = env.tininess_before || biased < 0 || round_sig::<F>(sign, sig, round).0 >> (F::FRAC_BITS + 1) == 0;
    if tiny && env.flush_outputs {
        flags.raise(if env.flush_inexact { Flags::UNDERFLOW | Flags::INEXACT } else { Flags::UNDERFLOW });
        return zero::<F>(sign);
    }
    let (rounded, inexact) = round_sig::<F>(sign, shift_right_jam(sig, (1 - biased) as u32), round);
    if inexact {
        flags.raise(if tiny { Flags::UNDERFLOW | Flags::INEXACT } else { Flags::INEXACT });
    }
    // Rounding up to the smallest normal carries into the exponent field by itself.
    zero::<F>(sign) | rounded
}

/// Result of a rounded value too large for the format.
#[cold]
pub(crate) fn overflow<F: Format>(sign: bool, round: Round, flags: &mut Flags) -> u64 {
    if !F::HAS_INF_NAN {
        flags.raise(Flags::INVALID);
        return zero::<F>(sign) | F::MAX_FINITE;
    }
    flags.raise(Flags::OVERFLOW | Flags::INEXACT);
    if overflows_to_infinity(round, sign) { infinity::<F>(sign) } else { zero::<F>(sign) | F::MAX_FINITE }
}

/// Whether this rounding takes a value beyond the largest finite number to infinity.
pub(crate) fn overflows_to_infinity(round: Round, sign: bool) -> bool {
    match round {
        Round::NearestEven | Round::NearestAway => true,
        Round::Zero => false,
        Round::Up => !sign,
        Round::Down => sign,
    }
}
