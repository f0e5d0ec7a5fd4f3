//! What a cell is in a region: an integer, a number of double precision, two of single precision. It is a variable of that kind, so that what a loop keeps
//! there need not change registers; whoever wants it otherwise gets a copy made of it.
//!
//! What is a temporary, or an integer, is remembered as a number too until ways meet.

use super::super::code::{Bc, Code, Operand, Side};
use super::inline::is_inline;
use super::lower::{Lower, ours};
use super::plan::{Plan, reads, written};
use super::{Input, Piece};
use crate::op::Type;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::types::{self, F32, F64, I8, I8X16, I32, I64, I64X2};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use cranelift_frontend::Variable;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;

/// What a cell is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Int,
    Double,
    /// Low half and high half.
    Singles,
    /// 128 bits, with the next cell, which is the high half.
    Wide,
    High,
}

/// Low and high halves.
const HALF: u64 = 0xffff_ffff;

/// Which half of its cell a word reads into another one.
fn extracts(c: &Code) -> Option<bool> {
    (c.op == Bc::Extract && matches!(c.x, 0 | 32) && c.imm == HALF).then_some(c.x == 32)
}

/// Which half of its cell a word replaces.
fn inserts(c: &Code) -> Option<bool> {
    (c.op == Bc::Insert && matches!((c.x, c.imm >> c.x), (0 | 32, HALF))).then_some(c.x == 32)
}

fn number(ty: Type) -> Option<Type> {
    matches!(ty, Type::F32 | Type::F64).then_some(ty)
}

/// The type in which the word reads a cell, if as a number.
fn reads_as(piece: &Piece, c: &Code, cell: u16) -> Option<Type> {
    let Side { args, types, .. } = piece.sides.get(usize::from(c.c)).filter(|_| is_inline(c))?;
    let operand = args.iter().zip(types).find(|(arg, _)| matches!(arg, Operand::Cell(at) if *at == cell));
    operand.and_then(|(_, ty)| number(*ty))
}

/// ... or uses it.
fn uses(piece: &Piece, c: &Code, cell: u16) -> Option<Type> {
    let result = || piece.sides.get(usize::from(c.c)).filter(|_| is_inline(c) && c.a == cell).and_then(|side| number(side.inst.ty));
    reads_as(piece, c, cell).or_else(result)
}

/// The cells that the word uses as the first of a pair.
fn pairs(piece: &Piece, c: &Code) -> Vec<u16> {
    let Some(Side { args, types, .. }) = piece.sides.get(usize::from(c.c)).filter(|_| is_inline(c)) else { return Vec::new() };
    let operands = args.iter().zip(types).filter(|(_, ty)| ty.bits() == 128);
    let cells = operands.filter_map(|(arg, _)| if let Operand::Cell(cell) = arg { Some(*cell) } else { None });
    cells.chain((c.b == 2).then_some(c.a)).collect()
}

/// How often a cell is used how.
#[derive(Default)]
struct Uses {
    /// As the first of a pair.
    wides: u32,
    doubles: u32,
    singles: u32,
    others: u32,
    /// Cells it is moved to or from.
    moves: Vec<u16>,
}

/// The kinds of the cells that are no integers.
pub(super) fn kinds_of(input: &Input, plan: &Plan) -> BTreeMap<u16, Kind> {
    let mut kinds = BTreeMap::new();
    if input.pieces.iter().all(|piece| piece.sides.is_empty()) {
        return kinds;
    }
    let mut all: FxHashMap<u16, Uses> = FxHashMap::default();
    for piece in &input.pieces {
        for c in &piece.words {
            let cells: FxHashSet<u16> = reads(c).chain(written(c)).filter(|cell| plan.cells.contains_key(cell)).collect();
            for cell in cells {
                let uses_of = all.entry(cell).or_default();
                match (uses(piece, c, cell), c.op) {
                    (Some(Type::F32), _) => uses_of.singles += 1,
                    (Some(_), _) => uses_of.doubles += 1,
                    (None, Bc::Extract) if c.b == cell && c.a != cell && extracts(c).is_some() => uses_of.singles += 1,
                    (None, Bc::Insert) if c.c != cell && inserts(c).is_some() => uses_of.singles += 1,
                    (None, Bc::Mov) => uses_of.moves.push(if c.a == cell { c.b } else { c.a }),
                    (None, Bc::Load64 | Bc::MovI) => {}
                    (None, Bc::Store64) if c.b != cell => {}
                    (None, Bc::XorI | Bc::AndI) if is_sign(c) => {}
                    _ => uses_of.others += 1,
                }
            }
        }
    }
    let words = input.pieces.iter().flat_map(|piece| piece.words.iter().map(move |c| (piece, c)));
    for cell in words.flat_map(|(piece, c)| pairs(piece, c)) {
        if let Some(uses) = all.get_mut(&cell) {
            uses.wides += 1;
        }
    }
    let is_flag = |cell: u16| plan.flags.is_some_and(|flags| flags.contains(&cell));
    let numbers = |cell: u16| all.get(&cell).map(|uses| uses.doubles + uses.singles);
    let wides = plan.cells.keys().copied().filter(|cell| {
        let wides = all.get(cell).map_or(0, |uses| uses.wides);
        let numbers = numbers(*cell).zip(numbers(cell + 1)).map(|(low, high)| low + high);
        wides > 0 && numbers.is_some_and(|numbers| numbers <= wides) && !is_flag(*cell) && !is_flag(cell + 1)
    });
    for cell in wides.collect::<Vec<u16>>() {
        if !kinds.contains_key(&cell) && !kinds.contains_key(&(cell + 1)) {
            kinds.extend([(cell, Kind::Wide), (cell + 1, Kind::High)]);
        }
    }
    let mut changed = true;
    while changed {
        changed = false;
        for (cell, uses) in &all {
            let double = uses.doubles > 0 || uses.moves.iter().any(|other| kinds.get(other) == Some(&Kind::Double));
            let kind = match double {
                true if uses.singles == 0 && uses.doubles >= uses.others => Kind::Double,
                false if uses.singles > 0 && uses.others == 0 => Kind::Singles,
                _ => continue,
            };
            if !kinds.contains_key(cell) && !is_flag(*cell) {
                kinds.insert(*cell, kind);
                changed = true;
            }
        }
    }
    kinds
}

/// A word that changes or clears a sign: of a number of double precision, or of single.
fn is_sign(c: &Code) -> bool {
    match c.op {
        Bc::XorI => c.imm == 1 << 63 || c.imm == 1 << 31,
        _ => c.imm == u64::MAX >> 1 || c.imm == HALF >> 1,
    }
}

/// What is known of cells as numbers at some place.
#[derive(Clone, Default)]
pub(super) struct Numbers {
    /// High halves of cells of two numbers that are not kept.
    highs: BTreeMap<u16, Value>,
    /// Cells that are integers, and what they hold as a number.
    views: FxHashMap<u16, Value>,
    /// Pairs of cells, by the first, and what they hold as one value.
    pub wides: FxHashMap<u16, Value>,
    /// The numbers whose comparison a cell holds.
    compared: FxHashMap<u16, [Value; 2]>,
    /// Numbers that integer words made since somebody has looked at floating point.
    pub made: FxHashSet<Value>,
    /// Values that are not what they are before the run begins ([`super::float`]).
    pub anchored: FxHashSet<Value>,
    /// The same values, made so.
    pub anchors: FxHashMap<Value, Value>,
}

impl Numbers {
    pub fn forget(&mut self, cell: u16) {
        self.views.remove(&cell);
        self.compared.remove(&cell);
        self.wides.remove(&cell);
        self.wides.remove(&cell.wrapping_sub(1));
        self.highs.remove(&cell);
    }
}

pub(super) fn host_type(ty: Type) -> types::Type {
    if ty == Type::F64 { F64 } else { F32 }
}

impl Lower<'_> {
    pub fn cell_kind(&self, cell: u16) -> Kind {
        self.plan.kinds.get(&cell).copied().unwrap_or(Kind::Int)
    }

    pub fn type_of(&self, cell: u16) -> types::Type {
        match self.cell_kind(cell) {
            Kind::Int => I64,
            Kind::Double => F64,
            Kind::Singles => F32,
            Kind::Wide | Kind::High => I8X16,
        }
    }

    fn high_variable(&mut self, cell: u16) -> Variable {
        if let Some(variable) = self.highs.get(&cell) {
            return *variable;
        }
        let variable = self.b.declare_var(F32);
        self.highs.insert(cell, variable);
        variable
    }

    /// What a cell is that is no integer; of one of two numbers, the low one.
    pub fn defined(&mut self, cell: u16) -> Value {
        if self.is_kept(cell) {
            let variable = self.variable(cell);
            return self.b.use_var(variable);
        }
        if let Some(value) = self.known.cells.get(&cell) {
            return *value;
        }
        let ty = self.type_of(cell);
        let value = self.b.ins().load(ty, ours(), self.cells, i32::from(cell) * 8);
        self.known.cells.insert(cell, value);
        value
    }

    fn defined_high(&mut self, cell: u16) -> Value {
        if self.is_kept(cell) {
            let variable = self.high_variable(cell);
            return self.b.use_var(variable);
        }
        if let Some(value) = self.known.numbers.highs.get(&cell) {
            return *value;
        }
        let value = self.b.ins().load(F32, ours(), self.cells, i32::from(cell) * 8 + 4);
        self.known.numbers.highs.insert(cell, value);
        value
    }

    pub fn define(&mut self, cell: u16, value: Value) {
        if self.is_kept(cell) {
            let variable = self.variable(cell);
            return self.b.def_var(variable, value);
        }
        self.known.cells.insert(cell, value);
        self.dirty |= self.plan.bit(cell);
    }

    fn define_high(&mut self, cell: u16, value: Value) {
        if self.is_kept(cell) {
            let variable = self.high_variable(cell);
            return self.b.def_var(variable, value);
        }
        self.known.numbers.highs.insert(cell, value);
        self.dirty |= self.plan.bit(cell);
    }

    /// A value that was made of another one alone.
    pub fn derived(&mut self, value: Value, from: Value) -> Value {
        if self.known.numbers.anchored.contains(&from) {
            self.known.numbers.anchored.insert(value);
        }
        value
    }

    /// As many bits of another kind.
    fn cast(&mut self, ty: types::Type, value: Value) -> Value {
        let cast = self.b.ins().bitcast(ty, MemFlagsData::new(), value);
        self.derived(cast, value)
    }

    /// Of a cell in a pair: the pair's first, and which half it is.
    fn lane_of(&self, cell: u16) -> Option<(u16, u8)> {
        match self.cell_kind(cell) {
            Kind::Wide => Some((cell, 0)),
            Kind::High => Some((cell - 1, 1)),
            _ => None,
        }
    }

    /// 64 bits of a cell that is no integer.
    pub fn get_number(&mut self, cell: u16) -> Value {
        if let Some((first, lane)) = self.lane_of(cell) {
            let value = self.get_wide(first);
            let both = self.as_type(I64X2, value);
            return self.b.ins().extractlane(both, lane);
        }
        let low = self.defined(cell);
        if self.cell_kind(cell) == Kind::Double {
            return self.cast(I64, low);
        }
        let high = self.defined_high(cell);
        let (low, high) = (self.bits_of(low), self.bits_of(high));
        let by = self.k64(32);
        let up = self.b.ins().ishl(high, by);
        self.b.ins().bor(up, low)
    }

    /// Gives 64 bits to a cell that is no integer.
    pub fn set_number(&mut self, cell: u16, value: Value) {
        if let Some((first, lane)) = self.lane_of(cell) {
            let old = self.get_wide(first);
            let old = self.as_type(I64X2, old);
            let both = self.b.ins().insertlane(old, value, lane);
            return self.set_wide(first, both);
        }
        if self.cell_kind(cell) == Kind::Double {
            let value = self.cast(F64, value);
            let value = self.made(value);
            return self.define(cell, value);
        }
        let low = self.single_of(value);
        let by = self.k64(32);
        let high = self.b.ins().ushr(value, by);
        self.derived(high, value);
        let high = self.single_of(high);
        self.define(cell, low);
        self.define_high(cell, high);
    }

    /// A number in the low bits, and zeros.
    fn bits_of(&mut self, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == F64 {
            return self.cast(I64, value);
        }
        let bits = self.cast(I32, value);
        let wide = self.b.ins().uextend(I64, bits);
        self.derived(wide, bits)
    }

    fn single_of(&mut self, value: Value) -> Value {
        let low = self.b.ins().ireduce(I32, value);
        self.derived(low, value);
        let single = self.cast(F32, low);
        self.made(single)
    }

    /// A number that integer words made.
    pub fn made(&mut self, value: Value) -> Value {
        if self.pending.as_ref().is_some_and(|pending| !pending.floats.is_empty()) {
            self.known.numbers.made.insert(value);
        }
        value
    }

    /// A cell as a number of this type.
    pub fn get_float(&mut self, cell: u16, ty: types::Type) -> Value {
        let kind = self.cell_kind(cell);
        if self.type_of(cell) == ty {
            return self.defined(cell);
        }
        if kind == Kind::Int
            && let Some(view) = self.known.numbers.views.get(&cell).copied().filter(|view| self.b.func.dfg.value_type(*view) == ty)
        {
            return view;
        }
        let bits = self.get(cell);
        let value = if ty == F64 { self.cast(F64, bits) } else { self.single_of(bits) };
        self.made(value);
        if kind == Kind::Int {
            self.known.numbers.views.insert(cell, value);
        }
        value
    }

    /// Gives a cell a number; of one of single precision it is the low half, and zeros.
    pub fn set_float(&mut self, cell: u16, value: Value) {
        let ty = self.b.func.dfg.value_type(value);
        self.known.numbers.forget(cell);
        if self.type_of(cell) == ty {
            self.define(cell, value);
            if ty == F32 {
                let none = self.b.ins().f32const(0.0);
                self.define_high(cell, none);
            }
            return;
        }
        let bits = self.bits_of(value);
        self.set(cell, bits);
        if self.cell_kind(cell) == Kind::Int {
            self.known.numbers.views.insert(cell, value);
        }
    }

    /// A cell holds how two numbers compare.
    pub fn set_compared(&mut self, cell: u16, numbers: [Value; 2]) {
        let [less, same] = [FloatCC::LessThan, FloatCC::Equal].map(|cc| self.b.ins().fcmp(cc, numbers[0], numbers[1]));
        let (one, two, none) = (self.k64(1), self.k64(2), self.k64(0));
        let more = self.b.ins().select(same, one, two);
        let value = self.b.ins().select(less, none, more);
        self.set(cell, value);
        self.known.numbers.compared.insert(cell, numbers);
    }

    /// Words that move numbers, change their signs, or ask how two compare.
    pub fn number_word(&mut self, c: &Code) -> bool {
        match c.op {
            Bc::Mov => {
                if let Some(numbers) = self.known.numbers.compared.get(&c.b).copied() {
                    let value = self.get(c.b);
                    self.set(c.a, value);
                    self.known.numbers.compared.insert(c.a, numbers);
                    return true;
                }
                let (from, to) = (self.cell_kind(c.b), self.cell_kind(c.a));
                let view = if from == Kind::Int { self.known.numbers.views.get(&c.b).copied() } else { None };
                match (from, to, view) {
                    (Kind::Double, ..) => {
                        let value = self.get_float(c.b, F64);
                        self.set_float(c.a, value);
                    }
                    (Kind::Singles, Kind::Singles, _) => {
                        let [low, high] = [self.half(c.b, false), self.half(c.b, true)];
                        self.define(c.a, low);
                        self.define_high(c.a, high);
                    }
                    (.., Some(view)) => self.set_float(c.a, view),
                    _ => return false,
                }
            }
            Bc::MovI if self.cell_kind(c.a) == Kind::Double => {
                let value = self.b.ins().f64const(Ieee64::with_bits(c.imm));
                self.set_float(c.a, value);
            }
            Bc::XorI | Bc::AndI if is_sign(c) => {
                let ty = if matches!(c.imm >> 32, 0) { F32 } else { F64 };
                let view = self.known.numbers.views.get(&c.b).is_some_and(|view| self.b.func.dfg.value_type(*view) == ty);
                if !view && (self.cell_kind(c.b) != Kind::Double || ty == F32) {
                    return false;
                }
                let value = self.get_float(c.b, ty);
                let signed = if c.op == Bc::XorI { self.b.ins().fneg(value) } else { self.b.ins().fabs(value) };
                self.derived(signed, value);
                self.set_float(c.a, signed);
            }
            Bc::Extract if self.cell_kind(c.b) == Kind::Singles => {
                let Some(high) = extracts(c) else { return false };
                let value = self.half(c.b, high);
                self.set_float(c.a, value);
            }
            Bc::Insert if self.cell_kind(c.a) == Kind::Singles && self.cell_kind(c.b) == Kind::Singles => {
                let Some(high) = inserts(c) else { return false };
                let value = self.get_float(c.c, F32);
                let other = self.half(c.b, !high);
                let [low, high] = if high { [other, value] } else { [value, other] };
                self.define(c.a, low);
                self.define_high(c.a, high);
            }
            Bc::CmpEqI | Bc::CmpNeI => {
                let Some(truth) = self.compares_as(c.b, c.imm, c.op == Bc::CmpEqI) else { return false };
                self.set_narrow(c.a, truth);
            }
            _ => return false,
        }
        true
    }

    /// Whether a cell that holds how two numbers compare is this result, or is not. They are ordered, as the look at the end of the run finds out.
    fn compares_as(&mut self, cell: u16, result: u64, equal: bool) -> Option<Value> {
        let [x, y] = self.known.numbers.compared.get(&cell).copied()?;
        let cc = match result {
            0 => FloatCC::LessThan,
            1 => FloatCC::Equal,
            2 => FloatCC::GreaterThan,
            _ => return Some(self.b.ins().iconst(I8, i64::from(!equal))),
        };
        let cc = match (cc, equal) {
            (_, true) => cc,
            (FloatCC::LessThan, _) => FloatCC::GreaterThanOrEqual,
            (FloatCC::Equal, _) => FloatCC::NotEqual,
            _ => FloatCC::LessThanOrEqual,
        };
        Some(self.b.ins().fcmp(cc, x, y))
    }

    /// The condition of a branch that asks how two numbers compare.
    pub fn compares(&mut self, c: &Code) -> Option<Value> {
        if !matches!(c.op, Bc::BrEq | Bc::BrNe) || !self.known.numbers.compared.contains_key(&c.b) {
            return None;
        }
        let result = self.get(c.c);
        let result = self.constant_of(result)?;
        self.compares_as(c.b, result, c.op == Bc::BrEq)
    }

    fn half(&mut self, cell: u16, high: bool) -> Value {
        if high { self.defined_high(cell) } else { self.defined(cell) }
    }

    /// The type in which a load gets what it loads: that in which it is used, if it is used in this run.
    pub fn loaded_as(&self, c: &Code) -> Option<types::Type> {
        let ty = match c.op {
            Bc::Load32 => F32,
            Bc::Load64 => F64,
            _ => return None,
        };
        if self.cell_kind(c.a) != Kind::Int {
            return (self.type_of(c.a) == ty).then_some(ty);
        }
        let (piece, at) = (&self.input.pieces[self.place.0], self.place.1);
        for behind in &piece.words[at + 1..self.end] {
            if let Some(used) = reads_as(piece, behind, c.a) {
                return (host_type(used) == ty).then_some(ty);
            }
            if ty == F32 && behind.c == c.a && inserts(behind).is_some() && self.cell_kind(behind.a) == Kind::Singles {
                return Some(ty);
            }
            if reads(behind).chain(written(behind)).any(|cell| cell == c.a) {
                return None;
            }
        }
        None
    }

    /// What a store writes, if it is a number.
    pub fn stored_as(&mut self, c: &Code) -> Option<Value> {
        let ty = match c.op {
            Bc::Store32 => F32,
            Bc::Store64 => F64,
            _ => return None,
        };
        let view = self.known.numbers.views.get(&c.a).is_some_and(|view| self.b.func.dfg.value_type(*view) == ty);
        (view || self.type_of(c.a) == ty).then(|| self.get_float(c.a, ty))
    }

    /// A cell's value in pieces: offsets in bytes, and values.
    pub fn parts(&mut self, cell: u16) -> Vec<(i32, Value)> {
        let at = i32::from(cell) * 8;
        match self.cell_kind(cell) {
            Kind::Int => vec![(at, self.get(cell))],
            Kind::Double => vec![(at, self.get_float(cell, F64))],
            Kind::Wide => vec![(at, self.get_wide(cell))],
            Kind::High => vec![(at - 8, self.get_wide(cell - 1))],
            Kind::Singles => vec![(at, self.half(cell, false)), (at + 4, self.half(cell, true))],
        }
    }

    /// A cell that is not kept here is where the region goes now.
    pub fn carry(&mut self, cell: u16) {
        let value = match self.cell_kind(cell) {
            Kind::Int => self.get(cell),
            Kind::High => return,
            _ => self.defined(cell),
        };
        let variable = self.variable(cell);
        self.b.def_var(variable, value);
        if self.cell_kind(cell) == Kind::Singles {
            let (value, variable) = (self.defined_high(cell), self.high_variable(cell));
            self.b.def_var(variable, value);
        }
    }

    /// A cell is what memory has.
    pub fn reload(&mut self, cell: u16) {
        let first = self.lane_of(cell).map_or(cell, |(first, _)| first);
        self.known.numbers.forget(first);
        self.known.numbers.forget(cell);
        self.known.cells.remove(&first);
        self.known.forget(cell);
        if self.flag_number(cell).is_some() || !self.is_kept(first) {
            return;
        }
        let (ty, at) = (self.type_of(first), i32::from(first) * 8);
        let value = self.b.ins().load(ty, ours(), self.cells, at);
        self.define(first, value);
        if ty == F32 {
            let high = self.b.ins().load(ty, ours(), self.cells, at + 4);
            self.define_high(first, high);
        }
    }

    /// An operand of a word of the side table, as a number.
    pub fn number_operand(&mut self, side: &Side, index: usize) -> Value {
        let ty = host_type(side.types[index]);
        match side.args[index] {
            Operand::Cell(cell) => self.get_float(cell, ty),
            Operand::Const(x) if ty == F64 => self.b.ins().f64const(Ieee64::with_bits(x as u64)),
            Operand::Const(x) => self.b.ins().f32const(Ieee32::with_bits(x as u32)),
            Operand::None => self.b.ins().f64const(0.0),
        }
    }
}
