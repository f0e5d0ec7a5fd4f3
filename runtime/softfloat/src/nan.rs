//! NaN results: which operand's NaN, quieted how, or the default NaN, as the environment's [`NanRule`] says.

use crate::unpack::{Class, Unpacked, zero};
use crate::word::{Bits, Word};
use crate::{Env, Flags, Format, NanRule};

impl NanRule {
    /// Whether a NaN with this left-aligned fraction signals.
    #[inline(always)]
    pub(crate) fn is_signalling<W: Word>(self, aligned: W) -> bool {
        (aligned & W::LEAD >> 1 != W::ZERO) == (self == NanRule::MipsLegacy)
    }
}

/// The default NaN.
pub(crate) fn default_nan<F: Format>(rule: NanRule) -> F::Bits {
    F::INF
        | match rule {
            NanRule::Arm | NanRule::PowerPc => F::QUIET,
            NanRule::X86Sse | NanRule::X87 | NanRule::Microblaze => F::SIGN | F::QUIET,
            NanRule::Sparc => F::FRAC_MASK,
            NanRule::MipsLegacy => F::FRAC_MASK ^ F::QUIET,
        }
}

/// Raises invalid and gives the default NaN.
#[cold]
pub(crate) fn invalid<F: Format>(env: &Env, flags: &mut Flags) -> F::Bits {
    flags.raise(Flags::INVALID);
    default_nan::<F>(env.nan_rule)
}

/// The NaN `x`, quieted, in format `F`: fraction bits are kept from the top.
pub(crate) fn quieted<F: Format>(x: &Unpacked<F::Bits>, env: &Env) -> F::Bits {
    let legacy = env.nan_rule == NanRule::MipsLegacy;
    if env.default_nan || x.class == Class::Unsupported || legacy && x.class == Class::SignallingNan {
        return default_nan::<F>(env.nan_rule);
    }
    let frac = (if legacy { x.sig } else { x.sig | F::Bits::LEAD >> 1 }) >> (F::Bits::BITS - 1 - F::FRAC_BITS);
    if frac == F::Bits::ZERO { default_nan::<F>(env.nan_rule) } else { zero::<F>(x.sign) | F::INF | frac }
}

/// The result of an operation on one operand, a NaN.
#[cold]
pub(crate) fn one<F: Format>(a: &Unpacked<F::Bits>, env: &Env, flags: &mut Flags) -> F::Bits {
    if a.is_signalling() {
        flags.raise(Flags::INVALID);
    }
    quieted::<F>(a, env)
}

/// The result of an operation on two operands of which one at least is a NaN.
#[cold]
pub(crate) fn two<F: Format>(a: &Unpacked<F::Bits>, b: &Unpacked<F::Bits>, env: &Env, flags: &mut Flags) -> F::Bits {
    select::<F>(&[a, b], env, flags)
}

/// The result of `addend + a * b` of which one at least is a NaN.
#[cold]
pub(crate) fn three<F: Format>(
    addend: &Unpacked<F::Bits>,
    a: &Unpacked<F::Bits>,
    b: &Unpacked<F::Bits>,
    env: &Env,
    flags: &mut Flags,
) -> F::Bits {
    match env.nan_rule {
        NanRule::Arm | NanRule::MipsLegacy | NanRule::Microblaze => select::<F>(&[addend, a, b], env, flags),
        NanRule::PowerPc => select::<F>(&[a, addend, b], env, flags),
        NanRule::X86Sse | NanRule::X87 | NanRule::Sparc => select::<F>(&[a, b, addend], env, flags),
    }
}

fn select<F: Format>(operands: &[&Unpacked<F::Bits>], env: &Env, flags: &mut Flags) -> F::Bits {
    let signalling = |x: &&&Unpacked<F::Bits>| x.class == Class::SignallingNan;
    let quiet = |x: &&&Unpacked<F::Bits>| x.class == Class::QuietNan;
    if operands.iter().any(|x| x.class == Class::Unsupported) {
        return invalid::<F>(env, flags);
    }
    if operands.iter().any(|x| x.is_signalling()) {
        flags.raise(Flags::INVALID);
    }
    let chosen = match env.nan_rule {
        NanRule::Arm | NanRule::MipsLegacy | NanRule::Microblaze => {
            operands.iter().find(signalling).or_else(|| operands.iter().find(quiet))
        }
        NanRule::X86Sse | NanRule::PowerPc => operands.iter().find(|x| x.is_nan()),
        NanRule::Sparc => operands.iter().rev().find(signalling).or_else(|| operands.iter().rev().find(quiet)),
        NanRule::X87 => operands.iter().filter(|x| x.is_nan()).max_by_key(|x| (x.class == Class::QuietNan, x.sig, !x.sign)),
    };
    chosen.map_or_else(|| default_nan::<F>(env.nan_rule), |x| quieted::<F>(x, env))
}
