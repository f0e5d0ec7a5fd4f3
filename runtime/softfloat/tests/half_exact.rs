//! Half precision in every environment against exact integer arithmetic: an oracle that shares nothing with the library. It finds the
//! neighbours of the exact result by bisection over all encodings and rounds by comparing with their midpoint. The library is generic over
//! the format, so this covers its rounding for the wider ones.

use std::cmp::Ordering;

use emu_softfloat::{Env, F16, F32, Flags, Round, add, convert, div, fma, from_int, mul, round_to_int, sqrt, sub, to_int};
use proptest::prelude::*;

const ROUNDS: [Round; 5] = [Round::NearestEven, Round::Zero, Round::Up, Round::Down, Round::NearestAway];

/// Magnitude of an encoding below 0x7c01 in units of 2^-24; 0x7c00 counts as the number after the largest.
fn units(bits: u64) -> u128 {
    let (exp, frac) = (bits >> 10 & 31, u128::from(bits & 0x3ff));
    if exp == 0 { frac } else { (frac | 0x400) << (exp - 1) }
}

fn signed_units(bits: u64) -> i128 {
    let magnitude = units(bits & 0x7fff) as i128;
    if bits & 0x8000 != 0 { -magnitude } else { magnitude }
}

/// Rounds the exact magnitude that `against` compares with a number of units of 2^-26: a quarter of the smallest denormal.
fn oracle(sign: bool, env: &Env, against: impl Fn(u128) -> Ordering) -> (u64, Flags) {
    let s = if sign { 0x8000 } else { 0 };
    let quarters = |bits: u64| 4 * units(bits);
    let mut low = 0;
    for bit in (0..15).rev() {
        let candidate = low | 1 << bit;
        if candidate <= 0x7c00 && against(quarters(candidate)) != Ordering::Less {
            low = candidate;
        }
    }
    let up_if_between = |middle: Ordering, odd: bool| match env.round {
        Round::NearestEven => middle == Ordering::Greater || middle == Ordering::Equal && odd,
        Round::NearestAway => middle != Ordering::Less,
        Round::Zero => false,
        Round::Up => !sign,
        Round::Down => sign,
    };
    let exact = against(quarters(low)) == Ordering::Equal;
    let min_normal = quarters(0x400);
    let mut tiny = against(min_normal) == Ordering::Less;
    if tiny && !env.tininess_before {
        // With an unbounded exponent the last value below 2^-14 would be half a denormal's step away, and odd.
        let beyond_last = against(min_normal - 2) == Ordering::Greater;
        tiny = !(beyond_last && up_if_between(against(min_normal - 1), true));
    }
    if tiny && against(0) != Ordering::Equal && env.flush_outputs {
        return (s, if env.flush_inexact { Flags::UNDERFLOW | Flags::INEXACT } else { Flags::UNDERFLOW });
    }
    if low >= 0x7c00 {
        return overflowed(sign, env);
    }
    if exact {
        return (s | low, Flags::NONE);
    }
    let result = low + u64::from(up_if_between(against(2 * (units(low) + units(low + 1))), low & 1 != 0));
    if result >= 0x7c00 {
        return overflowed(sign, env);
    }
    (s | result, if tiny { Flags::UNDERFLOW | Flags::INEXACT } else { Flags::INEXACT })
}

fn overflowed(sign: bool, env: &Env) -> (u64, Flags) {
    let infinite = match env.round {
        Round::NearestEven | Round::NearestAway => true,
        Round::Zero => false,
        Round::Up => !sign,
        Round::Down => sign,
    };
    (u64::from(sign) << 15 | if infinite { 0x7c00 } else { 0x7bff }, Flags::OVERFLOW | Flags::INEXACT)
}

/// Rounds `value` / 2^`scale`; an exact zero has the sign given.
fn dyadic(value: i128, scale: u32, zero_sign: bool, env: &Env) -> (u64, Flags) {
    if value == 0 {
        return (u64::from(zero_sign) << 15, Flags::NONE);
    }
    let magnitude = value.unsigned_abs();
    oracle(value < 0, env, |u| (magnitude << 26u32.saturating_sub(scale)).cmp(&(u << scale.saturating_sub(26))))
}

fn half() -> impl Strategy<Value = u64> {
    // Finite values, the extreme exponents more often.
    prop_oneof![4 => 0u64..0x7c00, 2 => 0u64..0x820, 1 => 0x7800u64..0x7c00, 1 => prop::sample::select(vec![0u64, 1, 0x3ff, 0x400, 0x401, 0x3c00, 0x7bff])]
        .prop_flat_map(|m| prop::bool::ANY.prop_map(move |s| m | u64::from(s) << 15))
}

fn environment() -> impl Strategy<Value = Env> {
    (prop::sample::select(ROUNDS.to_vec()), prop::bool::ANY, prop::bool::ANY, prop::bool::ANY).prop_map(
        |(round, flush_outputs, flush_inexact, tininess_before)| Env { round, flush_outputs, flush_inexact, tininess_before, ..Env::ARM },
    )
}

fn flagged(f: impl FnOnce(&mut Flags) -> u64) -> (u64, Flags) {
    let mut flags = Flags::NONE;
    (f(&mut flags), flags)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums(a in half(), b in half(), env in environment()) {
        let cancelled = env.round == Round::Down;
        let zero_sign = |b: u64| if a >> 15 == b >> 15 { a >> 15 != 0 } else { cancelled };
        let expected = dyadic(signed_units(a) + signed_units(b), 24, zero_sign(b), &env);
        prop_assert_eq!(flagged(|f| add::<F16>(a, b, &env, f)), expected);
        let expected = dyadic(signed_units(a) - signed_units(b), 24, zero_sign(b ^ 0x8000), &env);
        prop_assert_eq!(flagged(|f| sub::<F16>(a, b, &env, f)), expected);
    }

    #[test]
    fn products(a in half(), b in half(), env in environment()) {
        let expected = dyadic(signed_units(a) * signed_units(b), 48, (a ^ b) >> 15 != 0, &env);
        prop_assert_eq!(flagged(|f| mul::<F16>(a, b, &env, f)), expected);
    }

    #[test]
    fn quotients(a in half(), b in half(), env in environment()) {
        prop_assume!(signed_units(b) != 0);
        let (n, d, sign) = (units(a & 0x7fff), units(b & 0x7fff), (a ^ b) >> 15 != 0);
        let expected = if n == 0 { (u64::from(sign) << 15, Flags::NONE) } else { oracle(sign, &env, |u| (n << 26).cmp(&(u * d))) };
        prop_assert_eq!(flagged(|f| div::<F16>(a, b, &env, f)), expected);
    }

    #[test]
    fn roots(a in half(), env in environment()) {
        let a = a & 0x7fff;
        let n = units(a);
        let expected = if n == 0 { (0, Flags::NONE) } else { oracle(false, &env, |u| (n << 28).cmp(&(u * u))) };
        prop_assert_eq!(flagged(|f| sqrt::<F16>(a, &env, f)), expected);
    }

    #[test]
    fn fused(c in half(), a in half(), b in half(), env in environment()) {
        let product_sign = (a ^ b) >> 15 != 0;
        let product_zero = signed_units(a) * signed_units(b) == 0;
        let same = product_sign == (c >> 15 != 0);
        let zero_sign = if same && product_zero { product_sign } else { env.round == Round::Down };
        let expected = dyadic(signed_units(a) * signed_units(b) + (signed_units(c) << 24), 48, zero_sign, &env);
        prop_assert_eq!(flagged(|f| fma::<F16>(c, a, b, &env, f)), expected);
    }

    #[test]
    fn narrowing(frac in 0u64..1 << 23, keep in 0u32..=23, exp in -30i32..=18, sign: bool, env in environment()) {
        let frac = frac & !((1 << keep) - 1);
        let a = u64::from(sign) << 31 | ((exp + 127) as u64) << 23 | frac;
        let value = i128::from(frac | 0x80_0000) << (exp + 60);
        let value = if sign { -value } else { value };
        // A conversion to half precision never flushes its result.
        let expected = dyadic(value, 83, false, &Env { flush_outputs: false, ..env });
        prop_assert_eq!(flagged(|f| convert::<F32, F16>(a, &env, f)), expected);
    }

    #[test]
    fn integers(a in half(), frac in -24i32..=16, bits in prop::sample::select(vec![8u32, 16, 32, 64]), signed: bool, round in prop::sample::select(ROUNDS.to_vec())) {
        let scaled = signed_units(a) << (frac + 24);
        let (floor, rest) = (scaled >> 48, scaled & ((1 << 48) - 1));
        let half = 1 << 47;
        let up = match round {
            Round::NearestEven => rest > half || rest == half && floor & 1 != 0,
            Round::NearestAway => rest > half || rest == half && scaled > 0,
            Round::Zero => rest != 0 && scaled < 0,
            Round::Up => rest != 0,
            Round::Down => false,
        };
        let value = floor + i128::from(up);
        let (lo, hi) = if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
        let flags = if value != value.clamp(lo, hi) { Flags::INVALID } else if rest != 0 { Flags::INEXACT } else { Flags::NONE };
        let expected = (value.clamp(lo, hi) as u64, flags);
        prop_assert_eq!(flagged(|f| to_int::<F16>(a, signed, bits, frac, round, &Env::ARM, f)), expected);

        let integral = flagged(|f| round_to_int::<F16>(a, round, true, &Env::ARM, f));
        if frac == 0 {
            let expected = if rest != 0 { Flags::INEXACT } else { Flags::NONE };
            prop_assert_eq!((signed_units(integral.0), integral.1), (value << 24, expected));
            prop_assert_eq!(integral.0 >> 15, a >> 15);
        }
    }

    #[test]
    fn from_integers(value: u64, shift in 0u32..64, signed: bool, bits in prop::sample::select(vec![16u32, 32, 64]), frac in -16i32..=40, env in environment()) {
        let value = value >> shift;
        let unused = 64 - bits;
        let exact = if signed { i128::from((value << unused) as i64 >> unused) } else { i128::from(value << unused >> unused) };
        let expected = dyadic(exact << 16, (frac + 16) as u32, false, &env);
        prop_assert_eq!(flagged(|f| from_int::<F16>(value, signed, bits, frac, env.round, &env, f)), expected);
    }
}
