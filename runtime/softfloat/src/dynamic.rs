//! The operations by a format known at run time: one branch, then the generic function.

use std::cmp::Ordering;

use crate::{Ahp, Env, F16, F32, F64, Flags, Format, Round};

/// A format by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fmt {
    /// Half precision.
    F16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// ARM alternative half precision ([`Ahp`]).
    Ahp,
}

/// Calls a generic function for the format at hand.
macro_rules! by_format {
    ($fmt:expr, $($function:ident)::+ ($($arg:expr),*)) => {
        match $fmt {
            Fmt::F16 => $($function)::+::<F16>($($arg),*),
            Fmt::F32 => $($function)::+::<F32>($($arg),*),
            Fmt::F64 => $($function)::+::<F64>($($arg),*),
            Fmt::Ahp => $($function)::+::<Ahp>($($arg),*),
        }
    };
}

/// Defines methods that only pick the format.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            #[allow(clippy::too_many_arguments, reason = "as the generic function")]
            pub fn $name(self, $($arg: $ty,)* env: &Env, flags: &mut Flags) -> $ret {
                by_format!(self, crate::$name($($arg,)* env, flags))
            }
        )*
    };
}

impl Fmt {
    /// The IEEE format of that many bits (16, 32, 64).
    #[must_use]
    pub const fn of_width(bits: u32) -> Option<Fmt> {
        match bits {
            16 => Some(Fmt::F16),
            32 => Some(Fmt::F32),
            64 => Some(Fmt::F64),
            _ => None,
        }
    }

    /// Width of the encoding in bits.
    #[must_use]
    pub const fn width(self) -> u32 {
        match self {
            Fmt::F16 => F16::WIDTH,
            Fmt::F32 => F32::WIDTH,
            Fmt::F64 => F64::WIDTH,
            Fmt::Ahp => Ahp::WIDTH,
        }
    }

    methods! {
        /// `a + b`: [`add`](crate::add).
        add(a: u64, b: u64) -> u64;
        /// `a - b`: [`sub`](crate::sub).
        sub(a: u64, b: u64) -> u64;
        /// `a * b`: [`mul`](crate::mul).
        mul(a: u64, b: u64) -> u64;
        /// `a / b`: [`div`](crate::div).
        div(a: u64, b: u64) -> u64;
        /// Square root: [`sqrt`](crate::sqrt).
        sqrt(a: u64) -> u64;
        /// `addend + a * b`: [`fma`](crate::fma).
        fma(addend: u64, a: u64, b: u64) -> u64;
        /// Minimum: [`min`](crate::min).
        min(a: u64, b: u64) -> u64;
        /// Maximum: [`max`](crate::max).
        max(a: u64, b: u64) -> u64;
        /// Minimum, numbers before quiet NaNs: [`min_num`](crate::min_num).
        min_num(a: u64, b: u64) -> u64;
        /// Maximum, numbers before quiet NaNs: [`max_num`](crate::max_num).
        max_num(a: u64, b: u64) -> u64;
        /// Estimate of 1/a: [`recip_estimate`](crate::recip_estimate).
        recip_estimate(a: u64) -> u64;
        /// Estimate of 1/sqrt(a): [`rsqrt_estimate`](crate::rsqrt_estimate).
        rsqrt_estimate(a: u64) -> u64;
        /// `2 - a * b`, rounded twice: [`recip_step`](crate::recip_step).
        recip_step(a: u64, b: u64) -> u64;
        /// `(3 - a * b) / 2`, rounded twice: [`rsqrt_step`](crate::rsqrt_step).
        rsqrt_step(a: u64, b: u64) -> u64;
        /// `2 - a * b`, rounded once: [`recip_step_fused`](crate::recip_step_fused).
        recip_step_fused(a: u64, b: u64) -> u64;
        /// `(3 - a * b) / 2`, rounded once: [`rsqrt_step_fused`](crate::rsqrt_step_fused).
        rsqrt_step_fused(a: u64, b: u64) -> u64;
        /// Rounds to an integral value: [`round_to_int`](crate::round_to_int).
        round_to_int(a: u64, round: Round, exact: bool) -> u64;
        /// To an integer or fixed point: [`to_int`](crate::to_int).
        to_int(a: u64, signed: bool, bits: u32, frac: i32, round: Round) -> u64;
        /// From an integer or fixed point: [`from_int`](crate::from_int).
        from_int(value: u64, signed: bool, bits: u32, frac: i32, round: Round) -> u64;
        /// Quiet comparison: [`compare`](crate::compare).
        compare(a: u64, b: u64) -> Option<Ordering>;
        /// Signalling comparison: [`compare_signalling`](crate::compare_signalling).
        compare_signalling(a: u64, b: u64) -> Option<Ordering>;
    }

    /// Clears the sign: [`abs`](crate::abs).
    #[inline]
    #[must_use]
    pub fn abs(self, a: u64) -> u64 {
        by_format!(self, crate::abs(a))
    }

    /// Flips the sign: [`neg`](crate::neg).
    #[inline]
    #[must_use]
    pub fn neg(self, a: u64) -> u64 {
        by_format!(self, crate::neg(a))
    }

    /// Converts to format `to`: [`convert`](crate::convert).
    pub fn convert(self, to: Fmt, a: u64, env: &Env, flags: &mut Flags) -> u64 {
        fn from<S: Format>(to: Fmt, a: u64, env: &Env, flags: &mut Flags) -> u64 {
            match to {
                Fmt::F16 => crate::convert::<S, F16>(a, env, flags),
                Fmt::F32 => crate::convert::<S, F32>(a, env, flags),
                Fmt::F64 => crate::convert::<S, F64>(a, env, flags),
                Fmt::Ahp => crate::convert::<S, Ahp>(a, env, flags),
            }
        }
        by_format!(self, from(to, a, env, flags))
    }
}
