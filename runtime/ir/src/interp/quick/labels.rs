//! The places of a block that branches lead to.

use super::super::code::Code;
use super::assembler::Assembler;
use super::effects::is_branch;
use super::regs::Registers;
use dynasmrt::DynamicLabel;

/// The places that branches lead to.
#[derive(Default)]
pub struct Labels {
    /// Code index of the block's first word.
    first: u32,
    /// By word: one more than its label's number; 0: it has none.
    numbers: Vec<u16>,
    all: Vec<Label>,
}

impl Labels {
    /// Finds the labels of a block; `None` if a branch leads elsewhere.
    pub fn restart(&mut self, words: &[Code], first: u32, ops: &mut Assembler) -> Option<()> {
        self.first = first;
        self.all.clear();
        self.numbers.clear();
        self.numbers.resize(words.len(), 0);
        for (c, at) in words.iter().zip(first..).filter(|(c, _)| is_branch(c.op)) {
            let number = self.numbers.get_mut((c.imm as usize).checked_sub(first as usize)?)?;
            if *number == 0 {
                self.all.push(Label { label: ops.new_dynamic_label(), branches: 0, backward: false, regs: None });
                *number = u16::try_from(self.all.len()).ok()?;
            }
            let label = &mut self.all[usize::from(*number) - 1];
            label.branches += 1;
            label.backward |= c.imm <= u64::from(at);
        }
        Some(())
    }

    fn number(&self, at: u32) -> Option<usize> {
        let number = *self.numbers.get(at.wrapping_sub(self.first) as usize)?;
        usize::from(number).checked_sub(1)
    }

    pub fn get(&self, at: u32) -> Option<&Label> {
        self.all.get(self.number(at)?)
    }

    pub fn get_mut(&mut self, at: u32) -> Option<&mut Label> {
        let number = self.number(at)?;
        self.all.get_mut(number)
    }

    pub fn remove(&mut self, at: u32) {
        if let Some(number) = self.numbers.get_mut(at.wrapping_sub(self.first) as usize) {
            *number = 0;
        }
    }
}

/// A place that branches lead to.
pub struct Label {
    pub label: DynamicLabel,
    pub branches: u32,
    /// One of them comes from behind.
    pub backward: bool,
    /// What registers hold on all of them so far.
    pub regs: Option<Registers>,
}
