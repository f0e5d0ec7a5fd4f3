//! Comparison, minimum and maximum, and the sign operations (IEEE 754-2019, 5.11, 9.6, 5.5.1; Arm ARM `FPCompare`, `FPMin`, `FPMinNum`).

use std::cmp::Ordering;

use crate::unpack::{Class, Unpacked, unpack, zero};
use crate::{Env, Flags, Format, nan};

/// Clears the sign, of NaNs too; raises nothing.
#[inline]
#[must_use]
pub fn abs<F: Format>(a: u64) -> u64 {
    a & (F::SIGN - 1)
}

/// Flips the sign, of NaNs too; raises nothing.
#[inline]
#[must_use]
pub fn neg<F: Format>(a: u64) -> u64 {
    (a ^ F::SIGN) & (F::SIGN | (F::SIGN - 1))
}

/// Compares; `None` if unordered. Only a signalling NaN is invalid (ARM `VCMP`, `VCEQ`).
#[inline]
pub fn compare<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> Option<Ordering> {
    relation::<F>(a, b, false, env, flags)
}

/// Compares; `None` if unordered. Any NaN is invalid (ARM `VCMPE`, `VCGE`, `VCGT`).
#[inline]
pub fn compare_signalling<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> Option<Ordering> {
    relation::<F>(a, b, true, env, flags)
}

#[inline(always)]
fn relation<F: Format>(a: u64, b: u64, signalling: bool, env: &Env, flags: &mut Flags) -> Option<Ordering> {
    let x = unpack::<F>(a, env, flags);
    let y = unpack::<F>(b, env, flags);
    if x.is_nan() || y.is_nan() {
        if signalling || x.class == Class::SignallingNan || y.class == Class::SignallingNan {
            flags.raise(Flags::INVALID);
        }
        return None;
    }
    Some(order::<F>(flushed::<F>(a, &x), flushed::<F>(b, &y)))
}

/// The encoding of an operand as the operation sees it: a zero if its denormal was flushed.
#[inline(always)]
fn flushed<F: Format>(bits: u64, x: &Unpacked) -> u64 {
    if x.class == Class::Zero { zero::<F>(x.sign) } else { bits & (F::SIGN | (F::SIGN - 1)) }
}

/// Orders two encodings that are not NaNs: zeros are equal.
#[inline(always)]
fn order<F: Format>(a: u64, b: u64) -> Ordering {
    let key = |bits: u64| {
        let magnitude = (bits & (F::SIGN - 1)) as i64;
        if bits & F::SIGN != 0 { -magnitude } else { magnitude }
    };
    key(a).cmp(&key(b))
}

#[inline(always)]
fn min_max<F: Format>(a: u64, b: u64, want: Ordering, env: &Env, flags: &mut Flags) -> u64 {
    let x = unpack::<F>(a, env, flags);
    let y = unpack::<F>(b, env, flags);
    if x.is_nan() || y.is_nan() {
        return nan::two::<F>(&x, &y, env, flags);
    }
    let (a, b) = (flushed::<F>(a, &x), flushed::<F>(b, &y));
    match order::<F>(a, b) {
        // Equal values differ at most in the sign of zero, and -0 is the smaller.
        Ordering::Equal if want == Ordering::Less => a | b,
        Ordering::Equal => a & b,
        found if found == want => a,
        _ => b,
    }
}

/// The smaller of two values; a NaN operand gives a NaN; -0 is below +0 (ARM `VMIN`).
pub fn min<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    min_max::<F>(a, b, Ordering::Less, env, flags)
}

/// The larger of two values; a NaN operand gives a NaN; +0 is above -0 (ARM `VMAX`).
pub fn max<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    min_max::<F>(a, b, Ordering::Greater, env, flags)
}

/// As [`min`], but a number wins over a quiet NaN (IEEE 754-2008 minNum; ARM `VMINNM`).
pub fn min_num<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    let (a, b) = ignore_quiet_nan::<F>(a, b, F::INF, env);
    min::<F>(a, b, env, flags)
}

/// As [`max`], but a number wins over a quiet NaN (IEEE 754-2008 maxNum; ARM `VMAXNM`).
pub fn max_num<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    let (a, b) = ignore_quiet_nan::<F>(a, b, F::SIGN | F::INF, env);
    max::<F>(a, b, env, flags)
}

/// Replaces a lone quiet NaN by the value that never wins.
fn ignore_quiet_nan<F: Format>(a: u64, b: u64, neutral: u64, env: &Env) -> (u64, u64) {
    let quiet = |bits| unpack::<F>(bits, env, &mut Flags::default()).class == Class::QuietNan;
    match (quiet(a), quiet(b)) {
        (true, false) => (neutral, b),
        (false, true) => (a, neutral),
        _ => (a, b),
    }
}
