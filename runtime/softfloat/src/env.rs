//! What an operation's result depends on besides its operands, and the exceptions it raises.

use std::ops::{BitOr, BitOrAssign};

/// Direction of rounding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Round {
    /// To the nearest value, ties to the even one.
    #[default]
    NearestEven,
    /// Towards zero.
    Zero,
    /// Towards plus infinity.
    Up,
    /// Towards minus infinity.
    Down,
    /// To the nearest value, ties away from zero.
    NearestAway,
}

/// Which operand's NaN an operation returns, what makes a NaN signalling, and what the default NaN is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum NanRule {
    /// The first signalling NaN, else the first quiet one; a fused multiply-add's order is addend, factors (Arm ARM, `FPProcessNaNs3`).
    /// The default NaN is positive.
    #[default]
    Arm,
    /// SSE and AVX: the first operand that is a NaN; a fused multiply-add's order is factors, addend. The default NaN is negative.
    X86Sse,
    /// x87: a quiet NaN before a signalling one, then the larger significand, then the positive one. The default NaN is negative.
    X87,
    /// The first operand that is a NaN; a fused multiply-add's order is first factor, addend, second factor (Power ISA 4.3.2).
    PowerPc,
    /// A signalling NaN before a quiet one, then the last operand; a fused multiply-add's operands are factors, addend. The default NaN has
    /// an all-ones fraction (SPARC V9, B.2).
    Sparc,
    /// MIPS before IEEE 754-2008: a set leading fraction bit means signalling; an operation on a signalling NaN gives the default NaN,
    /// whose leading fraction bit alone is clear. Else as [`NanRule::Arm`].
    MipsLegacy,
    /// As [`NanRule::Arm`], but the default NaN is negative (MicroBlaze, which never gives another).
    Microblaze,
}

/// What a fused multiply-add makes of infinity times zero plus a quiet NaN.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum InfZeroNan {
    /// Invalid; the default NaN (ARM).
    #[default]
    DefaultNan,
    /// Invalid; the addend's NaN (PowerPC).
    Propagate,
    /// Not invalid; the addend's NaN (x86).
    PropagateQuietly,
}

/// What a conversion to an integer gives when no integer of the width is right. The invalid flag is raised in every case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum IntInvalid {
    /// Out of range: the nearest end of the range; NaN: 0 (ARM).
    #[default]
    SaturateNanZero,
    /// Out of range: the nearest end of the range; NaN: the largest integer (RISC-V).
    SaturateNanMax,
    /// Out of range: the nearest end of the range; NaN: the smallest integer (PowerPC).
    SaturateNanMin,
    /// The "integer indefinite": signed, only the top bit set; unsigned, all bits set (x86).
    Indefinite,
    /// The largest integer (MIPS before IEEE 754-2008).
    Max,
}

/// Controls of floating-point arithmetic: what a guest's control register and its architecture fix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Env {
    /// Rounding of arithmetic and of conversions between formats.
    pub round: Round,
    /// Takes denormal operands for zeros of the same sign and raises [`Flags::INPUT_DENORMAL`] (not for half precision).
    pub flush_inputs: bool,
    /// Gives a zero of the result's sign for a tiny result and raises [`Flags::UNDERFLOW`].
    pub flush_outputs: bool,
    /// A flushed result also raises [`Flags::INEXACT`] (x86; not ARM).
    pub flush_inexact: bool,
    /// Raises [`Flags::INPUT_DENORMAL`] for a denormal operand that is *not* flushed, unless a NaN or an invalid operation goes before (x86).
    pub report_denormals: bool,
    /// Bits of significand to which double extended results of arithmetic are rounded: 24, 53, 64 (x87's precision control). Not conversions' results.
    pub precision: u8,
    /// Every NaN result is the default NaN.
    pub default_nan: bool,
    /// Which NaN a NaN result is.
    pub nan_rule: NanRule,
    /// Infinity times zero plus a quiet NaN.
    pub inf_zero_nan: InfZeroNan,
    /// A result is tiny if it is below the smallest normal before rounding (ARM, PowerPC), rather than after rounding to the format's
    /// precision with an unbounded exponent (x86, MIPS, RISC-V).
    pub tininess_before: bool,
    /// Conversion to an integer that does not hold the value.
    pub int_invalid: IntInvalid,
}

impl Env {
    /// The whole significand of the double extended format.
    pub const WHOLE: u8 = 64;

    /// ARM with FPSCR zero: nearest even, no flushing, NaNs propagate.
    pub const ARM: Env = Env {
        round: Round::NearestEven,
        flush_inputs: false,
        flush_outputs: false,
        flush_inexact: false,
        report_denormals: false,
        precision: Env::WHOLE,
        default_nan: false,
        nan_rule: NanRule::Arm,
        inf_zero_nan: InfZeroNan::DefaultNan,
        tininess_before: true,
        int_invalid: IntInvalid::SaturateNanZero,
    };

    /// ARM's `StandardFPSCRValue`, which Advanced SIMD in AArch32 uses: nearest even, flush to zero, default NaN.
    pub const ARM_STANDARD: Env = Env { flush_inputs: true, flush_outputs: true, default_nan: true, ..Env::ARM };

    /// This environment with another rounding.
    #[must_use]
    pub const fn with_round(self, round: Round) -> Env {
        Env { round, ..self }
    }
}

impl Default for Env {
    fn default() -> Self {
        Env::ARM
    }
}

/// A set of exceptions: sticky in the caller's hands, since operations only add to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(
    /// One bit each, as the constants say.
    pub u8,
);

impl Flags {
    /// No exception.
    pub const NONE: Flags = Flags(0);
    /// No sensible result (bit 0).
    pub const INVALID: Flags = Flags(1 << 0);
    /// A finite operand gave an exact infinity (bit 1).
    pub const DIV_BY_ZERO: Flags = Flags(1 << 1);
    /// The rounded result is too large for the format (bit 2).
    pub const OVERFLOW: Flags = Flags(1 << 2);
    /// The result is tiny and inexact, or was flushed to zero (bit 3).
    pub const UNDERFLOW: Flags = Flags(1 << 3);
    /// The result was rounded (bit 4).
    pub const INEXACT: Flags = Flags(1 << 4);
    /// A denormal operand was flushed to zero, or reported (bit 5).
    pub const INPUT_DENORMAL: Flags = Flags(1 << 5);

    /// Adds exceptions.
    #[inline]
    pub fn raise(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// Whether all of `other` are in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = ["INVALID", "DIV_BY_ZERO", "OVERFLOW", "UNDERFLOW", "INEXACT", "INPUT_DENORMAL"];
        let set: Vec<&str> = names.iter().enumerate().filter(|(i, _)| self.0 >> i & 1 != 0).map(|(_, n)| *n).collect();
        write!(f, "{}", if set.is_empty() { "NONE".into() } else { set.join("|") })
    }
}
