//! Expressions computed directly from state cells: modes, interrupt and wake conditions.

use crate::body::*;
use emu_dsl::spec::*;

impl<'a> Emitter<'_, 'a> {
    /// A mode's value.
    pub fn mode(&mut self, m: ModeId, span: Span) -> String {
        let name = crate::names::field(&self.spec().modes[m.0 as usize].name);
        match self.flavor {
            Flavor::Lower | Flavor::Static => format!("cx.{name}"),
            Flavor::Native => format!("mode_{name}(n)"),
            Flavor::Entry => self.error(span, format!("mode `{name}` is not known in an exception's entry: use the state it is made of")),
        }
    }

    /// A state's value from its cell.
    pub fn native_state(&mut self, s: StateId, span: Span) -> String {
        if self.flavor != Flavor::Native {
            return self.error(span, format!("state `{}` is not known at translation", self.spec().states[s.0 as usize].name));
        }
        let slot = &self.shared.layout.slots[self.shared.layout.states[s.0 as usize] as usize];
        match slot.bits {
            0..=64 => format!("n.cells[{}]", slot.cell),
            _ => format!("(n.cells[{}] as u128 | (n.cells[{}] as u128) << 64)", slot.cell, slot.cell + 1),
        }
    }

    /// A bank element's value from its cells.
    pub fn native_bank(&mut self, r: BankRef, index: &'a Expr, span: Span) -> String {
        if self.flavor != Flavor::Native {
            return self.error(span, format!("bank `{}` is not known at translation", self.spec().banks[r.bank.0 as usize].name));
        }
        let (first, count, bits) = self.shared.layout.bank_ref(self.spec(), r);
        let index = self.count(index);
        let ty = static_type(&Ty::Bits(bits));
        format!("(LAYOUT.read(n.cells, Slot({first} + ({index} % {count}) as u16)) as {ty})")
    }
}

/// A mode's value from state.
pub fn mode_value<'a>(shared: &Shared<'a>, mode: &'a Mode) -> String {
    Emitter::new(shared, Flavor::Native, &[], 1).stat(&mode.value)
}
