//! Binary interchange formats (IEEE 754-2019, 3.4) and ARM's alternative half precision (Arm ARM A2.7.4).

/// A binary format with an implied leading significand bit: sign, `EXP_BITS` of biased exponent, `FRAC_BITS` of fraction.
pub trait Format: Copy + 'static {
    /// Width of the exponent field in bits.
    const EXP_BITS: u32;
    /// Width of the fraction field in bits.
    const FRAC_BITS: u32;
    /// The largest exponent field encodes infinity and NaN; if not, it is one more binade of numbers.
    const HAS_INF_NAN: bool = true;

    /// Width of the encoding in bits.
    const WIDTH: u32 = 1 + Self::EXP_BITS + Self::FRAC_BITS;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::WIDTH - 1);
    /// The largest exponent field, right-aligned.
    const EXP_MAX: u64 = (1 << Self::EXP_BITS) - 1;
    /// The fraction field.
    const FRAC_MASK: u64 = (1 << Self::FRAC_BITS) - 1;
    /// Exponent bias.
    const BIAS: i32 = (1 << (Self::EXP_BITS - 1)) - 1;
    /// Encoding of plus infinity.
    const INF: u64 = Self::EXP_MAX << Self::FRAC_BITS;
    /// The smallest positive normal number.
    const MIN_NORMAL: u64 = 1 << Self::FRAC_BITS;
    /// The leading fraction bit, which tells quiet from signalling NaNs.
    const QUIET: u64 = 1 << (Self::FRAC_BITS - 1);
    /// The largest finite number.
    const MAX_FINITE: u64 = if Self::HAS_INF_NAN { Self::INF - 1 } else { Self::SIGN - 1 };
}

/// Half precision (binary16).
#[derive(Clone, Copy, Debug)]
pub struct F16;
/// Single precision (binary32).
#[derive(Clone, Copy, Debug)]
pub struct F32;
/// Double precision (binary64).
#[derive(Clone, Copy, Debug)]
pub struct F64;
/// ARM alternative half precision: the largest exponent encodes numbers up to 131008, there are no infinities or NaNs.
/// Meant for conversions; what overflows gives the largest number and raises invalid.
#[derive(Clone, Copy, Debug)]
pub struct Ahp;

impl Format for F16 {
    const EXP_BITS: u32 = 5;
    const FRAC_BITS: u32 = 10;
}
impl Format for F32 {
    const EXP_BITS: u32 = 8;
    const FRAC_BITS: u32 = 23;
}
impl Format for F64 {
    const EXP_BITS: u32 = 11;
    const FRAC_BITS: u32 = 52;
}
impl Format for Ahp {
    const EXP_BITS: u32 = 5;
    const FRAC_BITS: u32 = 10;
    const HAS_INF_NAN: bool = false;
}
