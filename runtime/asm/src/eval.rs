//! Evaluates static expressions, as translation does, over the fields of one encoding.

use crate::tables::*;

/// A value: bits, or several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Val {
    /// Bits, masked to the expression's width; a width of 0 holds a two's-complement integer.
    Bits(u128),
    /// A tuple.
    Tuple(Vec<Val>),
}

impl Val {
    /// The bits; 0 for a tuple.
    pub fn bits(&self) -> u128 {
        match self {
            Val::Bits(b) => *b,
            Val::Tuple(_) => 0,
        }
    }
}

/// What an expression may look at. A local that is `None` is not known yet.
#[derive(Clone, Debug)]
pub struct Env<'a> {
    /// The instruction set.
    pub tables: &'a Tables,
    /// Fields and where names.
    pub locals: Vec<Option<Val>>,
    /// Modes by index.
    pub modes: &'a [u64],
    /// Contexts by index.
    pub contexts: &'a [u64],
    /// Features by index.
    pub features: &'a [bool],
    /// Address of the instruction.
    pub pc: u64,
    /// Length of the encoding, bits.
    pub token_bits: u8,
    /// First fetched unit.
    pub first: u64,
}

/// All ones in `width` bits; 0 means unbounded.
pub fn mask(width: u8) -> u128 {
    if width == 0 || width >= 128 { u128::MAX } else { (1 << width) - 1 }
}

fn signed(x: u128, width: u8) -> i128 {
    if width == 0 || width >= 128 { x as i128 } else { ((x << (128 - width)) as i128) >> (128 - width) }
}

/// Nesting of function calls; specifications have no recursion, so this only guards against hostile tables.
const MAX_CALLS: u32 = 64;

impl Env<'_> {
    /// The value of `e`, or `None` if it needs a local that is not known.
    pub fn eval(&self, e: &Expr) -> Option<Val> {
        self.expr(e, &self.locals, 0)
    }

    /// The bits of `e`.
    pub fn bits(&self, e: &Expr) -> Option<u128> {
        self.eval(e).map(|v| v.bits())
    }

    /// True if `e` is known and not 0.
    pub fn holds(&self, e: &Expr) -> Option<bool> {
        self.bits(e).map(|b| b != 0)
    }

    fn expr(&self, e: &Expr, locals: &[Option<Val>], depth: u32) -> Option<Val> {
        let bits = |x: &Expr| self.expr(x, locals, depth).map(|v| v.bits());
        let value = match &*e.op {
            Op::Int(i) => *i,
            Op::Local(l) => return locals.get(*l as usize)?.clone(),
            Op::Mode(m) => u128::from(*self.modes.get(*m as usize)?),
            Op::Context(c) => u128::from(*self.contexts.get(*c as usize)?),
            Op::Feature(f) => u128::from(*self.features.get(*f as usize)?),
            Op::Pc => u128::from(self.pc),
            Op::NextPc => u128::from(self.pc) + u128::from(self.token_bits / 8),
            Op::TokenBits => u128::from(self.token_bits),
            Op::First => u128::from(self.first),
            Op::Not(a) => !bits(a)?,
            Op::Neg(a) => bits(a)?.wrapping_neg(),
            Op::Binary(op, a, b) => binary(*op, bits(a)?, bits(b)?, a.width, b.width),
            Op::Slice(a, hi, lo) => (bits(a)? >> lo) & mask(hi - lo + 1),
            Op::Bit(a, i) => bits(a)?.checked_shr(bits(i)? as u32).unwrap_or(0) & 1,
            Op::Cat(parts) => {
                let mut all = 0u128;
                for p in parts {
                    all = all.checked_shl(p.width.into()).unwrap_or(0) | (bits(p)? & mask(p.width));
                }
                all
            }
            Op::Rep(a, n) => {
                let x = bits(a)?;
                (0..*n).fold(0u128, |all, _| all.checked_shl(a.width.into()).unwrap_or(0) | x)
            }
            Op::Zext(a) => bits(a)?,
            Op::Sext(a) => signed(bits(a)?, a.width) as u128,
            Op::Cond(c, a, b) => return self.expr(if bits(c)? != 0 { a } else { b }, locals, depth),
            Op::If(c, a, b) => return self.block(if bits(c)? != 0 { a } else { b }, &mut locals.to_vec(), depth),
            Op::Match(s, arms) => {
                let x = bits(s)?;
                let arm = arms.iter().find(|(values, _)| values.is_empty() || values.contains(&x))?;
                return self.block(&arm.1, &mut locals.to_vec(), depth);
            }
            Op::Call(f, args) => {
                let f = self.tables.fns.get(*f as usize)?;
                if depth >= MAX_CALLS {
                    return None;
                }
                let mut inner = vec![None; f.locals];
                for (p, a) in f.params.iter().zip(args) {
                    *inner.get_mut(*p as usize)? = Some(self.expr(a, locals, depth)?);
                }
                let value = self.block(&f.body, &mut inner, depth + 1)?;
                return Some(match value {
                    Val::Bits(b) => Val::Bits(b & mask(e.width)),
                    tuple => tuple,
                });
            }
            Op::Builtin(name, args) => {
                let mut values = Vec::new();
                for a in args {
                    values.push(bits(a)?);
                }
                builtin(name, &values, args, e.width)?
            }
            Op::Tuple(parts) => return parts.iter().map(|p| self.expr(p, locals, depth)).collect::<Option<Vec<_>>>().map(Val::Tuple),
        };
        Some(Val::Bits(value & mask(e.width)))
    }

    fn block(&self, block: &Block, locals: &mut Vec<Option<Val>>, depth: u32) -> Option<Val> {
        self.stmts(&block.stmts, locals, depth)?;
        block.value.as_ref().map_or(Some(Val::Bits(0)), |v| self.expr(v, locals, depth))
    }

    fn stmts(&self, stmts: &[Stmt], locals: &mut Vec<Option<Val>>, depth: u32) -> Option<()> {
        for stmt in stmts {
            match stmt {
                Stmt::Let(names, e) => {
                    let value = self.expr(e, locals, depth)?;
                    let parts = match value {
                        Val::Tuple(parts) if names.len() > 1 => parts,
                        one => vec![one],
                    };
                    for (name, part) in names.iter().zip(parts) {
                        if let Some(name) = name {
                            *locals.get_mut(*name as usize)? = Some(part);
                        }
                    }
                }
                Stmt::If(c, a, b) => {
                    let taken = if self.expr(c, locals, depth)?.bits() != 0 { a } else { b };
                    self.stmts(taken, locals, depth)?;
                }
                Stmt::Match(s, arms) => {
                    let x = self.expr(s, locals, depth)?.bits();
                    if let Some(arm) = arms.iter().find(|(values, _)| values.is_empty() || values.contains(&x)) {
                        self.stmts(&arm.1, locals, depth)?;
                    }
                }
                Stmt::For(name, first, end, down, body) => {
                    let (first, end) = (self.expr(first, locals, depth)?.bits() as i128, self.expr(end, locals, depth)?.bits() as i128);
                    let range: Vec<i128> = if *down { (end..=first).rev().collect() } else { (first..end).collect() };
                    for i in range {
                        *locals.get_mut(*name as usize)? = Some(Val::Bits(i as u128));
                        self.stmts(body, locals, depth)?;
                    }
                }
            }
        }
        Some(())
    }
}

fn binary(op: Bin, a: u128, b: u128, width: u8, right: u8) -> u128 {
    let bit = u128::from;
    let count = u32::try_from(b & mask(right)).unwrap_or(128);
    match op {
        Bin::Add => a.wrapping_add(b),
        Bin::Sub => a.wrapping_sub(b),
        Bin::Mul => a.wrapping_mul(b),
        Bin::And => a & b,
        Bin::Or => a | b,
        Bin::Xor => a ^ b,
        Bin::Shl => a.checked_shl(count).unwrap_or(0),
        Bin::Shr => a.checked_shr(count).unwrap_or(0),
        Bin::Sar => (signed(a, width) >> count.min(127)) as u128,
        Bin::Eq => bit(a == b),
        Bin::Ne => bit(a != b),
        Bin::Ult if width == 0 => bit((a as i128) < b as i128),
        Bin::Ule if width == 0 => bit(a as i128 <= b as i128),
        Bin::Ugt if width == 0 => bit(a as i128 > b as i128),
        Bin::Uge if width == 0 => bit(a as i128 >= b as i128),
        Bin::Ult => bit(a < b),
        Bin::Ule => bit(a <= b),
        Bin::Ugt => bit(a > b),
        Bin::Uge => bit(a >= b),
        Bin::Slt => bit(signed(a, width) < signed(b, width)),
        Bin::Sle => bit(signed(a, width) <= signed(b, width)),
        Bin::Sgt => bit(signed(a, width) > signed(b, width)),
        Bin::Sge => bit(signed(a, width) >= signed(b, width)),
    }
}

fn builtin(name: &str, v: &[u128], args: &[Expr], width: u8) -> Option<u128> {
    let w = args.first().map_or(0, |a| a.width);
    let a = *v.first()?;
    let b = v.get(1).copied();
    let bits = u128::from(w);
    Some(match name {
        "ror" | "rol" if w > 0 => {
            let n = (b? % bits) as u32;
            let n = if name == "ror" { n } else { (u32::from(w) - n) % u32::from(w) };
            if n == 0 { a } else { (a >> n) | (a << (u32::from(w) - n)) }
        }
        "clz" => u128::from(a.leading_zeros()).wrapping_sub(128 - bits),
        "ctz" => u128::from(a.trailing_zeros()).min(bits),
        "popcnt" => u128::from(a.count_ones()),
        "bswap" => a.swap_bytes() >> (128 - bits),
        "bitrev" => a.reverse_bits() >> (128 - bits),
        "udiv" => a.checked_div(b?).unwrap_or(0),
        "urem" => a.checked_rem(b?).unwrap_or(a),
        "sdiv" => signed(a, w).checked_div(signed(b?, w)).unwrap_or(0) as u128,
        "srem" => signed(a, w).checked_rem(signed(b?, w)).unwrap_or(0) as u128,
        "min" => {
            if (a as i128) < b? as i128 {
                a
            } else {
                b?
            }
        }
        "max" => {
            if (a as i128) > b? as i128 {
                a
            } else {
                b?
            }
        }
        "bits" => a.checked_shr(u32::try_from(b?).ok()?).unwrap_or(0) & mask(width),
        "sizeof" => bits,
        "carry" => u128::from(a + b? + v.get(2)? > mask(w)),
        _ => return None,
    })
}
