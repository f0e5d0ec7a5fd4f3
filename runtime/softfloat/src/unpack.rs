//! Between encodings and the unpacked form: sign, unbiased exponent, significand with its leading bit at the top of the word. The ten or more bits
//! below a format's last place hold what rounding needs; bit 0 is sticky ("jammed": or-ed with everything shifted out).

use crate::word::{Bits, Word};
use crate::{Env, Flags, Format, Round};

/// What kind of value an encoding is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Zero,
    Finite,
    Infinity,
    QuietNan,
    SignallingNan,
    /// No value at all (x87 only): every operation is invalid and gives the default NaN.
    Unsupported,
}

/// A value taken apart. `exp` counts for finite values only; a NaN's `sig` holds the fraction field left-aligned below the top bit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unpacked<W> {
    pub class: Class,
    pub sign: bool,
    pub exp: i32,
    pub sig: W,
}

impl<W> Unpacked<W> {
    /// Neither a number nor an infinity.
    #[inline(always)]
    pub fn is_nan(&self) -> bool {
        matches!(self.class, Class::QuietNan | Class::SignallingNan | Class::Unsupported)
    }

    /// Invalid in every operation.
    #[inline(always)]
    pub fn is_signalling(&self) -> bool {
        matches!(self.class, Class::SignallingNan | Class::Unsupported)
    }
}

#[inline(always)]
pub(crate) fn unpack<F: Format>(bits: F::Bits, env: &Env, flags: &mut Flags) -> Unpacked<F::Bits> {
    let (zero, lead) = (F::Bits::ZERO, F::Bits::LEAD);
    let sign = bits & F::SIGN != zero;
    let field = F::field(bits);
    let aligned = (bits & F::FRAC_MASK) << (F::Bits::BITS - 1 - F::FRAC_BITS);
    let explicit = F::EXPLICIT && bits & F::QUIET << 1 != zero;
    let of = |class, exp, sig| Unpacked { class, sign, exp, sig };
    if field == 0 {
        let sig = if explicit { aligned | lead } else { aligned };
        if sig == zero {
            return of(Class::Zero, 0, zero);
        }
        if env.flush_inputs {
            // ARM's FZ16 is the only control that flushes half precision, and its flushing goes unreported (Arm ARM `FPUnpackBase`).
            if F::WIDTH > 16 && !env.report_denormals {
                flags.raise(Flags::INPUT_DENORMAL);
            }
            return of(Class::Zero, 0, zero);
        }
        let shift = sig.leading_zeros();
        return of(Class::Finite, 1 - F::BIAS - shift as i32, sig << shift);
    }
    if F::EXPLICIT && !explicit {
        return of(Class::Unsupported, 0, zero);
    }
    if F::HAS_INF_NAN && field == F::EXP_MAX {
        let class = if aligned == zero {
            Class::Infinity
        } else if env.nan_rule.is_signalling(aligned) {
            Class::SignallingNan
        } else {
            Class::QuietNan
        };
        return of(class, 0, aligned);
    }
    of(Class::Finite, field as i32 - F::BIAS, aligned | lead)
}

/// Reports denormal operands (and pseudo-denormals) that are not flushed, where that is asked for.
#[inline(always)]
pub(crate) fn report_denormals<F: Format>(operands: &[F::Bits], env: &Env, flags: &mut Flags) {
    let is_denormal = |bits: &F::Bits| F::field(*bits) == 0 && *bits & F::MAGNITUDE != F::Bits::ZERO;
    if env.report_denormals && !env.flush_inputs && operands.iter().any(is_denormal) {
        flags.raise(Flags::INPUT_DENORMAL);
    }
}

#[inline(always)]
pub(crate) fn zero<F: Format>(sign: bool) -> F::Bits {
    if sign { F::SIGN } else { F::Bits::ZERO }
}

#[inline(always)]
pub(crate) fn infinity<F: Format>(sign: bool) -> F::Bits {
    zero::<F>(sign) | F::INF
}

/// Whether rounding adds one in the last place; `rest` is what lies below it as a fraction of the whole word.
#[inline(always)]
pub(crate) fn rounds_up<W: Word>(round: Round, sign: bool, odd: bool, rest: W) -> bool {
    match round {
        Round::NearestEven => rest > W::LEAD || rest == W::LEAD && odd,
        Round::NearestAway => rest >= W::LEAD,
        Round::Zero => false,
        Round::Up => !sign && rest != W::ZERO,
        Round::Down => sign && rest != W::ZERO,
    }
}

/// Rounds `sig` (leading bit at the top, bit 0 sticky) times 2^(`exp` - top) into the format: the one place where results become encodings.
#[inline(always)]
pub(crate) fn round_pack<F: Format>(sign: bool, exp: i32, sig: F::Bits, round: Round, env: &Env, flags: &mut Flags) -> F::Bits {
    debug_assert!(sig >= F::Bits::LEAD);
    let biased = exp + F::BIAS;
    if biased < 1 {
        return round_pack_tiny::<F>(sign, biased, sig, round, env, flags);
    }
    let largest = if F::HAS_INF_NAN { F::EXP_MAX - 1 } else { F::EXP_MAX };
    if biased as u64 > largest {
        return overflow::<F>(sign, round, env, flags);
    }
    let (rounded, inexact) = round_sig::<F>(sign, sig, round, env);
    // The leading bit adds one to the exponent field, and so does a carry out of the fraction.
    let compact = (F::Bits::from_u64(biased as u64 - 1) << F::FRAC_BITS).overflowing_add(rounded).0;
    if compact >> F::FRAC_BITS > F::Bits::from_u64(largest) {
        return overflow::<F>(sign, round, env, flags);
    }
    if inexact {
        flags.raise(Flags::INEXACT);
    }
    zero::<F>(sign) | F::spread(compact)
}

/// Bits that x87's precision control takes from the fraction.
#[inline(always)]
fn withheld<F: Format>(env: &Env) -> u32 {
    if F::EXPLICIT { 64u32.saturating_sub(env.precision.into()).min(F::FRAC_BITS) } else { 0 }
}

/// Rounds to the format's precision: the significand with its leading bit at `FRAC_BITS` (or one higher), and whether that lost anything.
#[inline(always)]
fn round_sig<F: Format>(sign: bool, sig: F::Bits, round: Round, env: &Env) -> (F::Bits, bool) {
    let withheld = withheld::<F>(env);
    let drop = F::Bits::BITS - 1 - F::FRAC_BITS + withheld;
    let (kept, rest) = (sig >> drop, sig << (F::Bits::BITS - drop));
    let up = rounds_up(round, sign, kept & F::Bits::ONE != F::Bits::ZERO, rest);
    (kept.overflowing_add(if up { F::Bits::ONE } else { F::Bits::ZERO }).0 << withheld, rest != F::Bits::ZERO)
}

/// [`round_pack`] below the normal range: `biased` is at most 0.
#[cold]
fn round_pack_tiny<F: Format>(sign: bool, biased: i32, sig: F::Bits, round: Round, env: &Env, flags: &mut Flags) -> F::Bits {
    let carries = |sig: F::Bits| sig >> (F::FRAC_BITS + 1) != F::Bits::ZERO;
    let tiny = env.tininess_before || biased < 0 || !carries(round_sig::<F>(sign, sig, round, env).0);
    if tiny && env.flush_outputs {
        flags.raise(if env.flush_inexact { Flags::UNDERFLOW | Flags::INEXACT } else { Flags::UNDERFLOW });
        return zero::<F>(sign);
    }
    let (rounded, inexact) = round_sig::<F>(sign, sig.shift_right_jam((1 - biased) as u32), round, env);
    if inexact {
        flags.raise(if tiny { Flags::UNDERFLOW | Flags::INEXACT } else { Flags::INEXACT });
    }
    // Rounding up to the smallest normal carries into the exponent field by itself.
    zero::<F>(sign) | F::spread(rounded)
}

/// Result of a rounded value too large for the format.
#[cold]
pub(crate) fn overflow<F: Format>(sign: bool, round: Round, env: &Env, flags: &mut Flags) -> F::Bits {
    if !F::HAS_INF_NAN {
        flags.raise(Flags::INVALID);
        return zero::<F>(sign) | F::MAX_FINITE;
    }
    flags.raise(Flags::OVERFLOW | Flags::INEXACT);
    if overflows_to_infinity(round, sign) {
        return infinity::<F>(sign);
    }
    let withheld = withheld::<F>(env);
    zero::<F>(sign) | F::MAX_FINITE >> withheld << withheld
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
