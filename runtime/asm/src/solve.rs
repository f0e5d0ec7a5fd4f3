//! Finds the fields of an encoding from what its text says: inverts the static expressions of assembly templates.
//!
//! A constraint is "these bits of this expression are these". Concatenations, slices, extensions, shifts and sums with known parts
//! are pushed down to fields; codecs are inverted by enumeration; what remains is tried in increasing order and checked.

use crate::eval::{Env, Val, mask};
use crate::tables::*;
use std::cell::RefCell;
use std::collections::HashMap;

/// `expr & mask == value`.
#[derive(Clone, Debug)]
pub struct Constraint<'a> {
    /// The expression.
    pub expr: &'a Expr,
    /// Its bits.
    pub value: u128,
    /// Which bits are known.
    pub mask: u128,
}

/// Fields that nothing determines are tried in at most that many combinations.
const MAX_TRIES: u64 = 1 << 12;
/// A codec's inputs may have at most that many bits.
const MAX_CODEC_BITS: u32 = 20;

/// Inputs of a codec by output.
type Inverse = HashMap<u128, Vec<u64>>;

/// Remembers inverted codecs.
#[derive(Default, Debug)]
pub struct Inverses(RefCell<HashMap<u32, std::rc::Rc<Inverse>>>);

/// Known bits of each local.
#[derive(Clone)]
struct Known {
    mask: Vec<u128>,
    value: Vec<u128>,
}

/// Solves for the instruction word of `encoding`.
pub fn solve<'a>(env: &mut Env<'_>, encoding: &'a EncodingTable, constraints: &[Constraint<'a>], inverses: &Inverses) -> Option<u64> {
    let mut solver = Solver { env, encoding, inverses };
    let mut known = Known { mask: vec![0; encoding.locals.len()], value: vec![0; encoding.locals.len()] };
    let mut open: Vec<Constraint<'a>> = constraints.to_vec();
    if let Some(c) = &encoding.condition {
        open.push(Constraint { expr: c, value: 1, mask: 1 });
    }
    solver.search(&mut known, open, 0)
}

struct Solver<'e, 'a, 't> {
    env: &'e mut Env<'t>,
    encoding: &'a EncodingTable,
    inverses: &'e Inverses,
}

/// What one step of inversion came to.
enum Step<'a> {
    /// Turned into bits of locals or simpler constraints.
    Done(Vec<Constraint<'a>>),
    /// Any of these alternatives.
    Any(Vec<Vec<Constraint<'a>>>),
    /// Needs a local that is not known yet.
    Wait,
    /// Cannot be.
    Contradiction,
}

impl<'a> Solver<'_, 'a, '_> {
    fn width(&self, local: u32) -> Option<u8> {
        self.encoding.fields.iter().find(|f| f.local == local).map(|f| f.width)
    }

    /// Makes fully known fields, and the where names that follow from them, visible to evaluation.
    fn publish(&mut self, known: &Known) {
        for f in &self.encoding.fields {
            let i = f.local as usize;
            let full = known.mask[i] == mask(f.width);
            self.env.locals[i] = full.then_some(Val::Bits(known.value[i]));
        }
        for (local, e) in &self.encoding.wheres {
            let value = self.env.eval(e);
            self.env.locals[*local as usize] = value;
        }
    }

    fn search(&mut self, known: &mut Known, mut open: Vec<Constraint<'a>>, depth: u32) -> Option<u64> {
        loop {
            self.publish(known);
            let before = (open.len(), known.mask.iter().map(|m| m.count_ones()).sum::<u32>());
            let mut next: Vec<Constraint<'a>> = Vec::new();
            let mut i = 0;
            while i < open.len() {
                let c = open[i].clone();
                i += 1;
                match self.step(known, &c) {
                    Step::Done(more) => open.extend(more),
                    Step::Wait => next.push(c),
                    Step::Contradiction => return None,
                    Step::Any(alternatives) => {
                        if depth > 8 {
                            return None;
                        }
                        let rest: Vec<_> = next.iter().chain(&open[i..]).cloned().collect();
                        for a in alternatives {
                            let mut attempt = known.clone();
                            let mut all = a;
                            all.extend(rest.iter().cloned());
                            if let Some(code) = self.search(&mut attempt, all, depth + 1) {
                                return Some(code);
                            }
                        }
                        return None;
                    }
                }
            }
            let after = (next.len(), known.mask.iter().map(|m| m.count_ones()).sum::<u32>());
            open = next;
            if before == after {
                break;
            }
        }
        self.enumerate(known, &open)
    }

    /// Tries the fields that are still open, and checks everything.
    fn enumerate(&mut self, known: &Known, open: &[Constraint<'a>]) -> Option<u64> {
        let mut free = Vec::new();
        for f in &self.encoding.fields {
            for bit in 0..f.width {
                if known.mask[f.local as usize] >> bit & 1 == 0 {
                    free.push((f.local as usize, bit));
                }
            }
        }
        // With nothing left to satisfy every choice is as good, and the first is all zeros.
        let tries = if open.is_empty() && self.encoding.guards.is_empty() {
            1
        } else {
            1u64.checked_shl(free.len() as u32).unwrap_or(u64::MAX).min(MAX_TRIES)
        };
        for attempt in 0..tries {
            let mut full = known.clone();
            for (i, &(local, bit)) in free.iter().enumerate() {
                let on = i < 64 && attempt >> i & 1 == 1;
                full.value[local] = full.value[local] & !(1 << bit) | u128::from(on) << bit;
                full.mask[local] |= 1 << bit;
            }
            self.publish(&full);
            let good = open.iter().all(|c| self.env.bits(c.expr).is_some_and(|v| v & c.mask == c.value & c.mask))
                && self.encoding.guards.iter().all(|(g, what)| *what == Otherwise::Unpredictable || self.env.holds(g) != Some(false));
            if good {
                return Some(self.word(&full));
            }
        }
        None
    }

    fn word(&self, full: &Known) -> u64 {
        let mut code = self.encoding.value | self.encoding.should_be & !self.encoding.mask;
        for f in &self.encoding.fields {
            let mut value = full.value[f.local as usize];
            for (lo, w) in f.pieces.iter().rev() {
                let part = (value as u64) & ((1u128 << w) - 1) as u64;
                code = code & !((((1u128 << w) - 1) as u64) << lo) | part << lo;
                value >>= w;
            }
        }
        code
    }

    fn step(&mut self, known: &mut Known, c: &Constraint<'a>) -> Step<'a> {
        // `x | 1 == 1` says nothing of x.
        if c.mask == 0 {
            return Step::Done(vec![]);
        }
        if let Some(v) = self.env.eval(c.expr) {
            return match v {
                Val::Bits(b) if b & c.mask == c.value & c.mask => Step::Done(vec![]),
                Val::Bits(_) => Step::Contradiction,
                Val::Tuple(_) => Step::Wait,
            };
        }
        let width = c.expr.width;
        let (value, bits) = (c.value & mask(width), c.mask & mask(width));
        let on = |expr: &'a Expr, value: u128, mask: u128| Constraint { expr, value, mask };
        match &*c.expr.op {
            Op::Local(l) => {
                let i = *l as usize;
                if let Some(w) = self.width(*l) {
                    if value & bits & !mask(w) != 0 {
                        return Step::Contradiction;
                    }
                    let bits = bits & mask(w);
                    if known.mask[i] & bits & (known.value[i] ^ value) != 0 {
                        return Step::Contradiction;
                    }
                    known.mask[i] |= bits;
                    known.value[i] = known.value[i] & !bits | value & bits;
                    // Published at once, so that the rest of this round sees it.
                    self.publish(known);
                    return Step::Done(vec![]);
                }
                match self.encoding.wheres.iter().find(|w| w.0 == *l) {
                    Some((_, e)) => Step::Done(vec![on(e, value, bits)]),
                    None => Step::Wait,
                }
            }
            Op::Zext(a) => {
                if a.width > 0 && value & bits & !mask(a.width) != 0 {
                    return Step::Contradiction;
                }
                Step::Done(vec![on(a, value, bits & mask(a.width))])
            }
            Op::Sext(a) => {
                let upper = !mask(a.width - 1) & mask(width);
                let sign = value & upper & bits;
                if sign != 0 && sign != upper & bits {
                    return Step::Contradiction;
                }
                Step::Done(vec![on(a, value & mask(a.width), bits & mask(a.width))])
            }
            Op::Not(a) => Step::Done(vec![on(a, !value & mask(a.width), bits)]),
            Op::Neg(a) if bits == mask(width) => Step::Done(vec![on(a, value.wrapping_neg() & mask(a.width), bits)]),
            Op::Cat(parts) => {
                let mut out = Vec::new();
                let mut lo = 0u32;
                for p in parts.iter().rev() {
                    let m = mask(p.width);
                    out.push(on(p, value.checked_shr(lo).unwrap_or(0) & m, bits.checked_shr(lo).unwrap_or(0) & m));
                    lo += u32::from(p.width);
                }
                out.retain(|c| c.mask != 0);
                Step::Done(out)
            }
            Op::Rep(a, n) => {
                let copies = (0..u32::from(*n))
                    .map(|i| on(a, value >> (i * u32::from(a.width)) & mask(a.width), bits >> (i * u32::from(a.width)) & mask(a.width)));
                Step::Done(copies.filter(|c| c.mask != 0).collect())
            }
            Op::Slice(a, _, lo) => Step::Done(vec![on(a, value << lo, bits << lo)]),
            Op::Bit(a, i) => match self.env.bits(i) {
                Some(i) if i < 128 => Step::Done(vec![on(a, value << i, bits << i)]),
                _ => Step::Wait,
            },
            Op::Cond(test, a, b) => match self.env.holds(test) {
                Some(true) => Step::Done(vec![on(a, value, bits)]),
                Some(false) => Step::Done(vec![on(b, value, bits)]),
                None => Step::Any(vec![vec![on(test, 1, 1), on(a, value, bits)], vec![on(test, 0, 1), on(b, value, bits)]]),
            },
            Op::Binary(op, a, b) => self.step_binary(*op, a, b, value, bits, width),
            Op::Call(f, args) => self.step_call(*f, args, value, bits, width),
            _ => Step::Wait,
        }
    }

    fn step_binary(&mut self, op: Bin, a: &'a Expr, b: &'a Expr, value: u128, bits: u128, width: u8) -> Step<'a> {
        let on = |expr: &'a Expr, value: u128, mask: u128| Constraint { expr, value, mask };
        let whole = bits == mask(width);
        let (left, right) = (self.env.bits(a), self.env.bits(b));
        let m = |e: &Expr| mask(e.width);
        match (op, left, right) {
            (Bin::Add, Some(x), None) if whole => Step::Done(vec![on(b, value.wrapping_sub(x) & m(b), m(b))]),
            (Bin::Add, None, Some(x)) if whole => Step::Done(vec![on(a, value.wrapping_sub(x) & m(a), m(a))]),
            (Bin::Sub, None, Some(x)) if whole => Step::Done(vec![on(a, value.wrapping_add(x) & m(a), m(a))]),
            (Bin::Sub, Some(x), None) if whole => Step::Done(vec![on(b, x.wrapping_sub(value) & m(b), m(b))]),
            (Bin::Mul, None, Some(x)) | (Bin::Mul, Some(x), None) if whole && x != 0 => {
                let other = if left.is_none() { a } else { b };
                let (signed_value, factor) = (value as i128, x as i128);
                let (v, exact) = if width == 0 {
                    ((signed_value / factor) as u128, signed_value % factor == 0)
                } else {
                    (value / x, value.is_multiple_of(x))
                };
                if exact { Step::Done(vec![on(other, v & m(other), m(other))]) } else { Step::Contradiction }
            }
            (Bin::Shl, None, Some(n)) if n < 128 => {
                if value & bits & !(u128::MAX << n) != 0 {
                    return Step::Contradiction;
                }
                Step::Done(vec![on(a, (value & mask(width)) >> n, (bits >> n) & m(a))])
            }
            (Bin::Shr, None, Some(n)) if n < 128 => Step::Done(vec![on(a, value << n & m(a), bits << n & m(a))]),
            (Bin::Xor, None, Some(x)) => Step::Done(vec![on(a, value ^ x, bits)]),
            (Bin::Xor, Some(x), None) => Step::Done(vec![on(b, value ^ x, bits)]),
            (Bin::And, None, Some(x)) if value & bits & !x == 0 => Step::Done(vec![on(a, value & x, bits & x)]),
            (Bin::And, Some(x), None) if value & bits & !x == 0 => Step::Done(vec![on(b, value & x, bits & x)]),
            (Bin::And, None, None) if width == 1 && value == 1 => Step::Done(vec![on(a, 1, 1), on(b, 1, 1)]),
            (Bin::Or, None, None) if width == 1 && value == 0 => Step::Done(vec![on(a, 0, 1), on(b, 0, 1)]),
            (Bin::Or, None, Some(x)) => Step::Done(vec![on(a, value & !x, bits & !x)]),
            (Bin::Or, Some(x), None) => Step::Done(vec![on(b, value & !x, bits & !x)]),
            (Bin::Eq, None, Some(x)) if value == 1 => Step::Done(vec![on(a, x, m(a))]),
            (Bin::Eq, Some(x), None) if value == 1 => Step::Done(vec![on(b, x, m(b))]),
            (Bin::Ne, None, Some(x)) if value == 0 => Step::Done(vec![on(a, x, m(a))]),
            (Bin::Ne, Some(x), None) if value == 0 => Step::Done(vec![on(b, x, m(b))]),
            (Bin::Ne, None, Some(x)) if value == 1 && a.width == 1 => Step::Done(vec![on(a, x ^ 1, 1)]),
            (Bin::Eq, None, Some(x)) if value == 0 && a.width == 1 => Step::Done(vec![on(a, x ^ 1, 1)]),
            _ => Step::Wait,
        }
    }

    /// Inverts a static function of small inputs by listing all its values once.
    fn step_call(&mut self, f: u32, args: &'a [Expr], value: u128, bits: u128, width: u8) -> Step<'a> {
        let table = &self.env.tables.fns[f as usize];
        let total: u32 = table.widths.iter().map(|w| u32::from(*w)).sum();
        if bits != mask(width) || total > MAX_CODEC_BITS || table.widths.contains(&0) {
            return Step::Wait;
        }
        let known = self.inverses.0.borrow().get(&f).cloned();
        let inverse = known.unwrap_or_else(|| {
            let mut inverse = Inverse::new();
            for packed in 0..1u64 << total {
                let call = Expr {
                    op: Box::new(Op::Call(
                        f,
                        unpack(packed, &table.widths).map(|(v, w)| Expr { op: Box::new(Op::Int(v)), width: w }).collect(),
                    )),
                    width,
                };
                if let Some(v) = self.env.bits(&call) {
                    inverse.entry(v).or_default().push(packed);
                }
            }
            let inverse = std::rc::Rc::new(inverse);
            self.inverses.0.borrow_mut().insert(f, inverse.clone());
            inverse
        });
        match inverse.get(&value) {
            None => Step::Contradiction,
            Some(found) => {
                let widths = table.widths.clone();
                Step::Any(
                    found
                        .iter()
                        .take(64)
                        .map(|packed| {
                            unpack(*packed, &widths)
                                .zip(args)
                                .map(|((v, _), expr)| Constraint { expr, value: v, mask: mask(expr.width) })
                                .collect()
                        })
                        .collect(),
                )
            }
        }
    }
}

/// The arguments in a packed number: the first parameter is most significant, so that enumeration order is the reader's.
fn unpack(packed: u64, widths: &[u8]) -> impl Iterator<Item = (u128, u8)> + '_ {
    let mut left: u32 = widths.iter().map(|w| u32::from(*w)).sum();
    widths.iter().map(move |w| {
        left -= u32::from(*w);
        (u128::from(packed >> left) & mask(*w), *w)
    })
}
