//! Host arithmetic where it gives the guest's result and flags for certain.
//!
//! Taken only if: rounding is to nearest even (the host's own), inexact is already raised (so that a rounded result needs no detection),
//! operands are zero or normal (no flushing, no NaN, no infinity) and the result is zero because it is exactly zero, or finite and *above*
//! the smallest normal (not overflowed, and not tiny even before rounding). Then no other flag can be raised, and Rust guarantees the
//! host's `f32` and `f64` operations are IEEE 754's. Else the answer is `None` and the operation proper decides.

use crate::word::{Bits, Word};
use crate::{Env, F32, F64, Flags, Format, Round};

/// Which host type a format is, if any.
#[derive(PartialEq)]
enum Host {
    None,
    Single,
    Double,
}

const fn host<F: Format>() -> Host {
    match (F::EXP_BITS, F::FRAC_BITS) {
        (F32::EXP_BITS, F32::FRAC_BITS) => Host::Single,
        (F64::EXP_BITS, F64::FRAC_BITS) => Host::Double,
        _ => Host::None,
    }
}

#[inline(always)]
fn enabled(env: &Env, sticky: Flags) -> bool {
    env.round == Round::NearestEven && sticky.contains(Flags::INEXACT)
}

#[inline(always)]
fn magnitude<F: Format>(bits: F::Bits) -> F::Bits {
    bits & F::MAGNITUDE
}

#[inline(always)]
fn normal<F: Format>(bits: F::Bits) -> bool {
    magnitude::<F>(bits).wrapping_sub(F::MIN_NORMAL) < F::INF.wrapping_sub(F::MIN_NORMAL)
}

#[inline(always)]
fn zero_or_normal<F: Format>(bits: F::Bits) -> bool {
    normal::<F>(bits) || magnitude::<F>(bits) == F::Bits::ZERO
}

/// Finite and larger than the smallest normal.
#[inline(always)]
fn safe<F: Format>(bits: F::Bits) -> bool {
    normal::<F>(bits) && magnitude::<F>(bits) != F::MIN_NORMAL
}

/// Applies a host operation in the format's host type.
macro_rules! on_host {
    ($f:ty, |$($x:ident),+| $e:expr) => {
        match const { host::<$f>() } {
            Host::Single => { $(let $x = f32::from_bits($x.low() as u32);)+ <$f as Format>::Bits::from_u64(f32::to_bits($e).into()) }
            Host::Double => { $(let $x = f64::from_bits($x.low());)+ <$f as Format>::Bits::from_u64(f64::to_bits($e)) }
            Host::None => return None,
        }
    };
}

#[inline(always)]
pub(crate) fn add<F: Format>(a: F::Bits, b: F::Bits, env: &Env, sticky: Flags) -> Option<F::Bits> {
    if !(enabled(env, sticky) && zero_or_normal::<F>(a) && zero_or_normal::<F>(b)) {
        return None;
    }
    let r = on_host!(F, |a, b| a + b);
    // A sum never underflows to zero: it is zero only if exactly so.
    (safe::<F>(r) || magnitude::<F>(r) == F::Bits::ZERO).then_some(r)
}

#[inline(always)]
pub(crate) fn sub<F: Format>(a: F::Bits, b: F::Bits, env: &Env, sticky: Flags) -> Option<F::Bits> {
    add::<F>(a, b ^ F::SIGN, env, sticky)
}

#[inline(always)]
pub(crate) fn mul<F: Format>(a: F::Bits, b: F::Bits, env: &Env, sticky: Flags) -> Option<F::Bits> {
    if !(enabled(env, sticky) && zero_or_normal::<F>(a) && zero_or_normal::<F>(b)) {
        return None;
    }
    let r = on_host!(F, |a, b| a * b);
    (safe::<F>(r) || magnitude::<F>(a) == F::Bits::ZERO || magnitude::<F>(b) == F::Bits::ZERO).then_some(r)
}

#[inline(always)]
pub(crate) fn div<F: Format>(a: F::Bits, b: F::Bits, env: &Env, sticky: Flags) -> Option<F::Bits> {
    if !(enabled(env, sticky) && zero_or_normal::<F>(a) && normal::<F>(b)) {
        return None;
    }
    let r = on_host!(F, |a, b| a / b);
    (safe::<F>(r) || magnitude::<F>(a) == F::Bits::ZERO).then_some(r)
}

#[inline(always)]
pub(crate) fn sqrt<F: Format>(a: F::Bits, env: &Env, sticky: Flags) -> Option<F::Bits> {
    if !(enabled(env, sticky) && normal::<F>(a) && a & F::SIGN == F::Bits::ZERO) {
        return None;
    }
    Some(on_host!(F, |a| a.sqrt()))
}

#[inline(always)]
pub(crate) fn fma<F: Format>(addend: F::Bits, a: F::Bits, b: F::Bits, env: &Env, sticky: Flags) -> Option<F::Bits> {
    if !(enabled(env, sticky) && zero_or_normal::<F>(addend) && normal::<F>(a) && normal::<F>(b)) {
        return None;
    }
    let r = on_host!(F, |addend, a, b| a.fused(b, addend));
    safe::<F>(r).then_some(r)
}

/// Fused multiply-add on the host.
trait Fused {
    /// `self` * `factor` + `addend`, rounded once.
    fn fused(self, factor: Self, addend: Self) -> Self;
}

impl Fused for f64 {
    #[inline(always)]
    fn fused(self, factor: f64, addend: f64) -> f64 {
        self.mul_add(factor, addend)
    }
}

impl Fused for f32 {
    #[inline(always)]
    fn fused(self, factor: f32, addend: f32) -> f32 {
        single_fma(addend, self, factor)
    }
}

/// In `f64` the product is exact, and the sum rounded to odd keeps what a second rounding needs (an `f64` has more than twice the bits and
/// two). Cheaper than `f32::mul_add` where that is a library call.
#[inline(always)]
fn single_fma(addend: f32, a: f32, b: f32) -> f32 {
    let (product, addend) = (f64::from(a) * f64::from(b), f64::from(addend));
    let sum = product + addend;
    // Knuth's two-sum: the exact error of the addition.
    let virtual_addend = sum - product;
    let error = (product - (sum - virtual_addend)) + (addend - virtual_addend);
    let bits = sum.to_bits();
    if error == 0.0 || bits & 1 != 0 {
        return sum as f32;
    }
    // Towards the exact value: larger in magnitude if the error has the sum's sign. An inexact sum is not zero, so neither step wraps.
    f64::from_bits(if (error < 0.0) == (sum < 0.0) { bits + 1 } else { bits - 1 }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arith::slow;
    use proptest::prelude::*;

    fn single() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u32>(), 0x3f00_0000u32..0x4100_0000, 0x0080_0000u32..0x0180_0000, Just(0)]
            .prop_flat_map(|x| any::<bool>().prop_map(move |s| u64::from(x ^ u32::from(s) << 31)))
    }

    fn double() -> impl Strategy<Value = u64> {
        prop_oneof![any::<u64>(), 0x3fe0_0000_0000_0000u64..0x4020_0000_0000_0000, 0x0010_0000_0000_0000u64..0x0040_0000_0000_0000, Just(0)]
            .prop_flat_map(|x| any::<bool>().prop_map(move |s| x ^ u64::from(s) << 63))
    }

    /// A fast answer must be the slow one, with no flag but inexact.
    fn agrees(fast: Option<u64>, slow: impl FnOnce(&mut Flags) -> u64) -> Result<(), TestCaseError> {
        if let Some(fast) = fast {
            let mut flags = Flags::INEXACT;
            prop_assert_eq!(fast, slow(&mut flags));
            prop_assert_eq!(flags, Flags::INEXACT);
        }
        Ok(())
    }

    fn all<F: Format<Bits = u64>>(a: u64, b: u64, c: u64, flush: bool) -> Result<(), TestCaseError> {
        let e = &Env { flush_inputs: flush, flush_outputs: flush, ..Env::ARM };
        let sticky = Flags::INEXACT;
        agrees(add::<F>(a, b, e, sticky), |f| slow::add_sub::<F>(a, b, false, e, f))?;
        agrees(sub::<F>(a, b, e, sticky), |f| slow::add_sub::<F>(a, b, true, e, f))?;
        agrees(mul::<F>(a, b, e, sticky), |f| slow::mul::<F>(a, b, e, f))?;
        agrees(div::<F>(a, b, e, sticky), |f| slow::div::<F>(a, b, e, f))?;
        agrees(sqrt::<F>(a, e, sticky), |f| slow::sqrt::<F>(a, e, f))?;
        agrees(fma::<F>(c, a, b, e, sticky), |f| slow::fma::<F>(c, a, b, e, f))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn single_agrees(a in single(), b in single(), c in single(), flush: bool) {
            all::<F32>(a, b, c, flush)?;
        }

        #[test]
        fn double_agrees(a in double(), b in double(), c in double(), flush: bool) {
            all::<F64>(a, b, c, flush)?;
        }
    }

    #[test]
    fn takes_the_common_case() {
        let one_and_a_half = u64::from(1.5f32.to_bits());
        assert_eq!(mul::<F32>(one_and_a_half, one_and_a_half, &Env::ARM, Flags::INEXACT), Some(u64::from(2.25f32.to_bits())));
        assert_eq!(mul::<F32>(one_and_a_half, one_and_a_half, &Env::ARM, Flags::NONE), None);
    }
}
