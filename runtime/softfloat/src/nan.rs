//! NaN results: which operand's NaN, quieted how, or the default NaN, as the environment's [`NanRule`] says.

use crate::unpack::{Class, Unpacked, zero};
use crate::{Env, Flags, Format, NanRule};

/// The quiet bit of a left-aligned fraction.
const QUIET: u64 = 1 << 62;

impl NanRule {
    /// Whether a NaN with this left-aligned fraction signals.
    #[inline(always)]
    pub(crate) fn is_signalling(self, aligned: u64) -> bool {
        (aligned & QUIET != 0) == (self == NanRule::MipsLegacy)
    }
}

/// The default NaN.
pub(crate) fn default_nan<F: Format>(rule: NanRule) -> u64 {
    F::INF
        | match rule {
            NanRule::Arm | NanRule::PowerPc => F::QUIET,
            NanRule::X86Sse | NanRule::X87 => F::SIGN | F::QUIET,
            NanRule::Sparc => F::FRAC_MASK,
            NanRule::MipsLegacy => F::FRAC_MASK ^ F::QUIET,
        }
}

/// Raises invalid and gives the default NaN.
#[cold]
pub(crate) fn invalid<F: Format>(env: &Env, flags: &mut Flags) -> u64 {
    flags.raise(Flags::INVALID);
    default_nan::<F>(env.nan_rule)
}

/// The NaN `x`, quieted, in format `F`: fraction bits are kept from the top.
pub(crate) fn quieted<F: Format>(x: &Unpacked, env: &Env) -> u64 {
    let legacy = env.nan_rule == NanRule::MipsLegacy;
    if env.default_nan || legacy && x.class == Class::SignallingNan {
        return default_nan::<F>(env.nan_rule);
    }
    let frac = (if legacy { x.sig } else { x.sig | QUIET }) >> (63 - F::FRAC_BITS);
    if frac == 0 { default_nan::<F>(env.nan_rule) } else { zero::<F>(x.sign) | F::INF | frac }
}

/// The result of an operation on one operand, a NaN.
#[cold]
pub(crate) fn one<F: Format>(a: &Unpacked, env: &Env, flags: &mut Flags) -> u64 {
    if a.class == Class::SignallingNan {
        flags.raise(Flags::INVALID);
    }
    quieted::<F>(a, env)
}

/// The result of an operation on two operands of which one at least is a NaN.
#[cold]
pub(crate) fn two<F: Format>(a: &Unpacked, b: &Unpacked, env: &Env, flags: &mut Flags) -> u64 {
    select::<F>(&[a, b], env, flags)
}

/// The result of `addend + a * b` of which one at least is a NaN.
#[cold]
pub(crate) fn three<F: Format>(addend: &Unpacked, a: &Unpacked, b: &Unpacked, env: &Env, flags: &mut Flags) -> u64 {
    match env.nan_rule {
        NanRule::Arm | NanRule::MipsLegacy => select::<F>(&[addend, a, b], env, flags),
        NanRule::PowerPc => select::<F>(&[a, addend, b], env, flags),
        NanRule::X86Sse | NanRule::X87 | NanRule::Sparc => select::<F>(&[a, b, addend], env, flags),
    }
}

fn select<F: Format>(operands: &[&Unpacked], env: &Env, flags: &mut Flags) -> u64 {
    let signalling = |x: &&&Unpacked| x.class == Class::SignallingNan;
    let quiet = |x: &&&Unpacked| x.class == Class::QuietNan;
    if operands.iter().any(|x| x.class == Class::SignallingNan) {
        flags.raise(Flags::INVALID);
    }
    let chosen = match env.nan_rule {
        NanRule::Arm | NanRule::MipsLegacy => operands.iter().find(signalling).or_else(|| operands.iter().find(quiet)),
        NanRule::X86Sse | NanRule::PowerPc => operands.iter().find(|x| x.is_nan()),
        NanRule::Sparc => operands.iter().rev().find(signalling).or_else(|| operands.iter().rev().find(quiet)),
        NanRule::X87 => operands.iter().filter(|x| x.is_nan()).max_by_key(|x| (x.class == Class::QuietNan, x.sig, !x.sign)),
    };
    chosen.map_or_else(|| default_nan::<F>(env.nan_rule), |x| quieted::<F>(x, env))
}
