//! Floating point in software: the oracle for every tier, and the engine wherever the host's FPU cannot give the guest's answer.
//!
//! Sources: IEEE 754-2019; Arm ARM (DDI 0406C) A2.7 and DDI 0487 "shared/functions/float" for ARM's choices where the standard leaves them
//! open.
//!
//! Values are raw encodings in the low bits of a `u64`, or of a `u128` for the formats wider than that; higher bits of an argument are ignored, of a result zero. An operation unpacks its
//! operands (flushing denormals if the [`Env`] says so), settles NaNs by the environment's [`NanRule`], computes an exact or
//! sticky significand, and rounds it once into the destination format. Exceptions are or-ed into the caller's [`Flags`]; nothing traps.
//! For the two host formats a fast path (`fast.rs`) answers the common case with host arithmetic.
//!
//! Two ways in: generic functions (`add::<F32>(a, b, &env, &mut flags)`), and the same operations as methods of [`Fmt`] for a format known
//! only at run time.
//!
//! Not modelled: trapped exceptions, x87's C1 (which way a result was rounded), x86's and MIPS's own minimum and maximum.

mod arith;
mod compare;
mod convert;
mod dynamic;
mod env;
mod estimate;
mod fast;
mod format;
mod nan;
mod unpack;
mod word;

pub use arith::{add, div, fma, mul, sqrt, sub};
pub use compare::{abs, compare, compare_signalling, max, max_num, min, min_num, neg};
pub use convert::{convert, from_int, round_to_int, to_int};
pub use dynamic::Fmt;
pub use env::{Env, Flags, InfZeroNan, IntInvalid, NanRule, Round};
pub use estimate::{
    recip_estimate, recip_estimate_u32, recip_step, recip_step_fused, rsqrt_estimate, rsqrt_estimate_u32, rsqrt_step, rsqrt_step_fused,
};
pub use format::{Ahp, F16, F32, F64, F80, F128, Format};
pub use word::{Bits, Word};
