//! What is known of cells where a word is lowered: it holds from node to node as long as no other way comes in, and ends where a cell gets another value.

use super::compare::Fact;
use super::kinds::Numbers;
use super::look::Pending;
use super::lower::Lower;
use super::pages::Page;
use super::plan::Set;
use cranelift_codegen::ir::Value;
use std::collections::BTreeMap;

/// What is known at some place.
#[derive(Clone, Default)]
pub(super) struct Known {
    /// Values of cells of the state that are not kept.
    pub cells: BTreeMap<u16, Value>,
    /// The first operand of the addition or subtraction that set the flags, and the cell that it is still in.
    pub first: Option<Value>,
    pub first_cell: Option<u16>,
    /// What cells are at most.
    pub limits: BTreeMap<u16, u32>,
    pub pages: Vec<Page>,
    /// The sum of two cells that somebody asked for the overflow of.
    pub sum: Option<([u16; 2], Value)>,
    /// What cells hold of subtractions.
    pub facts: BTreeMap<u16, Fact>,
    pub numbers: Numbers,
    /// Since the node's head, or that of the one before, somebody looked at the attention word.
    pub polled: bool,
    /// What the node leaves to those that it leads to: cells that are not kept, to be stored, and accesses to look for.
    pub dirty: Set,
    pub pending: Option<Pending>,
}

impl Known {
    /// A cell gets another value, of which nothing is known.
    pub fn forget(&mut self, cell: u16) {
        self.facts.remove(&cell);
        self.sum.take_if(|(cells, _)| cells.contains(&cell));
        self.first_cell.take_if(|first| *first == cell);
        self.limits.remove(&cell);
    }

    /// Any cell may have another.
    pub fn forget_all(&mut self) {
        self.facts.clear();
        self.limits.clear();
        (self.sum, self.first_cell) = (None, None);
    }
}

impl Lower<'_> {
    /// What is known at the head of a node.
    pub fn known_before(&self, index: usize) -> Known {
        match self.plan.nodes[index].before[..] {
            [before] if index != 0 => {
                let mut known = self.ends[before].clone();
                if self.settled.contains(&(before, index)) {
                    (known.dirty, known.pending) = (0, None);
                }
                known.limits.extend(self.limits.get(&(before, index)).copied());
                known
            }
            _ => Known::default(),
        }
    }
}
