// Arithmetic on static values, and small pieces of IR, that generated code shares.

pub fn shl64(x: u64, n: u64, bits: u32) -> u64 {
    if n >= 64 { 0 } else { (x << n) & (u64::MAX >> (64 - bits)) }
}

pub fn shr64(x: u64, n: u64) -> u64 {
    if n >= 64 { 0 } else { x >> n }
}

pub fn sar64(x: u64, n: u64, bits: u32) -> u64 {
    (sext64(x, bits) >> n.min(63)) as u64 & (u64::MAX >> (64 - bits))
}

pub fn sext64(x: u64, bits: u32) -> i64 {
    ((x << (64 - bits)) as i64) >> (64 - bits)
}

pub fn shl128(x: u128, n: u64, bits: u32) -> u128 {
    if n >= 128 { 0 } else { (x << n) & (u128::MAX >> (128 - bits)) }
}

pub fn shr128(x: u128, n: u64) -> u128 {
    if n >= 128 { 0 } else { x >> n }
}

pub fn sar128(x: u128, n: u64, bits: u32) -> u128 {
    (sext128(x, bits) >> n.min(127)) as u128 & (u128::MAX >> (128 - bits))
}

pub fn sext128(x: u128, bits: u32) -> i128 {
    ((x << (128 - bits)) as i128) >> (128 - bits)
}

pub fn ror128(x: u128, n: u64, bits: u64) -> u128 {
    let n = n % bits;
    (x >> n | shl128(x, bits - n, bits as u32)) & (u128::MAX >> (128 - bits))
}

pub fn rep(x: u128, bits: u32, count: u32) -> u128 {
    (0..count).fold(0, |all, i| all | x << (i * bits))
}

pub fn sdiv128(x: u128, y: u128, bits: u32) -> u128 {
    sext128(x, bits).checked_div(sext128(y, bits)).unwrap_or(0) as u128 & (u128::MAX >> (128 - bits))
}

pub fn srem128(x: u128, y: u128, bits: u32) -> u128 {
    let a = sext128(x, bits);
    a.checked_rem(sext128(y, bits)).unwrap_or(a) as u128 & (u128::MAX >> (128 - bits))
}

/// High half of a product of at most 64-bit values.
pub fn mulhu(x: u128, y: u128, bits: u32) -> u128 {
    x.wrapping_mul(y) >> bits & (u128::MAX >> (128 - bits))
}

pub fn mulhs(x: u128, y: u128, bits: u32) -> u128 {
    (sext128(x, bits).wrapping_mul(sext128(y, bits)) >> bits) as u128 & (u128::MAX >> (128 - bits))
}

pub fn carry128(x: u128, y: u128, carry: u64, bits: u32) -> u64 {
    let (sum, over) = x.overflowing_add(y);
    let (sum, again) = sum.overflowing_add(carry.into());
    u64::from(if bits == 128 { over || again } else { sum >> bits != 0 })
}

pub fn overflow128(x: u128, y: u128, carry: u64, bits: u32) -> u64 {
    let sum = x.wrapping_add(y).wrapping_add(carry.into());
    ((!(x ^ y) & (x ^ sum)) >> (bits - 1) & 1) as u64
}

/// Raises the exception of undefined instructions.
#[cold]
pub fn undefined(b: &mut Builder) {
    b.raise(super::UNDEFINED, &[]);
}

/// Begins what happens only if the predicate holds; most instructions' always does, and then nothing is begun.
pub fn begin_predicate(b: &mut Builder, p: Value) -> bool {
    let conditional = b.as_const(p) != Some(1);
    if conditional {
        b.begin_if(p);
    }
    conditional
}

pub fn end_predicate(b: &mut Builder, conditional: bool) {
    if conditional {
        b.end_if();
    }
}

/// An odd-sized value, sign-extended to its container.
pub fn sign_extend(b: &mut Builder, x: Value, bits: u32) -> Value {
    let n = b.iconst(Type::I32, (b.ty(x).bits() - bits).into());
    let x = b.binary(Op::Shl, x, n);
    b.binary(Op::Sar, x, n)
}

/// A shift amount of at least 32 bits.
pub fn shift_amount(b: &mut Builder, x: Value, add: u128) -> Value {
    let x = if b.ty(x).bits() < 32 { b.zext(Type::I32, x) } else { x };
    let add = b.iconst(b.ty(x), add);
    b.binary(Op::Add, x, add)
}

/// The amount that rotates the other way.
pub fn minus_amount(b: &mut Builder, x: Value) -> Value {
    b.unary(Op::Neg, x)
}

/// Rotation of a value that does not fill its container.
pub fn rotate_odd(b: &mut Builder, x: Value, n: Value, bits: u32, left: bool) -> Value {
    let width = b.iconst(b.ty(n), bits.into());
    let n = b.binary(Op::RemU, n, width);
    let rest = b.binary(Op::Sub, width, n);
    let (down, up) = if left { (rest, n) } else { (n, rest) };
    let low = b.binary(Op::Shr, x, down);
    let high = b.binary(Op::Shl, x, up);
    let both = b.binary(Op::Or, low, high);
    b.extract(b.ty(x), both, 0, bits as u8)
}

pub fn add_constant(b: &mut Builder, x: Value, c: i128) -> Value {
    let c = b.iconst(b.ty(x), c as u128);
    b.binary(Op::Add, x, c)
}

pub fn or_constant(b: &mut Builder, x: Value, c: u128) -> Value {
    let c = b.iconst(b.ty(x), c);
    b.binary(Op::Or, x, c)
}

/// Carry out of values that do not fill their container.
pub fn carry_odd(b: &mut Builder, x: Value, y: Value, c: Value, bits: u8) -> Value {
    let sum = sum_odd(b, x, y, c);
    b.extract(Type::I1, sum, bits, 1)
}

/// Signed overflow of values that do not fill their container.
pub fn overflow_odd(b: &mut Builder, x: Value, y: Value, c: Value, bits: u8) -> Value {
    let sum = sum_odd(b, x, y, c);
    let x = b.binary(Op::Xor, x, sum);
    let y = b.binary(Op::Xor, y, sum);
    let both = b.binary(Op::And, x, y);
    b.extract(Type::I1, both, bits - 1, 1)
}

fn sum_odd(b: &mut Builder, x: Value, y: Value, c: Value) -> Value {
    let c = b.zext(b.ty(x), c);
    let sum = b.binary(Op::Add, x, y);
    b.binary(Op::Add, sum, c)
}

/// Is `x` one of these constants?
pub fn is_one_of(b: &mut Builder, x: Value, constants: &[u128]) -> Value {
    let mut any = b.iconst(Type::I1, 0);
    for c in constants {
        let c = b.iconst(b.ty(x), *c);
        let equal = b.cmp(Cond::Eq, x, c);
        any = b.binary(Op::Or, any, equal);
    }
    any
}

/// Calls a helper that has a result.
pub fn call_value(b: &mut Builder, helper: u16, args: &[Value], ty: Type) -> Value {
    match b.call(helper, args, Some(ty)) {
        Some(v) => v,
        None => b.iconst(ty, 0),
    }
}
