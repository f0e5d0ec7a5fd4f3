//! Comparison, minimum and maximum, and the sign operations (IEEE 754-2019, 5.11, 9.6, 5.5.1; Arm ARM `FPCompare`, `FPMin`, `FPMinNum`).

use std::cmp::Ordering;

use crate::unpack::{Class, Unpacked, report_denormals, unpack, zero};
use crate::word::Bits;
use crate::{Env, Flags, Format, nan};

/// Clears the sign, of NaNs too; raises nothing.
#[inline]
#[must_use]
pub fn abs<F: Format>(a: F::Bits) -> F::Bits {
    a & F::MAGNITUDE
}

/// Flips the sign, of NaNs too; raises nothing.
#[inline]
#[must_use]
pub fn neg<F: Format>(a: F::Bits) -> F::Bits {
    (a ^ F::SIGN) & (F::SIGN | F::MAGNITUDE)
}

/// Compares; `None` if unordered. Only a signalling NaN is invalid (ARM `VCMP`, `VCEQ`).
#[inline]
pub fn compare<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> Option<Ordering> {
    relation::<F>(a, b, false, env, flags)
}

/// Compares; `None` if unordered. Any NaN is invalid (ARM `VCMPE`, `VCGE`, `VCGT`).
#[inline]
pub fn compare_signalling<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> Option<Ordering> {
    relation::<F>(a, b, true, env, flags)
}

#[inline(always)]
fn relation<F: Format>(a: F::Bits, b: F::Bits, signalling: bool, env: &Env, flags: &mut Flags) -> Option<Ordering> {
    let x = unpack::<F>(a, env, flags);
    let y = unpack::<F>(b, env, flags);
    if x.is_nan() || y.is_nan() {
        if signalling || x.is_signalling() || y.is_signalling() {
            flags.raise(Flags::INVALID);
        }
        return None;
    }
    report_denormals::<F>(&[a, b], env, flags);
    Some(order::<F>(seen::<F>(a, &x), seen::<F>(b, &y)))
}

/// The encoding of an operand as the operation sees it: a zero if its denormal was flushed, without bits above the format's.
#[inline(always)]
fn seen<F: Format>(bits: F::Bits, x: &Unpacked<F::Bits>) -> F::Bits {
    if x.class == Class::Zero { zero::<F>(x.sign) } else { bits & (F::SIGN | F::MAGNITUDE) }
}

/// Orders two encodings that are not NaNs: zeros are equal, a pseudo-denormal is the number it spells.
#[inline(always)]
fn order<F: Format>(a: F::Bits, b: F::Bits) -> Ordering {
    let magnitude = |bits: F::Bits| {
        let pseudo = F::EXPLICIT && F::field(bits) == 0 && bits & F::QUIET << 1 != F::Bits::ZERO;
        bits & F::MAGNITUDE | if pseudo { F::Bits::ONE << F::EXP_AT } else { F::Bits::ZERO }
    };
    let (x, y) = (magnitude(a), magnitude(b));
    let negative = |bits: F::Bits| bits & F::SIGN != F::Bits::ZERO;
    match (negative(a), negative(b)) {
        (false, false) => x.cmp(&y),
        (true, true) => y.cmp(&x),
        _ if x | y == F::Bits::ZERO => Ordering::Equal,
        (negative, _) => {
            if negative {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    }
}

#[inline(always)]
fn min_max<F: Format>(a: F::Bits, b: F::Bits, want: Ordering, env: &Env, flags: &mut Flags) -> F::Bits {
    let x = unpack::<F>(a, env, flags);
    let y = unpack::<F>(b, env, flags);
    if x.is_nan() || y.is_nan() {
        return nan::two::<F>(&x, &y, env, flags);
    }
    let (a, b) = (seen::<F>(a, &x), seen::<F>(b, &y));
    match order::<F>(a, b) {
        // Equal values differ at most in the sign of zero, and -0 is the smaller.
        Ordering::Equal if want == Ordering::Less => a | b,
        Ordering::Equal => a & b,
        found if found == want => a,
        _ => b,
    }
}

/// The smaller of two values; a NaN operand gives a NaN; -0 is below +0 (ARM `VMIN`).
pub fn min<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    min_max::<F>(a, b, Ordering::Less, env, flags)
}

/// The larger of two values; a NaN operand gives a NaN; +0 is above -0 (ARM `VMAX`).
pub fn max<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    min_max::<F>(a, b, Ordering::Greater, env, flags)
}

/// As [`min`], but a number wins over a quiet NaN (IEEE 754-2008 minNum; ARM `VMINNM`).
pub fn min_num<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    let (a, b) = ignore_quiet_nan::<F>(a, b, F::INF, env);
    min::<F>(a, b, env, flags)
}

/// As [`max`], but a number wins over a quiet NaN (IEEE 754-2008 maxNum; ARM `VMAXNM`).
pub fn max_num<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    let (a, b) = ignore_quiet_nan::<F>(a, b, F::SIGN | F::INF, env);
    max::<F>(a, b, env, flags)
}

/// Replaces a lone quiet NaN by the value that never wins.
fn ignore_quiet_nan<F: Format>(a: F::Bits, b: F::Bits, neutral: F::Bits, env: &Env) -> (F::Bits, F::Bits) {
    let quiet = |bits: F::Bits| unpack::<F>(bits, env, &mut Flags::default()).class == Class::QuietNan;
    match (quiet(a), quiet(b)) {
        (true, false) => (neutral, b),
        (false, true) => (a, neutral),
        _ => (a, b),
    }
}
