//! The flags of additions and subtractions: operands that they are computed from when somebody wants them.
//!
//! The four flags of a region (negative, zero, carry, overflow) are in one of several forms at every place, and a variable says which where ways with
//! different forms meet; [`super::plan`] knows which are possible. Exits compute flags out of line.

use super::super::code::{Bc, Code};
use super::lower::{Lower, ours};
use super::plan::{ADD, Forms, MEMORY, PLAIN, SUB};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::Variable;

/// Variables for them.
#[derive(Clone, Copy)]
pub(super) struct FlagVariables {
    /// The form: a number of [`Forms`].
    pub form: Variable,
    pub operands: [Variable; 2],
}

/// Flags at some place.
#[derive(Clone)]
pub(super) struct FlagState {
    forms: Forms,
    form: Value,
    operands: [Value; 2],
    /// In the form [`PLAIN`].
    plain: Option<[Value; 4]>,
}

impl Lower<'_> {
    /// What is known of them here.
    pub fn flag_state(&mut self) -> Option<FlagState> {
        let cells = self.plan.flags?;
        let FlagVariables { form, operands } = self.flag_variables;
        let plain = (self.forms & PLAIN != 0).then(|| cells.map(|cell| self.plain_flag(cell)));
        let (form, operands) = (self.b.use_var(form), operands.map(|operand| self.b.use_var(operand)));
        Some(FlagState { forms: self.forms, form, operands, plain })
    }

    fn plain_flag(&mut self, cell: u16) -> Value {
        let variable = self.variable(cell);
        self.b.use_var(variable)
    }

    /// Which of the four a cell is.
    pub fn flag_number(&self, cell: u16) -> Option<usize> {
        self.plan.flags?.iter().position(|flag| *flag == cell)
    }

    fn set_form(&mut self, forms: Forms) {
        let form = self.k32(forms.into());
        self.b.def_var(self.flag_variables.form, form);
        self.forms = forms;
    }

    /// Those of an addition or subtraction.
    pub fn set_flags(&mut self, operands: [Value; 2], minus: bool) {
        for (variable, value) in self.flag_variables.operands.into_iter().zip(operands) {
            self.b.def_var(variable, value);
        }
        self.plan.flags.into_iter().flatten().for_each(|cell| self.numbers.forget(cell));
        self.set_form(if minus { SUB } else { ADD });
    }

    /// Behind a call they are in their cells.
    pub fn flags_are_saved(&mut self) {
        if self.plan.flags.is_some() {
            self.set_form(MEMORY);
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

    /// One in a form that is possible.
    fn flag_in(&mut self, state: &FlagState, number: usize, form: Forms) -> Value {
        match (form, &state.plain) {
            (PLAIN, Some(plain)) => plain[number],
            (MEMORY | PLAIN, _) => {
                let cell = self.plan.flags.map_or(0, |flags| flags[number]);
                self.b.ins().load(I64, ours(), self.cells, i32::from(cell) * 8)
            }
            _ => self.flag_of(number, state.operands, form == SUB),
        }
    }

    /// The value of one.
    pub fn flag(&mut self, number: usize) -> Value {
        self.one_form();
        let Some(state) = self.flag_state() else { return self.k64(0) };
        self.flag_in(&state, number, state.forms)
    }

    /// Where several forms are possible, the flags are computed, to have one.
    pub fn one_form(&mut self) {
        if self.forms.count_ones() > 1 {
            self.make_plain();
        }
    }

    /// They become values of their own.
    pub fn make_plain(&mut self) {
        let Some(state) = self.flag_state().filter(|state| state.forms != PLAIN) else { return };
        for (number, cell) in self.plan.flags.into_iter().flatten().enumerate() {
            let mut value = None;
            for form in [MEMORY, SUB, ADD, PLAIN].into_iter().filter(|form| state.forms & form != 0) {
                let flag = self.flag_in(&state, number, form);
                value = Some(match value {
                    None => flag,
                    Some(other) => {
                        let this = self.k32(form.into());
                        let is = self.b.ins().icmp(IntCC::Equal, state.form, this);
                        self.b.ins().select(is, flag, other)
                    }
                });
            }
            if let Some(value) = value {
                let variable = self.variable(cell);
                self.b.def_var(variable, value);
            }
        }
        self.set_form(PLAIN);
    }

    /// Stores them into their cells.
    pub fn save_flags(&mut self, state: &FlagState) {
        let forms: Vec<Forms> = [SUB, ADD, PLAIN].into_iter().filter(|form| state.forms & form != 0).collect();
        let done = self.b.create_block();
        for form in forms {
            let (this, next) = (self.b.create_block(), self.b.create_block());
            self.b.set_cold_block(this);
            self.b.set_cold_block(next);
            if state.forms == form {
                self.b.ins().jump(this, &[]);
            } else {
                let number = self.k32(form.into());
                let is = self.b.ins().icmp(IntCC::Equal, state.form, number);
                self.b.ins().brif(is, this, &[], next, &[]);
            }
            self.b.switch_to_block(this);
            for (number, cell) in self.plan.flags.into_iter().flatten().enumerate() {
                let value = self.flag_in(state, number, form);
                self.put(cell, value);
            }
            self.b.ins().jump(done, &[]);
            self.b.switch_to_block(next);
        }
        self.b.ins().jump(done, &[]);
        self.b.set_cold_block(done);
        self.b.switch_to_block(done);
    }

    /// Whether the negative flag is the overflow flag, or not, where they are those of a subtraction: it is a comparison of its operands.
    pub fn signed(&mut self, c: &Code) -> Option<Value> {
        let mut numbers = [self.flag_number(c.b)?, self.flag_number(c.c)?];
        numbers.sort_unstable();
        if self.forms != SUB || numbers != [0, 3] {
            return None;
        }
        let [x, y] = self.flag_variables.operands.map(|operand| self.b.use_var(operand));
        let same = matches!(c.op, Bc::CmpEq | Bc::BrEq);
        let condition = if same { IntCC::SignedGreaterThanOrEqual } else { IntCC::SignedLessThan };
        Some(self.b.ins().icmp(condition, x, y))
    }
}
