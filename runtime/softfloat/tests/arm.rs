//! ARM's choices where IEEE 754 leaves them open (Arm ARM A2.7 and the FP pseudocode): NaN order, flush to zero, alternative half
//! precision, integer saturation, estimates and steps; and the NaN rules of the others.

use std::cmp::Ordering;

use emu_softfloat::{Ahp, Env, F16, F32, F64, Flags, Fmt, NanRule, Round};

const QNAN_A: u64 = 0x7fc0_0001;
const QNAN_B: u64 = 0xffc0_0002;
const SNAN_A: u64 = 0x7f80_0003;
const SNAN_B: u64 = 0xff80_0004;
const INF: u64 = 0x7f80_0000;
const ONE: u64 = 0x3f80_0000;
const TWO: u64 = 0x4000_0000;
const DEFAULT: u64 = 0x7fc0_0000;
const MINUS: u64 = 0x8000_0000;
const DENORMAL: u64 = 0x0040_0000;
const MIN_NORMAL: u64 = 0x0080_0000;
const FLUSH: Env = Env { flush_inputs: true, flush_outputs: true, ..Env::ARM };

/// The result and flags of an operation.
fn of(f: impl FnOnce(&mut Flags) -> u64) -> (u64, Flags) {
    let mut flags = Flags::NONE;
    (f(&mut flags), flags)
}

fn add(a: u64, b: u64, env: &Env) -> (u64, Flags) {
    of(|f| emu_softfloat::add::<F32>(a, b, env, f))
}

fn mul(a: u64, b: u64, env: &Env) -> (u64, Flags) {
    of(|f| emu_softfloat::mul::<F32>(a, b, env, f))
}

fn fma(addend: u64, a: u64, b: u64, env: &Env) -> (u64, Flags) {
    of(|f| emu_softfloat::fma::<F32>(addend, a, b, env, f))
}

#[test]
fn nan_order() {
    let env = &Env::ARM;
    assert_eq!(add(QNAN_A, QNAN_B, env), (QNAN_A, Flags::NONE));
    assert_eq!(add(QNAN_A, SNAN_B, env), (SNAN_B | 0x40_0000, Flags::INVALID));
    assert_eq!(add(SNAN_A, SNAN_B, env), (SNAN_A | 0x40_0000, Flags::INVALID));
    assert_eq!(add(ONE, QNAN_B, env), (QNAN_B, Flags::NONE));
    assert_eq!(add(INF, INF | MINUS, env), (DEFAULT, Flags::INVALID));
    let dn = &Env { default_nan: true, ..Env::ARM };
    assert_eq!(add(QNAN_B, ONE, dn), (DEFAULT, Flags::NONE));
    assert_eq!(add(ONE, SNAN_B, dn), (DEFAULT, Flags::INVALID));
}

#[test]
fn nan_order_of_the_fused_multiply_add() {
    let env = &Env::ARM;
    assert_eq!(fma(QNAN_A, QNAN_B, ONE, env), (QNAN_A, Flags::NONE));
    assert_eq!(fma(QNAN_A, ONE, SNAN_B, env), (SNAN_B | 0x40_0000, Flags::INVALID));
    assert_eq!(fma(ONE, QNAN_B, QNAN_A, env), (QNAN_B, Flags::NONE));
    assert_eq!(fma(QNAN_A, INF, 0, env), (DEFAULT, Flags::INVALID));
    assert_eq!(fma(SNAN_A, 0, INF, env), (SNAN_A | 0x40_0000, Flags::INVALID));
    assert_eq!(fma(ONE, INF, 0, env), (DEFAULT, Flags::INVALID));
    assert_eq!(fma(INF | MINUS, INF, ONE, env), (DEFAULT, Flags::INVALID));
}

#[test]
fn flush_to_zero() {
    // Operands first, so the sum is exact and nothing else is raised.
    assert_eq!(add(DENORMAL | MINUS, DENORMAL | MINUS, &FLUSH), (MINUS, Flags::INPUT_DENORMAL));
    assert_eq!(add(DENORMAL, QNAN_A, &FLUSH), (QNAN_A, Flags::INPUT_DENORMAL));
    // A tiny result raises underflow alone, even if exact, even if it would round to a normal number.
    assert_eq!(mul(MIN_NORMAL | MINUS, 0x3f00_0000, &FLUSH), (MINUS, Flags::UNDERFLOW));
    assert_eq!(mul(MIN_NORMAL, 0x3f7f_ffff, &FLUSH), (0, Flags::UNDERFLOW));
    // Without flushing tiny counts only if inexact.
    assert_eq!(mul(MIN_NORMAL, 0x3f00_0000, &Env::ARM), (DENORMAL, Flags::NONE));
    assert_eq!(mul(MIN_NORMAL, 0x3f7f_ffff, &Env::ARM), (MIN_NORMAL, Flags::UNDERFLOW | Flags::INEXACT));
    // An architecture that looks after rounding sees it so only below half a place.
    assert_eq!(mul(MIN_NORMAL, 0x3f7f_ffff, &Env { tininess_before: false, ..Env::ARM }), (MIN_NORMAL, Flags::UNDERFLOW | Flags::INEXACT));
    let after_up = Env { tininess_before: false, round: Round::Up, ..Env::ARM };
    assert_eq!(fma(MIN_NORMAL, 0x0080_0000 | MINUS, 0x0080_0000, &after_up), (MIN_NORMAL, Flags::INEXACT));
    // FZ16 flushes half precision without a flag for operands.
    assert_eq!(of(|f| emu_softfloat::add::<F16>(1, 1, &FLUSH, f)), (0, Flags::NONE));
    let compared = &mut Flags::default();
    assert_eq!(emu_softfloat::compare::<F32>(DENORMAL, MINUS, &FLUSH, compared), Some(Ordering::Equal));
    assert_eq!(*compared, Flags::INPUT_DENORMAL);
}

#[test]
fn comparisons() {
    let run = |a, b, signalling: bool| {
        let mut f = Flags::NONE;
        let compare = if signalling { emu_softfloat::compare_signalling::<F32> } else { emu_softfloat::compare::<F32> };
        (compare(a, b, &Env::ARM, &mut f), f)
    };
    assert_eq!(run(0, MINUS, false), (Some(Ordering::Equal), Flags::NONE));
    assert_eq!(run(ONE | MINUS, DENORMAL | MINUS, true), (Some(Ordering::Less), Flags::NONE));
    assert_eq!(run(ONE, QNAN_A, false), (None, Flags::NONE));
    assert_eq!(run(ONE, SNAN_A, false), (None, Flags::INVALID));
    assert_eq!(run(ONE, QNAN_A, true), (None, Flags::INVALID));
}

#[test]
fn minimum_and_maximum() {
    let env = &Env::ARM;
    assert_eq!(of(|f| emu_softfloat::min::<F32>(0, MINUS, env, f)), (MINUS, Flags::NONE));
    assert_eq!(of(|f| emu_softfloat::max::<F32>(MINUS, 0, env, f)), (0, Flags::NONE));
    assert_eq!(of(|f| emu_softfloat::max::<F32>(ONE, QNAN_A, env, f)), (QNAN_A, Flags::NONE));
    assert_eq!(of(|f| emu_softfloat::max_num::<F32>(ONE, QNAN_A, env, f)), (ONE, Flags::NONE));
    assert_eq!(of(|f| emu_softfloat::min_num::<F32>(QNAN_A, INF, env, f)), (INF, Flags::NONE));
    assert_eq!(of(|f| emu_softfloat::min_num::<F32>(QNAN_A, SNAN_B, env, f)), (SNAN_B | 0x40_0000, Flags::INVALID));
    assert_eq!(of(|f| emu_softfloat::min_num::<F32>(QNAN_A, QNAN_B, env, f)), (QNAN_A, Flags::NONE));
}

#[test]
fn half_precision_conversions() {
    let half = |a, env: &Env| of(|f| emu_softfloat::convert::<F32, F16>(a, env, f));
    let alternative = |a, env: &Env| of(|f| emu_softfloat::convert::<F32, Ahp>(a, env, f));
    // A denormal half survives flush-to-zero in both directions; a denormal single does not.
    assert_eq!(half(0x3380_0000, &FLUSH), (1, Flags::NONE));
    assert_eq!(of(|f| emu_softfloat::convert::<F16, F32>(1, &FLUSH, f)), (0x3380_0000, Flags::NONE));
    assert_eq!(half(DENORMAL, &FLUSH), (0, Flags::INPUT_DENORMAL));
    assert_eq!(half(0x3300_0001, &Env::ARM), (1, Flags::UNDERFLOW | Flags::INEXACT));
    assert_eq!(half(SNAN_B | 0x20_0000, &Env::ARM), (0xff00, Flags::INVALID));
    assert_eq!(half(0x477f_f000, &Env::ARM), (0x7c00, Flags::OVERFLOW | Flags::INEXACT));
    assert_eq!(alternative(0x477f_f000, &Env::ARM), (0x7c00, Flags::INEXACT));
    assert_eq!(alternative(0x47ff_f000, &Env::ARM), (0x7fff, Flags::INVALID));
    assert_eq!(alternative(INF | MINUS, &Env::ARM), (0xffff, Flags::INVALID));
    assert_eq!(alternative(QNAN_B, &Env::ARM), (0x8000, Flags::INVALID));
    assert_eq!(of(|f| Fmt::Ahp.convert(Fmt::F32, 0x7c00, &Env::ARM, f) as u64), (0x4780_0000, Flags::NONE));
}

#[test]
fn precisions() {
    assert_eq!(of(|f| emu_softfloat::convert::<F32, F64>(SNAN_B, &Env::ARM, f)), (0xfff8_0000_8000_0000, Flags::INVALID));
    assert_eq!(of(|f| emu_softfloat::convert::<F64, F32>(0x7ff0_0000_0000_0001, &Env::ARM, f)), (DEFAULT, Flags::INVALID));
    assert_eq!(of(|f| emu_softfloat::convert::<F64, F32>(0x380f_ffff_ffff_ffff, &FLUSH, f)), (0, Flags::UNDERFLOW));
}

#[test]
fn integers() {
    let to = |a, signed, bits, frac, round| of(|f| emu_softfloat::to_int::<F32>(a, signed, bits, frac, round, &Env::ARM, f));
    assert_eq!(to(QNAN_B, true, 32, 0, Round::Zero), (0, Flags::INVALID));
    assert_eq!(to(INF | MINUS, true, 32, 0, Round::Zero), (i64::from(i32::MIN) as u64, Flags::INVALID));
    assert_eq!(to(0xbf00_0000, false, 32, 0, Round::Zero), (0, Flags::INEXACT));
    assert_eq!(to(0xbf00_0000, false, 32, 0, Round::Down), (0, Flags::INVALID));
    assert_eq!(to(0x4f80_0000, false, 32, 0, Round::Zero), (0xffff_ffff, Flags::INVALID));
    assert_eq!(to(0x3fc0_0000, true, 16, 15, Round::Zero), (0x7fff, Flags::INVALID));
    assert_eq!(to(0x3fc0_0000, true, 16, 13, Round::Zero), (0x3000, Flags::NONE));
    let from = |v, signed, bits, frac, round| of(|f| emu_softfloat::from_int::<F32>(v, signed, bits, frac, round, &Env::ARM, f));
    assert_eq!(from(0xdead_ffff, true, 16, 16, Round::NearestEven), (0xb780_0000, Flags::NONE));
    assert_eq!(from(0x7fff_ffff, true, 32, 0, Round::Zero), (0x4eff_ffff, Flags::INEXACT));
    assert_eq!(from(0x7fff_ffff, true, 32, 0, Round::NearestEven), (0x4f00_0000, Flags::INEXACT));
}

#[test]
fn estimates() {
    let env = &Env::ARM_STANDARD;
    let recip = |a| of(|f| emu_softfloat::recip_estimate::<F32>(a, env, f));
    let rsqrt = |a| of(|f| emu_softfloat::rsqrt_estimate::<F32>(a, env, f));
    assert_eq!(recip(ONE), (0x3f7f_8000, Flags::NONE));
    assert_eq!(recip(MINUS), (INF | MINUS, Flags::DIV_BY_ZERO));
    assert_eq!(recip(DENORMAL), (INF, Flags::DIV_BY_ZERO | Flags::INPUT_DENORMAL));
    assert_eq!(recip(0x7e80_0000), (0, Flags::UNDERFLOW));
    assert_eq!(recip(0x7e7f_ffff).0, 0x0080_0000);
    assert_eq!(rsqrt(ONE), (0x3f7f_8000, Flags::NONE));
    assert_eq!(rsqrt(TWO), (0x3f34_8000, Flags::NONE));
    assert_eq!(rsqrt(ONE | MINUS), (DEFAULT, Flags::INVALID));
    assert_eq!(rsqrt(MINUS), (INF | MINUS, Flags::DIV_BY_ZERO));
    assert_eq!(rsqrt(INF), (0, Flags::NONE));
    assert_eq!(emu_softfloat::recip_estimate_u32(0x7fff_ffff), 0xffff_ffff);
    assert_eq!(emu_softfloat::recip_estimate_u32(0x8000_0000), 0xff80_0000);
    assert_eq!(emu_softfloat::recip_estimate_u32(0xffff_ffff), 0x8000_0000);
    assert_eq!(emu_softfloat::rsqrt_estimate_u32(0x3fff_ffff), 0xffff_ffff);
    assert_eq!(emu_softfloat::rsqrt_estimate_u32(0x4000_0000), 0xff80_0000);
    assert_eq!(emu_softfloat::rsqrt_estimate_u32(0xffff_ffff), 0x8000_0000);
    // Denormals that are not flushed: the reciprocal overflows or lies at the top of the range.
    let unflushed = |a| of(|f| emu_softfloat::recip_estimate::<F32>(a, &Env::ARM, f));
    assert_eq!(unflushed(0x0010_0000), (INF, Flags::OVERFLOW | Flags::INEXACT));
    assert_eq!(unflushed(DENORMAL), (0x7eff_8000, Flags::NONE));
}

/// The estimates are within the precision the tables promise: a relative error below 2^-8.
#[test]
fn estimates_are_close() {
    for i in 0..4096u32 {
        let x = f32::from_bits(0x3e00_0000 + (i << 13));
        let recip = f32::from_bits(emu_softfloat::recip_estimate::<F32>(u64::from(x.to_bits()), &Env::ARM, &mut Flags::default()) as u32);
        assert!((recip * x - 1.0).abs() < 1.0 / 256.0, "1/{x}: {recip}");
        let rsqrt = f32::from_bits(emu_softfloat::rsqrt_estimate::<F32>(u64::from(x.to_bits()), &Env::ARM, &mut Flags::default()) as u32);
        assert!((rsqrt * x.sqrt() - 1.0).abs() < 1.0 / 256.0, "1/sqrt({x}): {rsqrt}");
    }
}

#[test]
fn steps() {
    let env = &Env::ARM_STANDARD;
    let recip = |a, b| of(|f| emu_softfloat::recip_step::<F32>(a, b, env, f));
    let rsqrt = |a, b| of(|f| emu_softfloat::rsqrt_step::<F32>(a, b, env, f));
    assert_eq!(recip(INF, MINUS), (TWO, Flags::NONE));
    assert_eq!(recip(DENORMAL, INF), (TWO, Flags::INPUT_DENORMAL));
    assert_eq!(recip(ONE, ONE), (ONE, Flags::NONE));
    assert_eq!(recip(QNAN_A, ONE), (DEFAULT, Flags::NONE));
    assert_eq!(rsqrt(INF, 0), (0x3fc0_0000, Flags::NONE));
    assert_eq!(rsqrt(ONE, ONE), (ONE, Flags::NONE));
    // The square of about sqrt(2): rounding the product before the difference cancels its leading bits shows.
    let y = 0x3fb5_04f3;
    assert_ne!(recip(y, y).0, of(|f| emu_softfloat::recip_step_fused::<F32>(y, y, env, f)).0);
    // The fused step halves before the difference can overflow.
    let huge = 0x7f00_0000;
    assert_eq!(of(|f| emu_softfloat::rsqrt_step_fused::<F32>(huge, TWO | MINUS, &Env::ARM, f)), (huge, Flags::INEXACT));
}

#[test]
fn other_nan_rules() {
    let two = |rule, a, b| add(a, b, &Env { nan_rule: rule, ..Env::ARM }).0;
    let three = |rule, c, a, b| fma(c, a, b, &Env { nan_rule: rule, ..Env::ARM }).0;
    assert_eq!(two(NanRule::X86Sse, QNAN_A, SNAN_B), QNAN_A);
    assert_eq!(two(NanRule::X86Sse, INF, INF | MINUS), DEFAULT | MINUS);
    assert_eq!(two(NanRule::X87, SNAN_A, QNAN_B), QNAN_B);
    assert_eq!(two(NanRule::X87, QNAN_A, QNAN_B), QNAN_B);
    assert_eq!(two(NanRule::PowerPc, QNAN_A, SNAN_B), QNAN_A);
    assert_eq!(three(NanRule::PowerPc, QNAN_A, ONE, QNAN_B), QNAN_A);
    assert_eq!(three(NanRule::X86Sse, QNAN_A, ONE, QNAN_B), QNAN_B);
    assert_eq!(two(NanRule::Sparc, QNAN_A, QNAN_B), QNAN_B);
    assert_eq!(two(NanRule::Sparc, INF, INF | MINUS), 0x7fff_ffff);
    // The quiet bit means the opposite.
    assert_eq!(two(NanRule::Microblaze, INF, INF | MINUS), DEFAULT | MINUS);
    assert_eq!(two(NanRule::MipsLegacy, QNAN_A, ONE), 0x7fbf_ffff);
    assert_eq!(two(NanRule::MipsLegacy, SNAN_A, ONE), SNAN_A);
}
