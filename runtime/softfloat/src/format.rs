//! Binary interchange formats (IEEE 754-2019, 3.4), x87's double extended (Intel SDM volume 1, 4.2.2), and ARM's alternative half precision
//! (Arm ARM A2.7.4).

use crate::word::{Bits, Word};

/// A binary format: sign, `EXP_BITS` of biased exponent, `FRAC_BITS` of fraction below an implied leading significand bit; with `EXPLICIT`, that bit
/// stands between exponent and fraction.
pub trait Format: Copy + 'static {
    /// What holds an encoding.
    type Bits: Word;
    /// Width of the exponent field in bits.
    const EXP_BITS: u32;
    /// Width of the fraction field in bits.
    const FRAC_BITS: u32;
    /// The largest exponent field encodes infinity and NaN; if not, it is one more binade of numbers.
    const HAS_INF_NAN: bool = true;
    /// The leading significand bit is in the encoding.
    const EXPLICIT: bool = false;

    /// Bits below the exponent field.
    const EXP_AT: u32 = Self::FRAC_BITS + Self::EXPLICIT as u32;
    /// Width of the encoding in bits.
    const WIDTH: u32 = 1 + Self::EXP_BITS + Self::EXP_AT;
    /// The largest exponent field, right-aligned.
    const EXP_MAX: u64 = (1 << Self::EXP_BITS) - 1;
    /// Exponent bias.
    const BIAS: i32 = (1 << (Self::EXP_BITS - 1)) - 1;
    /// The sign bit.
    const SIGN: Self::Bits;
    /// All bits but the sign.
    const MAGNITUDE: Self::Bits;
    /// The fraction field.
    const FRAC_MASK: Self::Bits;
    /// Encoding of plus infinity.
    const INF: Self::Bits;
    /// The smallest positive normal number.
    const MIN_NORMAL: Self::Bits;
    /// The leading fraction bit, which tells quiet from signalling NaNs.
    const QUIET: Self::Bits;
    /// The largest finite number.
    const MAX_FINITE: Self::Bits;

    /// The exponent field.
    #[inline(always)]
    fn field(bits: Self::Bits) -> u64 {
        (bits >> Self::EXP_AT).low() & Self::EXP_MAX
    }

    /// The magnitude of which `compact` is the encoding with an implied leading bit.
    #[inline(always)]
    fn spread(compact: Self::Bits) -> Self::Bits {
        if !Self::EXPLICIT {
            return compact;
        }
        let exponent = compact >> Self::FRAC_BITS;
        let normal = if exponent == Self::Bits::ZERO { exponent } else { exponent << Self::EXP_AT | Self::QUIET << 1 };
        normal | compact & Self::FRAC_MASK
    }
}

macro_rules! format {
    ($name:ident, $bits:ty, $exp:expr, $frac:expr $(, $constant:ident = $value:expr)*) => {
        impl Format for $name {
            type Bits = $bits;
            const EXP_BITS: u32 = $exp;
            const FRAC_BITS: u32 = $frac;
            $(const $constant: bool = $value;)*
            const SIGN: $bits = 1 << (Self::WIDTH - 1);
            const MAGNITUDE: $bits = Self::SIGN - 1;
            const FRAC_MASK: $bits = (1 << Self::FRAC_BITS) - 1;
            const INF: $bits = (Self::EXP_MAX as $bits) << Self::EXP_AT | (Self::EXPLICIT as $bits) << Self::FRAC_BITS;
            const MIN_NORMAL: $bits = 1 << Self::EXP_AT | (Self::EXPLICIT as $bits) << Self::FRAC_BITS;
            const QUIET: $bits = 1 << (Self::FRAC_BITS - 1);
            const MAX_FINITE: $bits =
                if Self::HAS_INF_NAN { ((Self::EXP_MAX as $bits) << Self::EXP_AT) - 1 } else { Self::MAGNITUDE };
        }
    };
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
/// x87's double extended precision: 80 bits, of which bit 63 is the leading significand bit. Encodings in which that bit contradicts the exponent
/// (unnormals, pseudo-infinities, pseudo-NaNs) are invalid operands; pseudo-denormals count as the numbers they spell.
#[derive(Clone, Copy, Debug)]
pub struct F80;
/// Quadruple precision (binary128).
#[derive(Clone, Copy, Debug)]
pub struct F128;
/// ARM alternative half precision: the largest exponent encodes numbers up to 131008, there are no infinities or NaNs.
/// Meant for conversions; what overflows gives the largest number and raises invalid.
#[derive(Clone, Copy, Debug)]
pub struct Ahp;

format!(F16, u64, 5, 10);
format!(F32, u64, 8, 23);
format!(F64, u64, 11, 52);
format!(F80, u128, 15, 63, EXPLICIT = true);
format!(F128, u128, 15, 112);
format!(Ahp, u64, 5, 10, HAS_INF_NAN = false);
