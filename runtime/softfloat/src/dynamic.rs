//! The operations by a format known at run time: one branch, then the generic function.

use std::cmp::Ordering;

use crate::{Ahp, Env, F16, F32, F64, F80, F128, Flags, Format, Round, Word};

/// A format by value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fmt {
    /// Half precision.
    F16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
    /// Double extended precision ([`F80`]).
    F80,
    /// Quadruple precision.
    F128,
    /// ARM alternative half precision ([`Ahp`]).
    Ahp,
}

/// Calls a generic function for the format at hand, on operands as its encodings.
macro_rules! by_format {
    (all: $fmt:expr, $call:ident) => {
        match $fmt {
            Fmt::F16 => $call!(F16),
            Fmt::F32 => $call!(F32),
            Fmt::F64 => $call!(F64),
            Fmt::F80 => $call!(F80),
            Fmt::F128 => $call!(F128),
            Fmt::Ahp => $call!(Ahp),
        }
    };
    (narrow: $fmt:expr, $call:ident, $other:expr) => {
        match $fmt {
            Fmt::F16 => $call!(F16),
            Fmt::F32 => $call!(F32),
            Fmt::F64 => $call!(F64),
            Fmt::Ahp => $call!(Ahp),
            Fmt::F80 | Fmt::F128 => $other,
        }
    };
}

/// Defines methods that only pick the format: operands are encodings in the low bits of a `u128`, and so is a result that is `into` one.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($($value:ident),* $(; $arg:ident: $ty:ty)*) -> $ret:ty $(, $into:ident)?;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            #[allow(clippy::too_many_arguments, reason = "as the generic function")]
            pub fn $name(self, $($value: u128,)* $($arg: $ty,)* env: &Env, flags: &mut Flags) -> $ret {
                macro_rules! call {
                    ($f:ident) => {
                        crate::$name::<$f>($(Word::from_u128($value),)* $($arg,)* env, flags)$(.$into())?
                    };
                }
                by_format!(all: self, call)
            }
        )*
    };
}

/// As `methods!`, for what formats above 64 bits do not have: there the result is 0.
macro_rules! narrow_methods {
    ($($(#[$doc:meta])* $name:ident($($value:ident),*);)*) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $name(self, $($value: u128,)* env: &Env, flags: &mut Flags) -> u128 {
                macro_rules! call {
                    ($f:ident) => {
                        crate::$name::<$f>($(Word::from_u128($value),)* env, flags).to_u128()
                    };
                }
                by_format!(narrow: self, call, 0)
            }
        )*
    };
}

impl Fmt {
    /// The format of that many bits (16, 32, 64, 80, 128).
    #[must_use]
    pub const fn of_width(bits: u32) -> Option<Fmt> {
        match bits {
            16 => Some(Fmt::F16),
            32 => Some(Fmt::F32),
            64 => Some(Fmt::F64),
            80 => Some(Fmt::F80),
            128 => Some(Fmt::F128),
            _ => None,
        }
    }

    /// Width of the encoding in bits.
    #[must_use]
    pub const fn width(self) -> u32 {
        match self {
            Fmt::F16 | Fmt::Ahp => F16::WIDTH,
            Fmt::F32 => F32::WIDTH,
            Fmt::F64 => F64::WIDTH,
            Fmt::F80 => F80::WIDTH,
            Fmt::F128 => F128::WIDTH,
        }
    }

    methods! {
        /// `a + b`: [`add`](crate::add).
        add(a, b) -> u128, to_u128;
        /// `a - b`: [`sub`](crate::sub).
        sub(a, b) -> u128, to_u128;
        /// `a * b`: [`mul`](crate::mul).
        mul(a, b) -> u128, to_u128;
        /// `a / b`: [`div`](crate::div).
        div(a, b) -> u128, to_u128;
        /// Square root: [`sqrt`](crate::sqrt).
        sqrt(a) -> u128, to_u128;
        /// `addend + a * b`: [`fma`](crate::fma).
        fma(addend, a, b) -> u128, to_u128;
        /// Minimum: [`min`](crate::min).
        min(a, b) -> u128, to_u128;
        /// Maximum: [`max`](crate::max).
        max(a, b) -> u128, to_u128;
        /// Minimum, numbers before quiet NaNs: [`min_num`](crate::min_num).
        min_num(a, b) -> u128, to_u128;
        /// Maximum, numbers before quiet NaNs: [`max_num`](crate::max_num).
        max_num(a, b) -> u128, to_u128;
        /// Rounds to an integral value: [`round_to_int`](crate::round_to_int).
        round_to_int(a; round: Round; exact: bool) -> u128, to_u128;
        /// To an integer or fixed point: [`to_int`](crate::to_int).
        to_int(a; signed: bool; bits: u32; frac: i32; round: Round) -> u64;
        /// Quiet comparison: [`compare`](crate::compare).
        compare(a, b) -> Option<Ordering>;
        /// Signalling comparison: [`compare_signalling`](crate::compare_signalling).
        compare_signalling(a, b) -> Option<Ordering>;
    }

    narrow_methods! {
        /// Estimate of 1/a: [`recip_estimate`](crate::recip_estimate).
        recip_estimate(a);
        /// Estimate of 1/sqrt(a): [`rsqrt_estimate`](crate::rsqrt_estimate).
        rsqrt_estimate(a);
        /// `2 - a * b`, rounded twice: [`recip_step`](crate::recip_step).
        recip_step(a, b);
        /// `(3 - a * b) / 2`, rounded twice: [`rsqrt_step`](crate::rsqrt_step).
        rsqrt_step(a, b);
        /// `2 - a * b`, rounded once: [`recip_step_fused`](crate::recip_step_fused).
        recip_step_fused(a, b);
        /// `(3 - a * b) / 2`, rounded once: [`rsqrt_step_fused`](crate::rsqrt_step_fused).
        rsqrt_step_fused(a, b);
    }

    /// From an integer or fixed point: [`from_int`](crate::from_int).
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "as the generic function")]
    pub fn from_int(self, value: u64, signed: bool, bits: u32, frac: i32, round: Round, env: &Env, flags: &mut Flags) -> u128 {
        macro_rules! call {
            ($f:ident) => {
                crate::from_int::<$f>(value, signed, bits, frac, round, env, flags).to_u128()
            };
        }
        by_format!(all: self, call)
    }

    /// Clears the sign: [`abs`](crate::abs).
    #[inline]
    #[must_use]
    pub fn abs(self, a: u128) -> u128 {
        macro_rules! call {
            ($f:ident) => {
                crate::abs::<$f>(Word::from_u128(a)).to_u128()
            };
        }
        by_format!(all: self, call)
    }

    /// Flips the sign: [`neg`](crate::neg).
    #[inline]
    #[must_use]
    pub fn neg(self, a: u128) -> u128 {
        macro_rules! call {
            ($f:ident) => {
                crate::neg::<$f>(Word::from_u128(a)).to_u128()
            };
        }
        by_format!(all: self, call)
    }

    /// Converts to format `to`: [`convert`](crate::convert).
    pub fn convert(self, to: Fmt, a: u128, env: &Env, flags: &mut Flags) -> u128 {
        fn from<S: Format>(to: Fmt, a: u128, env: &Env, flags: &mut Flags) -> u128 {
            macro_rules! call {
                ($f:ident) => {
                    crate::convert::<S, $f>(Word::from_u128(a), env, flags).to_u128()
                };
            }
            by_format!(all: to, call)
        }
        macro_rules! call {
            ($f:ident) => {
                from::<$f>(to, a, env, flags)
            };
        }
        by_format!(all: self, call)
    }
}
