//! Single and double precision against the host's arithmetic: to nearest even directly; in the other directions by the sign of the exact
//! residual of the host's result, which the error-free transformations give.

use emu_softfloat::{Env, F32, F64, Flags, Round, add, compare, convert, div, fma, from_int, mul, round_to_int, sqrt, sub, to_int};
use proptest::prelude::*;

macro_rules! format_tests {
    ($module:ident, $format:ty, $host:ty, $bits:ty, $moderate:expr) => {
        mod $module {
            use super::*;

            fn any_bits() -> impl Strategy<Value = u64> {
                let edges: Vec<$host> = vec![0.0, 1.0, 1.5, 2.0, 3.0, 0.1, <$host>::MIN_POSITIVE, <$host>::MAX, <$host>::INFINITY, <$host>::EPSILON, <$host>::NAN];
                let edge = (prop::sample::select(edges), -2i64..3, any::<bool>())
                    .prop_map(|(x, d, s)| <$bits>::from_ne_bytes(((x.to_bits() as i64 + d) as $bits).to_ne_bytes()) ^ ((s as $bits) << (<$bits>::BITS - 1)));
                prop_oneof![3 => any::<$bits>(), 1 => edge, 2 => moderate_bits().prop_map(|x| x as $bits)].prop_map(|x| x as u64)
            }

            /// Exponents that keep every residual in range.
            fn moderate_bits() -> impl Strategy<Value = u64> {
                (any::<$bits>(), -$moderate..$moderate, any::<bool>(), 0u32..<$host>::MANTISSA_DIGITS).prop_map(|(frac, exp, sign, clear)| {
                    let one = (1.0 as $host).to_bits();
                    let frac = frac & ((1 << (<$host>::MANTISSA_DIGITS - 1)) - 1) & (<$bits>::MAX << clear);
                    let exp = ((exp as i64) << (<$host>::MANTISSA_DIGITS - 1)) as $bits;
                    u64::from((one.wrapping_add(exp) | frac) | ((sign as $bits) << (<$bits>::BITS - 1)))
                })
            }

            fn host(x: u64) -> $host {
                <$host>::from_bits(x as $bits)
            }

            /// Equal, or both NaN: the host's NaN payloads are its own.
            fn same(got: u64, want: $host) -> bool {
                if want.is_nan() { host(got).is_nan() } else { got == u64::from(want.to_bits()) }
            }

            /// The result and flags of rounding `near` + residual in direction `round`, the residual given by its sign.
            fn directed(near: $host, residual: $host, round: Round) -> (u64, Flags) {
                let result = match round {
                    Round::Up if residual > 0.0 => near.next_up(),
                    Round::Down if residual < 0.0 => near.next_down(),
                    Round::Zero if near > 0.0 && residual < 0.0 => near.next_down(),
                    Round::Zero if near < 0.0 && residual > 0.0 => near.next_up(),
                    _ => near,
                };
                (u64::from(result.to_bits()), if residual == 0.0 { Flags::NONE } else { Flags::INEXACT })
            }

            fn run(round: Round, f: impl FnOnce(&Env, &mut Flags) -> u64) -> (u64, Flags) {
                let mut flags = Flags::NONE;
                let r = f(&Env::ARM.with_round(round), &mut flags);
                (r, flags)
            }

            fn directions() -> impl Strategy<Value = Round> {
                prop::sample::select(vec![Round::NearestEven, Round::Zero, Round::Up, Round::Down])
            }

            proptest! {
                #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

                #[test]
                fn nearest_is_the_host(a in any_bits(), b in any_bits(), c in any_bits(), sticky: bool) {
                    let env = Env::ARM;
                    let flags = &mut if sticky { Flags::INEXACT } else { Flags::NONE };
                    let (x, y, z) = (host(a), host(b), host(c));
                    prop_assert!(same(add::<$format>(a, b, &env, flags), x + y));
                    prop_assert!(same(sub::<$format>(a, b, &env, flags), x - y));
                    prop_assert!(same(mul::<$format>(a, b, &env, flags), x * y));
                    prop_assert!(same(div::<$format>(a, b, &env, flags), x / y));
                    prop_assert!(same(sqrt::<$format>(a, &env, flags), x.sqrt()));
                    prop_assert!(same(fma::<$format>(c, a, b, &env, flags), x.mul_add(y, z)));
                    prop_assert_eq!(compare::<$format>(a, b, &env, flags), x.partial_cmp(&y));
                    prop_assert!(same(round_to_int::<$format>(a, Round::NearestEven, true, &env, flags), x.round_ties_even()));
                    prop_assert!(same(round_to_int::<$format>(a, Round::NearestAway, true, &env, flags), x.round()));
                    prop_assert!(same(round_to_int::<$format>(a, Round::Zero, true, &env, flags), x.trunc()));
                    prop_assert!(same(round_to_int::<$format>(a, Round::Up, true, &env, flags), x.ceil()));
                    prop_assert!(same(round_to_int::<$format>(a, Round::Down, true, &env, flags), x.floor()));
                    prop_assert_eq!(to_int::<$format>(a, true, 32, 0, Round::Zero, &env, flags), x as i32 as i64 as u64);
                    prop_assert_eq!(to_int::<$format>(a, false, 32, 0, Round::Zero, &env, flags), u64::from(x as u32));
                    prop_assert_eq!(to_int::<$format>(a, true, 64, 0, Round::Zero, &env, flags), x as i64 as u64);
                    prop_assert_eq!(to_int::<$format>(a, false, 64, 0, Round::Zero, &env, flags), x as u64);
                }

                #[test]
                fn other_directions(a in moderate_bits(), b in moderate_bits(), round in directions()) {
                    let (x, y) = (host(a), host(b));
                    let sum = x + y;
                    let t = sum - x;
                    let residual = (x - (sum - t)) + (y - t);
                    let expected = if sum == 0.0 && round == Round::Down { (u64::from((-0.0 as $host).to_bits()), Flags::NONE) } else { directed(sum, residual, round) };
                    prop_assert_eq!(run(round, |e, f| add::<$format>(a, b, e, f)), expected);
                    let product = x * y;
                    prop_assert_eq!(run(round, |e, f| mul::<$format>(a, b, e, f)), directed(product, x.mul_add(y, -product), round));
                    let quotient = x / y;
                    let residual = (-quotient).mul_add(y, x) * y.signum();
                    prop_assert_eq!(run(round, |e, f| div::<$format>(a, b, e, f)), directed(quotient, residual, round));
                    let root = x.abs().sqrt();
                    let abs = u64::from(x.abs().to_bits());
                    prop_assert_eq!(run(round, |e, f| sqrt::<$format>(abs, e, f)), directed(root, (-root).mul_add(root, x.abs()), round));
                }

                #[test]
                fn integers_to_nearest(value: u64, shift in 0u32..64) {
                    let v = value >> shift;
                    let flags = &mut Flags::default();
                    prop_assert_eq!(from_int::<$format>(v, false, 64, 0, Round::NearestEven, &Env::ARM, flags), u64::from((v as $host).to_bits()));
                    let s = value as i64 >> shift;
                    prop_assert_eq!(from_int::<$format>(s as u64, true, 64, 0, Round::NearestEven, &Env::ARM, flags), u64::from((s as $host).to_bits()));
                    prop_assert_eq!(from_int::<$format>(s as u64, true, 32, 0, Round::NearestEven, &Env::ARM, flags), u64::from((s as i32 as $host).to_bits()));
                }
            }
        }
    };
}

format_tests!(single, F32, f32, u32, 18);
format_tests!(double, F64, f64, u64, 200);

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn widths(a: u64, near in 0x3800_0000_0000_0000u64..0x4800_0000_0000_0000, b: u32) {
        let flags = &mut Flags::default();
        for x in [a, near] {
            let want = f64::from_bits(x) as f32;
            let got = convert::<F64, F32>(x, &Env::ARM, flags);
            let same = if want.is_nan() { f32::from_bits(got as u32).is_nan() } else { got == u64::from(want.to_bits()) };
            prop_assert!(same, "{:#x} {:#x}", x, got);
        }
        let want = f64::from(f32::from_bits(b));
        let got = convert::<F32, F64>(u64::from(b), &Env::ARM, flags);
        let same = if want.is_nan() { f64::from_bits(got).is_nan() } else { got == want.to_bits() };
        prop_assert!(same, "{:#x} {:#x}", b, got);
    }
}
