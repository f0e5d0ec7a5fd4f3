//! Addition, subtraction, multiplication, division, square root and fused multiply-add (IEEE 754-2019, 5.4.1).
//!
//! Each public function asks the fast path first; `slow` holds the operations proper.

use crate::{Env, Flags, Format, fast};

/// `a + b`.
#[inline]
pub fn add<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    fast::add::<F>(a, b, env, *flags).unwrap_or_else(|| slow::add_sub::<F>(a, b, false, env, flags))
}

/// `a - b`. A NaN `b` propagates with its own sign.
#[inline]
pub fn sub<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    fast::sub::<F>(a, b, env, *flags).unwrap_or_else(|| slow::add_sub::<F>(a, b, true, env, flags))
}

/// `a * b`.
#[inline]
pub fn mul<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    fast::mul::<F>(a, b, env, *flags).unwrap_or_else(|| slow::mul::<F>(a, b, env, flags))
}

/// `a / b`.
#[inline]
pub fn div<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    fast::div::<F>(a, b, env, *flags).unwrap_or_else(|| slow::div::<F>(a, b, env, flags))
}

/// The square root of `a`.
#[inline]
pub fn sqrt<F: Format>(a: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    fast::sqrt::<F>(a, env, *flags).unwrap_or_else(|| slow::sqrt::<F>(a, env, flags))
}

/// `addend + a * b`, rounded once. For the subtracting forms the caller flips the sign of `addend`, or of `a` for a negated product, before
/// ([`crate::neg`]): that is where ARM and PowerPC do it, so that a propagated NaN comes out with the flipped sign on ARM.
#[inline]
pub fn fma<F: Format>(addend: F::Bits, a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
    fast::fma::<F>(addend, a, b, env, *flags).unwrap_or_else(|| slow::fma::<F>(addend, a, b, env, flags))
}

/// The operations on unpacked values, for every environment.
pub(crate) mod slow {
    use crate::nan;
    use crate::unpack::{Class, Unpacked, infinity, report_denormals, round_pack, unpack, zero};
    use crate::word::{Bits, Word};
    use crate::{Env, Flags, Format, InfZeroNan, Round};

    /// The zero that two finite values of opposite sign add up to.
    fn cancelled<F: Format>(env: &Env) -> F::Bits {
        zero::<F>(env.round == Round::Down)
    }

    #[inline(never)]
    pub fn add_sub<F: Format>(a: F::Bits, b: F::Bits, subtract: bool, env: &Env, flags: &mut Flags) -> F::Bits {
        let x = unpack::<F>(a, env, flags);
        let mut y = unpack::<F>(b, env, flags);
        if x.is_nan() || y.is_nan() {
            return nan::two::<F>(&x, &y, env, flags);
        }
        report_denormals::<F>(&[a, b], env, flags);
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
    fn add_finite<F: Format>(x: &Unpacked<F::Bits>, y: &Unpacked<F::Bits>, env: &Env, flags: &mut Flags) -> F::Bits {
        match sum((x.sign, x.exp, x.sig), (y.sign, y.exp, y.sig)) {
            Some((sign, exp, sig)) => round_pack::<F>(sign, exp, sig, env.round, env, flags),
            None => cancelled::<F>(env),
        }
    }

    /// The sum of two values, each a sign, an exponent, and a significand with its leading bit at the top; `None` if it is zero.
    #[inline(always)]
    fn sum<B: Bits>(x: (bool, i32, B), y: (bool, i32, B)) -> Option<(bool, i32, B)> {
        let (big, small) = if (x.1, x.2) >= (y.1, y.2) { (x, y) } else { (y, x) };
        let aligned = small.2.shift_right_jam((big.1 - small.1) as u32);
        if x.0 == y.0 {
            let (sum, carry) = big.2.overflowing_add(aligned);
            return Some(if carry { (big.0, big.1 + 1, sum.shift_right_jam(1) | B::LEAD) } else { (big.0, big.1, sum) });
        }
        let difference = big.2.wrapping_sub(aligned);
        let shift = difference.leading_zeros();
        (difference != B::ZERO).then(|| (big.0, big.1 - shift as i32, difference << shift))
    }

    #[inline(never)]
    pub fn mul<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
        let x = unpack::<F>(a, env, flags);
        let y = unpack::<F>(b, env, flags);
        if x.is_nan() || y.is_nan() {
            return nan::two::<F>(&x, &y, env, flags);
        }
        report_denormals::<F>(&[a, b], env, flags);
        let sign = x.sign != y.sign;
        match (x.class, y.class) {
            (Class::Finite, Class::Finite) => {
                let (exp, product) = multiply(&x, &y);
                round_pack::<F>(sign, exp, F::Bits::narrow_jam(product), env.round, env, flags)
            }
            (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => nan::invalid::<F>(env, flags),
            (Class::Infinity, _) | (_, Class::Infinity) => infinity::<F>(sign),
            _ => zero::<F>(sign),
        }
    }

    /// The exact product of two finite values: exponent, and significand with its leading bit at the top.
    #[inline(always)]
    fn multiply<W: Word>(x: &Unpacked<W>, y: &Unpacked<W>) -> (i32, W::Wide) {
        let product = x.sig.times(y.sig);
        let shift = product.leading_zeros();
        (x.exp + y.exp + 1 - shift as i32, product << shift)
    }

    #[inline(never)]
    pub fn div<F: Format>(a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
        let x = unpack::<F>(a, env, flags);
        let y = unpack::<F>(b, env, flags);
        if x.is_nan() || y.is_nan() {
            return nan::two::<F>(&x, &y, env, flags);
        }
        let sign = x.sign != y.sign;
        let by_zero = x.class == Class::Finite && y.class == Class::Zero;
        if !by_zero {
            report_denormals::<F>(&[a, b], env, flags);
        }
        match (x.class, y.class) {
            (Class::Finite, Class::Finite) => {
                let less = x.sig < y.sig;
                round_pack::<F>(sign, x.exp - y.exp - i32::from(less), x.sig.quotient_jam(y.sig, less), env.round, env, flags)
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
    pub fn sqrt<F: Format>(a: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
        let x = unpack::<F>(a, env, flags);
        match x.class {
            _ if x.is_nan() => nan::one::<F>(&x, env, flags),
            Class::Zero => zero::<F>(x.sign),
            _ if x.sign => nan::invalid::<F>(env, flags),
            Class::Infinity => infinity::<F>(false),
            _ => {
                report_denormals::<F>(&[a], env, flags);
                round_pack::<F>(false, x.exp >> 1, x.sig.root_jam(x.exp & 1 != 0), env.round, env, flags)
            }
        }
    }

    #[inline(never)]
    pub fn fma<F: Format>(addend: F::Bits, a: F::Bits, b: F::Bits, env: &Env, flags: &mut Flags) -> F::Bits {
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
        let infinite = x.class == Class::Infinity || y.class == Class::Infinity;
        if inf_zero || infinite && z.class == Class::Infinity && z.sign != sign {
            return nan::invalid::<F>(env, flags);
        }
        report_denormals::<F>(&[addend, a, b], env, flags);
        if infinite {
            return infinity::<F>(sign);
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
            return round_pack::<F>(sign, exp, F::Bits::narrow_jam(product), env.round, env, flags);
        }
        match sum((sign, exp, product), (z.sign, z.exp, z.sig.upper())) {
            Some((sign, exp, sig)) => round_pack::<F>(sign, exp, F::Bits::narrow_jam(sig), env.round, env, flags),
            None => cancelled::<F>(env),
        }
    }
}
