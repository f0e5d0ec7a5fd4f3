//! Addition, subtraction, multiplication, division, square root and fused multiply-add (IEEE 754-2019, 5.4.1).
//!
//! Each public function asks the fast path first; `slow` holds the operations proper.

use crate::{Env, Flags, Format, fast};

/// `a + b`.
#[inline]
pub fn add<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    fast::add::<F>(a, b, env, *flags).unwrap_or_else(|| slow::add_sub::<F>(a, b, false, env, flags))
}

/// `a - b`. A NaN `b` propagates with its own sign.
#[inline]
pub fn sub<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    fast::sub::<F>(a, b, env, *flags).unwrap_or_else(|| slow::add_sub::<F>(a, b, true, env, flags))
}

/// `a * b`.
#[inline]
pub fn mul<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    fast::mul::<F>(a, b, env, *flags).unwrap_or_else(|| slow::mul::<F>(a, b, env, flags))
}

/// `a / b`.
#[inline]
pub fn div<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    fast::div::<F>(a, b, env, *flags).unwrap_or_else(|| slow::div::<F>(a, b, env, flags))
}

/// The square root of `a`.
#[inline]
pub fn sqrt<F: Format>(a: u64, env: &Env, flags: &mut Flags) -> u64 {
    fast::sqrt::<F>(a, env, *flags).unwrap_or_else(|| slow::sqrt::<F>(a, env, flags))
}

/// `addend + a * b`, rounded once. For the subtracting forms the caller flips the sign of `addend`, or of `a` for a negated product, before
/// ([`crate::neg`]): that is where ARM and PowerPC do it, so that a propagated NaN comes out with the flipped sign on ARM.
#[inline]
pub fn fma<F: Format>(addend: u64, a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
    fast::fma::<F>(addend, a, b, env, *flags).unwrap_or_else(|| slow::fma::<F>(addend, a, b, env, flags))
}

/// The operations on unpacked values, for every environment.
pub(crate) mod slow {
    use crate::nan;
    use crate::unpack::{Class, Unpacked, infinity, narrow_jam, round_pack, shift_right_jam, shift_right_jam_wide, unpack, zero};
    use crate::{Env, Flags, Format, InfZeroNan, Round};

    /// The zero that two finite values of opposite sign add up to.
    fn cancelled<F: Format>(env: &Env) -> u64 {
        zero::<F>(env.round == Round::Down)
    }

    #[inline(never)]
    pub fn add_sub<F: Format>(a: u64, b: u64, subtract: bool, env: &Env, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a, env, flags);
        let mut y = unpack::<F>(b, env, flags);
        if x.is_nan() || y.is_nan() {
            return nan::two::<F>(&x, &y, env, flags);
        }
        y.sign ^= subtract;
        match (x.class, y.class) {
            (Class::Finite, Class::Finite) => add_finite::<F>(&x, &y, env, flags),
            (Class::Infinity, Class::Infinity) if x.sign != y.sign => nan::invalid::<F>(env, flags),
            (Class::Infinity, _) => infinity::<F>(x.sign),
            (_, Class::Infinity) => infinity::<F>(y.sign),
            (Class::Zero, Class::Zero) if x.sign != y.sign => cancelled::<F>(env),
            (Class::Zero, Class::Zero) => zero::<F>(x.sign),
            // A lone denormal must still be rounded: the output may be flushed where the input was not.
            (_, Class::Zero) => round_pack::<F>(x.sign, x.exp, x.sig, env.round, env, flags),
            _ => round_pack::<F>(y.sign, y.exp, y.sig, env.round, env, flags),
        }
    }

    #[inline(always)]
    fn add_finite<F: Format>(x: &Unpacked, y: &Unpacked, env: &Env, flags: &mut Flags) -> u64 {
        let (big, small) = if (x.exp, x.sig) >= (y.exp, y.sig) { (x, y) } else { (y, x) };
        let aligned = shift_right_jam(small.sig, (big.exp - small.exp) as u32);
        if x.sign == y.sign {
            let (sum, carry) = big.sig.overflowing_add(aligned);
            let (exp, sig) = if carry { (big.exp + 1, shift_right_jam(sum, 1) | 1 << 63) } else { (big.exp, sum) };
            return round_pack::<F>(big.sign, exp, sig, env.round, env, flags);
        }
        let difference = big.sig - aligned;
        if difference == 0 {
            return cancelled::<F>(env);
        }
        let shift = difference.leading_zeros();
        round_pack::<F>(big.sign, big.exp - shift as i32, difference << shift, env.round, env, flags)
    }

    #[inline(never)]
    pub fn mul<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a, env, flags);
        let y = unpack::<F>(b, env, flags);
        if x.is_nan() || y.is_nan() {
            return nan::two::<F>(&x, &y, env, flags);
        }
        let sign = x.sign != y.sign;
        match (x.class, y.class) {
            (Class::Finite, Class::Finite) => {
                let (exp, product) = multiply(&x, &y);
                round_pack::<F>(sign, exp, narrow_jam(product), env.round, env, flags)
            }
            (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => nan::invalid::<F>(env, flags),
            (Class::Infinity, _) | (_, Class::Infinity) => infinity::<F>(sign),
            _ => zero::<F>(sign),
        }
    }

    /// The exact product of two finite values: exponent, and significand with its leading bit at 127.
    #[inline(always)]
    fn multiply(x: &Unpacked, y: &Unpacked) -> (i32, u128) {
        let product = u128::from(x.sig) * u128::from(y.sig);
        let shift = product.leading_zeros();
        (x.exp + y.exp + 1 - shift as i32, product << shift)
    }

    #[inline(never)]
    pub fn div<F: Format>(a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a, env, flags);
        let y = unpack::<F>(b, env, flags);
        if x.is_nan() || y.is_nan() {
            return nan::two::<F>(&x, &y, env, flags);
        }
        let sign = x.sign != y.sign;
        match (x.class, y.class) {
            (Class::Finite, Class::Finite) => {
                let less = x.sig < y.sig;
                let dividend = u128::from(x.sig) << (63 + u32::from(less));
                let divisor = u128::from(y.sig);
                let quotient = dividend / divisor;
                let sig = quotient as u64 | u64::from(quotient * divisor != dividend);
                round_pack::<F>(sign, x.exp - y.exp - i32::from(less), sig, env.round, env, flags)
            }
            (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => nan::invalid::<F>(env, flags),
            (Class::Infinity, _) => infinity::<F>(sign),
            (_, Class::Infinity) | (Class::Zero, _) => zero::<F>(sign),
            _ => {
                flags.raise(Flags::DIV_BY_ZERO);
                infinity::<F>(sign)
            }
        }
    }

    #[inline(never)]
    pub fn sqrt<F: Format>(a: u64, env: &Env, flags: &mut Flags) -> u64 {
        let x = unpack::<F>(a, env, flags);
        match x.class {
            Class::QuietNan | Class::SignallingNan => nan::one::<F>(&x, env, flags),
            Class::Zero => zero::<F>(x.sign),
            _ if x.sign => nan::invalid::<F>(env, flags),
            Class::Infinity => infinity::<F>(false),
            Class::Finite => {
                let radicand = u128::from(x.sig) << (63 + (x.exp & 1));
                let root = radicand.isqrt();
                let sig = root as u64 | u64::from(root * root != radicand);
                round_pack::<F>(false, x.exp >> 1, sig, env.round, env, flags)
            }
        }
    }

    #[inline(never)]
    pub fn fma<F: Format>(addend: u64, a: u64, b: u64, env: &Env, flags: &mut Flags) -> u64 {
        let z = unpack::<F>(addend, env, flags);
        let x = unpack::<F>(a, env, flags);
        let y = unpack::<F>(b, env, flags);
        let inf_zero = matches!((x.class, y.class), (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity));
        if x.is_nan() || y.is_nan() || z.is_nan() {
            if inf_zero && z.class == Class::QuietNan {
                match env.inf_zero_nan {
                    InfZeroNan::DefaultNan => return nan::invalid::<F>(env, flags),
                    InfZeroNan::Propagate => flags.raise(Flags::INVALID),
                    InfZeroNan::PropagateQuietly => {}
                }
            }
            return nan::three::<F>(&z, &x, &y, env, flags);
        }
        let sign = x.sign != y.sign;
        if inf_zero {
            return nan::invalid::<F>(env, flags);
        }
        if x.class == Class::Infinity || y.class == Class::Infinity {
            return if z.class == Class::Infinity && z.sign != sign { nan::invalid::<F>(env, flags) } else { infinity::<F>(sign) };
        }
        if z.class == Class::Infinity {
            return infinity::<F>(z.sign);
        }
        if x.class == Class::Zero || y.class == Class::Zero {
            return match z.class {
                Class::Zero if z.sign == sign => zero::<F>(sign),
                Class::Zero => cancelled::<F>(env),
                _ => round_pack::<F>(z.sign, z.exp, z.sig, env.round, env, flags),
            };
        }
        let (exp, product) = multiply(&x, &y);
        if z.class == Class::Zero {
            return round_pack::<F>(sign, exp, narrow_jam(product), env.round, env, flags);
        }
        let wide = u128::from(z.sig) << 64;
        let (big, small) = if (exp, product) >= (z.exp, wide) {
            ((sign, exp, product), (exp - z.exp, wide))
        } else {
            ((z.sign, z.exp, wide), (z.exp - exp, product))
        };
        let aligned = shift_right_jam_wide(small.1, small.0 as u32);
        if sign == z.sign {
            let (sum, carry) = big.2.overflowing_add(aligned);
            let (exp, sum) = if carry { (big.1 + 1, shift_right_jam_wide(sum, 1) | 1 << 127) } else { (big.1, sum) };
            return round_pack::<F>(sign, exp, narrow_jam(sum), env.round, env, flags);
        }
        let difference = big.2 - aligned;
        if difference == 0 {
            return cancelled::<F>(env);
        }
        let shift = difference.leading_zeros();
        round_pack::<F>(big.0, big.1 - shift as i32, narrow_jam(difference << shift), env.round, env, flags)
    }
}
