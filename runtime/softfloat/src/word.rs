//! The integers that encodings and significands are kept in: 64 bits for the formats up to double precision, 128 above; products are twice as wide.

use std::ops::{BitAnd, BitOr, BitXor, Shl, Shr};

/// An unsigned integer as the operations need it. Shifts are by less than `BITS`.
pub trait Bits: Copy + Ord + Shl<u32, Output = Self> + Shr<u32, Output = Self> + BitOr<Output = Self> {
    /// Width in bits.
    const BITS: u32;
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The top bit: the leading bit of a normalised significand.
    const LEAD: Self;

    /// Zeros above the highest one.
    fn leading_zeros(self) -> u32;
    /// Sum modulo 2^`BITS`, and whether it carried out.
    fn overflowing_add(self, other: Self) -> (Self, bool);
    /// Difference modulo 2^`BITS`.
    #[must_use]
    fn wrapping_sub(self, other: Self) -> Self;

    /// Shifts right by any number, or-ing what falls out into bit 0.
    #[inline(always)]
    #[must_use]
    fn shift_right_jam(self, by: u32) -> Self {
        let lost = match by {
            0 => return self,
            _ if by < Self::BITS => (self >> by, self << (Self::BITS - by)),
            _ => (Self::ZERO, self),
        };
        if lost.1 == Self::ZERO { lost.0 } else { lost.0 | Self::ONE }
    }
}

/// An integer that holds an encoding or an unpacked significand.
pub trait Word: Bits + BitAnd<Output = Self> + BitXor<Output = Self> + std::fmt::Debug + 'static {
    /// Twice as wide.
    type Wide: Bits;

    /// A small number.
    fn from_u64(value: u64) -> Self;
    /// The low 64 bits.
    fn low(self) -> u64;
    /// As 128 bits.
    fn to_u128(self) -> u128;
    /// The low bits of 128.
    fn from_u128(value: u128) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self::Wide;
    /// This as the upper half.
    fn upper(self) -> Self::Wide;
    /// The upper half, the lower half jammed in.
    fn narrow_jam(wide: Self::Wide) -> Self;
    /// `self` / `divisor` of two normalised significands, normalised and jammed: in units of 2^-(`BITS` - 1), or half of that if `less`, which says
    /// that `self` < `divisor`.
    #[must_use]
    fn quotient_jam(self, divisor: Self, less: bool) -> Self;
    /// The square root of a normalised significand times 2^`odd`, normalised and jammed.
    #[must_use]
    fn root_jam(self, odd: bool) -> Self;
}

macro_rules! bits {
    ($ty:ty) => {
        impl Bits for $ty {
            const BITS: u32 = <$ty>::BITS;
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LEAD: Self = 1 << (<$ty>::BITS - 1);

            #[inline(always)]
            fn leading_zeros(self) -> u32 {
                <$ty>::leading_zeros(self)
            }

            #[inline(always)]
            fn overflowing_add(self, other: Self) -> (Self, bool) {
                <$ty>::overflowing_add(self, other)
            }

            #[inline(always)]
            fn wrapping_sub(self, other: Self) -> Self {
                <$ty>::wrapping_sub(self, other)
            }
        }
    };
}

bits!(u64);
bits!(u128);

impl Word for u64 {
    type Wide = u128;

    #[inline(always)]
    fn from_u64(value: u64) -> Self {
        value
    }

    #[inline(always)]
    fn low(self) -> u64 {
        self
    }

    #[inline(always)]
    fn to_u128(self) -> u128 {
        self.into()
    }

    #[inline(always)]
    fn from_u128(value: u128) -> Self {
        value as u64
    }

    #[inline(always)]
    fn times(self, other: Self) -> u128 {
        u128::from(self) * u128::from(other)
    }

    #[inline(always)]
    fn upper(self) -> u128 {
        u128::from(self) << 64
    }

    #[inline(always)]
    fn narrow_jam(wide: u128) -> Self {
        (wide >> 64) as u64 | u64::from(wide as u64 != 0)
    }

    #[inline(always)]
    fn quotient_jam(self, divisor: Self, less: bool) -> Self {
        let dividend = u128::from(self) << (63 + u32::from(less));
        let divisor = u128::from(divisor);
        let quotient = dividend / divisor;
        quotient as u64 | u64::from(quotient * divisor != dividend)
    }

    #[inline(always)]
    fn root_jam(self, odd: bool) -> Self {
        let radicand = u128::from(self) << (63 + u32::from(odd));
        let root = radicand.isqrt();
        root as u64 | u64::from(root * root != radicand)
    }
}

impl Word for u128 {
    type Wide = U256;

    #[inline(always)]
    fn from_u64(value: u64) -> Self {
        value.into()
    }

    #[inline(always)]
    fn low(self) -> u64 {
        self as u64
    }

    #[inline(always)]
    fn to_u128(self) -> u128 {
        self
    }

    #[inline(always)]
    fn from_u128(value: u128) -> Self {
        value
    }

    fn times(self, other: Self) -> U256 {
        let half = |x: u128| (x >> 64, x & u128::from(u64::MAX));
        let ((a, b), (c, d)) = (half(self), half(other));
        // Schoolbook: the middle terms carry into the upper half.
        let (middle, carry) = (a * d).overflowing_add(b * c);
        let (lo, carry_lo) = (b * d).overflowing_add(middle << 64);
        U256 { hi: a * c + (middle >> 64) + (u128::from(carry) << 64) + u128::from(carry_lo), lo }
    }

    fn upper(self) -> U256 {
        U256 { hi: self, lo: 0 }
    }

    fn narrow_jam(wide: U256) -> Self {
        wide.hi | u128::from(wide.lo != 0)
    }

    fn quotient_jam(self, divisor: Self, less: bool) -> Self {
        // Restoring division: the first bit of the quotient is a one.
        let mut rest = self;
        let mut carry = less && self >> 127 != 0;
        if less {
            rest <<= 1;
        }
        let mut quotient = 0;
        for bit in (0..128).rev() {
            if carry || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                quotient |= 1 << bit;
            }
            carry = rest >> 127 != 0;
            rest <<= 1;
        }
        quotient | u128::from(carry || rest != 0)
    }

    fn root_jam(self, odd: bool) -> Self {
        // Bit by bit: a bit stays if the square does not exceed the radicand, of which the significand is the upper half.
        let radicand = U256 { hi: self, lo: 0 } >> u32::from(!odd);
        let mut root = 0;
        for bit in (0..128).rev() {
            let tried = root | 1 << bit;
            if tried.times(tried) <= radicand {
                root = tried;
            }
        }
        root | u128::from(root.times(root) != radicand)
    }
}

/// 256 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct U256 {
    hi: u128,
    lo: u128,
}

impl Shl<u32> for U256 {
    type Output = U256;

    fn shl(self, by: u32) -> U256 {
        match by {
            0 => self,
            1..=127 => U256 { hi: self.hi << by | self.lo >> (128 - by), lo: self.lo << by },
            _ => U256 { hi: self.lo << (by - 128), lo: 0 },
        }
    }
}

impl Shr<u32> for U256 {
    type Output = U256;

    fn shr(self, by: u32) -> U256 {
        match by {
            0 => self,
            1..=127 => U256 { hi: self.hi >> by, lo: self.lo >> by | self.hi << (128 - by) },
            _ => U256 { hi: 0, lo: self.hi >> (by - 128) },
        }
    }
}

impl BitOr for U256 {
    type Output = U256;

    fn bitor(self, other: U256) -> U256 {
        U256 { hi: self.hi | other.hi, lo: self.lo | other.lo }
    }
}

impl Bits for U256 {
    const BITS: u32 = 256;
    const ZERO: Self = U256 { hi: 0, lo: 0 };
    const ONE: Self = U256 { hi: 0, lo: 1 };
    const LEAD: Self = U256 { hi: 1 << 127, lo: 0 };

    fn leading_zeros(self) -> u32 {
        if self.hi == 0 { 128 + self.lo.leading_zeros() } else { self.hi.leading_zeros() }
    }

    fn overflowing_add(self, other: Self) -> (Self, bool) {
        let (lo, carry) = self.lo.overflowing_add(other.lo);
        let (hi, over) = self.hi.overflowing_add(other.hi);
        let (hi, again) = hi.overflowing_add(u128::from(carry));
        (U256 { hi, lo }, over || again)
    }

    fn wrapping_sub(self, other: Self) -> Self {
        let (lo, borrow) = self.lo.overflowing_sub(other.lo);
        U256 { hi: self.hi.wrapping_sub(other.hi).wrapping_sub(u128::from(borrow)), lo }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_wide_product_holds_the_narrow_one(a: u64, b: u64, up in 0u32..=64) {
            // (a << up) * b, computed in two ways.
            let wide = (u128::from(a) << up).times(b.into());
            prop_assert_eq!(wide, U256 { hi: 0, lo: u128::from(a) * u128::from(b) } << up);
            prop_assert_eq!(wide >> up, U256 { hi: 0, lo: u128::from(a) * u128::from(b) });
        }

        #[test]
        fn quotients_and_roots_are_those_of_the_narrow_word(a: u64, b: u64, odd: bool) {
            let (a, b) = (a | u64::LEAD, b | u64::LEAD);
            let wide = |x: u64| u128::from(x) << 64;
            // The upper half is the narrow result, but for its sticky bit.
            let same = |wide: u128, narrow: u64| ((wide >> 64) as u64 ^ narrow) & !1 == 0;
            prop_assert!(same(wide(a).quotient_jam(wide(b), a < b), a.quotient_jam(b, a < b)));
            prop_assert!(same(wide(a).root_jam(odd), a.root_jam(odd)));
        }

        #[test]
        fn adding_takes_subtracting_back(a: (u128, u128), b: (u128, u128)) {
            let (a, b) = (U256 { hi: a.0, lo: a.1 }, U256 { hi: b.0, lo: b.1 });
            let (sum, carried) = a.overflowing_add(b);
            prop_assert_eq!(sum.wrapping_sub(b), a);
            prop_assert_eq!(carried, sum < a);
        }
    }
}
