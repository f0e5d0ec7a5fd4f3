//! The flags of additions and subtractions: operands that they are computed from when somebody wants them.
//!
//! The four flags of a region (negative, zero, carry, overflow) are in one form at every place, which [`super::plan`] knows: most of them are in their cells,
//! or those of an addition or subtraction; the negative and zero flags may be those of a result, and each may be a value of its own. What they come from is
//! in variables. Exits compute flags out of line, from memory, so that nothing for it is computed in line.

use super::super::code::{Bc, Code};
use super::late::is_narrow;
use super::lower::{Lower, ours};
use super::plan::{Plan, written};
use super::{Piece, is_called};
use crate::interp::quick::is_branch;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::Variable;

/// Where those flags are that are nowhere else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Base {
    /// In their cells.
    Memory,
    /// Those of a subtraction or addition of two operands.
    Sub,
    Add,
    /// The same; the first operand is not known, but the result.
    SubResult,
    AddResult,
    /// Not of flags: a recipe of the late cell ([`super::late`]), of two operands.
    Late(u8),
}

/// Where a flag comes from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    Base,
    /// The sign of a result, or that it is 0.
    Result,
    Constant(bool),
    Value,
}

/// The form of the flags at some place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Form {
    pub base: Base,
    pub from: [Source; 4],
}

/// A result that the negative and zero flags are set by.
#[derive(Clone, Copy)]
pub enum Tested {
    Cell(u16),
    Constant(u32),
}

impl Form {
    /// All in their cells.
    pub const MEMORY: Form = Form::all(Base::Memory);

    pub const fn all(base: Base) -> Form {
        Form { base, from: [Source::Base; 4] }
    }

    /// Those of an addition or subtraction.
    pub fn of(c: &Code) -> Form {
        Form::all(match (matches!(c.op, Bc::SubFlags32 | Bc::SubFlags32I), c.x == 0) {
            (true, false) => Base::Sub,
            (false, false) => Base::Add,
            (true, true) => Base::SubResult,
            (false, true) => Base::AddResult,
        })
    }

    /// The form behind a word of a piece, which has a number.
    pub fn after(mut self, plan: &Plan, (number, piece): (usize, &Piece), n: usize) -> Form {
        let c = &piece.words[n];
        if is_called(c) {
            return Form::MEMORY;
        }
        if let Some(late) = &plan.late {
            return late.form((number, n), c).unwrap_or(self);
        }
        if plan.sets_flags(c) {
            return Form::of(c);
        }
        if plan.tested(piece, n).is_some() {
            (self.from[0], self.from[1]) = (Source::Result, Source::Result);
        } else if n == 0 || plan.tested(piece, n - 1).is_none() {
            for number in 0..4 {
                if let Some(source) = self.source(plan, piece, n, number) {
                    self.from[number] = source;
                }
            }
        }
        self
    }

    /// Where a flag comes from behind a word, if it sets it.
    fn source(self, plan: &Plan, piece: &Piece, n: usize, number: usize) -> Option<Source> {
        let (c, flag) = (&piece.words[n], plan.flags?[number]);
        written(c).any(|cell| cell == flag).then(|| match c.op {
            Bc::MovI if c.imm < 2 => Source::Constant(c.imm == 1),
            // There is one result.
            Bc::CmpEqI if number == 1 && c.imm == 0 && self.from[0] != Source::Result && made_narrow(piece, n, c.b) => Source::Result,
            _ => Source::Value,
        })
    }

    /// They are those of a subtraction.
    pub fn minus(self) -> bool {
        matches!(self.base, Base::Sub | Base::SubResult)
    }
}

impl Plan {
    /// This word and the next set the negative and zero flags by a result.
    pub fn tested(&self, piece: &Piece, n: usize) -> Option<Tested> {
        let [negative, zero, ..] = self.flags?;
        let [first, second] = piece.words.get(n..n + 2)? else { return None };
        let between = || piece.words.iter().any(|c| is_branch(c.op) && piece.target(c) == n + 1);
        if (first.a, second.a) != (negative, zero) || between() {
            return None;
        }
        match (first.op, second.op) {
            (Bc::Extract, Bc::CmpEqI) if (first.x, first.imm, second.imm) == (31, 1, 0) && first.b == second.b && first.b != negative => {
                Some(Tested::Cell(first.b))
            }
            (Bc::MovI, Bc::MovI) => match (first.imm, second.imm) {
                (0, 0) => Some(Tested::Constant(1)),
                (0, 1) => Some(Tested::Constant(0)),
                (1, 0) => Some(Tested::Constant(1 << 31)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What a cell holds at a word was made with 32 bits at most, by a word before it.
fn made_narrow(piece: &Piece, n: usize, cell: u16) -> bool {
    let Some(at) = piece.words[..n].iter().rposition(|c| written(c).any(|made| made == cell)) else { return false };
    let joins = |c: &Code| is_branch(c.op) && (at + 1..=n).contains(&piece.target(c));
    let narrow = match piece.words[at].op {
        Bc::Load8 | Bc::Load16 | Bc::Load32 => true,
        Bc::AndI | Bc::Extract | Bc::MovI => piece.words[at].imm <= u32::MAX.into(),
        op => is_narrow(op),
    };
    narrow && !piece.words.iter().any(joins)
}

/// Variables of 32 bits for what flags come from.
#[derive(Clone, Copy)]
pub(super) struct FlagVariables {
    /// The first operand of an addition or subtraction, or its result; and the second.
    pub operands: [Variable; 2],
    pub result: Variable,
}

/// Flags at some place: only what their form has is there.
#[derive(Clone)]
pub(super) struct FlagState {
    pub form: Form,
    operands: Option<[Value; 2]>,
    result: Option<Value>,
    values: [Option<Value>; 4],
}

impl Lower<'_> {
    /// What is known of them here; `None`: all are in their cells.
    pub fn flag_state(&mut self) -> Option<FlagState> {
        let form = self.form;
        if form == Form::MEMORY {
            return None;
        }
        let FlagVariables { operands, result } = self.flag_variables;
        let operands =
            (form.base != Base::Memory && form.from.contains(&Source::Base)).then(|| operands.map(|operand| self.b.use_var(operand)));
        let result = form.from.contains(&Source::Result).then(|| self.b.use_var(result));
        let mut values = [None; 4];
        for (number, cell) in self.plan.flags.into_iter().flatten().enumerate().filter(|(number, _)| form.from[*number] == Source::Value) {
            values[number] = Some(self.flag_value(cell));
        }
        Some(FlagState { form, operands, result, values })
    }

    fn flag_value(&mut self, cell: u16) -> Value {
        let variable = self.variable(cell);
        self.b.use_var(variable)
    }

    /// Which of the four a cell is.
    pub fn flag_number(&self, cell: u16) -> Option<usize> {
        self.plan.flags?.iter().position(|flag| *flag == cell)
    }

    /// Those of an addition or subtraction, with its result.
    pub fn set_flags(&mut self, c: &Code, [x, y]: [Value; 2], result: Value) {
        self.form = Form::of(c);
        self.known.first = Some(x);
        self.known.first_cell = Some(c.b).filter(|cell| c.x != 0 || *cell != c.a);
        let operands = [if c.x == 0 { result } else { x }, y];
        for (variable, value) in self.flag_variables.operands.into_iter().zip(operands) {
            self.b.def_var(variable, value);
        }
    }

    /// The negative and zero flags are those of a result.
    pub fn set_tested(&mut self, tested: Tested) {
        let value = match tested {
            Tested::Cell(cell) => self.low(cell),
            Tested::Constant(value) => self.constant(value),
        };
        self.b.def_var(self.flag_variables.result, value);
        (self.form.from[0], self.form.from[1]) = (Source::Result, Source::Result);
    }

    /// A word that sets one flag alone, to a constant or by a result: then it is done.
    pub fn flag_word(&mut self, c: &Code) -> bool {
        let (piece, n) = (&self.input.pieces[self.place.0], self.place.1);
        let set = (0..4).find_map(|number| Some((number, self.form.source(self.plan, piece, n, number)?)));
        let Some((number, source @ (Source::Constant(_) | Source::Result))) = set else { return false };
        if source == Source::Result {
            let value = self.low(c.b);
            self.b.def_var(self.flag_variables.result, value);
        }
        self.known.forget(c.a);
        self.form.from[number] = source;
        true
    }

    /// One is a value.
    pub fn set_flag(&mut self, number: usize, value: Value) {
        let Some(cells) = self.plan.flags else { return };
        let variable = self.variable(cells[number]);
        self.b.def_var(variable, value);
        self.form.from[number] = Source::Value;
    }

    /// The first operand of an addition or subtraction in a form, of what the form has and the second.
    fn first_of(&mut self, form: Form, first: Value, y: Value) -> Value {
        match form.base {
            Base::SubResult => self.b.ins().iadd(first, y),
            Base::AddResult => self.b.ins().isub(first, y),
            _ => first,
        }
    }

    /// One of an addition or subtraction: a truth value, or 0 or 1, in 64 bits.
    pub fn flag_of(&mut self, number: usize, [x, y]: [Value; 2], minus: bool) -> Value {
        let result = if minus { self.b.ins().isub(x, y) } else { self.b.ins().iadd(x, y) };
        let zero = self.k32(0);
        let flag = match (number, minus) {
            (0, _) => self.b.ins().icmp(IntCC::SignedLessThan, result, zero),
            (1, true) => self.b.ins().icmp(IntCC::Equal, x, y),
            (1, false) => self.b.ins().icmp(IntCC::Equal, result, zero),
            (2, true) => self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, x, y),
            (2, false) => self.b.ins().icmp(IntCC::UnsignedLessThan, result, x),
            _ => self.overflow(x, y, result, minus),
        };
        self.b.ins().uextend(I64, flag)
    }

    /// The sign of a value, or that it is 0.
    fn flag_tested(&mut self, number: usize, value: Value) -> Value {
        let zero = self.k32(0);
        let flag = self.b.ins().icmp(if number == 0 { IntCC::SignedLessThan } else { IntCC::Equal }, value, zero);
        self.b.ins().uextend(I64, flag)
    }

    /// The value of one here.
    pub fn flag(&mut self, number: usize) -> Value {
        let cell = self.plan.flags.map_or(0, |flags| flags[number]);
        let FlagVariables { result, .. } = self.flag_variables;
        match (self.form.from[number], self.form.base) {
            (Source::Value, _) => self.flag_value(cell),
            (Source::Result, _) => {
                let result = self.b.use_var(result);
                self.flag_tested(number, result)
            }
            (Source::Constant(value), _) => self.k64(value.into()),
            (Source::Base, Base::Memory) => self.b.ins().load(I64, ours(), self.cells, i32::from(cell) * 8),
            (Source::Base, Base::SubResult | Base::AddResult) if number < 2 => {
                let result = self.b.use_var(self.flag_variables.operands[0]);
                self.flag_tested(number, result)
            }
            _ => {
                let operands = self.here();
                self.flag_of(number, operands, self.form.minus())
            }
        }
    }

    /// Operands of the addition or subtraction that flags come from here.
    pub fn here(&mut self) -> [Value; 2] {
        let [first, y] = self.flag_variables.operands.map(|operand| self.b.use_var(operand));
        let x = self.known.first.unwrap_or_else(|| self.first_of(self.form, first, y));
        self.known.first = Some(x);
        [x, y]
    }

    /// Stores them into their cells, by way of memory: what is computed here is not what may have been computed in line, and is not kept for it.
    pub fn save_flags(&mut self, state: &FlagState) {
        self.store_operands(state);
        // No value is carried over it.
        self.b.ins().sequence_point();
        self.store_flags(state.form);
    }

    /// Stores those that are values into their cells, and what the others come from.
    pub fn store_operands(&mut self, state: &FlagState) {
        let from = [state.operands.map(|[x, _]| x), state.operands.map(|[_, y]| y), state.result];
        for (n, value) in (0..).zip(from) {
            if let Some(value) = value {
                self.b.ins().store(ours(), value, self.cells, self.input.layout.flags + 4 * n);
            }
        }
        for (cell, value) in self.plan.flags.into_iter().flatten().zip(state.values) {
            if let Some(value) = value {
                self.put(cell, value);
            }
        }
    }

    /// Stores those of a form that are computed, from what was stored.
    pub fn store_flags(&mut self, form: Form) {
        if form == Form::MEMORY {
            return;
        }
        let [first, y, result] = [0, 1, 2].map(|n| self.b.ins().load(I32, ours(), self.cells, self.input.layout.flags + 4 * n));
        if let (Base::Late(recipe), Some(late)) = (form.base, &self.plan.late) {
            let value = self.late(recipe, [first, y]);
            return self.put(late.cell, value);
        }
        let Some(cells) = self.plan.flags else { return };
        let x = self.first_of(form, first, y);
        for (number, cell) in cells.into_iter().enumerate() {
            let flag = match form.from[number] {
                Source::Result => self.flag_tested(number, result),
                Source::Constant(value) => self.k64(value.into()),
                Source::Base if form.base != Base::Memory => self.flag_of(number, [x, y], form.minus()),
                _ => continue,
            };
            self.put(cell, flag);
        }
    }
}
